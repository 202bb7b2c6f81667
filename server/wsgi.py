"""Runs the application in gunicorn: one worker with threads, which loads the captioner after the fork."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from model.bundle import BundleInfo
from model.captioner import Captioner
from model.engines.cores import usable_cores
from model.errors import BundleError
from server.accepting import SHORTAGES
from server.app import create_app
from server.batching import BatchLimits, InferenceQueue, Predictor
from server.decoding.pool import DecodingPool
from server.loading import Loader, VerifiedBundle, load_unchanged, watch
from server.logs import GunicornLogger
from server.memory import give_back_large_blocks
from server.metrics import ServerMetrics
from server.replicas import loaded
from server.settings import ServerSettings
from server.worker import PatientWorker

_RETRY_SECONDS = 1.0

_logger = logging.getLogger("server")


class GunicornServer(BaseApplication):  # type: ignore[misc]
    """The server, as a gunicorn application.

    Args:
        settings: The settings.
        listener: A bound socket, which gunicorn takes over.
        on_ready: Called in the worker when it can answer requests.
        admin: Another bound socket, for probes and metrics only.
        verified: The bundle, if it was verified just now.
    """

    def __init__(
        self,
        settings: ServerSettings,
        listener: socket.socket,
        on_ready: Callable[[], None],
        admin: socket.socket | None = None,
        verified: VerifiedBundle | None = None,
    ) -> None:
        self.settings = settings
        self._verified = verified
        self._on_ready = on_ready
        self._file_descriptors = [item.detach() for item in (listener, admin) if item is not None]
        self.draining = threading.Event()
        """Set when the server begins to shut down."""
        self._inference: InferenceQueue | None = None
        self._loader: Loader | None = None
        super().__init__()

    def run(self) -> None:
        """Runs gunicorn until a signal stops it."""
        _Arbiter(self).run()

    def reload(self) -> None:
        """Loads the bundle again in the background; called in the worker."""
        # Before the first load there is nothing to do: it will read the bundle as it is then.
        if self._loader is not None:
            self._loader.reload()

    def close(self) -> None:
        """Ends the inference threads; called in the worker."""
        if self._inference is not None:
            self._inference.close()

    def load_config(self) -> None:
        """Sets gunicorn's settings; called by gunicorn."""
        settings = self.settings
        options = {
            "bind": [f"fd://{number}" for number in self._file_descriptors],
            "worker_class": PatientWorker,
            "workers": 1,
            "threads": settings.threads,
            # Counted in server/connections.py instead.
            "worker_connections": settings.threads + settings.max_connections,
            # No client may change the path or scheme by a header.
            "forwarded_allow_ips": "",
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            # sendfile would wait for a slow client.
            "sendfile": False,
            # A request may begin to arrive at the end of the drain.
            "graceful_timeout": int(settings.drain_seconds + settings.request_seconds + settings.deadline_seconds) + 5,
            # It would add a thread to the master and a file to the working directory.
            "control_socket_disable": True,
            "loglevel": "warning",
            "logger_class": GunicornLogger,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Builds the application; called by gunicorn in the worker, because TensorFlow does not survive a fork."""
        give_back_large_blocks()
        settings = self.settings
        self.metrics = ServerMetrics()
        limits = BatchLimits(
            max_waiting=settings.max_waiting, max_batch=settings.max_batch, max_wait_seconds=settings.max_wait_seconds
        )
        inference = InferenceQueue(limits, self.metrics)
        loader = Loader(self._load_replicas, inference, self.metrics)
        self._inference = inference
        self._loader = loader
        loader.first.add_done_callback(self._on_loaded)
        loader.start()
        watch(settings.bundle, loader.reload)
        decoding = DecodingPool(settings.max_body_bytes, settings.max_pixels, self.metrics)
        decoding.start()
        return create_app(settings, inference, decoding, self.metrics, self.draining)

    def forget_verified(self) -> None:
        """Makes every later worker verify the bundle again; called in the master, when the first worker is there."""
        self._verified = None

    def _load_replicas(self) -> list[Predictor]:
        verified = self._verified
        self._verified = None
        return load_unchanged(self.settings.bundle, verified, self._replicas_of)

    def _replicas_of(self, info: BundleInfo) -> list[Predictor]:
        settings = self.settings

        def load(threads: int | None) -> Predictor:
            return Captioner.load(
                settings.bundle, engine=settings.engine, precision=settings.precision, info=info, threads=threads
            )

        return loaded(load, settings.replicas, usable_cores(), settings.replica_seconds)

    def _on_loaded(self, loading: "Future[Predictor]") -> None:
        error = loading.exception()
        if error is None:
            self._on_ready()
            return
        _logger.error("cannot load the bundle: %s", error, exc_info=None if isinstance(error, BundleError) else error)
        # Not sys.exit, because this is not the main thread. WORKER_BOOT_ERROR makes the master stop, 1 try again.
        if _is_shortage(error):
            time.sleep(_RETRY_SECONDS)
            os._exit(1)
        os._exit(Arbiter.WORKER_BOOT_ERROR)


def _is_shortage(error: BaseException | None) -> bool:
    """Returns whether an error is a temporary shortage in the system."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in SHORTAGES):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Arbiter(Arbiter):  # type: ignore[misc]
    """gunicorn's master, which forwards SIGHUP and survives temporary shortages in the system.

    gunicorn's own would replace a serving worker by a loading one, and end if no worker can be started.
    """

    def spawn_worker(self) -> Any:
        """Starts a worker, or tries again in a second."""
        try:
            worker = super().spawn_worker()
        except OSError as error:
            if os.getpid() != self.pid or error.errno not in SHORTAGES:
                raise
            _logger.error("cannot start a worker: %s; trying again in a second", error.strerror)  # noqa: TRY400
            return None
        self.app.forget_verified()
        return worker

    def handle_hup(self) -> None:
        """Forwards SIGHUP to the worker, which loads the bundle again."""
        self.kill_workers(signal.SIGHUP)
