"""Reads numbers bit by bit, as video codecs write their headers."""

from typing import NamedTuple


class Stream(NamedTuple):
    """What a codec's stream asks of a decoder: its largest picture, the bytes for a pixel of it, and its units."""

    pixels: int
    pixel_bytes: float
    units: int


class Bits:
    """Bytes as a row of bits, the highest of each byte first.

    Args:
        data: The bytes; what is read beyond them raises `ValueError`.
    """

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        """Returns the next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise ValueError("expected more bits in a header, received its end")
        return self._number >> self._left & (1 << count) - 1

    def read_golomb(self) -> int:
        """Returns the next number in the Exponential-Golomb code, at most 32 bits long."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("expected a number of at most 32 bits in a header, received a longer one")
        return (1 << zeros) - 1 + self.read(zeros)
