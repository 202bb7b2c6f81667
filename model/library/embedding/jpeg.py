"""JPEG: XMP and EXIF in application segments in front of everything else.

Source:
    ITU-T T.81, annex B; XMP part 3, 1.1.3; CIPA DC-008, 4.5.4. Offsets of multi-picture files count from a segment that
    stays behind the new ones, and trailers of phones from the end, so that both stay right.
"""

from collections.abc import Iterator

from model.errors import LibraryError
from model.library.embedding.fields import Fields

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF = b"Exif\0\0"
_PICTURES = b"MPF\0"
_APP0 = 0xE0
_APP1 = 0xE1
_APP2 = 0xE2
_START_OF_SCAN = 0xDA
_MAX_CONTENT_BYTES = 65_533
_START = b"\xff\xd8"


def read(data: bytes) -> Fields:
    """Returns the fields of a JPEG.

    Raises:
        LibraryError: Its segments are damaged.
    """
    found = {b"xmp": b"", b"exif": b""}
    for code, begin, end in _segments(data):
        content = data[begin + 4 : end]
        for name, kind in ((b"xmp", _XMP), (b"exif", _EXIF)):
            if code == _APP1 and content.startswith(kind) and not found[name]:
                found[name] = content[len(kind) :]
    return Fields(found[b"xmp"], found[b"exif"])


def written(data: bytes, fields: Fields) -> bytes:
    """Returns a JPEG with other fields. EXIF that has no room left in its segment stays as it is.

    Raises:
        LibraryError: Its segments are damaged, the XMP has no room, or offsets to other pictures would be wrong.
    """
    if len(_XMP) + len(fields.xmp) > _MAX_CONTENT_BYTES:
        raise LibraryError("expected at most 65,504 bytes of XMP in a JPEG, found more; use --write xmp")
    exif = fields.exif
    if len(_EXIF) + len(exif) > _MAX_CONTENT_BYTES:
        exif = read(data).exif
    front = b""
    rest = b""
    position = len(_START)
    has_offsets = False
    for code, begin, end in _segments(data):
        content = data[begin + 4 : end]
        if code == _APP0 and not rest:
            front += data[begin:end]
        elif not (code == _APP1 and content.startswith((_XMP, _EXIF))):
            rest += data[begin:end]
            has_offsets |= code == _APP2 and content.startswith(_PICTURES)
        elif has_offsets:
            raise LibraryError(
                "expected EXIF and XMP in front of other pictures' offsets, found it behind; use --write xmp"
            )
        position = end
    added = b"".join(_segment(kind + field) for kind, field in ((_EXIF, exif), (_XMP, fields.xmp)) if field)
    return _START + front + added + rest + data[position:]


def _segment(content: bytes) -> bytes:
    return b"\xff" + bytes([_APP1]) + (len(content) + 2).to_bytes(2, "big") + content


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields code, begin and end of each segment in front of the first scan."""
    position = len(_START)
    while True:
        while data[position : position + 2] == b"\xff\xff":  # padding
            position += 1
        code = data[position + 1] if data[position : position + 1] == b"\xff" and position + 4 <= len(data) else 0
        if code == _START_OF_SCAN:
            return
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if code < 0xC0 or end > len(data) or end < position + 4:
            raise LibraryError(
                "expected whole segments in a JPEG, found damaged ones; save it again in a photo program"
            )
        yield code, position, end
        position = end
