"""The workers of a run on several machines, and waiting for them."""

import json
import os
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from model.errors import ConfigError


class Cluster(NamedTuple):
    """The addresses of all workers, `host:port`, and the number of this one."""

    addresses: tuple[str, ...]
    worker: int


def read_cluster() -> Cluster | None:
    """Reads `TF_CONFIG`; None where there is a single worker.

    Raises:
        ConfigError: It is malformed.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return None
    try:
        content = json.loads(text)
        workers = content["cluster"]["worker"]
        index = content["task"]["index"]
        if set(content["cluster"]) != {"worker"} or content["task"]["type"] != "worker":
            raise ValueError("a job that is not worker")  # noqa: TRY301
        if not all(is_address(address) for address in workers) or not 0 <= index < len(workers):
            raise ValueError(f"task index {index} of workers {workers}")  # noqa: TRY301
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        example = '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", "index": 0}}'
        raise ConfigError(f"TF_CONFIG: expected {example}, received {text!r} ({error})") from error
    return Cluster(tuple(workers), index) if len(workers) > 1 else None


def is_address(text: str) -> bool:
    """Returns whether a text is `host:port`."""
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 2**16


def meet(cluster: Cluster, seconds: int) -> None:
    """Waits until all other workers listen at their addresses; listens at this worker's address meanwhile.

    Args:
        cluster: The workers.
        seconds: How long to wait.

    Raises:
        ConfigError: A worker has not appeared, or this one's port is in use.
    """
    addresses, worker = cluster
    port = int(addresses[worker].rpartition(":")[2])
    try:
        listener = socket.create_server(("", port), backlog=128)
    except OSError as error:
        raise ConfigError(
            f"TF_CONFIG: expected port {port} of this worker to be free ({error}); "
            "stop the program that uses it, or give another port"
        ) from error
    deadline = time.monotonic() + seconds
    missing = [address for address in addresses if address != addresses[worker]]
    with listener:
        while missing := [address for address in missing if not answers(address)]:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"expected all {len(addresses)} workers of TF_CONFIG within {seconds} s, missing: "
                    f"{', '.join(missing)}; start them, check the addresses, or give a longer --worker-timeout-seconds"
                )
            time.sleep(0.1)


def lost(addresses: Sequence[str], seconds: float) -> list[str]:
    """Returns the addresses where nothing listens any more, after waiting for a first one.

    The kernel closes what a killed process had open one after the other, its connections perhaps before its listener:
    for a moment others can reach a worker whose connections are gone.

    Args:
        addresses: Those of the workers, `host:port`.
        seconds: How long to wait.
    """
    deadline = time.monotonic() + seconds
    while not (gone := [address for address in addresses if not answers(address)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return gone


def answers(address: str) -> bool:
    """Returns whether something listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
