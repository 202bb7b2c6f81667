"""BMP: its header.

Source:
    Microsoft, "Bitmap Storage": BITMAPFILEHEADER, BITMAPCOREHEADER and BITMAPINFOHEADER.
"""

import struct

from model.formats.header import DamagedFileError, Header

_CORE_HEADER_BYTES = 12
_RUN_LENGTHS = (1, 2)
_END_OF_LINE = b"\0\0"


def inspect(data: bytes) -> Header:
    """Reads the header of a BMP.

    Args:
        data: The whole file.

    Returns:
        Its header; the file as it is, which holds no metadata.

    Raises:
        DamagedFileError: It has no lines or no columns.
        struct.error: It ends within its header.
    """
    (length,) = struct.unpack_from("<I", data, 14)
    if length == _CORE_HEADER_BYTES:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<IiHHI", data, 18)
    height = abs(height)  # negative where the first line is the topmost
    if not width or not height:
        raise DamagedFileError("expected lines and columns in a BMP, received none")
    pixels = width * height
    is_packed = compression in _RUN_LENGTHS
    # Runs beyond the end of a line: Pillow fills such pixels one by one, and a few bytes can ask for millions.
    filled = min(pixels, width * data.count(_END_OF_LINE)) if is_packed else 0
    return Header(
        format="BMP", width=width, height=height, largest_pixels=pixels,
        # Pillow decodes run lengths in Python, into a buffer that is then copied.
        decoded_bytes=pixels * (4 if bits > 8 else 1 + 2 * is_packed),
        decode_seconds=pixels * 4e-9 + (len(data) * 4e-7 + filled * 1e-7 if is_packed else 0),
        data=data,
    )  # fmt: skip
