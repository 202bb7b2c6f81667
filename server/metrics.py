"""The server's Prometheus metrics.

Every label has few values: routes are templates, and all that a client can invent counts as one value.
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
"""Reasons to close a connection that the client wanted to keep."""

OTHER_METHOD = "other"
"""Label of all methods that HTTP does not define, and of requests that could not be read."""


class ServerMetrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._add_captioning()
        self._add_cache()
        self._add_decoding()
        self._add_requests()
        self._add_program()

    def _add_captioning(self) -> None:
        self.batch_images = Histogram(
            "showtell_batch_images", "Images captioned in one batch.", buckets=_BATCH_IMAGES, registry=self.registry
        )
        self.queue_seconds = Histogram(
            "showtell_queue_seconds",
            "Time that a request's first image waits in the queue.",
            buckets=_QUEUE_SECONDS,
            registry=self.registry,
        )
        self.replicas = Gauge("showtell_replicas", "Engine replicas that caption at once.", registry=self.registry)
        self.queue_depth = Gauge("showtell_queue_depth", "Images in the queue.", registry=self.registry)
        self.inference_oldest_seconds = Gauge(
            "showtell_inference_oldest_seconds",
            "Age of the oldest image that waits or is captioned.",
            registry=self.registry,
        )

    def _add_cache(self) -> None:
        self.cache_lookups = Counter(
            "showtell_cache_lookups",
            "Photos looked up among earlier answers, by result; none without --cache-megabytes.",
            ["result"],
            registry=self.registry,
        )
        for result in ("hit", "miss"):
            self.cache_lookups.labels(result)
        self.cache_bytes = Gauge("showtell_cache_bytes", "Memory of the answers kept.", registry=self.registry)
        self.cache_answers = Gauge("showtell_cache_answers", "Answers kept.", registry=self.registry)

    def _add_decoding(self) -> None:
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
            "Decoding processes that failed, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.decoder_warnings = Counter(
            "showtell_decoder_warnings",
            "Decoders' warnings about photos, by kind.",
            ["kind"],
            registry=self.registry,
        )

    def _add_requests(self) -> None:
        self.requests = Counter(
            "showtell_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "showtell_request_seconds",
            "Time from a request's headers to its answer, including the body's arrival.",
            ["route"],
            buckets=_REQUEST_SECONDS,
            registry=self.registry,
        )
        self.rejects = Counter(
            "showtell_rejects",
            "Requests refused, by kind of problem; without /readyz.",
            ["reason"],
            registry=self.registry,
        )
        for reason in sorted({*KINDS, UNREADABLE}):
            self.rejects.labels(reason)
        self.connections_cut = Counter(
            "showtell_connections_cut",
            "Connections closed by the server: evicted to make room, refused for lack of room, or unread for too long.",
            ["reason"],
            registry=self.registry,
        )
        for reason in CUT_REASONS:
            self.connections_cut.labels(reason)

    def _add_program(self) -> None:
        self.dropped_log_lines = Gauge(
            "showtell_log_lines_dropped", "Log lines that could not be written.", registry=self.registry
        )
        self.reloads = Counter(
            "showtell_reloads", "Bundles loaded while serving, by result.", ["result"], registry=self.registry
        )
        self.model = Info("showtell_model", "The captioner that serves.", registry=self.registry)
        build = Info("showtell_build", "This program.", registry=self.registry)
        build.info({"version": project_version(), "python": platform.python_version()})

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request.

        Args:
            route: Its template, such as `/static/<path:filename>`.
            method: As received; one that HTTP does not define is counted as `OTHER_METHOD`.
            status: The answer's status.
            seconds: Time to answer it.
        """
        self.requests.labels(route, method if method in _METHODS else OTHER_METHOD, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)


def project_version() -> str:
    """Returns the installed version of this program."""
    try:
        return importlib.metadata.version("show-and-tell-server")
    except importlib.metadata.PackageNotFoundError:  # run from a copy of the source
        return "unknown"
