"""Loading: the first captioner, another one while it serves, and signals that come before either."""

import shutil
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import BundleError
from server.batching import Predictor
from server.loading import Loader, VerifiedBundle
from server.metrics import ServerMetrics
from server.settings import ServerSettings
from server.wsgi import GunicornServer
from tests.conftest import wait_until
from tests.server.conftest import HeldCaptioner, QueueOf


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics()


@pytest.fixture
def reloads(metrics: ServerMetrics) -> Callable[[str], float]:
    """Returns a function from what came of reloads to how many there were."""
    return lambda result: metrics.registry.get_sample_value("showtell_reloads_total", {"result": result}) or 0


def newer(held: HeldCaptioner) -> HeldCaptioner:
    return HeldCaptioner(replace(held.config, version="newer"))


def test_a_captioner_serves_once_it_is_loaded(queue_of: QueueOf, held: HeldCaptioner, metrics: ServerMetrics) -> None:
    queue = queue_of()
    loader = Loader(lambda: [held], queue, metrics)
    loader.start()
    assert loader.first.result(10) is queue.captioner is held


def test_a_captioner_that_cannot_be_loaded_leaves_its_error(queue_of: QueueOf, metrics: ServerMetrics) -> None:
    def fail() -> list[Predictor]:
        raise BundleError("damaged")

    loader = Loader(fail, queue_of(), metrics)
    loader.start()
    with pytest.raises(BundleError, match="damaged"):
        loader.first.result(10)


def test_a_reload_never_comes_before_the_first_load(
    queue_of: QueueOf, held: HeldCaptioner, metrics: ServerMetrics, reloads: Callable[[str], float]
) -> None:
    second = newer(held)
    loads = iter([held, second])
    may_load = threading.Event()

    def load() -> list[Predictor]:
        loaded = next(loads)
        assert loaded is second or may_load.wait(10)
        return [loaded]

    queue = queue_of()
    loader = Loader(load, queue, metrics)
    loader.start()
    loader.reload()
    may_load.set()
    wait_until(lambda: reloads("done") == 1)
    assert queue.captioner is second


def test_a_reload_that_fails_is_counted_and_the_old_captioner_goes_on(
    queue_of: QueueOf, held: HeldCaptioner, metrics: ServerMetrics, reloads: Callable[[str], float]
) -> None:
    loads = iter([held])
    queue = queue_of()
    loader = Loader(lambda: [next(loads)], queue, metrics)
    loader.start()
    loader.first.result(10)
    loader.reload()
    wait_until(lambda: reloads("refused") == 1)
    assert queue.captioner is held


def test_the_model_is_named_and_another_one_takes_its_name_s_place(
    queue_of: QueueOf, held: HeldCaptioner, metrics: ServerMetrics, reloads: Callable[[str], float]
) -> None:
    def info(version: str) -> float | None:
        labels = {"name": held.config.name, "version": version, "engine": "held"}
        return metrics.registry.get_sample_value("showtell_model_info", labels)

    captioners = iter([held, newer(held)])
    loader = Loader(lambda: [next(captioners)], queue_of(), metrics)
    loader.start()
    loader.first.result(10)
    assert (info(held.config.version), info("newer")) == (1, None)
    loader.reload()
    wait_until(lambda: reloads("done") == 1)
    assert (info(held.config.version), info("newer")) == (None, 1)


def test_a_reload_before_anything_is_loaded_does_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        GunicornServer(ServerSettings(), listener, lambda: None).reload()


def test_a_bundle_is_verified_once_unless_another_one_lies_there(toy_bundle: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(toy_bundle)
    verified = VerifiedBundle.at(link)
    assert verified.info_of(link) is verified.info
    copy = tmp_path / "copy"
    shutil.copytree(toy_bundle, copy)
    link.unlink()
    link.symlink_to(copy)
    assert verified.info_of(link) is None
