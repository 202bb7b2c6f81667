"""The result of reading an image file's headers."""

from dataclasses import dataclass

MAX_PARTS = 16_384
"""Most segments, chunks or blocks of a file, and strips or tiles of its image: a decoder spends time on each."""


class DamagedFileError(Exception):
    """A file breaks the rules of its format, or has more parts than any decoder should be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The facts in a file's headers, and the file without its metadata.

    Attributes:
        format: Pillow's name of the format.
        width: As stored, in pixels.
        height: As stored, in pixels.
        largest_pixels: Pixels of the largest piece that is decoded at once: the image, or a tile that reaches beyond.
        orientation: Of EXIF, 1 to 8; 1 is upright.
        decoded_bytes: Most memory that Pillow takes to decode it, in bytes; measured, not promised by Pillow.
        decode_seconds: Estimated time to decode it on a current processor, in seconds; orders the work, limits nothing.
        data: A file of the same format with the pixels of the first frame, and no metadata.
        profile: The colour profile as `model.formats.icc` cuts it down; empty where none is told.
    """

    format: str
    width: int
    height: int
    largest_pixels: int
    orientation: int = 1
    decoded_bytes: int
    decode_seconds: float
    data: bytes
    profile: bytes = b""


def count_parts(parts: int, kind: str, *, most: int = MAX_PARTS) -> None:
    """Checks a number of parts.

    Args:
        parts: Number of parts.
        kind: Name of the parts, in the plural.
        most: Largest allowed number.

    Raises:
        DamagedFileError: There are more.
    """
    if parts > most:
        raise DamagedFileError(f"expected at most {most} {kind}, received more; save it again in an image editor")
