import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from click.testing import CliRunner

from model.atomic import atomic_file
from model.bundle import Bundle
from model.captioner import Captioner
from model.decoder import Decoder
from model.encoder import build_encoder
from model.errors import DataError, SearchOptionError
from model.image import read_image
from model.options import SearchOptions
from model.vocabulary import UNKNOWN_ID, Vocabulary, tokenize
from model.weights import assign_weights, bundle_weights
from tests.training.stages import read_folder, replicas_of
from training.commands.score import evaluate as command
from training.commands.score_files import score
from training.config import CaptionerTrainingConfig
from training.data.records import write_records
from training.decoder.earlier import plain_decoder
from training.decoder.tasks import DecoderTask
from training.scoring.evaluate import evaluate, evaluate_bundle
from training.scoring.files import read_captions
from training.scoring.word_loss import WordLoss

OTHER_WORDS = ["here there is a square", "red"]
"""Captions whose vocabulary is not the toy bundle's: its ids mean nothing to the bundle."""


@pytest.fixture(autouse=True)
def without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hides Java: METEOR takes seconds to start, and has tests of its own."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="module")
def records(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns records of the drawn photos."""
    path = tmp_path_factory.mktemp("evaluate") / "records"
    assert write_records(path, read_folder(drawn, dev_fraction=0.3), Vocabulary.build(OTHER_WORDS), max_words=6)
    return path


def slow_losses(bundle: Bundle, photo: Path, captions: tuple[str, ...], max_words: int | None = None) -> list[float]:
    """Computes the loss of every word of a photo's captions one step at a time, the softmax in NumPy."""
    config = bundle.config
    encoder = build_encoder(config.encoder)
    decoder = Decoder(config.decoder, config.encoder.feature_units)
    assign_weights(encoder, bundle.weights, "encoder")
    assign_weights(decoder, bundle.weights, "decoder")
    features = encoder(read_image(photo.read_bytes()).pixels[None], training=False)["features"]
    losses = []
    for caption in captions:
        logits, state = decoder.start(features)
        for token in bundle.vocabulary.encode(caption, max_words=max_words):
            scores = np.asarray(logits, np.float64)[0]
            losses.append(math.log(np.exp(scores).sum()) - scores[token])
            logits, state = decoder.step(np.array([token]), state)
    return losses


def test_loss_and_perplexity_are_those_of_a_slow_computation(toy: Bundle, drawn: Path, records: Path) -> None:
    dev = [image for image in read_folder(drawn, dev_fraction=0.3) if image.split == "dev"]
    # A batch of 3 leaves a smaller last one, whose words must not count for more.
    loss = evaluate_bundle(toy, records, "dev", batch_size=3).loss
    expected = [value for image in dev for value in slow_losses(toy, image.path, image.captions)]
    assert loss is not None
    assert loss.words == len(expected)
    assert loss.nats == pytest.approx(np.mean(expected), rel=1e-5)
    assert loss.perplexity == pytest.approx(math.exp(np.mean(expected)), rel=1e-4)
    ids = [token for image in dev for text in image.captions for token in toy.vocabulary.encode(text)]
    assert loss.unknown == ids.count(UNKNOWN_ID) > 0


def test_captions_are_cut_for_the_loss_where_they_were_for_training(toy: Bundle, drawn: Path, tmp_path: Path) -> None:
    images = read_folder(drawn, dev_fraction=0.3)
    records = tmp_path / "records"
    assert write_records(records, images, Vocabulary.build(OTHER_WORDS), max_words=3)
    evaluation = evaluate_bundle(toy, records, "dev")
    loss = evaluation.loss
    dev = [image for image in images if image.split == "dev"]
    expected = [value for image in dev for value in slow_losses(toy, image.path, image.captions, 3)]
    cut = sum(len(tokenize(text)) > 3 for image in dev for text in image.captions)
    assert loss is not None
    assert (loss.words, loss.max_words, loss.cut) == (len(expected), 3, cut)
    assert loss.nats == pytest.approx(np.mean(expected), rel=1e-5)
    assert 0 < cut < sum(len(image.captions) for image in dev)
    assert any(note.endswith(f"; {cut} captions cut after 3 words, as in training") for note in evaluation.notes())


def test_the_loss_is_the_one_that_training_tells(toy: Bundle, toy_bundle: Path, drawn: Path, tmp_path: Path) -> None:
    records = tmp_path / "records"
    assert write_records(records, read_folder(drawn, dev_fraction=0.3), toy.vocabulary, max_words=3)
    task = DecoderTask(toy_bundle, records, toy.config, CaptionerTrainingConfig(), replicas_of(1))
    decoder = plain_decoder(task.decoder, toy.config.encoder.feature_units)
    bundle = replace(toy, weights=bundle_weights(task.encoder, decoder, np.float32))
    loss = evaluate_bundle(bundle, records, "dev").loss
    assert loss is not None
    assert task.evaluate()["loss"] == pytest.approx(loss.nats, rel=1e-4)


def test_untrained_weights_are_about_as_perplexed_as_there_are_words(toy: Bundle, records: Path) -> None:
    loss = evaluate_bundle(toy, records, "dev").loss
    assert loss is not None
    assert loss.perplexity == pytest.approx(len(toy.vocabulary), rel=0.5)


def test_a_hopeless_loss_has_no_finite_perplexity() -> None:
    assert WordLoss(1e6, 1, 0).perplexity == math.inf


def test_beams_of_one_pass_agree_with_separate_runs(toy: Bundle, records: Path) -> None:
    together = evaluate_bundle(toy, records, "dev", beam_sizes=(3, 1, 5, 3), batch_size=4)
    assert list(together.beams) == [3, 1, 5]
    assert together.scores == together.beams[3].scores
    captioner = Captioner.of(toy)
    for size, result in together.beams.items():
        alone = evaluate(captioner, records, "dev", beam_size=size, batch_size=4)
        assert alone.beams[size] == result
        assert alone.references == together.references
        assert alone.loss is None


def test_photos_of_test_are_scored_where_they_are_asked_for_and_never_among_others(
    toy_bundle: Path, drawn: Path, tmp_path: Path
) -> None:
    splits = {"photo-00.jpg": "test", "photo-01.jpg": "test", "photo-02.jpg": "dev"}
    images = [replace(image, split=splits.get(image.name, "train")) for image in read_folder(drawn, dev_fraction=0)]
    write_records(tmp_path / "records", images, Vocabulary.build(OTHER_WORDS), max_words=6)
    for split, names in (("test", {"photo-00.jpg", "photo-01.jpg"}), ("dev", {"photo-02.jpg"})):
        out = tmp_path / f"{split}.json"
        words = [toy_bundle, "--records", tmp_path / "records", "--split", split, "--beam-size", 1, "--out", out]
        result = CliRunner().invoke(command, list(map(str, words)))
        assert result.exit_code == 0, result.output
        assert json.loads(out.read_text())["beams"]["1"]["captions"].keys() == names
    assert (tmp_path / "records" / "dev.txt").read_text().split() == sorted(splits)


def test_without_a_beam_size_the_bundles_own_is_taken(toy: Bundle, records: Path) -> None:
    assert list(evaluate_bundle(toy, records, "dev").beams) == [toy.config.search.beam_size]
    assert list(evaluate(Captioner.of(toy), records, "dev").beams) == [toy.config.search.beam_size]


def test_the_command_prints_one_aligned_table_and_writes_the_scores(
    toy_bundle: Path, records: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    arguments = [str(toy_bundle), "--records", str(records), "--beam-size", "1", "--beam-size", "3"]
    result = CliRunner().invoke(command, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    table = lines[: next(index for index, line in enumerate(lines) if line.startswith("perplexity")) + 1]
    assert lines[0].split() == ["beam", "1", "beam", "3"]
    assert len({len(line) for line in table}) == 1
    assert [line.split("  ")[0] for line in table[1:5]] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]
    assert next(line for line in table if line.startswith("METEOR")).split() == ["METEOR", "-", "-"]
    assert any(line.startswith("METEOR left out: expected the program java, found none") for line in lines)
    written = json.loads(out.read_text())
    assert list(written["beams"]) == ["1", "3"]
    assert f"{written['beams']['3']['scores']['BLEU-1']:.2f}" == table[1].split()[2]
    assert f"{written['perplexity']:.2f}" == table[-1].split()[1]
    assert written["perplexity"] == pytest.approx(math.exp(written["loss"]))
    assert written["tokenizer"] == "showtell"
    assert len(written["beams"]["1"]["captions"]) == len(written["beams"]["3"]["captions"])


def test_options_of_the_search_are_those_of_every_beam_and_are_told(toy: Bundle, records: Path) -> None:
    options = SearchOptions(min_words=4, max_words=5)
    found = evaluate_bundle(toy, records, "dev", beam_sizes=(1, 2), options=options)
    lengths = [len(caption.words) for beam in found.beams.values() for caption in beam.captions.values()]
    assert set(lengths) <= {4, 5}
    assert "search: min_words 4, max_words 5" in found.notes()
    assert found.to_json()["options"] == {"min_words": 4, "max_words": 5}
    drawn = [evaluate_bundle(toy, records, "dev", options=SearchOptions(sample=True, seed=2)) for _ in range(2)]
    assert drawn[0].beams == drawn[1].beams
    with pytest.raises(SearchOptionError, match="none with sample"):
        evaluate_bundle(toy, records, "dev", beam_sizes=(2,), options=SearchOptions(sample=True))


def test_the_command_writes_files_that_score_reads(toy_bundle: Path, records: Path, tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    arguments = [str(toy_bundle), "--records", str(records), "--captions", str(path)]
    beams = ["--beam-size", "1", "--beam-size", "3", "--no-repeat-ngram", "1"]
    first, second = (tmp_path / f"captions.beam{size}.json" for size in (1, 3))
    result = CliRunner().invoke(command, [*arguments, *beams])
    assert result.exit_code == 0, result.output
    assert f"{first}: {len(read_captions(first))} captions" in result.stdout
    done = CliRunner().invoke(score, [str(first), str(second), "--references", str(records), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert list(told["files"]) == [str(first), str(second)]
    assert told["images"] == len(read_captions(first))
    assert told["files"][str(first)]["% with a 1-gram twice"] == 0


def test_cider_is_told_for_what_photos_show(toy: Bundle, records: Path) -> None:
    found = evaluate(Captioner.of(toy), records, "dev")
    shown = {name: ["a dog"] if index % 2 else ["a pizza", "a bus"] for index, name in enumerate(found.references)}
    table = found._replace(references=shown).topic_table()
    assert [name.split(" (")[0] for name, _ in table] == ["CIDEr, animals", "CIDEr, food", "CIDEr, vehicles"]
    ciders = [found.beams[toy.config.search.beam_size].ciders[name] for name in shown]
    assert table[0][1] == f"{fmean(ciders[1::2]):.2f}"
    assert table[1][1] == table[2][1] == f"{fmean(ciders[::2]):.2f}"


def test_the_command_reports_missing_records_in_one_line(toy_bundle: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(toy_bundle), "--records", str(tmp_path)])
    assert result.exit_code == 1
    assert "expected finished records" in result.stderr


def test_a_split_without_photos_is_refused(toy: Bundle, records: Path, tmp_path: Path) -> None:
    with atomic_file(tmp_path / "index.json") as file:
        index = json.loads((records / "index.json").read_text())
        index["shards"] = [shard for shard in index["shards"] if shard["name"].startswith("train-")]
        file.write_text(json.dumps(index))
    for shard in index["shards"]:
        (tmp_path / shard["name"]).write_bytes((records / shard["name"]).read_bytes())
    with pytest.raises(DataError, match="split dev"):
        evaluate_bundle(toy, tmp_path, "dev")
