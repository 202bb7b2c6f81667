"""A bundle that is exchanged while it serves, with a real gunicorn."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from model.bundle import Bundle, save_bundle
from tests.conftest import wait_until
from tests.server.running import Start, picture

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(toy: Bundle, toy_bundle: Path, tmp_path: Path) -> Path:
    """Returns a path behind which the bundle can be exchanged, a symbolic link."""
    from training.shipping.convert import convert

    path = tmp_path / "current"
    path.symlink_to(toy_bundle)
    save_bundle(tmp_path / "second", replace(toy, config=replace(toy.config, version="2")), convert(toy).files)
    return path


def exchange(link: Path, target: Path) -> None:
    link.with_suffix(".new").symlink_to(target)
    link.with_suffix(".new").rename(link)


def test_another_bundle_at_the_path_is_loaded_and_a_damaged_one_is_refused(
    start: Start, bundle: Path, tmp_path: Path
) -> None:
    server = start(bundle, "--drain-seconds", "0")
    assert server.version() == "1"
    exchange(bundle, tmp_path / "second")
    wait_until(lambda: server.version() == "2")
    shutil.copytree(tmp_path / "second", tmp_path / "third")
    (tmp_path / "third" / "classes.json").write_text("[]")
    exchange(bundle, tmp_path / "third")
    wait_until(lambda: 'showtell_reloads_total{result="refused"} 1.0' in server.ask("GET", "/metrics")[1])
    assert "the new bundle is refused" in server.log.read_text()
    assert (server.version(), server.ask("GET", "/readyz")[0]) == ("2", 200)
    assert server.ask("POST", "/v1/predict", picture())[0] == 200


def test_another_bundle_forgets_the_answers_of_the_one_before(start: Start, bundle: Path, tmp_path: Path) -> None:
    server = start(bundle, "--cache-megabytes", "1", "--drain-seconds", "0")
    for version in ("1", "2"):
        wait_until(lambda version=version: server.version() == version)  # type: ignore[misc]
        for _ in range(3):
            assert server.ask("POST", "/v1/predict", picture())[0] == 200
        exchange(bundle, tmp_path / "second")
    metrics = server.ask("GET", "/metrics")[1]
    assert 'showtell_cache_lookups_total{result="miss"} 2.0' in metrics
    assert 'showtell_cache_lookups_total{result="hit"} 4.0' in metrics


def test_sighup_loads_the_bundle_again_while_requests_are_served(start: Start, toy_bundle: Path) -> None:
    server = start(toy_bundle, "--drain-seconds", "0")
    server.process.send_signal(signal.SIGHUP)
    answered = []

    def is_reloaded() -> bool:
        answered.append(server.ask("POST", "/v1/predict", picture())[0])
        return 'showtell_reloads_total{result="done"} 1.0' in server.ask("GET", "/metrics")[1]

    wait_until(is_reloaded)
    assert set(answered) == {200}
