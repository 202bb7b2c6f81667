"""The blocks of VGG-19 at width 1. Standard library only."""

from typing import NamedTuple


class Block(NamedTuple):
    """One block of convolutions, at width 1."""

    name: str
    convolutions: int
    channels: int

    def scaled(self, width: float) -> int:
        """Returns the channels at a width in (0, 1], at least 1."""
        return max(1, round(self.channels * width))


BLOCKS = (
    Block("block1", 2, 64),
    Block("block2", 2, 128),
    Block("block3", 4, 256),
    Block("block4", 4, 512),
    Block("block5", 4, 512),
)
"""Configuration E of the VGG paper: 16 convolutions 3x3, a 2x2 max pool after each block."""
