"""Loads the captioner's replicas, and replaces them by others when the bundle changes."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from model.bundle import BundleInfo
from model.manifest import MANIFEST
from server.batching import InferenceQueue, Predictor
from server.metrics import ServerMetrics

LOOK_EVERY_SECONDS = 2.0
"""How often `watch` looks for another bundle."""

T = TypeVar("T")

_Identity = tuple[int, int, int]

_logger = logging.getLogger("server")


class Loader:
    """Background threads that load captioners and hand them to the queue.

    Args:
        load: Loads and tests a captioner: its replicas, at least one.
        queue: Where the captioner serves.
        metrics: Counts reloads and names what serves.
    """

    def __init__(self, load: Callable[[], Sequence[Predictor]], queue: InferenceQueue, metrics: ServerMetrics) -> None:
        self.first: Future[Predictor] = Future()
        """Settles when the first captioner serves, or with the error that prevents it."""
        self._load = load
        self._queue = queue
        self._metrics = metrics
        self._reloading = threading.Lock()

    def start(self) -> None:
        """Begins to load the first captioner, and returns at once."""
        # Daemons: a process that is told to stop must not wait for a captioner that is still loading.
        threading.Thread(target=self._load_first, name="load", daemon=True).start()

    def reload(self) -> None:
        """Begins to load another captioner beside the one that serves, and returns at once.

        The new one takes its place if it loads and passes its test; otherwise the old one goes on.
        """
        threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _load_first(self) -> None:
        try:
            replicas = self._load()
        except Exception as error:  # noqa: BLE001 - not swallowed: it is raised again where it is waited for
            self.first.set_exception(error)
            return
        self._serve(replicas)
        self.first.set_result(replicas[0])

    def _reload(self) -> None:
        with self._reloading:
            # Waits for the first load: if that ended last, it would replace this captioner.
            if self.first.exception() is not None:
                return
            try:
                replicas = self._load()
            except Exception:  # whatever it is, the current captioner goes on serving
                self._metrics.reloads.labels("refused").inc()
                _logger.exception("the new bundle is refused; the old one goes on serving")
                return
            self._serve(replicas)
            self._metrics.reloads.labels("done").inc()

    def _serve(self, replicas: Sequence[Predictor]) -> None:
        self._queue.serve(*replicas)
        captioner = replicas[0]
        config = captioner.config
        self._metrics.model.info({"name": config.name, "version": config.version, "engine": captioner.engine})
        _logger.info("serving %s %s with %s", config.name, config.version, captioner.engine)


class VerifiedBundle(NamedTuple):
    """A bundle that the command line has verified, so that the first load need not hash it again.

    Attributes:
        info: The bundle's description.
        identity: Which manifest it has; taken before the bundle was verified.
    """

    info: BundleInfo
    identity: _Identity | None

    @classmethod
    def at(cls, path: Path) -> Self:
        """Verifies the bundle at a path.

        Raises:
            BundleError: It is missing, damaged or inconsistent.
        """
        identity = _identity(path)
        return cls(BundleInfo.from_bundle(path), identity)

    def info_of(self, path: Path) -> BundleInfo | None:
        """Returns the info if the same bundle still lies at the path, else None."""
        return self.info if self.identity == _identity(path) else None


def load_unchanged(path: Path, verified: VerifiedBundle | None, load: Callable[[BundleInfo], T]) -> T:
    """Loads something from a bundle in several steps, and once more if the bundle was exchanged between them.

    Args:
        path: Where the bundle lies.
        verified: The bundle, if it was verified before.
        load: Loads from the bundle at `path`, whose description it gets.

    Raises:
        BundleError: It is missing, damaged or inconsistent.
    """
    while True:
        if verified is None or verified.info_of(path) is None:
            verified = VerifiedBundle.at(path)
        found = load(verified.info)
        if verified.info_of(path) is not None:
            return found


def watch(bundle: Path, changed: Callable[[], None]) -> None:
    """Calls `changed` in a thread of its own whenever another bundle lies at the path."""

    def look() -> None:
        known = _identity(bundle)
        while True:
            time.sleep(LOOK_EVERY_SECONDS)
            found = _identity(bundle)
            # A bundle appears whole: while there is no manifest, a new one is on its way.
            if found is not None and found != known:
                known = found
                changed()

    threading.Thread(target=look, name="watch", daemon=True).start()


def _identity(bundle: Path) -> _Identity | None:
    try:
        status = os.stat(bundle / MANIFEST)  # noqa: PTH116 - follows links, which are what is changed
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns
