"""What the server counts and measures of itself, in Prometheus's terms.

Every label has few values: routes are templates, and whatever a client can make up is one value.
"""

import importlib.metadata
import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from server.problems import KINDS, UNREADABLE

_QUEUE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_BATCH_IMAGES = (1, 2, 4, 8, 16, 32)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

CUT_REASONS = ("evicted", "refused", "unread")
"""Why a connection is closed on a client that did not ask for it."""

OTHER_METHOD = "other"
"""Stands for every method that HTTP does not know, and for one that is not known."""


class ServerMetrics:
    """Holds the metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.batch_images = Histogram(
            "showtell_batch_images", "Images worked on at once.", buckets=_BATCH_IMAGES, registry=self.registry
        )
        self.queue_seconds = Histogram(
            "showtell_queue_seconds",
            "Time from a request's arrival in the queue to the beginning of work on its first image.",
            buckets=_QUEUE_SECONDS,
            registry=self.registry,
        )
        self.queue_depth = Gauge("showtell_queue_depth", "Images that wait.", registry=self.registry)
        self.inference_oldest_seconds = Gauge(
            "showtell_inference_oldest_seconds",
            "Age of the oldest image that waits or is worked on.",
            registry=self.registry,
        )
        self.decoding_depth = Gauge(
            "showtell_decoding_depth", "Photos that wait to be decoded.", registry=self.registry
        )
        self.decoding_oldest_seconds = Gauge(
            "showtell_decoding_oldest_seconds",
            "Age of the oldest ordinary photo that waits or is decoded.",
            registry=self.registry,
        )
        self.decoders_replaced = Counter(
            "showtell_decoders_replaced",
            "Decoding processes that failed, by what ended them.",
            ["reason"],
            registry=self.registry,
        )
        self.decoder_warnings = Counter(
            "showtell_decoder_warnings",
            "Warnings of decoders about photos, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.requests = Counter(
            "showtell_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "showtell_request_seconds",
            "Time from a request's headers to its answer, the body's arrival included.",
            ["route"],
            buckets=_REQUEST_SECONDS,
            registry=self.registry,
        )
        self.rejects = Counter(
            "showtell_rejects",
            "Requests refused, by the kind of problem; answers of /readyz not counted.",
            ["reason"],
            registry=self.registry,
        )
        for reason in sorted({*KINDS, UNREADABLE}):
            self.rejects.labels(reason)
        self.connections_cut = Counter(
            "showtell_connections_cut",
            "Connections closed on a client: evicted to make room, refused for want of it, or because it read nothing.",
            ["reason"],
            registry=self.registry,
        )
        for reason in CUT_REASONS:
            self.connections_cut.labels(reason)
        self.dropped_log_lines = Gauge(
            "showtell_log_lines_dropped", "Lines of the log that could not be written, so far.", registry=self.registry
        )
        self.reloads = Counter(
            "showtell_reloads", "Bundles loaded while serving, by what came of it.", ["result"], registry=self.registry
        )
        self.model = Info("showtell_model", "The captioner that serves.", registry=self.registry)
        build = Info("showtell_build", "This program.", registry=self.registry)
        build.info({"version": project_version(), "python": platform.python_version()})

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request.

        Args:
            route: Its template, such as `/static/<path:filename>`.
            method: As received; one that HTTP does not know is counted as `OTHER_METHOD`.
            status: Of the answer.
            seconds: Time to answer it.
        """
        self.requests.labels(route, method if method in _METHODS else OTHER_METHOD, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)


def project_version() -> str:
    """Returns the version of this program as installed."""
    try:
        return importlib.metadata.version("show-and-tell-server")
    except importlib.metadata.PackageNotFoundError:  # run from a copy of the source
        return "unknown"
