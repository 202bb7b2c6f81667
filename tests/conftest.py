"""Fixtures that more than one package's tests use."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import DEFAULT_BUNDLE, Bundle, ClassName, save_bundle
from model.config import CaptionerConfig, DecoderConfig, EncoderConfig, SearchConfig
from model.vocabulary import SPECIAL, Vocabulary

WORDS = ("a", "dog", "cat", "runs", "sits", "on", "the", "grass", "man", "in", "red", "hat")

HAS_TENSORFLOW = find_spec("tensorflow") is not None
"""False on a Python without a wheel of it, where serving is tested by itself, with the default bundle."""

if HAS_TENSORFLOW:
    import tensorflow as tf

    # Where replicas are tested, four logical devices stand in for GPUs; too late once anything has used TensorFlow.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration() for _ in range(4)]
    )

# How long an example takes says more about what else the machine does; tests that promise a time measure it.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Waits until a condition holds, and fails if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        threading.Event().wait(0.002)


def make_toy_bundle(seed: int = 7) -> Bundle:
    """Builds a whole captioner with random weights: real code all through, too small to be slow."""
    import keras

    from model.decoder import Decoder
    from model.encoder import build_encoder
    from model.weights import bundle_weights

    keras.utils.set_random_seed(seed)
    vocabulary = Vocabulary([*SPECIAL, *WORDS])
    classes = tuple(ClassName(f"n{index:08}", f"class_{index}") for index in range(12))
    config = CaptionerConfig(
        name="toy",
        version="1",
        encoder=EncoderConfig(
            widths=(0.03,) * 5, fc_units=16, classes=12, normalization="unit", input_pooling=4, dropout=0.0
        ),
        decoder=DecoderConfig(vocabulary_size=len(vocabulary), embedding_units=8, units=12),
        search=SearchConfig(max_words=6),
        provenance={"good_at": "nothing yet", "bad_at": "everything"},
        scores={"toy dev": {"BLEU-4": 0.0}},
    )
    encoder = build_encoder(config.encoder)
    decoder = Decoder(config.decoder, config.encoder.feature_units)
    weights = bundle_weights(encoder, decoder, np.float32)
    return Bundle(config, vocabulary, classes, weights)


@pytest.fixture(scope="session")
def toy() -> Bundle:
    """Returns a tiny bundle in memory."""
    if not HAS_TENSORFLOW:
        pytest.skip("TensorFlow is not installed")
    return make_toy_bundle()


@pytest.fixture(scope="session")
def toy_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the path of a tiny bundle with the CPU engine's files.

    Without TensorFlow that of the variable TOY_BUNDLE, which `write_toy` made elsewhere, or the default bundle.
    """
    if not HAS_TENSORFLOW:
        return Path(os.environ.get("TOY_BUNDLE", DEFAULT_BUNDLE))
    path = tmp_path_factory.mktemp("bundles") / "toy"
    write_toy(path, request.getfixturevalue("toy"))
    return path


def write_toy(path: Path, toy: Bundle | None = None) -> None:
    """Writes the tiny bundle with the CPU engine's files."""
    from training.shipping.convert import convert

    toy = toy or make_toy_bundle()
    save_bundle(path, toy, convert(toy).files)


@contextlib.contextmanager
def running_server(bundle: Path, log: Path, *options: str) -> Iterator[str]:
    """Runs a real server on a free port of 127.0.0.1, yields its URL when it is ready, and stops it by SIGTERM.

    Args:
        bundle: What to serve.
        log: File for what it writes to standard error.
        options: More flags; without any it stops at once when it is told to.
    """
    command = [sys.executable, "-m", "server.cli", "--port", "0", "--bundle", str(bundle), "--drain-seconds", "0"]
    command += options
    root = Path(__file__).parent.parent
    with (
        log.open("w") as errors,
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Ready: open http://127.0.0.1:"), log.read_text()
            yield line.split()[2].rstrip("/")
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
        assert status == 0, log.read_text()


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., contextlib.AbstractContextManager[str]]:
    """Returns a function from a bundle and flags to a context with a server; leaving it checks that it exits with 0."""
    return lambda bundle, *flags: running_server(bundle, tmp_path_factory.mktemp("server") / "log.txt", *flags)


@pytest.fixture(scope="session")
def live_server(serve: Callable[[Path], contextlib.AbstractContextManager[str]], toy_bundle: Path) -> Iterator[str]:
    """Yields the URL of a real server with a bundle that answers at once."""
    with serve(toy_bundle) as url:
        yield url


@pytest.fixture(scope="session")
def images() -> npt.NDArray[np.uint8]:
    """Returns four different images, shape (4, 224, 224, 3), in which neighbouring pixels are alike."""
    coarse = np.random.default_rng(3).integers(0, 256, (4, 7, 7, 3), np.uint8)
    return coarse.repeat(32, axis=1).repeat(32, axis=2)


@pytest.fixture
def forgetful_keras() -> Iterator[None]:
    """Seeds the weights of every test's networks and frees their names and graphs after it."""
    if not HAS_TENSORFLOW:
        yield
        return
    import keras

    keras.utils.set_random_seed(11)
    yield
    keras.utils.clear_session(free_memory=False)
