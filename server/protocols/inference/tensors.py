"""Binary tensors of the Open Inference Protocol. Each text has its length in front, in four bytes, little-endian."""

import struct
from collections.abc import Iterator, Sequence

from model.image import is_image
from server.bodies import too_large
from server.errors import MalformedBodyError
from server.protocols.asking import Asker

INPUT = "image"
"""Name of the tensor of photos."""

EXAMPLE = (
    'send for example {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["<base64 of the '
    'file>"]}]}'
)
"""How to send a photo as JSON."""

_LENGTH = struct.Struct("<I")
_START_BYTES = 128


def read_photos(asker: Asker, tail: memoryview, size: int, *, has_data: bool) -> list[bytes]:
    """Returns the photos of a binary tensor. Each is a file's bytes or base64; clients send both.

    Args:
        asker: Has the limits.
        tail: What follows the JSON.
        size: The tensor's size, as the JSON says.
        has_data: Whether the JSON has the tensor too.

    Raises:
        BodyTooLargeError: The photos have too many bytes.
        MalformedBodyError: The lengths disagree, or an element is text that is not base64.
    """
    if has_data or size != len(tail):
        raise MalformedBodyError(
            f"expected binary_data_size to be the {len(tail)} bytes behind the JSON, and no data, received "
            f"{size} bytes{' and data' if has_data else ''}; correct one of them"
        )
    settings = asker.settings
    elements = []
    for element in _elements(tail):
        elements.append(element)
        if len(elements) > settings.max_images:
            break
    if not 1 <= len(elements) <= settings.max_images:
        raise MalformedBodyError(
            f"expected 1 to {settings.max_images} images in a request, received {'more' if elements else 'none'}; "
            "send them in several requests"
        )
    if all(map(_is_text, elements)):
        return asker.images([str(element, "latin-1") for element in elements], EXAMPLE)
    if sum(map(len, elements)) > settings.max_body_bytes:
        raise too_large(settings.max_body_bytes)
    return [bytes(element) for element in elements]


def write_texts(texts: Sequence[str]) -> bytes:
    """Returns a binary tensor of texts."""
    encoded = [text.encode() for text in texts]
    return b"".join(_LENGTH.pack(len(item)) + item for item in encoded)


def write_numbers(numbers: Sequence[float]) -> bytes:
    """Returns a binary tensor of numbers, FP32."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def _elements(tail: memoryview) -> Iterator[memoryview]:
    end = 0
    while end < len(tail):
        begin = end + _LENGTH.size
        end = begin + int.from_bytes(tail[end:begin], "little")
        if begin > len(tail) or end > len(tail):
            raise MalformedBodyError(
                f"expected each photo behind its length in {_LENGTH.size} bytes, little-endian, received a length "
                "beyond the end of the tensor; let the client's library write the tensor"
            )
        yield tail[begin:end]


def _is_text(element: memoryview) -> bool:
    start = bytes(element[:_START_BYTES])
    return start.isascii() and not is_image(start)
