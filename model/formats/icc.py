"""ICC: the colour profile of an RGB photo, cut down to what tells its three colours and their curves.

A profile is a file within the file, and as easily hostile: tables that claim to be huge, elements that are used over
and over. Those of screens, cameras and phones tell their colours by a matrix and three curves. These alone are kept;
what has only tables of colours, or is none of RGB, counts as no profile.

Source:
    ICC.1:2022, 7.2 (header), 7.3 (tags), 8.4.3 (matrix and curves), 10.6 and 10.18 (types of curves).
"""

import struct
import zlib

MAX_PROFILE_BYTES = 1024**2
"""Largest profile that is looked at; those of screens have some kilobytes, printers' tables a megabyte."""

_MAX_TAGS = 128
_MAX_CURVE_BYTES = 2 * 4096 + 12
_HEADER = struct.Struct(">I4s4s4s4s4s12s4s")
_CLASSES = frozenset({b"mntr", b"scnr", b"spac"})
_COLOURS = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVES = (b"rTRC", b"gTRC", b"bTRC")
_PARAMETERS = (1, 3, 4, 5, 7)


def rgb_profile(data: bytes) -> bytes:
    """Returns an RGB profile with what its colours need alone.

    Args:
        data: The profile; anything.

    Returns:
        A profile of the same colours, some hundred bytes to some kilobytes long; empty where the data are none, or none
        that is told by a matrix and curves.
    """
    if len(data) > MAX_PROFILE_BYTES:
        return b""
    try:
        _, _, _, kind, colours, space, _, signature = _HEADER.unpack_from(data)
        if kind not in _CLASSES or (colours, space, signature) != (b"RGB ", b"XYZ ", b"acsp"):
            return b""
        return _cut_down(data)
    except struct.error:
        return b""


def unpacked_profile(data: bytes) -> bytes:
    """Returns a profile that is stored compressed, as in a PNG, or nothing where it is damaged or too large."""
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(data, MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if unpacker.eof else b""


def _cut_down(data: bytes) -> bytes:
    (count,) = struct.unpack_from(">I", data, 128)
    if count > _MAX_TAGS:
        return b""
    places: dict[bytes, tuple[int, int]] = {}
    for index in range(count):
        name, begin, size = struct.unpack_from(">4sII", data, 132 + 12 * index)
        places.setdefault(name, (begin, size))
    tags: dict[bytes, bytes] = {}
    for name in (*_COLOURS, *_CURVES):
        begin, size = places.get(name, (0, 0))
        content = data[begin : begin + size]
        tags[name] = _curve(content) if name in _CURVES else _point(content)
        if not tags[name]:
            return b""
    # Of the header the version, what kind of profile it is, and the light that its colours are told under.
    header = bytes(4) + data[8:24] + bytes(12) + b"acsp" + bytes(28) + data[68:80] + bytes(48)
    return _written(header, tags)


def _point(content: bytes) -> bytes:
    return content[:20] if len(content) >= 20 and content[:4] == b"XYZ " else b""


def _curve(content: bytes) -> bytes:
    """Returns a curve that is whole and of a size that makes sense, or nothing."""
    kind = content[:4]
    if kind == b"curv":
        (count,) = struct.unpack_from(">I", content, 8)
        size = 12 + 2 * count
    elif kind == b"para":
        (form,) = struct.unpack_from(">H", content, 8)
        size = 12 + 4 * _PARAMETERS[form] if form < len(_PARAMETERS) else 0
    else:
        return b""
    return content[:size] if 12 <= size <= min(len(content), _MAX_CURVE_BYTES) else b""


def _written(header: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Returns a profile of these tags, equal ones stored once."""
    begin = 132 + 12 * len(tags)
    places: dict[bytes, int] = {}
    body = b""
    for content in tags.values():
        if content not in places:
            places[content] = begin + len(body)
            body += content + b"\0" * (-len(content) % 4)
    table = b"".join(struct.pack(">4sII", name, places[content], len(content)) for name, content in tags.items())
    size = struct.pack(">I", begin + len(body))
    return size + header + struct.pack(">I", len(tags)) + table + body
