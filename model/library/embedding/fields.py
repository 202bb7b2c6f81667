"""The two fields of a file in which a description is written: XMP and EXIF."""

from typing import NamedTuple


class Fields(NamedTuple):
    """The metadata of an image file that descriptions are written into.

    Attributes:
        xmp: The packet; empty if there is none.
        exif: From the byte order mark on; empty if there is none.
    """

    xmp: bytes = b""
    exif: bytes = b""
