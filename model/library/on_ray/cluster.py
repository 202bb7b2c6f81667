"""Joins a cluster, or starts one on this machine."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

import ray

from model.engines.cores import usable_cores
from model.errors import LibraryError

LOCAL = "local"
"""Address of a cluster on this machine, which is started for the run and ends with it."""

KNOCK_SECONDS = 5.0
"""Longest wait for the machine at an address. Ray itself goes on asking for many minutes."""


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
        ours = {"num_cpus": usable_cores(), "include_dashboard": False}
    try:
        _knock(address)
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **ours)
    except (OSError, RuntimeError, ValueError) as error:
        raise LibraryError(f"--address: expected a cluster of Ray at {address}, found none: {error}") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
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
