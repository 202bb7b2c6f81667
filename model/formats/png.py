"""PNG: its chunks.

Source:
    W3C PNG, third edition, sections 5 (chunks) and 11 (their contents).
"""

import struct
from collections.abc import Mapping

from model.formats.exif import orientation_of
from model.formats.header import DamagedFileError, Header, count_parts
from model.formats.icc import rgb_profile, unpacked_profile

_SIGNATURE_BYTES = 8
_PREFERRED = frozenset({b"sRGB", b"cICP"})
_TOLD = _PREFERRED | {b"eXIf", b"iCCP"}
_ONCE = (b"IHDR", b"PLTE", b"tRNS")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_WITH_ALPHA = (4, 6)


def inspect(data: bytes) -> Header:
    """Reads the chunks of a PNG.

    Args:
        data: The whole file.

    Returns:
        Its header, and the file with only the chunks that hold pixels. An animation becomes its still image.

    Raises:
        DamagedFileError: It does not begin with its header, or has more chunks than it may.
        struct.error: It ends within its header.
    """
    length, name, width, height, bits, colours = struct.unpack_from(">I4sIIBB", data, _SIGNATURE_BYTES)
    if (length, name) != (13, b"IHDR") or colours not in _CHANNELS:
        raise DamagedFileError("expected a PNG that begins with a known header, received another")
    kept, told = _read_chunks(data)
    pixels = width * height
    return Header(
        format="PNG", width=width, height=height, largest_pixels=pixels,
        orientation=orientation_of(told.get(b"eXIf", b"")),
        # Pillow has a byte for a pixel of one channel, two where those have 16 bits, and four for all others.
        # Colours of 16 bits may be decoded twice, see `model.depth`.
        decoded_bytes=pixels * (1 + (bits > 8)) * (4 if _CHANNELS[colours] > 1 else 1),
        decode_seconds=pixels * (40e-9 if colours in _WITH_ALPHA else 15e-9),
        data=data[:_SIGNATURE_BYTES] + b"".join(kept), profile=_profile(told),
    )  # fmt: skip


def _profile(told: Mapping[bytes, bytes]) -> bytes:
    """Returns the colour profile, which a chunk that tells sRGB or other code points is preferred to."""
    if _PREFERRED & told.keys():
        return b""
    _, _, content = told.get(b"iCCP", b"").partition(b"\0")
    return rgb_profile(unpacked_profile(content[1:]))


def _read_chunks(data: bytes) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Returns the chunks that decoding needs, adjacent ones joined, and contents of those that tell how it looks."""
    kept: list[bytes] = []
    seen: set[bytes] = set()
    told: dict[bytes, bytes] = {}
    position = _SIGNATURE_BYTES
    begin = position
    parts = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        parts += 1
        count_parts(parts, "PNG chunks")
        is_needed = name in (b"IDAT", b"IEND") or (name in _ONCE and name not in seen)
        seen.add(name if name in _ONCE else b"")
        if name in _TOLD:
            told[name] = data[position + 8 : end - 4]
        if not is_needed:
            kept.append(data[begin:position])
            begin = end
        position = end
        if name == b"IEND":
            break
    kept.append(data[begin:position])
    return kept, told
