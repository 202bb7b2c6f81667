"""Limited activations: nothing else changes, and int8 comes nearer."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from model.bundle import Bundle
from model.captioner import Captioner
from model.config import Features
from model.decoder import Decoder
from model.encoder import build_encoder
from model.engines.lite import LiteEngine
from model.errors import ConfigError
from model.weights import assign_weights, bundle_weights
from tests.conftest import make_toy_bundle
from training.encoder.folding import is_identity
from training.shipping.convert import FloatWeights, convert
from training.shipping.limiting import LIMIT, limit_activations

PHOTOS = np.random.default_rng(5).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
ALL_INT8 = FloatWeights(0, 0, 0)


def toy(features: Features = "average", identity: str = "") -> Bundle:
    """Returns a captioner that reads the last map, whose kernels are large enough that something can be cut."""
    bundle = make_toy_bundle()
    config = replace(
        bundle.config,
        encoder=replace(bundle.config.encoder, features=features, pooling="average", input_pooling=2),
        decoder=replace(bundle.config.decoder, project_features=True),
    )
    keras.utils.set_random_seed(2)
    encoder = build_encoder(config.encoder)
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([2 * kernel, bias + 0.1])
    if identity:
        kernel, bias = encoder.get_layer(identity).get_weights()
        kernel = np.zeros_like(kernel)
        kernel[1, 1] = np.eye(len(bias))
        encoder.get_layer(identity).set_weights([kernel, np.zeros_like(bias)])
    decoder = Decoder(config.decoder, config.encoder.feature_units)
    return replace(bundle, config=config, weights=bundle_weights(encoder, decoder, np.float32))


def encoder_of(bundle: Bundle) -> keras.Model:
    encoder = build_encoder(bundle.config.encoder)
    assign_weights(encoder, bundle.weights, "encoder")
    return encoder


@pytest.mark.parametrize("features", ["average", "average_max", "grid", "average_fc2", "fc2"])
def test_a_limit_that_cuts_nothing_changes_nothing(features: Features) -> None:
    before = toy(features)
    own = {name: value.copy() for name, value in before.weights.items()}
    after = limit_activations(before, PHOTOS, 1.0)
    for name, value in own.items():
        np.testing.assert_array_equal(before.weights[name], value)
    assert after.config.encoder.activation == "relu6"
    first, second = (Captioner.of(bundle).predict(PHOTOS, captions=3) for bundle in (before, after))
    for one, other in zip(first, second, strict=True):
        assert [caption.text for caption in one.captions] == [caption.text for caption in other.captions]
        np.testing.assert_allclose(
            [caption.probability for caption in one.captions],
            [caption.probability for caption in other.captions],
            rtol=1e-3,
        )
        assert [found.id for found in one.classes] == [found.id for found in other.classes]


def test_the_share_that_is_asked_for_is_cut() -> None:
    after = encoder_of(limit_activations(toy(), PHOTOS, 0.9))
    outputs = {name: after.get_layer(f"{name}_relu").output for name in ("block1_conv1", "block3_conv2")}
    first, later = keras.Model(after.input, outputs).predict_on_batch(PHOTOS).values()
    assert first.max() == later.max() == LIMIT
    assert (first == LIMIT).mean() == pytest.approx(0.1, abs=0.02)
    assert 0 < (later == LIMIT).mean() < 0.1  # those before it are cut already


def test_an_identity_stays_one() -> None:
    after = encoder_of(limit_activations(toy(identity="block4_conv4"), PHOTOS, 0.99))
    assert is_identity(after.get_layer("block4_conv4"))


def test_int8_comes_nearer_to_float(tmp_path_factory: pytest.TempPathFactory) -> None:
    before = toy()
    errors = []
    for bundle in (before, limit_activations(before, PHOTOS, 0.99)):
        folder = tmp_path_factory.mktemp("lite")
        files, kernels = convert(bundle, float_weights=ALL_INT8)
        weights = {**bundle.weights, **{name: kernel.kernel for name, kernel in kernels.items()}}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        exact = Captioner.of(replace(bundle, weights=weights)).features(PHOTOS)
        error = LiteEngine.of(folder, bundle.config).encode(PHOTOS).features - exact
        errors.append(np.linalg.norm(error) / np.linalg.norm(exact))
    assert errors[1] < 0.8 * errors[0]


def test_what_cannot_be_limited_is_refused() -> None:
    bundle = toy()
    with pytest.raises(ConfigError, match="limited already"):
        limit_activations(limit_activations(bundle, PHOTOS, 0.99), PHOTOS, 0.99)
    units = bundle.config.encoder.feature_units
    decoder = replace(bundle.config.decoder, project_features=False, embedding_units=units)
    without = replace(bundle.config, decoder=decoder)
    with pytest.raises(ConfigError, match="projects the features"):
        limit_activations(replace(bundle, config=without), PHOTOS, 0.99)
