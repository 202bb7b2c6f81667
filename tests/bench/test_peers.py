"""Peers are held to the TensorFlow engine, and an engine that computes something else is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest

from bench.agreement import Answer, agreement_row
from bench.agreement import measure as agreement
from bench.contenders import CONTENDERS, OURS, REFERENCE, Contender, load_engine
from bench.engines import STAGES, WORDS, against_each_other, time_engine
from bench.parity import FLOAT32, INT8, Record, check, read_record, record
from bench.peers.keras_predict import KerasPredictEngine
from bench.report import Row
from bench.sizes import random_bundle
from model.bundle import CONFIG, Bundle
from model.config import CaptionerConfig, DecoderConfig, EncoderConfig, SearchConfig
from model.engines.protocol import Engine
from model.engines.tensorflow import TensorFlowEngine
from model.tensors import identity_kernel

UNLIKE_THE_TOY = CaptionerConfig(
    name="tiny",
    version="1",
    encoder=EncoderConfig(widths=(0.03,) * 5, fc_units=16, classes=5, input_pooling=2),
    decoder=DecoderConfig(vocabulary_size=40, embedding_units=16, layers=3, units=8, project_features=False),
    search=SearchConfig(),
)
"""With everything that the toy has not: flattened features that are not projected, caffe's colours, stacked cells."""

IMAGE_AT_EVERY_WORD = replace(
    UNLIKE_THE_TOY,
    encoder=replace(UNLIKE_THE_TOY.encoder, features="average_fc2", pooling="average"),
    decoder=DecoderConfig(
        vocabulary_size=40, embedding_units=16, layers=2, units=8, image_every_step=True, residual=True,
        tied_embeddings=True,
    ),
)  # fmt: skip


@pytest.fixture(scope="module", params=["projected", "stacked", "image at every word"])
def bundle(request: pytest.FixtureRequest, toy: Bundle) -> Bundle:
    """Returns weights through which values keep their size: the toy's let them fade, and then little matters."""
    architectures = {
        "projected": toy.config, "stacked": UNLIKE_THE_TOY, "image at every word": IMAGE_AT_EVERY_WORD,
    }  # fmt: skip
    return random_bundle(architectures[request.param])


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> Record:
    return record(TensorFlowEngine.of(bundle))


def test_keras_predict_agrees_with_our_engine(bundle: Bundle, expected: Record) -> None:
    differences = check(KerasPredictEngine.of(bundle), expected, FLOAT32)

    assert max(differences.values()) < 1e-4


def test_pytorch_agrees_with_our_engine(bundle: Bundle, expected: Record) -> None:
    pytest.importorskip("torch")
    from bench.peers.pytorch import PyTorchEngine

    check(PyTorchEngine.of(bundle), expected, FLOAT32)


def test_pytorch_is_spared_identities_as_our_engine_is(bundle: Bundle) -> None:
    pytest.importorskip("torch")
    from bench.peers.pytorch import Encoder, PyTorchEngine

    name = "encoder/block5_conv2"
    channels = bundle.weights[f"{name}/bias"].size
    identity = {f"{name}/kernel": identity_kernel(channels), f"{name}/bias": np.zeros(channels, np.float32)}
    grown = replace(bundle, weights={**bundle.weights, **identity})

    assert len(Encoder(bundle.config.encoder, bundle.weights).blocks[4]) == 4
    assert len(Encoder(grown.config.encoder, grown.weights).blocks[4]) == 3
    check(PyTorchEngine.of(grown), record(TensorFlowEngine.of(grown)), FLOAT32)


def test_compiled_pytorch_agrees_with_our_engine(bundle: Bundle, expected: Record) -> None:
    pytest.importorskip("torch")
    if which("g++") is None:
        pytest.skip("no C++ compiler, which torch.compile calls")
    from bench.peers.pytorch_compiled import CompiledEngine

    check(CompiledEngine.of(bundle), expected, FLOAT32)


@pytest.fixture(scope="module")
def onnx_files(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from bench.peers.onnx_export import export

    folder = tmp_path_factory.mktemp("onnx")
    (folder / CONFIG).write_text(bundle.config.to_json())
    export(bundle, folder)
    return folder


def test_onnx_runtime_agrees_with_our_engine(onnx_files: Path, expected: Record) -> None:
    pytest.importorskip("onnxruntime")

    check(load_engine("onnx", onnx_files), expected, FLOAT32)


def test_int8_onnx_runtime_agrees_with_our_engine(onnx_files: Path, expected: Record, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from bench.peers.onnx_int8 import quantize

    quantize(onnx_files, tmp_path)
    (tmp_path / CONFIG).write_text((onnx_files / CONFIG).read_text())

    check(load_engine("onnx-int8", tmp_path), expected, INT8)


def test_openvino_agrees_with_our_engine(onnx_files: Path, expected: Record, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    from bench.peers.openvino_int8 import quantize

    quantize(onnx_files, tmp_path)
    (tmp_path / CONFIG).write_text((onnx_files / CONFIG).read_text())

    check(load_engine("openvino", tmp_path), expected, INT8)


def changed(bundle: Bundle, name: str, change: Callable[[Any], Any]) -> Engine:
    """Returns a peer that has another tensor."""
    return KerasPredictEngine.of(replace(bundle, weights={**bundle.weights, name: change(bundle.weights[name])}))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("encoder/block3_conv2/kernel", lambda value: value[::-1]),
        ("encoder/fc2/bias", lambda value: value + 1),
        ("decoder/gru_1/bias", lambda value: value[::-1] + 1),
        ("decoder/gru_1/recurrent_kernel", lambda value: np.roll(value, value.shape[1] // 3, axis=1)),
        ("decoder/output/kernel", lambda value: value[:, ::-1]),
    ],
)
def test_a_peer_with_other_weights_is_refused(
    bundle: Bundle, expected: Record, name: str, change: Callable[[Any], Any]
) -> None:
    if name not in bundle.weights:  # words are scored by their embeddings
        name = "decoder/bottleneck/kernel"
    with pytest.raises(ValueError, match="mend the engine"):
        check(changed(bundle, name, change), expected, FLOAT32)


class Forgetful:
    """Runs an engine without looking at the parents."""

    name = "forgetful"

    def __init__(self, engine: Engine) -> None:
        self.encode = engine.encode
        self.start = engine.start
        self.warm_up = engine.warm_up
        self._engine = engine

    def step(self, tokens: Any, parents: Any, state: Any) -> Any:
        return self._engine.step(tokens, np.minimum(np.arange(len(parents)), parents.max()).astype(np.int32), state)


def test_a_peer_that_mixes_up_hypotheses_is_refused(bundle: Bundle, expected: Record) -> None:
    with pytest.raises(ValueError, match="mend the engine"):
        check(Forgetful(TensorFlowEngine.of(bundle)), expected, FLOAT32)


def test_a_word_that_is_another_one_is_refused(reference: TensorFlowEngine) -> None:
    expected = record(reference)
    swapped = {**expected, "ids": expected["ids"][:, ::-1]}

    with pytest.raises(ValueError, match="expected word"):
        check(reference, swapped, FLOAT32)


def test_a_record_is_read_as_it_was_written(reference: TensorFlowEngine, tmp_path: Path) -> None:
    expected = record(reference)
    np.savez(tmp_path / "record.npz", allow_pickle=False, **expected)

    assert max(check(reference, read_record(tmp_path / "record.npz"), FLOAT32).values()) == 0


def test_every_stage_of_every_run_is_timed(reference: TensorFlowEngine) -> None:
    times = time_engine(reference, warm_up=1, runs=3)

    assert set(times) == {"read", *STAGES}
    assert all(len(seconds) == 3 for seconds in times.values())
    for read, encode, search, total in zip(*(times[name] for name in ("read", *STAGES)), strict=True):
        assert total == pytest.approx(read + encode + search)


def test_captions_have_all_their_words_though_the_end_is_likely(toy: Bundle, reference: TensorFlowEngine) -> None:
    fed = []

    class Counted(Forgetful):
        def step(self, tokens: Any, parents: Any, state: Any) -> Any:
            fed.append(len(tokens))
            return self._engine.step(tokens, parents, state)

    time_engine(Counted(reference), warm_up=0, runs=1)

    assert fed == [3] * (WORDS - 1)
    assert toy.config.search.max_words < WORDS


def test_only_contenders_of_other_libraries_can_be_missing() -> None:
    ours = [contender for contender in CONTENDERS if not contender.modules]

    assert {contender.key for contender in ours} == {"tensorflow", "litert", "keras"}
    assert all(contender.missing() is None for contender in ours)
    absent = replace(CONTENDERS[0], modules=("a_library_that_is_not_there",))
    assert "not installed: a_library_that_is_not_there; pip" in (absent.missing() or "")
    without_compiler = replace(CONTENDERS[0], programs=("a-compiler-that-is-not-there",))
    assert "not installed: a-compiler-that-is-not-there; install" in (without_compiler.missing() or "")


def test_engines_are_compared_within_their_rounds() -> None:
    peer = next(contender for contender in CONTENDERS if contender.key == "keras")
    rounds: list[dict[Contender, Any]] = [
        {REFERENCE: slow * 4.0, peer: slow * 6.0, OURS: slow} for slow in (1.0, 3.0, 1.0)
    ]

    def row(contender: Contender, result: Any) -> Row:
        return Row("engines", contender.what, result, 25)

    reference, keras, ours = against_each_other(row, rounds)

    assert (reference.value, reference.ratio) == (4.0, None)
    assert (keras.value, keras.ratio, keras.against) == (6.0, 0.667, REFERENCE.what)
    assert (ours.value, ours.ratio, ours.spread) == (1.0, 4.0, (4.0, 4.0))
    assert ours.remark == f"6.00x (6.00 to 6.00) of {peer.what}"


def test_agreement_is_the_share_of_the_same_captions_and_classes() -> None:
    expected = [Answer("a dog", "dog"), Answer("a cat", "cat")]

    row = agreement_row("peer", [Answer("a dog", "dog"), Answer("a cat runs", "cat")], expected)

    assert (row.value, row.unit, row.runs, dict(row.figures)) == (50.0, "%", 2, {"same first class %": 100.0})


@pytest.mark.slow
def test_our_int8_engine_mostly_captions_drawn_pictures_as_in_float32() -> None:
    rows = {row.what: row for row in agreement(most=2)}

    ours = rows[f"default bundle: {OURS.what}"]
    assert (ours.runs, ours.unit) == (2, "%")
    assert ours.figures["same first class %"] > 0
    assert len(rows) == sum(contender.tolerance is INT8 for contender in CONTENDERS)
