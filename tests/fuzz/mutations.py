"""Damage that reaches beyond the first check: numbers blown up, parts repeated, cut out or taken from another file."""

import random
import struct
import zlib
from collections.abc import Callable, Sequence

MAX_BYTES = 256 * 1024
"""Longest input."""

_NUMBERS = (
    b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", bytes(2), b"\x01\0", b"\0\x01", b"\xff\xff", b"\x7f\xff", b"\xff\x7f",
    bytes(4), bytes(8), b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\xff\xff",
)  # fmt: skip

Damage = Callable[[bytearray, random.Random, Sequence[bytes]], None]


def mutated(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Returns a damaged copy.

    Args:
        data: A file.
        chance: Where the damage comes from.
        others: Files from which parts may be taken.
    """
    copy = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        chance.choice(_DAMAGES)(copy, chance, others)
    del copy[MAX_BYTES:]
    if copy.startswith(b"\x89PNG") and chance.random() < 0.8:
        return _with_checksums(bytes(copy))
    return bytes(copy)


def _place(copy: bytearray, chance: random.Random) -> int:
    """Returns a position: near the begin or the end, where most that can be told wrong stands, or anywhere."""
    if not copy:
        return 0
    near = min(len(copy), chance.choice((64, 512)))
    return chance.choice((chance.randrange(near), len(copy) - 1 - chance.randrange(near), chance.randrange(len(copy))))


def _bit(copy: bytearray, chance: random.Random, _others: Sequence[bytes]) -> None:
    if copy:
        copy[_place(copy, chance)] ^= 1 << chance.randrange(8)


def _byte(copy: bytearray, chance: random.Random, _others: Sequence[bytes]) -> None:
    if copy:
        copy[_place(copy, chance)] = chance.randrange(256)


def _number(copy: bytearray, chance: random.Random, _others: Sequence[bytes]) -> None:
    place = _place(copy, chance)
    number = chance.choice(_NUMBERS)
    copy[place : place + len(number)] = number


def _small_number(copy: bytearray, chance: random.Random, _others: Sequence[bytes]) -> None:
    place = _place(copy, chance)
    kind = chance.choice(("<H", ">H", "<I", ">I"))
    copy[place : place + struct.calcsize(kind)] = struct.pack(
        kind, chance.choice((chance.randrange(66), 1 << chance.randrange(16)))
    )


def _cut(copy: bytearray, chance: random.Random, _others: Sequence[bytes]) -> None:
    place = _place(copy, chance)
    del copy[place : place + chance.choice((1, 2, 4, 16, 200))]


def _end(copy: bytearray, chance: random.Random, _others: Sequence[bytes]) -> None:
    del copy[_place(copy, chance) :]


def _repeat(copy: bytearray, chance: random.Random, _others: Sequence[bytes]) -> None:
    place = _place(copy, chance)
    length = chance.choice((1, 2, 4, 12, 40, 400))
    times = chance.choice((1, 2, 10, 300))
    copy[place:place] = copy[place : place + length] * times


def _splice(copy: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    other = chance.choice(others)
    begin = chance.randrange(len(other)) if other else 0
    place = _place(copy, chance)
    length = chance.choice((2, 8, 40, 400, 10_000))
    copy[place : place + (length if chance.random() < 0.5 else 0)] = other[begin : begin + length]


_DAMAGES: tuple[Damage, ...] = (_bit, _byte, _number, _number, _small_number, _cut, _end, _repeat, _splice)


def _with_checksums(data: bytes) -> bytes:
    """Returns a PNG whose chunks have the checksums that they should: without, nothing behind a damaged one is read."""
    kept = [data[:8]]
    position = 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        kept += [data[position:end], struct.pack(">I", zlib.crc32(data[position + 4 : end]))]
        position = end + 4
    return b"".join(kept) + data[position:]
