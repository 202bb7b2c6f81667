"""The names of photos as a source of Ray Data."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from model.library.on_ray.stages import names_table


class NameSource(Datasource):  # type: ignore[misc]  # Ray is not installed where types are checked
    """Names of photos, in blocks. The photos are read by what follows, where a file that cannot be read is one row.

    Ray's own source of files ends the run there. A list of names would do, but Ray keeps checkpoints of sources alone.

    Args:
        photos: Paths and addresses.
        block_photos: How many photos are in a block.
    """

    def __init__(self, photos: Sequence[str], block_photos: int) -> None:
        super().__init__()
        self._photos = photos
        self._block_photos = block_photos

    def get_name(self) -> str:
        """Returns the name that Ray shows."""
        return "Names"

    def estimate_inmemory_data_size(self) -> int | None:
        """Returns that the size is not known."""
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[Any]:
        """Returns a task for each block, however many Ray would like."""
        size = self._block_photos
        groups = [list(self._photos[begin : begin + size]) for begin in range(0, len(self._photos), size)]
        return [ReadTask(partial(_blocks, group), _metadata(group)) for group in groups]


def _blocks(photos: Sequence[str]) -> list[Any]:
    return [names_table(photos)]


def _metadata(photos: Sequence[str]) -> BlockMetadata:
    return BlockMetadata(num_rows=len(photos), size_bytes=None, input_files=None, exec_stats=None)
