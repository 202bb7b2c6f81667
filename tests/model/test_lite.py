"""The CPU engine: its files, its choice, and that it needs no TensorFlow."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import LITE_DECODER, LITE_ENCODER, Bundle, load_bundle, save_bundle
from model.captioner import Captioner
from model.config import CaptionerConfig
from model.decoder import Decoder
from model.encoder import build_encoder
from model.engines.choice import ENGINES, EngineName, Machine, Precision, choose_engine
from model.engines.lite import LiteEngine
from model.engines.tensorflow import TensorFlowEngine
from model.errors import BundleError, ConfigError
from model.options import SearchOptions
from model.weights import bundle_weights
from training.shipping.convert import FloatWeights, convert

Images = npt.NDArray[np.uint8]

ROOT = Path(__file__).parents[2]


def test_serving_imports_neither_tensorflow_nor_keras(toy_bundle: Path) -> None:
    script = (
        "import sys, pathlib, numpy; from server import wsgi; from model.captioner import Captioner\n"
        "captioner = Captioner.load(pathlib.Path(sys.argv[1]))\n"
        "captioner.predict(numpy.zeros((2, 224, 224, 3), numpy.uint8))\n"
        "print(captioner.engine, sorted({'keras', 'tensorflow', 'ai_edge_quantizer'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(toy_bundle)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["litert", "[]"]


def test_a_large_decoder_is_int8_and_still_says_nearly_the_same(toy: Bundle, images: Images, tmp_path: Path) -> None:
    small = convert(toy).files
    large = convert(toy, float_weights=FloatWeights(convolution=0, dense=0, decoder=0)).files
    assert large[LITE_DECODER] != small[LITE_DECODER]
    assert large[LITE_ENCODER] != small[LITE_ENCODER]
    save_bundle(tmp_path / "int8", toy, large)
    lite = LiteEngine.of(tmp_path / "int8", toy.config)
    reference = TensorFlowEngine.of(toy)
    encoded = lite.encode(images)
    expected = reference.encode(images)
    np.testing.assert_allclose(encoded.class_probabilities, expected.class_probabilities, atol=0.01)
    log_probs, _, _ = lite.start(expected.features)
    np.testing.assert_allclose(log_probs, reference.start(expected.features)[0], atol=0.05)


def test_batches_larger_than_the_engines_own_come_whole_and_in_order(
    toy: Bundle, toy_bundle: Path, images: Images
) -> None:
    engine = LiteEngine.of(toy_bundle, toy.config)
    many = np.concatenate([images, images[::-1], images[:3]])
    expected = [engine.encode(image[None]).features[0] for image in many]
    np.testing.assert_allclose(engine.encode(many).features, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("damage", ["rubbish", "swapped"])
def test_files_that_do_not_fit_are_named(toy: Bundle, toy_bundle: Path, tmp_path: Path, damage: str) -> None:
    files = {name: (toy_bundle / name).read_bytes() for name in (LITE_ENCODER, LITE_DECODER)}
    if damage == "rubbish":
        files[LITE_ENCODER] = b"no LiteRT file" * 100
    else:
        files = {LITE_ENCODER: files[LITE_DECODER], LITE_DECODER: files[LITE_ENCODER]}
    save_bundle(tmp_path / "bundle", toy, files)
    with pytest.raises(BundleError, match=r"encoder\.tflite: expected .*found .*; make it again with `showtell-train"):
        Captioner.load(tmp_path / "bundle", engine="litert")


def test_files_of_another_architecture_are_refused(toy: Bundle, toy_bundle: Path) -> None:
    for other in (
        replace(toy.config, encoder=replace(toy.config.encoder, classes=5)),
        replace(toy.config, decoder=replace(toy.config.decoder, units=7)),
    ):
        with pytest.raises(BundleError, match=r"expected (encode|start) with"):
            LiteEngine.of(toy_bundle, other)


def test_an_engine_whose_files_are_missing_is_named_and_auto_does_without(toy: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "plain", toy)
    with pytest.raises(BundleError, match="showtell-train convert"):
        Captioner.load(tmp_path / "plain", engine="litert")
    assert Captioner.load(tmp_path / "plain").engine == "tensorflow"


@pytest.mark.parametrize(
    ("engine", "precision", "has_files", "gpu", "chosen"),
    [
        ("auto", "float32", True, False, "litert"),
        ("auto", "float32", False, False, "tensorflow"),
        ("auto", "float32", True, True, "tensorflow"),
        ("auto", "float16", True, True, "tensorflow"),
        ("litert", "float32", True, True, "litert"),
        ("tensorflow", "float32", True, False, "tensorflow"),
        ("tensorflow", "bfloat16", True, True, "tensorflow"),
    ],
)
def test_the_engine_is_the_fastest_of_the_machine_unless_one_is_asked_for(
    engine: EngineName, precision: Precision, has_files: bool, gpu: bool, chosen: str
) -> None:
    machine = Machine(has_gpu=gpu, cpu_flags=frozenset())
    assert choose_engine(engine, precision, has_lite_files=has_files, machine=machine) == chosen


@pytest.mark.parametrize(
    ("engine", "precision", "flags", "message"),
    [
        ("litert", "bfloat16", "avx512_bf16", "precision float32 with the engine litert"),
        ("auto", "float16", "avx512_bf16", "a GPU for precision float16"),
        ("tensorflow", "bfloat16", "avx2", "a CPU with bfloat16"),
    ],
)
def test_a_precision_that_this_machine_lacks_is_refused(
    engine: EngineName, precision: Precision, flags: str, message: str
) -> None:
    machine = Machine(has_gpu=False, cpu_flags=frozenset(flags.split()))
    with pytest.raises(ConfigError, match=message):
        choose_engine(engine, precision, has_lite_files=True, machine=machine)


WITHOUT_TENSORFLOW = "import sys; sys.modules.update(dict.fromkeys(['tensorflow', 'keras', 'ai_edge_quantizer']))\n"
"""Makes them as good as not installed."""


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("server.cli", "--engine tensorflow --port 0", "expected TensorFlow for the engine tensorflow"),
        ("model.cli", "--engine tensorflow photo.jpg", "expected TensorFlow for the engine tensorflow"),
        ("model.cli", "--bundle {plain} photo.jpg", "expected TensorFlow for a bundle without LiteRT's files"),
        ("training.cli", "devices", "expected the packages of training, found tensorflow not installed"),
    ],
)
def test_where_tensorflow_is_missing_one_line_says_what_to_install(
    toy: Bundle, tmp_path: Path, module: str, arguments: str, message: str
) -> None:
    save_bundle(tmp_path / "plain", toy)
    script = WITHOUT_TENSORFLOW + f"from {module} import main; main()"
    command = [sys.executable, "-c", script, *arguments.format(plain=tmp_path / "plain").split()]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert message in done.stderr
    assert "pip install '.[t" in done.stderr


def test_a_graphics_card_is_left_alone_where_tensorflow_is_missing() -> None:
    script = WITHOUT_TENSORFLOW + (
        "import pathlib; from model.engines.choice import Machine, choose_engine\n"
        "machine = Machine.here(driver=pathlib.Path('/'))\n"
        "print(machine.has_gpu, choose_engine('auto', 'float32', has_lite_files=True, machine=machine))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.stdout == "False litert\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_a_captioner_takes_the_threads_that_it_is_given(toy_bundle: Path) -> None:
    script = (
        "import os, pathlib, sys; from model.captioner import Captioner\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "captioner = Captioner.load(pathlib.Path(sys.argv[1]), engine='litert', threads=int(sys.argv[2]))\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    extra: dict[int, int] = {}
    for threads in (1, 2, 3):
        command = [sys.executable, "-c", script, str(toy_bundle), str(threads)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        extra[threads] = int(done.stdout)
    # The encoder's file and the decoder's each have their own.
    assert extra == {1: 0, 2: 2, 3: 4}


def test_captioners_of_both_engines_agree(toy: Bundle, toy_bundle: Path, images: Images) -> None:
    lite = Captioner.load(toy_bundle)
    reference = Captioner.of(toy)
    config: CaptionerConfig = lite.config
    assert (lite.engine, reference.engine, config) == ("litert", "tensorflow", toy.config)
    for ours, theirs in zip(lite.predict(images), reference.predict(images), strict=True):
        assert ours.captions[0].log_probability == pytest.approx(theirs.captions[0].log_probability, abs=0.02)
        assert ours.classes[0].probability == pytest.approx(theirs.classes[0].probability, abs=0.01)


@pytest.mark.parametrize(
    "options",
    [
        {"image_every_step": True},
        {"layers": 2, "residual": True},
        {"tied_embeddings": True},
        {"layers": 2, "image_every_step": True, "residual": True, "tied_embeddings": True},
    ],
    ids="-".join,
)
@pytest.mark.parametrize("features", ["fc2", "average_max"])
def test_both_engines_step_alike_whatever_the_decoder(
    toy: Bundle, images: Images, tmp_path: Path, options: dict[str, Any], features: Any
) -> None:
    encoder = replace(toy.config.encoder, features=features)
    config = replace(toy.config, encoder=encoder, decoder=replace(toy.config.decoder, **options))
    decoder = Decoder(config.decoder, encoder.feature_units)
    random = np.random.default_rng(4)
    for variable in decoder.trainable_variables:
        variable.assign(random.normal(0, 0.4, variable.shape))
    bundle = replace(toy, config=config, weights=bundle_weights(build_encoder(encoder), decoder, np.float32))
    save_bundle(tmp_path / "bundle", bundle, convert(bundle).files)
    lite = LiteEngine.of(tmp_path / "bundle", config)
    reference = TensorFlowEngine.of(load_bundle(tmp_path / "bundle"))
    encoded = reference.encode(images).features
    np.testing.assert_allclose(lite.encode(images).features, encoded, rtol=0.02, atol=0.02)
    (log_probs, ids, state) = lite.start(encoded)
    (expected, words, state_of_reference) = reference.start(encoded)
    parents = np.array([2, 0, 0, 1, 3], np.int32)
    for _ in range(4):
        np.testing.assert_allclose(log_probs, expected, atol=0.03)
        assert np.ptp(expected) > 0.3
        tokens = words[parents % len(words), 1]
        log_probs, ids, state = lite.step(tokens, parents, state)
        expected, words, state_of_reference = reference.step(tokens, parents, state_of_reference)
    assert ids.shape == words.shape


def test_both_engines_draw_the_same_for_the_same_seed(toy: Bundle, images: Images, tmp_path: Path) -> None:
    decoder = Decoder(toy.config.decoder, toy.config.encoder.feature_units)
    random = np.random.default_rng(4)
    for variable in decoder.trainable_variables:
        variable.assign(random.normal(0, 0.4, variable.shape))
    bundle = replace(toy, weights=bundle_weights(build_encoder(toy.config.encoder), decoder, np.float32))
    save_bundle(tmp_path / "bundle", bundle, convert(bundle).files)
    engines = [Captioner.load(tmp_path / "bundle", engine=engine) for engine in ENGINES if engine != "auto"]
    drawn = []
    for captioner in engines:
        searches = [SearchOptions(sample=True, seed=seed).search(toy.config.search, 3) for seed in range(5)]
        found = [p for search in searches for p in captioner.predict(images, search=search, captions=3)]
        drawn.append([{caption.text for caption in prediction.captions} for prediction in found])
    assert len(set.union(*drawn[0])) > 10
    same = sum(len(ours & theirs) for ours, theirs in zip(*drawn, strict=True))
    # In the others two words are so close that the int8 weights of one engine decide.
    assert same >= 0.8 * sum(map(len, drawn[0]))
