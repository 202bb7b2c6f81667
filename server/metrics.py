"""What the server counts and measures of itself, in Prometheus's terms."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_QUEUE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH_IMAGES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Holds the metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self.rejects = Counter("showtell_rejects", "Requests refused, by reason.", ["reason"], registry=self.registry)
        self.reloads = Counter(
            "showtell_reloads", "Bundles loaded while serving, by what came of it.", ["result"], registry=self.registry
        )
