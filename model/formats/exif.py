"""Reads the orientation from EXIF, the only metadata that changes how a photo looks."""

import struct

_ORIENTATION = 0x0112
_SHORT = 3
_MAX_TAGS = 1000


def orientation_of(block: bytes) -> int:
    """Returns the orientation in a block of EXIF.

    Args:
        block: From its byte order mark on; `Exif` and two zeros may stand in front.

    Returns:
        1 to 8; 1, upright, where the block is empty, damaged or tells none.

    Source:
        CIPA DC-008 (Exif 2.32), 4.6.4: tag 0x0112 of the first directory, one SHORT.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, offset)
        for index in range(min(count, _MAX_TAGS)):
            tag, kind, values, value = struct.unpack_from(f"{order}HHIH", block, offset + 2 + 12 * index)
            if tag == _ORIENTATION:
                return int(value) if (kind, values) == (_SHORT, 1) and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
