"""The calibration error and the temperature: on numbers whose truth is known, and on a tiny captioner."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from model.bundle import Bundle, load_bundle, save_bundle
from model.calibration import calibrated
from model.decoder import Decoder
from model.encoder import build_encoder
from model.image import read_image
from model.vocabulary import Vocabulary
from model.weights import assign_weights
from tests.training.stages import read_folder
from training.commands.calibrate import calibrate
from training.data.records import write_records
from training.scoring.confidence import Confidence, expected_calibration_error, fit_temperature, measure_confidence


def drawn_words(temperature: float, count: int = 40_000, seed: int = 1) -> Confidence:
    """Draws words of a captioner whose log-odds are too large by a factor."""
    random = np.random.default_rng(seed)
    true = 1 / (1 + np.exp(-random.normal(0, 1.5, count)))
    logs = np.array([calibrated(math.log(value), 1 / temperature) for value in true])
    return Confidence(logs, (random.random(count) < true).astype(float))


def test_a_captioner_that_is_right_as_often_as_it_says_has_no_error() -> None:
    found = drawn_words(1.0)
    assert found.error < 0.01
    assert fit_temperature(found) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("temperature", [0.5, 1.7, 4.0])
def test_the_temperature_that_was_lost_is_found_again(temperature: float) -> None:
    found = drawn_words(temperature)
    best = fit_temperature(found)
    assert best == pytest.approx(temperature, rel=0.03)
    assert found.at(best).error < 0.01 < found.error


def test_the_error_is_that_of_a_slow_computation() -> None:
    random = np.random.default_rng(2)
    probabilities = np.concatenate([random.random(500), [0.0, 1.0]])
    right = (random.random(502) < 0.5).astype(float)
    expected = 0.0
    for index in range(15):
        inside = [k for k, p in enumerate(probabilities) if min(int(p * 15), 14) == index]
        if inside:
            expected += len(inside) / 502 * abs(right[inside].mean() - probabilities[inside].mean())
    assert expected_calibration_error(probabilities, right) == pytest.approx(expected)


def test_always_sure_and_half_right_is_half_wrong() -> None:
    assert expected_calibration_error(np.ones(10), np.array([0.0, 1.0] * 5)) == pytest.approx(0.5)


def test_a_certain_word_that_is_wrong_leaves_a_number() -> None:
    found = Confidence(np.array([0.0, 0.0, -0.1]), np.array([1.0, 0.0, 1.0]))
    assert 1 < fit_temperature(found) <= 20


@pytest.fixture(scope="module")
def records(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns records of the drawn photos."""
    path = tmp_path_factory.mktemp("confidence") / "records"
    vocabulary = Vocabulary.build(["a red square"])
    assert write_records(path, read_folder(drawn, dev_fraction=0.3), vocabulary, max_words=6)
    return path


def test_words_are_the_best_ones_after_the_true_ones(toy: Bundle, drawn: Path, records: Path) -> None:
    config = toy.config
    encoder = build_encoder(config.encoder)
    decoder = Decoder(config.decoder, config.encoder.feature_units)
    assign_weights(encoder, toy.weights, "encoder")
    assign_weights(decoder, toy.weights, "decoder")
    expected = []
    for image in (image for image in read_folder(drawn, dev_fraction=0.3) if image.split == "dev"):
        features = encoder(read_image(image.path.read_bytes()).pixels[None], training=False)["features"]
        for caption in image.captions:
            logits, state = decoder.start(features)
            for token in toy.vocabulary.encode(caption):
                scores = np.asarray(logits, np.float64)[0]
                logs = scores - math.log(np.exp(scores).sum())
                logs[[0, 2]] = -np.inf
                expected.append((float(logs.max()), float(logs.argmax() == token)))
                logits, state = decoder.step(np.array([token]), state)
    words = measure_confidence(toy, records, "dev", batch_size=3).words
    order = np.lexsort((words.right, words.log_probs))
    np.testing.assert_allclose(words.log_probs[order], sorted(log for log, _ in expected), atol=1e-4)
    assert words.right.sum() == sum(right for _, right in expected)


def test_the_command_writes_a_bundle_with_one_number_more(toy: Bundle, records: Path, tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", toy)
    before = {file.name: file.read_bytes() for file in (tmp_path / "bundle").iterdir()}
    arguments = [str(tmp_path / "bundle"), "--records", str(records)]
    told = CliRunner().invoke(calibrate, arguments)
    assert told.exit_code == 0, told.output
    assert {file.name: file.read_bytes() for file in (tmp_path / "bundle").iterdir()} == before
    rows = [line.split("%")[0].strip() for line in told.output.splitlines() if line.startswith("ECE")]
    assert rows == ["ECE of words,", "ECE of sentences,"]
    done = CliRunner().invoke(calibrate, [*arguments, "--out", str(tmp_path / "bundle")])
    assert done.exit_code == 0, done.output
    written = load_bundle(tmp_path / "bundle").config
    assert written.confidence_temperature != 1
    assert written.provenance["calibration"]["split"] == "dev"
    assert replace(written, confidence_temperature=1.0, provenance=toy.config.provenance) == toy.config
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    refused = CliRunner().invoke(calibrate, [*arguments, "--out", str(tmp_path / "other")])
    assert refused.exit_code == 1
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"
    after = {file.name: file.read_bytes() for file in (tmp_path / "bundle").iterdir()}
    assert {name for name, content in after.items() if content != before[name]} == {"config.json", "manifest.json"}


def test_a_calibrated_bundle_is_measured_as_one(toy: Bundle, records: Path) -> None:
    best = measure_confidence(toy, records, "dev").temperature
    warm = replace(toy, config=replace(toy.config, confidence_temperature=best))
    again = measure_confidence(warm, records, "dev")
    assert again.temperature == pytest.approx(best)
    assert list(again.sentences) == [1.0, pytest.approx(best)]
