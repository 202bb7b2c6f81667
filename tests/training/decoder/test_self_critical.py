"""Self-critical training: the reward against pycocoevalcap, drawn captions, and a decoder that earns more."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from pycocoevalcap.cider.cider import Cider

from model.bundle import save_bundle
from model.config import DecoderConfig, EncoderConfig
from model.decoder import Decoder
from model.errors import ConfigError, DataError
from model.presets import small
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID, Vocabulary
from tests.training.stages import CLASSES, RUN, Stages, one_device, read_folder, train_stages
from training.config import (
    CaptionerTrainingConfig,
    DeviceConfig,
    OptimizerConfig,
    SelfCriticalConfig,
)
from training.data.pipeline import whole
from training.data.records import VOCABULARY, write_records
from training.decoder.consensus import Consensus
from training.decoder.features import load_features
from training.decoder.self_critical import SelfCriticalTask, sample
from training.decoder.tasks import DecoderTask
from training.loop.directory import METRICS
from training.loop.replicas import Replicas
from training.loop.run import train_task
from training.loss import full_softmax_losses
from training.shipping.convert import convert
from training.shipping.export import assemble

ENCODER = EncoderConfig(
    widths=(0.05,) * 5, fc_units=24, normalization="unit", input_pooling=7, batch_norm=True, pooling="average"
)
CONFIG = SelfCriticalConfig(
    epochs=6, batch_size=8, samples=4, optimizer=OptimizerConfig(learning_rate=5e-3, weight_decay=0.0)
)


def sentences(random: np.random.Generator, count: int) -> list[str]:
    words = ("a", "dog", "runs", "on", "grass", "the", "man", "jumps")
    return [" ".join(random.choice(words, random.integers(1, 14))) for _ in range(count)]


def test_the_reward_is_the_cider_of_pycocoevalcap() -> None:
    random = np.random.default_rng(3)
    references = {image: sentences(random, 5) for image in range(12)}
    captions = {image: sentences(random, 1) for image in range(12)}
    captions[0] = [references[0][2]]
    captions[1] = ["zebra"]
    _, expected = Cider().compute_score(references, captions)
    consensus = Consensus([[text.split() for text in texts] for texts in references.values()])
    found = [consensus.score(image, captions[image][0].split()) for image in range(12)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found[1] == 0 < found[0]


@pytest.mark.parametrize(
    ("image", "caption", "share"),
    [
        (0, "a wet dog", 0),
        (0, "a cat and dog", 0.5),
        (1, "dog dog", 1),
        (1, "the dog and a cat", 0.6),
        (1, "", 0),
        (0, "a dog and a dog", 0.6),
        (0, "the dog the", 0),
        (0, "the the the dog", 0.25),
    ],
)
def test_words_that_no_reference_says_so_often_cost_their_share(image: int, caption: str, share: float) -> None:
    consensus = Consensus([[["a", "dog"], ["the", "wet", "dog"], ["the", "dog", "the"]], [["a", "cat"]]])
    words = caption.split()
    assert consensus.reward(image, words) == consensus.score(image, words)
    assert consensus.score(image, words) - consensus.reward(image, words, 2.0) == pytest.approx(2 * share)


def test_nothing_said_earns_nothing() -> None:
    assert Consensus([[["a", "dog"]], [["a", "cat"]]]).score(0, []) == 0


def test_captions_are_drawn_by_their_probability_and_end_in_padding() -> None:
    keras.utils.set_random_seed(2)
    decoder = Decoder(DecoderConfig(vocabulary_size=6, embedding_units=5, units=7), 4)
    features = tf.repeat(tf.random.stateless_normal((1, 4), [1, 2]), 4000, axis=0)
    tokens = sample(decoder, features, 5, tf.constant([3, 4], tf.int64)).numpy()
    np.testing.assert_array_equal(tokens, sample(decoder, features, 5, tf.constant([3, 4], tf.int64)).numpy())
    allowed = [END_ID, 3, 4, 5]
    logits = decoder.start(features[:1])[0].numpy()[0, allowed]
    shares = [np.mean(tokens[:, 0] == word) for word in allowed]
    np.testing.assert_allclose(shares, np.exp(logits) / np.exp(logits).sum(), atol=0.03)
    assert not np.isin(tokens, [UNKNOWN_ID]).any()
    for row in tokens:
        ends = np.flatnonzero(row == END_ID)
        words = ends[0] + 1 if len(ends) else len(row)
        assert (row[:words] != PAD_ID).all()
        assert (row[words:] == PAD_ID).all()


@pytest.fixture(scope="module")
def runs(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Returns records of drawn photos, an encoder of their colours, and a decoder that is not done yet."""
    training = CaptionerTrainingConfig(epochs=4, batch_size=16, optimizer=OptimizerConfig(learning_rate=0.01))
    return train_stages(tmp_path_factory.mktemp("runs"), drawn, ENCODER, 3, training)


def test_the_reward_rises_and_the_decoder_is_exported(runs: Stages, tmp_path: Path) -> None:
    task = SelfCriticalTask(runs.encoder, runs.captioner, runs.records, CONFIG, one_device())
    assert train_task(tmp_path / "run", task, RUN)
    lines = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    rewards = [line["reward"] for line in lines if "reward" in line]
    per_epoch = task.spec.steps_per_epoch
    assert len(rewards) == CONFIG.epochs * per_epoch
    assert np.mean(rewards[-2 * per_epoch :]) > np.mean(rewards[: 2 * per_epoch])
    bundle = assemble(runs.encoder, tmp_path / "run", runs.records, CLASSES)
    assert bundle.config.decoder.units == 24


def test_a_bundle_is_trained_further(runs: Stages, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    bundle = assemble(runs.encoder, runs.captioner, runs.records, CLASSES)
    save_bundle(path, bundle, convert(bundle).files)
    task = SelfCriticalTask(path, path, runs.records, replace(CONFIG, epochs=1), one_device())
    photos = task.train.features[:, 0]
    np.testing.assert_allclose(photos, load_features(runs.encoder, runs.records, "train").features[:, 0], atol=0.1)
    assert train_task(tmp_path / "run", task, RUN)
    further = assemble(path, tmp_path / "run", runs.records, CLASSES)
    for name, value in bundle.weights.items():
        same = np.array_equal(further.weights[name], value)
        assert same == name.startswith("encoder/") or not value.any(), name


def test_an_empty_part_of_a_batch_adds_nothing(runs: Stages) -> None:
    task = SelfCriticalTask(runs.encoder, runs.captioner, runs.records, CONFIG, one_device())
    batch = (tf.zeros((0, ENCODER.fc_units)), tf.constant([], tf.int64), tf.zeros(0), tf.zeros((0, 5), tf.int32))
    sums = task.loss(batch, tf.constant(3, tf.int64))
    assert [float(value) for value in (sums.loss, sums.weight, sums.figures["reward"])] == [0, 0, 0]


def test_a_photo_comes_with_one_of_its_own_captions_and_their_cross_entropy_is_added(runs: Stages) -> None:
    mixed = replace(CONFIG, cross_entropy=0.5)
    tasks = [SelfCriticalTask(runs.encoder, runs.captioner, runs.records, c, one_device()) for c in (CONFIG, mixed)]
    batch = next(iter(tasks[0].epoch_batches(2, 0, whole)))
    features, rows, _, tokens = batch
    for row, ids in zip(rows.numpy(), tokens.numpy(), strict=True):
        own = [tasks[0].train.captions[index] for index in np.flatnonzero(tasks[0].train.rows == row)]
        assert [int(token) for token in ids if token] in own
    plain, added = (task.loss(batch, tf.constant(3, tf.int64)) for task in tasks)
    decoder = tasks[1].decoder
    true = full_softmax_losses(decoder.hidden(features, tokens), tokens, decoder.output_kernel, decoder.output_bias)
    assert float(added.loss - plain.loss) == pytest.approx(0.5 * CONFIG.samples * float(tf.reduce_sum(true)), rel=1e-3)
    assert float(added.weight) == float(plain.weight)
    with pytest.raises(ConfigError, match="cross_entropy: expected at least 0, received -1"):
        replace(CONFIG, cross_entropy=-1)


def test_photos_weigh_what_their_source_does_and_those_of_weight_0_never_come(
    runs: Stages, drawn: Path, tmp_path: Path
) -> None:
    images = read_folder(drawn, dev_fraction=0.3)
    images = [replace(image, name=f"{'ab'[index % 2]}:{image.name}") for index, image in enumerate(images)]
    records = tmp_path / "records"
    write_records(records, images, Vocabulary.load(runs.records / VOCABULARY), weights={"a": 2.0, "b": 1.0})
    decoder = DecoderTask(runs.encoder, records, small(), CaptionerTrainingConfig(epochs=1), one_device())
    assert train_task(tmp_path / "captioner", decoder, RUN)
    found = []
    for weights in ({"b": 0.0}, {"b": 0.0, "a": 1.0}):
        config = replace(CONFIG, batch_size=100, cross_entropy=0.5, source_weights=weights)
        task = SelfCriticalTask(runs.encoder, tmp_path / "captioner", records, config, one_device())
        assert task.spec.steps_per_epoch == 1
        batch = next(iter(task.epoch_batches(1, 0, whole)))
        names = sorted(task.train.names[row] for row in batch[1].numpy())
        assert names == sorted(image.name for image in images if image.split == "train" and image.name[0] == "a")
        found.append(task.loss(batch, tf.constant(3, tf.int64)))
    assert float(found[0].loss) == pytest.approx(2 * float(found[1].loss), rel=1e-4)
    assert float(found[0].weight) == 2 * float(found[1].weight)


def test_xla_is_refused(runs: Stages) -> None:
    replicas = Replicas(tf.distribute.get_strategy(), 1, 1, config=DeviceConfig(xla=True))
    with pytest.raises(ConfigError, match=r"^xla: expected to be off"):
        SelfCriticalTask(runs.encoder, runs.captioner, runs.records, CONFIG, replicas)


def test_a_decoder_of_other_records_is_refused(runs: Stages, drawn: Path, tmp_path: Path) -> None:
    images = read_folder(drawn, dev_fraction=0.3)
    write_records(tmp_path / "records", images, Vocabulary.build(["a red thing"]))
    with pytest.raises(DataError, match="expected the vocabulary of"):
        SelfCriticalTask(runs.encoder, runs.captioner, tmp_path / "records", CONFIG, one_device())


def test_one_sample_has_nothing_to_be_compared_with() -> None:
    with pytest.raises(ConfigError, match=r"^samples: expected at least 2, received 1"):
        SelfCriticalConfig(samples=1)
