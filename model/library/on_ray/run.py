"""A run over a library on a Ray cluster.

Ray's checkpoints say what is done. A file of the table counts once its checkpoint is in place; what a killed run left
half written is taken away before the next one begins.
"""

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.data import ActorPoolStrategy, Dataset
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_filter import CheckpointManager

from model.errors import LibraryError
from model.library.names import text_of
from model.library.on_ray.cluster import cluster
from model.library.on_ray.pool import TASK_CPUS, Pool, pool_for
from model.library.on_ray.source import NameSource
from model.library.on_ray.stages import ID, Captions, Tally, Work, read_photos
from model.library.parquet_folder import ParquetFolder
from model.library.pipeline import BATCH
from model.library.progress import Progress, tell

MAX_BLOCK = 256
"""Most photos whose names, pixels and rows go together, and that a file of the table has. 39 MB of pixels."""

BLOCKS_PER_ACTOR = 4
"""Least blocks for each captioner, so that none is without work while another has much."""

LOOK_SECONDS = 0.5
"""Time between two looks at what the captioners have done."""

TELL_SECONDS = 60.0
"""Time between two lines about it, where there is no terminal for a bar."""

_OUR_ERROR = re.compile(r"^model\.errors\.\w+: ")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went.

    Attributes:
        now: Photos that it captioned, or that failed.
        before: Photos that were done before.
        failed: Photos that failed, of the whole table.
        seconds: Time that it took.
    """

    now: int
    before: int
    failed: int
    seconds: float

    @property
    def text(self) -> str:
        """Returns it in words."""
        rate = f": {self.now / self.seconds:.1f} images/s" if self.now else ""
        counts = f"done now {self.now:,}, before {self.before:,}, failed of all {self.failed:,}"
        return f"{counts} in {self.seconds:.1f} s{rate}"


@dataclass(frozen=True, slots=True)
class Asked:
    """The cluster that is asked for: its address, and how many captioners of how many threads; None for the usual."""

    address: str
    actors: int | None
    threads: int | None


def caption_on_ray(photos: Sequence[str], folder: ParquetFolder, work: Work, asked: Asked) -> Outcome:
    """Captions the photos that are not done yet. Without any, no cluster is joined.

    Args:
        photos: Absolute paths, and addresses.
        folder: Where the rows go, prepared.
        work: What is done with each photo.
        asked: The cluster.

    Raises:
        LibraryError: The run cannot go on, or the table is not as it was left. What is done is kept.
    """
    started = time.monotonic()
    done = folder.done(ID)
    folder.check(len(done))
    left = [photo for photo in dict.fromkeys(photos) if text_of(photo) not in done]
    if left:
        try:
            with cluster(asked.address) as machines:
                pool = pool_for(machines, asked.actors, asked.threads)
                tell(f"{len(left):,} photos for {pool.actors} captioners of {pool.threads} threads each")
                with _progress(len(left) + len(done), len(done)) as tally:
                    _write(_captioned(left, work, pool, tally), folder)
        except ray.exceptions.RayError as error:
            raise LibraryError(f"the run cannot go on: {_reason(error)}; what is done is kept") from error
        folder.check(len(left) + len(done))
    return Outcome(len(left), len(done), folder.failed(), time.monotonic() - started)


class _LeftOut(CheckpointManager):  # type: ignore[misc]  # Ray is not installed where types are checked
    """Checkpoints of which nothing is loaded again: what is done is left out already.

    Ray would load them by 32 actors, and filter names by more that take a whole CPU and 1 GiB each. A small machine has
    neither to spare.
    """

    def load_checkpoint(self, *_: Any, **__: Any) -> tuple[None, int]:
        """Returns that there is nothing to leave out."""
        return None, 0


def _captioned(photos: Sequence[str], work: Work, pool: Pool, tally: Any) -> Dataset:
    block = min(MAX_BLOCK, max(BATCH, -(-len(photos) // (BLOCKS_PER_ACTOR * pool.actors))))
    names = ray.data.read_datasource(
        NameSource(photos, block), num_cpus=TASK_CPUS, override_num_blocks=-(-len(photos) // block)
    )
    read = names.map_batches(
        partial(read_photos, max_pixels=work.max_pixels), batch_size=BATCH, batch_format="pyarrow", num_cpus=TASK_CPUS
    )
    return read.map_batches(
        Captions, fn_constructor_args=(work, pool.threads, tally), batch_size=BATCH, batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=1, max_size=pool.actors, initial_size=pool.actors),
        num_cpus=pool.actor_cpus,
    )  # fmt: skip


def _write(rows: Dataset, folder: ParquetFolder) -> None:
    rows.context.checkpoint_config = CheckpointConfig(
        ID, folder.checkpoint_path, override_filesystem=folder.checkpoint_files, delete_checkpoint_on_success=False,
        checkpoint_manager_cls=_LeftOut,
    )  # fmt: skip
    rows.context.enable_progress_bars = False
    rows.write_parquet(
        folder.path, filesystem=folder.files, ray_remote_args={"num_cpus": TASK_CPUS}, compression="zstd"
    )


@contextlib.contextmanager
def _progress(total: int, before: int) -> Iterator[Any]:
    """Shows how a run goes; yields the actor that is to be told."""
    tally = ray.remote(num_cpus=0)(Tally).remote()
    is_over = threading.Event()
    with Progress(total, before) as bar:
        looking = threading.Thread(target=_look, args=(tally, bar, total, before, is_over), daemon=True)
        looking.start()
        try:
            yield tally
        finally:
            is_over.set()
            looking.join()


def _look(tally: Any, bar: Progress, total: int, done: int, is_over: threading.Event) -> None:
    """Looks at what is done until the run is over, and once more then."""
    told = time.monotonic()
    is_last = False
    while not is_last:
        is_last = is_over.wait(LOOK_SECONDS)
        try:
            now, failures = ray.get(tally.take.remote())
        except ray.exceptions.RayError:  # it has ended with the cluster, which the run tells of
            return
        done += now
        bar.advance(now)
        for failure in failures:
            bar.fail(*failure)
        if not sys.stderr.isatty() and time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            tell(f"{done:,} of {total:,} photos are captioned")


def _reason(error: Exception) -> str:
    """Returns what went wrong, without Ray's traces."""
    cause = getattr(error, "cause", None) or error
    lines = [line for line in str(cause).splitlines() if line.strip()]
    return _OUR_ERROR.sub("", lines[-1].strip()) if lines else type(cause).__name__
