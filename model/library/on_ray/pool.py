"""How many captioners a cluster has room for, and what each leaves to the tasks around them."""

from collections.abc import Sequence
from dataclasses import dataclass

from model.errors import LibraryError

THREADS = 4
"""Threads of a captioner, where a machine has as many CPUs. With one each, 64 CPUs would hold 64 models in memory."""

ROOM_CPUS = 0.5
"""What each captioner leaves of its CPUs, of what Ray shares out. Tasks without any would wait for ever, silently."""

TASK_CPUS = 0.25
"""What each task that lists, reads or writes takes of it."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The captioners of a cluster: how many there are, and how many threads each has."""

    actors: int
    threads: int

    @property
    def actor_cpus(self) -> float:
        """Returns the CPUs that each takes of what Ray shares out."""
        return self.threads - ROOM_CPUS


def pool_for(machines: Sequence[float], actors: int | None, threads: int | None) -> Pool:
    """Returns the pool for a cluster.

    Args:
        machines: The CPUs of each machine.
        actors: How many captioners are asked for; None for as many as there are CPUs for.
        threads: How many threads of each are asked for; None for the usual.

    Raises:
        LibraryError: The cluster has no room for them.
    """
    widest = int(max(machines, default=0))
    if not widest:
        raise LibraryError("the cluster has no CPUs; wait until its machines have joined it")
    if threads is None:
        threads = min(THREADS, widest)
    if threads > widest:
        raise LibraryError(
            f"--threads: expected at most {widest}, the CPUs of the largest machine, received {threads}; give fewer"
        )
    room = sum(int(cpus) // threads for cpus in machines)
    if actors is not None and actors > room:
        raise LibraryError(
            f"--actors: expected at most {room}, as many as there are CPUs for with {threads} threads each, received "
            f"{actors}; give fewer actors or threads"
        )
    return Pool(actors or room, threads)
