"""Says what is wrong with how a photo was sent, before anyone looks at it as a photo."""

import binascii
import re

from model.image import is_image
from server.errors import MalformedBodyError

URL = "http://127.0.0.1:8000/v1/predict"
"""Where the examples send a photo."""

FORM_EXAMPLE = f"for example: curl -F image=@photo.jpg {URL}"
RAW_EXAMPLE = f"for example: curl --data-binary @photo.jpg {URL}"
JSON_EXAMPLE = 'send application/json, for example: {"image": "<base64 of the file>"}'

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


def refuse_envelope(data: bytes, *, is_field: bool = False) -> None:
    """Refuses what is no photo but tells by itself how it came here; lets everything else through.

    Args:
        data: What came as a photo.
        is_field: Whether it came as a text field of a form.

    Raises:
        MalformedBodyError: It is an URL, base64, a file's name, or a form that does not say that it is one.
    """
    start = data[:_START_BYTES]
    if is_image(start):
        return
    if _LINK.match(start):
        raise link_refused(FORM_EXAMPLE)
    if _DATA_URI.match(start) or _is_base64(start):
        raise MalformedBodyError(f"expected a photo's bytes, received them as base64 text; {JSON_EXAMPLE}")
    if not is_field:
        _refuse_form(start)
    if _FILE_NAME.fullmatch(data[:1024]):
        raise MalformedBodyError(
            f"expected a photo, received the name of a file; with curl put @ in front of the name, {FORM_EXAMPLE}"
        )
    if is_field and len(data) < _START_BYTES:
        raise MalformedBodyError(
            f"expected a file in the field 'image', received a field of text; with curl put @ in front of the file's "
            f"name, {FORM_EXAMPLE}"
        )


def link_refused(example: str) -> MalformedBodyError:
    """Returns the error for an URL in place of a photo."""
    return MalformedBodyError(
        "expected a photo itself, received an URL, which this server never fetches, because it would do so from inside "
        f"your network; download the photo and send that; {example}"
    )


def _refuse_form(start: bytes) -> None:
    if _FORM_START.match(start):
        raise MalformedBodyError(
            "expected Content-Type: multipart/form-data with the form's boundary, received a form without it; let the "
            f"client set Content-Type itself, {FORM_EXAMPLE}"
        )
    if _FIELDS.match(start):
        raise MalformedBodyError(
            f"expected a photo, received form fields as text (curl -d); send the form as multipart, {FORM_EXAMPLE}"
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
