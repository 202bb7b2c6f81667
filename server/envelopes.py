"""Recognises photos that were sent in a wrong form, before anything is decoded."""

import binascii
import re
from dataclasses import dataclass

from model.image import is_image
from model.options import OPTIONS
from server.errors import MalformedBodyError

HOST = "http://127.0.0.1:8000"
"""Where the examples send a photo."""

JSON_EXAMPLE = 'send application/json, for example: {"image": "<base64 of the file>"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The advice of an endpoint to those who send it something else than a photo.

    Attributes:
        url: Where it is, in an example.
        hint: How it takes photos.
        base64: What to do with a photo in base64.
        parameters: Names that belong into its query.
    """

    url: str
    hint: str
    base64: str
    parameters: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """Returns how to send it a photo in a form."""
        return f"for example: curl -F image=@photo.jpg {self.url}"


PREDICT_ADVICE = Advice(
    url=f"{HOST}/v1/predict",
    hint="send the images as multipart/form-data in the field 'image', or one image as the body",
    base64=JSON_EXAMPLE,
    parameters=tuple(dict.fromkeys(("beam_size", "captions", "classes", "explain", *OPTIONS))),
)
"""Our own endpoint's."""

_START_BYTES = 128
_LINK = re.compile(rb"\s*(?:https?|ftp|file|blob|s3|gs)://?", re.IGNORECASE)
_DATA_URI = re.compile(rb"\s*data:[\w.+-]*/?[\w.+-]*[;,]", re.IGNORECASE)
_FILE_NAME = re.compile(
    rb"[^\0-\x1f<>{}]{1,500}\.(?:jpe?g?|jfif|png|webp|avif|gif|bmp|tiff?|hei[cf]|hif|jxl|dng|cr[23]|nef|arw)\s*",
    re.IGNORECASE,
)
_FORM_START = re.compile(rb"(?:\r?\n)?--[^\r\n]{1,80}\r?\nContent-Disposition: *form-data", re.IGNORECASE)
_FIELDS = re.compile(rb"(?:image|images|file|photo)=", re.IGNORECASE)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/_-]")


def refuse_envelope(data: bytes, advice: Advice, *, is_field: bool = False) -> None:
    """Refuses data that are recognisably something else than a photo's bytes, such as base64; all else passes.

    Args:
        data: What was sent as a photo.
        advice: What to do instead.
        is_field: Whether it came as a text field of a form.

    Raises:
        MalformedBodyError: It is a URL, base64, a file's name, or a form that does not say that it is one.
    """
    start = data[:_START_BYTES]
    if is_image(start):
        return
    if _LINK.match(start):
        raise link_refused(advice.example)
    if _DATA_URI.match(start) or _is_base64(start):
        raise MalformedBodyError(f"expected a photo's bytes, received them as base64 text; {advice.base64}")
    if not is_field:
        _refuse_form(start, advice)
    if _FILE_NAME.fullmatch(data[:1024]):
        raise MalformedBodyError(
            f"expected a photo, received the name of a file; with curl put @ in front of the name, {advice.example}"
        )
    if is_field and len(data) < _START_BYTES:
        raise MalformedBodyError(
            f"expected a file in the field 'image', received a field of text; with curl put @ in front of the file's "
            f"name, {advice.example}"
        )


def link_refused(example: str) -> MalformedBodyError:
    """Returns the error for a URL in place of a photo."""
    return MalformedBodyError(
        "expected a photo itself, received a URL, which this server never fetches, because it would do so from inside "
        f"your network; download the photo and send that; {example}"
    )


def _refuse_form(start: bytes, advice: Advice) -> None:
    if _FORM_START.match(start):
        raise MalformedBodyError(
            "expected Content-Type: multipart/form-data with the form's boundary, received a form without it; let the "
            f"client set Content-Type itself, {advice.example}"
        )
    if _FIELDS.match(start):
        raise MalformedBodyError(
            f"expected a photo, received form fields as text (curl -d); send the form as multipart, {advice.example}"
        )


def _is_base64(start: bytes) -> bool:
    """Returns whether text is base64 of an image's first bytes."""
    text = b"".join(start.split())[:64]
    text = text[: len(text) // 4 * 4].translate(bytes.maketrans(b"-_", b"+/"))
    if len(text) < 16 or _NOT_BASE64.search(text.rstrip(b"=")):
        return False
    try:
        return is_image(binascii.a2b_base64(text))
    except binascii.Error:
        return False
