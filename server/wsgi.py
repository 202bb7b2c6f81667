"""The application inside gunicorn: one worker with threads, the captioner loaded in it after the fork."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from model.captioner import Captioner
from model.errors import BundleError
from server.app import create_app
from server.batching import BatchLimits, InferenceQueue
from server.decoding.pool import DecodingPool
from server.logs import GunicornLogger
from server.memory import give_back_large_blocks
from server.metrics import Metrics
from server.reloading import self_tested, watch
from server.settings import ServerSettings
from server.worker import PatientWorker

_logger = logging.getLogger("server")


class GunicornServer(BaseApplication):  # type: ignore[misc]
    """Runs the server until a signal stops it.

    Args:
        settings: The settings.
        listener: A bound socket, which gunicorn takes over.
        on_ready: Called in the worker when requests can be answered.
    """

    def __init__(self, settings: ServerSettings, listener: socket.socket, on_ready: Callable[[], None]) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._file_descriptor = listener.detach()
        self.request_seconds, self.drain_seconds = settings.request_seconds, settings.drain_seconds
        self.draining = threading.Event()
        """Set when the server is about to stop."""
        super().__init__()

    def run(self) -> None:
        """Runs gunicorn until a signal stops it."""
        _Arbiter(self).run()

    def reload(self) -> None:
        """Loads the bundle again in the background; called in the worker."""
        self._inference.reload()

    def load_config(self) -> None:
        """Sets gunicorn's settings; called by gunicorn."""
        settings = self._settings
        options = {
            "bind": f"fd://{self._file_descriptor}",
            "worker_class": PatientWorker,
            "workers": 1,
            "threads": settings.threads,
            # A request that begins to arrive at the end of the drain may take all of its time to arrive.
            "graceful_timeout": int(settings.drain_seconds + settings.request_seconds + settings.deadline_seconds) + 5,
            # A thread in the master and a file in the working directory, for a feature that nobody uses here.
            "control_socket_disable": True,
            "loglevel": "warning",
            "logger_class": GunicornLogger,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Builds the application; called by gunicorn in the worker, because TensorFlow does not survive a fork."""
        give_back_large_blocks()
        settings, self.metrics = self._settings, Metrics()
        limits = BatchLimits(
            max_waiting=settings.max_waiting, max_batch=settings.max_batch, max_wait_seconds=settings.max_wait_seconds
        )
        self._inference = InferenceQueue(
            lambda: self_tested(Captioner.load(settings.bundle, engine=settings.engine, precision=settings.precision)),
            limits,
            self.metrics,
        )
        self._inference.loading.add_done_callback(self._on_loaded)
        self._inference.start()
        watch(settings.bundle, self._inference.reload)
        decoding = DecodingPool(settings.max_body_bytes, settings.max_pixels, self.metrics)
        decoding.start()
        return create_app(settings, self._inference, decoding, self.metrics, self.draining)

    def _on_loaded(self, loading: "Future[Captioner]") -> None:
        error = loading.exception()
        if error is None:
            self._on_ready()
            return
        _logger.error("cannot load the bundle: %s", error, exc_info=None if isinstance(error, BundleError) else error)
        # Not sys.exit: this is not the main thread. The code tells the master to stop and not to try again.
        os._exit(Arbiter.WORKER_BOOT_ERROR)


class _Arbiter(Arbiter):  # type: ignore[misc]
    """Is gunicorn's master; hands SIGHUP on, where gunicorn's would replace a worker that serves by one that loads."""

    def handle_hup(self) -> None:
        """Tells the worker to load the bundle again."""
        self.kill_workers(signal.SIGHUP)
