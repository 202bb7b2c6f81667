"""Training encoder, class layers and decoder at once."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from model.bundle import VOCABULARY
from model.config import DecoderConfig, EncoderConfig, SearchConfig
from model.decoder import Decoder
from model.encoder import build_encoder
from model.errors import ConfigError
from model.search import beam_search
from model.tensors import identity_kernel
from model.vocabulary import END_ID, SPECIAL, Vocabulary
from tests.training.toys import Toys
from training.cli import main
from training.data.labelled import UNKNOWN
from training.data.packed import Packed
from training.decoder.dev_scores import KerasSteps
from training.decoder.joint import JointNetwork, RatedAdamW, compile_joint, learning_network, views
from training.decoder.joint_batches import JointBatches
from training.decoder.joint_config import JointConfig
from training.encoder.sources import load_encoder
from training.loop.directory import METRICS
from training.loss import full_softmax_losses, word_mask

ENCODER = EncoderConfig(
    widths=(0.05,) * 5, fc_units=8, classes=6, normalization="unit", input_pooling=7, pooling="average",
    features="average", dropout=0.0,
)  # fmt: skip
DECODER = DecoderConfig(vocabulary_size=9, embedding_units=6, units=7, dropout=0.0, project_features=True)
LONGEST = 4
CONFIG = JointConfig(steps=8, captioned=3, views=5, labelled_share=0.4, label_smoothing=0.1)


@pytest.fixture
def encoder() -> keras.Model:
    keras.utils.set_random_seed(3)
    encoder = build_encoder(ENCODER)
    for name in ("block3_conv4", "block4_conv4", "block5_conv4"):
        layer = encoder.get_layer(name)
        layer.set_weights([identity_kernel(layer.filters), np.zeros(layer.filters)])
    return encoder


@pytest.fixture
def teacher() -> keras.Model:
    """Returns a teacher of 16 pixels that has learned nothing."""
    images = keras.Input((16, 16, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    outputs = {"features": keras.layers.Dense(8)(pooled), "logits": keras.layers.Dense(6)(pooled)}
    network = keras.Model(images, outputs)
    network.trainable = False
    return network


@pytest.fixture
def network(encoder: keras.Model, teacher: keras.Model) -> JointNetwork:
    return JointNetwork(encoder, Decoder(DECODER, ENCODER.feature_units), teacher, CONFIG, np.ones(8, np.float32))


def some_photos(count: int = 12) -> Packed:
    """Returns photos of noise: the first two thirds have captions, every third a class."""
    random = np.random.default_rng(0)
    tokens = random.integers(3, 9, (count, 2, 4), np.int32)
    tokens[:, :, 3] = END_ID
    tokens[::2, 1] = 0
    captioned = np.arange(count) < count * 2 // 3
    tokens[~captioned] = 0
    return Packed(
        names=[f"{index}.jpg" for index in range(count)],
        splits=np.zeros(count, np.int8),
        tokens=tokens,
        weights=captioned.astype(np.float32),
        labels=np.where(np.arange(count) % 3 == 0, np.arange(count) % 6, UNKNOWN).astype(np.int32),
        pixels=random.integers(0, 256, (count, 224, 224, 3), np.uint8),
        vocabulary=Vocabulary([*SPECIAL, *"abcdef"]),
    )


def test_leaving_identities_out_changes_nothing(encoder: keras.Model) -> None:
    images = some_photos(2).pixels
    expected = encoder(images, training=False)
    found = learning_network(encoder, "block3_conv1")(images, training=False)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-7)


def test_layers_in_front_and_identities_in_the_middle_are_frozen(encoder: keras.Model) -> None:
    learning_network(encoder, "block3_conv2")
    learning = {layer.name for layer in encoder.layers if layer.weights and layer.trainable}
    assert learning == {
        *("block3_conv2", "block3_conv3"),
        *(f"block4_conv{index}" for index in (1, 2, 3)),
        *(f"block5_conv{index}" for index in (1, 2, 3, 4)),
        *("fc1", "fc2", "predictions"),
    }


def test_an_unknown_first_layer_is_refused(encoder: keras.Model) -> None:
    with pytest.raises(ConfigError, match=r"first_trained: expected one of block1_conv1.*received 'fc1'"):
        learning_network(encoder, "fc1")


def test_the_loss_of_captions_is_that_of_the_decoders_own_training(network: JointNetwork) -> None:
    inputs, _ = JointBatches(some_photos(), CONFIG, LONGEST).batch(0)
    features = network.encoder(views(inputs), training=False)["features"][: CONFIG.captioned]
    tokens = inputs["tokens"]
    flat = tf.reshape(tokens, (-1, tokens.shape[-1]))
    hidden = network.decoder.hidden(tf.repeat(features, tokens.shape[1], axis=0), flat, training=True)
    losses = full_softmax_losses(
        hidden, flat, network.decoder.output_kernel, network.decoder.output_bias, label_smoothing=CONFIG.label_smoothing
    )
    expected = tf.reduce_sum(losses) / tf.reduce_sum(word_mask(flat))
    found = network(inputs, training=True)["captions"]
    np.testing.assert_allclose(np.mean(found), expected, rtol=1e-5)


def test_unknown_classes_cost_nothing(network: JointNetwork) -> None:
    inputs, _ = JointBatches(some_photos(), CONFIG, LONGEST).batch(0)
    known = inputs["labels"] != UNKNOWN
    assert known.any()
    assert not known.all()
    losses = np.asarray(network(inputs)["labels"])
    logits = network.encoder(views(inputs), training=False)["logits"]
    entropies = -tf.nn.log_softmax(logits).numpy()[np.flatnonzero(known), inputs["labels"][known]]
    assert not losses[~known].any()
    np.testing.assert_allclose(losses.mean(), entropies.mean(), rtol=1e-5)


def test_a_student_that_answers_like_its_teacher_has_no_loss(network: JointNetwork) -> None:
    inputs, _ = JointBatches(some_photos(), CONFIG, LONGEST).batch(0)
    small = keras.ops.image.resize(keras.ops.cast(views(inputs), "float32"), (16, 16), interpolation="bicubic").numpy()
    answers = network.teacher(np.clip(np.rint(small), 0, 255).astype(np.uint8))
    found = network(inputs)
    outputs = network.learner(views(inputs))
    expected = np.mean((outputs["taught"] - answers["features"]) ** 2, axis=-1)
    np.testing.assert_allclose(found["features"], expected, rtol=1e-4)
    assert (np.asarray(found["classes"]) >= 0).all()


def test_training_lowers_the_losses(network: JointNetwork) -> None:
    config = replace(CONFIG, learning_rate=0.01, encoder_learning_rate=0.001)
    compile_joint(network, config)
    inputs, targets = JointBatches(some_photos(), config, LONGEST).batch(0)
    frozen = [value.numpy() for value in (*network.teacher.weights, *network.encoder.get_layer("block2_conv2").weights)]
    before = network.train_on_batch(inputs, targets, return_dict=True)
    for _ in range(6):
        network.reset_metrics()
        after = network.train_on_batch(inputs, targets, return_dict=True)
    assert after["captions_loss"] < before["captions_loss"] - 0.05
    assert after["loss"] < before["loss"]
    kept = (*network.teacher.weights, *network.encoder.get_layer("block2_conv2").weights)
    assert all(np.array_equal(old, new) for old, new in zip(frozen, kept, strict=True))


def test_a_factor_scales_the_steps_of_its_variable() -> None:
    one, two = (keras.Variable([1.0], name=name) for name in ("one", "two"))
    optimizer = RatedAdamW({one.path: 0.1}, learning_rate=0.5, weight_decay=0.0)
    optimizer.apply([tf.constant([1.0])] * 2, [one, two])
    np.testing.assert_allclose([1 - one.numpy()[0], 1 - two.numpy()[0]], [0.05, 0.5], rtol=1e-3)


def test_a_batch_is_a_function_of_its_number() -> None:
    data = some_photos()
    one, two = (JointBatches(data, CONFIG, LONGEST) for _ in range(2))
    one.batch(0)
    for name, values in one.batch(5)[0].items():
        assert np.array_equal(values, two.batch(5)[0][name])
    assert not np.array_equal(one.batch(4)[0]["photos"], one.batch(5)[0]["photos"])


def test_every_captioned_photo_comes_once_before_any_again() -> None:
    data = some_photos()
    batches = JointBatches(data, replace(CONFIG, captioned=4, views=1), LONGEST)
    seen = [tuple(tokens.ravel()) for step in range(2) for tokens in batches.batch(step)[0]["tokens"]]
    assert sorted(seen) == sorted(tuple(data.tokens[row].ravel()) for row in data.rows("train", captioned=True))


def test_padded_steps_find_what_others_find() -> None:
    keras.utils.set_random_seed(4)
    decoder = Decoder(DECODER, 5)
    features = np.random.default_rng(1).random((3, 5), np.float32)
    search = SearchConfig(beam_size=1, max_words=6)
    steps = KerasSteps(decoder)
    together = beam_search(steps.start(features), steps.step, search, end_id=END_ID)
    alone = [beam_search(steps.start(row[None]), steps.step, search, end_id=END_ID)[0] for row in features]
    assert [best[0].tokens for best in together] == [best[0].tokens for best in alone]


@pytest.mark.slow
def test_the_commands_train_all_and_go_on_after_a_stop(toys: Toys, drawn: Path, lite2: Path, tmp_path: Path) -> None:
    def call(*words: object) -> str:
        result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    packed, out, bundle = (tmp_path / name for name in ("packed", "joint", "bundle"))
    call("pack", "--records", toys.records, "--photos", drawn, "--out", packed)
    words = ["joint", "--packed", packed, "--encoder", toys.encoder, "--captioner", toys.captioner, "--teacher", lite2]
    words += ["--captioned", 3, "--views", 2, "--out", out]
    call(*words, "--steps", 2, "--compare-steps", 1)
    changed = np.abs(
        load_encoder(out).network.get_layer("block5_conv1").get_weights()[0]
        - load_encoder(toys.encoder).network.get_layer("block5_conv1").get_weights()[0]
    )
    assert changed.max() > 0
    result = CliRunner().invoke(main, [str(word) for word in (*words, "--steps", 3)])
    assert result.exit_code == 1
    assert "differs in joint" in result.output
    rewarded = tmp_path / "rewarded"
    few = ("--packed", packed, "--teacher", lite2, "--captioned", 3, "--views", 2, "--steps", 1, "--compare-steps", 1)
    call("joint", *few, "--encoder", out, "--captioner", out, "--samples", 2, "--out", rewarded)
    assert "reward" in json.loads((rewarded / METRICS).read_text().splitlines()[0])
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({str(label): [f"n{label:08}", f"class {label}"] for label in range(1000)}))
    data = ("--records", toys.records, "--encoder", rewarded, "--captioner", rewarded, "--classes", classes)
    call("export", *data, "--name", "joint", "--out", bundle)
    known = Vocabulary.load(packed / VOCABULARY).words
    Vocabulary([*known[:-1], "zebra"]).save(packed / VOCABULARY)
    told = call("joint", *few, "--encoder", bundle, "--captioner", bundle, "--out", tmp_path / "further")
    assert f"{len(known) - len(SPECIAL) - 1} words are known from {bundle}, 1 are new" in told
    assert Vocabulary.load(tmp_path / "further" / VOCABULARY).words[-1] == "zebra"
