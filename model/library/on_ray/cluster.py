"""The cluster, and how many captioners it has room for."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from model.engines.cores import usable_cores
from model.errors import LibraryError

LOCAL = "local"
"""Address of a cluster on this machine, which is started for the run and ends with it."""

THREADS = 4
"""Threads of a captioner, where a machine has as many CPUs: more are used ever worse, fewer take more memory."""

ROOM_CPUS = 0.5
"""What each captioner leaves of its CPUs, of what Ray shares out. Tasks without any would wait for ever, silently."""

KNOCK_SECONDS = 5.0
"""Longest wait for the machine at an address. Ray itself would go on asking for half an hour."""

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


@contextlib.contextmanager
def cluster(address: str) -> Iterator[list[float]]:
    """Joins a cluster, or starts one on this machine; yields the CPUs of each of its machines.

    Args:
        address: As Ray has it, or `LOCAL`.

    Raises:
        LibraryError: There is no cluster.
    """
    # Nobody is told that it runs; who wants Ray's statistics sets this to 1. What goes wrong is told by us.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ours: dict[str, Any] = {}
    if address == LOCAL:
        ours = {"num_cpus": usable_cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        _knock(address)
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **ours)
    except (OSError, RuntimeError, ValueError) as error:
        raise LibraryError(f"--address: expected a cluster of Ray at {address}, found none: {error}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield [machine["Resources"].get("CPU", 0.0) for machine in ray.nodes() if machine["Alive"]]
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Makes sure that something listens at an address of the form host:port.

    Raises:
        OSError: Nothing does.
    """
    host, mark, port = address.rpartition(":")
    if mark and port.isdecimal():
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
