"""GIF: its screen, and the blocks up to its first image.

Source:
    CompuServe GIF 89a specification, sections 18 to 23.
"""

import struct

from model.formats.header import DamagedFileError, Header, count_parts

_EXTENSION = 0x21
_IMAGE = 0x2C
_TRAILER = 0x3B
_GRAPHIC_CONTROL = 0xF9
_CONTROL_BYTES = 4
_SCREEN_BYTES = 13


def inspect(data: bytes) -> Header:
    """Reads a GIF up to its first image.

    Args:
        data: The whole file.

    Returns:
        Its header, and the file without comments and application extensions in front of the first image.

    Raises:
        DamagedFileError: There is no image, or there are more blocks in front of it than there may be.
        struct.error: It ends within a header.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    begin = _SCREEN_BYTES + _palette_bytes(flags)
    control, image = _find_image(data, begin)
    left, top, across, down = struct.unpack_from("<HHHH", data, image + 1)
    # Pillow makes a screen larger that its first image does not fit.
    width = max(width, left + across)
    height = max(height, top + down)
    pixels = width * height
    return Header(
        format="GIF", width=width, height=height, largest_pixels=pixels,
        decoded_bytes=2 * pixels, decode_seconds=pixels * 10e-9,
        data=data[:begin] + control + data[image:],
    )  # fmt: skip


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _find_image(data: bytes, position: int) -> tuple[bytes, int]:
    """Returns the last graphic control extension in front of the first image, and where that begins."""
    control = b""
    parts = 0
    while position < len(data) and data[position] != _TRAILER:
        parts += 1
        count_parts(parts, "GIF blocks")
        if data[position] == _IMAGE:
            return control, position
        begin = position
        position += 1  # whatever else stands between blocks is skipped, as Pillow does
        if data[begin] == _EXTENSION:
            position += 1
            while position < len(data) and data[position]:
                position += 1 + data[position]
                parts += 1
                count_parts(parts, "GIF blocks")
            position += 1
            if data[begin + 1] == _GRAPHIC_CONTROL and data[begin + 2] >= _CONTROL_BYTES:
                # Written anew, since decoders differ over extensions of another length, and so over where the image is.
                control = bytes([_EXTENSION, _GRAPHIC_CONTROL, _CONTROL_BYTES]) + data[begin + 3 : begin + 7] + b"\0"
    raise DamagedFileError("expected an image in a GIF, received none")
