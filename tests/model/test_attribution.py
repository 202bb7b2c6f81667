"""Maps of words and classes: what they are, held to TensorFlow's gradient, and what they depend on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from model.attribution import Attribution, last_map_shape, max_pooled
from model.bundle import DEFAULT_BUNDLE, LITE_ENCODER, Bundle, BundleInfo, load_bundle, save_bundle
from model.captioner import Captioner
from model.decoder import Decoder
from model.encoder import build_encoder
from model.engines.lite import LiteEngine
from model.engines.tensorflow import TensorFlowEngine
from model.errors import BundleReplacedError
from model.weights import assign_weights, bundle_weights
from training.shipping.convert import convert

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

CAPTION = [3, 9, 4, 12, 4]
CLASSES = [0, 7, 3]

FEATURES = ("fc2", "average", "average_max", "grid", "average_fc2")
POOLINGS = ("flatten", "average")
DECODERS: tuple[dict[str, Any], ...] = (
    {},
    {"image_every_step": True},
    {"layers": 3, "residual": True},
    {"tied_embeddings": True},
    {"layers": 2, "image_every_step": True, "residual": True, "tied_embeddings": True},
)


def bundle_of(toy: Bundle, encoder: dict[str, Any], decoder: dict[str, Any], seed: int = 5) -> Bundle:
    """Returns a toy with another architecture, whose weights are far from zero."""
    config = replace(toy.config, encoder=replace(toy.config.encoder, **{"input_pooling": 1, **encoder}))
    config = replace(config, decoder=replace(config.decoder, **decoder))
    networks = build_encoder(config.encoder), Decoder(config.decoder, config.encoder.feature_units)
    random = np.random.default_rng(seed)
    for variable in (variable for network in networks for variable in network.trainable_variables):
        scale = 1.5 / np.sqrt(np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 0.1
        variable.assign(random.normal(0, scale, variable.shape))
    return replace(toy, config=config, weights=bundle_weights(*networks, np.float32))


def shared(maps: Floats) -> Floats:
    """Lets each place of maps share with its neighbours, place by place; an odd last row and column have no part."""
    found = np.zeros_like(maps)
    height, width = (side // 2 * 2 for side in maps.shape[1:])
    for row, column in np.ndindex(height, width):
        rows = slice(max(row - 1, 0), min(row + 2, height))
        columns = slice(max(column - 1, 0), min(column + 2, width))
        found[:, rows, columns] += maps[:, row : row + 1, column : column + 1] / found[0, rows, columns].size
    return found


def by_tensorflow(bundle: Bundle, image: Images) -> tuple[Floats, Floats, Floats]:
    """Returns the last map, and the maps of the words and of the classes by TensorFlow's own gradients, shared out."""
    encoder = build_encoder(bundle.config.encoder)
    decoder = Decoder(bundle.config.decoder, bundle.config.encoder.feature_units)
    assign_weights(encoder, bundle.weights, "encoder")
    assign_weights(decoder, bundle.weights, "decoder")
    last = encoder.get_layer("block5_pool").input
    last_map = tf.convert_to_tensor(keras.Model(encoder.input, last)(image[None]))
    behind = keras.Model(last, encoder.output)
    found = []
    for kind in ("words", "classes"):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(last_map)
            outputs = behind(last_map)
            if kind == "words":
                logits = decoder(outputs["features"], tf.constant([CAPTION]))[0]
                chosen = tf.gather(tf.nn.log_softmax(logits), CAPTION, axis=1, batch_dims=1)
            else:
                chosen = tf.gather(tf.nn.log_softmax(outputs["logits"])[0], CLASSES)
        gradients = tape.jacobian(chosen, last_map, experimental_use_pfor=False)[:, 0]  # (N, H, W, C)
        found.append(shared((gradients * last_map).numpy().sum(axis=-1)))
    return last_map[0].numpy(), found[0], found[1]


def assert_close(found: Floats, expected: Floats) -> None:
    # Where channels cancel, rounding remains: of the largest place, not of this one.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected).max() > 0


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda options: "-".join(options) or "plain")
def test_the_maps_of_words_are_those_of_tensorflow_whatever_the_decoder(
    toy: Bundle, images: Images, decoder: dict[str, Any]
) -> None:
    bundle = bundle_of(toy, {"features": "average"}, decoder)
    last_map, words, _ = by_tensorflow(bundle, images[1])
    assert_close(Attribution(bundle.config, bundle.weights).words(last_map, [CAPTION])[0], words)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("features", FEATURES)
def test_the_maps_are_those_of_tensorflow_whatever_the_feature(
    toy: Bundle, images: Images, features: Any, pooling: Any
) -> None:
    bundle = bundle_of(toy, {"features": features, "pooling": pooling}, {"image_every_step": True})
    last_map, words, classes = by_tensorflow(bundle, images[2])
    attribution = Attribution(bundle.config, bundle.weights)
    assert last_map.shape == last_map_shape(bundle.config.encoder, 224)
    assert_close(attribution.words(last_map, [CAPTION])[0], words)
    assert_close(attribution.classes(last_map, CLASSES), classes)


@pytest.mark.parametrize("input_pooling", [2, 4])
def test_a_last_map_with_an_odd_side_has_no_say_in_its_last_row(
    toy: Bundle, images: Images, input_pooling: int
) -> None:
    bundle = bundle_of(toy, {"features": "average", "input_pooling": input_pooling}, {})
    last_map, words, _ = by_tensorflow(bundle, images[0])
    found = Attribution(bundle.config, bundle.weights).words(last_map, [CAPTION])[0]
    assert_close(found, words)
    assert found.shape[1] % 2 == 1
    assert not found[:, -1].any()
    assert not found[:, :, -1].any()


def test_a_map_adds_up_to_the_first_order_effect_of_the_whole_photo(toy: Bundle, images: Images) -> None:
    bundle = bundle_of(toy, {"features": "average"}, {})
    last_map, _, _ = by_tensorflow(bundle, images[0])
    attribution = Attribution(bundle.config, bundle.weights)
    features = max_pooled(last_map).mean(axis=(0, 1))
    nudge = np.float32(0.02)
    more, less = (attribution.log_probs(features[None] * factor, CAPTION)[0] for factor in (1 + nudge, 1 - nudge))
    sums = attribution.words(last_map, [CAPTION])[0].sum(axis=(1, 2))
    np.testing.assert_allclose(sums, (more - less) / (2 * nudge), atol=0.01 * np.abs(sums).max())


def test_a_word_depends_on_the_words_before_it_alone(toy: Bundle, images: Images) -> None:
    bundle = bundle_of(toy, {"features": "average"}, {"layers": 2})
    last_map, _, _ = by_tensorflow(bundle, images[0])
    attribution = Attribution(bundle.config, bundle.weights)
    whole = attribution.words(last_map, [CAPTION])[0]
    np.testing.assert_allclose(attribution.words(last_map, [CAPTION[:2]])[0], whole[:2], rtol=1e-4, atol=1e-7)
    assert not np.allclose(attribution.words(last_map, [[5, *CAPTION[1:]]])[0][1], whole[1], rtol=0.01)


def test_a_caption_without_words_has_no_maps(toy: Bundle, images: Images) -> None:
    last_map, _, _ = by_tensorflow(toy, images[0])
    attribution = Attribution(toy.config, toy.weights)
    assert attribution.words(last_map, [[]])[0].shape == (0, *last_map.shape[:2])
    assert attribution.classes(last_map, []).shape == (0, *last_map.shape[:2])


def test_log_probabilities_are_those_of_the_decoder(toy: Bundle) -> None:
    bundle = bundle_of(toy, {}, {"layers": 2, "residual": True, "tied_embeddings": True})
    decoder = Decoder(bundle.config.decoder, bundle.config.encoder.feature_units)
    assign_weights(decoder, bundle.weights, "decoder")
    features = np.random.default_rng(3).random((3, bundle.config.encoder.feature_units), np.float32)
    logits = decoder(features, np.array([CAPTION] * 3))
    expected = tf.gather(tf.nn.log_softmax(logits), [CAPTION] * 3, axis=2, batch_dims=2)
    found = Attribution(bundle.config, bundle.weights).log_probs(features, CAPTION)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def correlation(first: Floats, second: Floats) -> float:
    """Returns Spearman's rank correlation of two maps."""
    one, other = (values.reshape(-1).argsort().argsort() for values in (first, second))
    return float(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize("part", ["decoder", "encoder/fc", "encoder/block5", "encoder"])
def test_random_weights_give_other_maps(toy: Bundle, images: Images, part: str) -> None:
    # Adebayo et al. 2018: a map that survives random weights shows edges, not what the networks learned.
    learned = bundle_of(toy, {"features": "average_fc2", "widths": (0.1,) * 5}, {})
    other = bundle_of(toy, {"features": "average_fc2", "widths": (0.1,) * 5}, {}, seed=6)
    kept = {name: other.weights[name] if name.startswith(part) else value for name, value in learned.weights.items()}
    maps = []
    for bundle in (learned, replace(learned, weights=kept)):
        _, words, classes = by_tensorflow(bundle, images[3])
        maps.append(classes if part == "encoder/fc" else words)
    assert abs(np.mean([correlation(*pair) for pair in zip(*maps, strict=True)])) < 0.5


def test_both_engines_give_the_same_map_and_weights(toy: Bundle, images: Images, tmp_path: Path) -> None:
    bundle = bundle_of(toy, {"features": "average", "input_pooling": 2}, {"image_every_step": True})
    save_bundle(tmp_path / "bundle", bundle, convert(bundle).files)
    lite = LiteEngine.of(tmp_path / "bundle", bundle.config)
    reference = TensorFlowEngine.of(load_bundle(tmp_path / "bundle"))
    many = np.concatenate([images, images[::-1]])
    encoded, last_map = lite.encode_with_map(many)
    _, expected = reference.encode_with_map(many)
    assert last_map.shape == (8, *last_map_shape(bundle.config.encoder, 224))
    np.testing.assert_allclose(last_map, expected, rtol=0.02, atol=0.02 * expected.max())
    np.testing.assert_allclose(max_pooled(last_map[0]).mean(axis=(0, 1)), encoded.features[0], rtol=1e-4)
    ours = lite.weights_behind_map()
    theirs = reference.weights_behind_map()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], err_msg=name)


def test_the_cpu_engine_answers_the_same_before_and_after_it_explains(toy_bundle: Path, images: Images) -> None:
    captioner = Captioner.load(toy_bundle, engine="litert")
    before = captioner.predict(images)
    explained = captioner.predict(images, explain=True)
    after = captioner.predict(images)
    for one, two, three in zip(before, explained, after, strict=True):
        assert one.captions == two.captions == three.captions
        assert one.classes == two.classes == three.classes
        assert (one.explanation, three.explanation) == (None, None)


@pytest.mark.parametrize("engine", ["litert", "tensorflow"])
def test_every_word_and_every_class_has_a_map(toy_bundle: Path, images: Images, engine: Any) -> None:
    captioner = Captioner.load(toy_bundle, engine=engine)
    for prediction in captioner.predict(images[:2], captions=3, classes=4, explain=True):
        found = prediction.explanation
        assert found is not None
        sides = last_map_shape(captioner.config.encoder, 224)[:2]
        assert [maps.shape for maps in found.captions] == [(len(c.words), *sides) for c in prediction.captions]
        assert found.classes.shape == (4, *sides)
        assert found.seconds > 0
        cut = prediction.first(1, 2)
        assert cut.explanation is not None
        assert (len(cut.captions), len(cut.explanation.captions)) == (1, 1)
        assert (len(cut.classes), len(cut.explanation.classes)) == (2, 2)


def test_what_nobody_waits_for_is_not_explained(toy_bundle: Path, images: Images) -> None:
    captioner = Captioner.load(toy_bundle)
    asked: list[int] = []
    most = 1_000_000

    def wanted() -> list[bool]:
        asked.append(len(asked))
        return [len(asked) <= most]

    captioner.predict(images[:1], captions=3, wanted=wanted)
    most = len(asked)  # how often the search asks
    asked.clear()
    (prediction,) = captioner.predict(images[:1], captions=3, explain=True, wanted=wanted)
    assert prediction.explanation is not None
    assert not prediction.explanation.captions
    assert len(prediction.captions) == 3


def test_a_bundle_that_was_replaced_is_not_mixed_with_the_one_that_serves(
    toy: Bundle, images: Images, tmp_path: Path
) -> None:
    files = convert(toy).files
    save_bundle(tmp_path / "bundle", toy, files)
    captioner = Captioner.load(tmp_path / "bundle", engine="litert")
    save_bundle(tmp_path / "bundle", replace(toy, config=replace(toy.config, version="2")), files)
    with pytest.raises(BundleReplacedError, match="found another one in its place"):
        captioner.predict(images[:1], explain=True)
    assert captioner.predict(images[:1])[0].captions


def test_the_default_bundle_is_explained_though_its_file_gives_no_map(images: Images) -> None:
    captioner = Captioner.load(DEFAULT_BUNDLE, engine="litert")
    before = (DEFAULT_BUNDLE / LITE_ENCODER).read_bytes()
    (prediction,) = captioner.predict(images[:1], explain=True)
    found = prediction.explanation
    assert found is not None
    assert found.captions[0].shape == (len(prediction.captions[0].words), 14, 14)
    assert found.classes.shape == (5, 14, 14)
    assert np.isfinite(found.classes).all()
    assert (DEFAULT_BUNDLE / LITE_ENCODER).read_bytes() == before


def test_the_default_bundle_s_maps_rest_on_what_its_decoder_learned(images: Images) -> None:
    config = BundleInfo.from_bundle(DEFAULT_BUNDLE).config
    engine = LiteEngine.of(DEFAULT_BUNDLE, config)
    _, last_map = engine.encode_with_map(images[:1])
    learned = engine.weights_behind_map()
    random = np.random.default_rng(2)
    shuffled = {name: random.permuted(np.asarray(value)) for name, value in learned.items()}
    tokens = [5, 20, 7, 30, 11]
    maps = [Attribution(config, weights).words(last_map[0], [tokens])[0] for weights in (learned, shuffled)]
    assert abs(np.mean([correlation(*pair) for pair in zip(*maps, strict=True)])) < 0.5
