"""What the frozen part sees: the encoder's own maps, and features from them that are the encoder's own."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from model.bundle import LITE_ENCODER, Bundle, save_bundle
from model.config import EncoderConfig
from model.decoder import Decoder
from model.encoder import build_encoder
from model.engines.lite import LiteEngine
from model.errors import DataError
from model.image import read_image
from model.tensors import identity_kernel
from model.vocabulary import Vocabulary
from model.weights import bundle_weights
from tests.training.stages import read_folder
from training.data.mixing import Source, mix
from training.data.photo_cache import PhotoCache
from training.data.records import write_records
from training.decoder.features import encode_maps, encode_split, known_views, load_features
from training.encoder.encoding import encoding_of
from training.encoder.folding import is_identity, with_branches
from training.encoder.maps import cache_maps, frozen_part, open_maps, top_part
from training.loop.checkpoint import BEST, named_variables, save_checkpoint
from training.shipping.convert import convert

CONFIG = EncoderConfig(
    widths=(0.1, 0.1, 0.05, 0.05, 0.05), fc_units=8, classes=4, input_pooling=2, pooling="average",
    features="average_fc2", dropout=0.0,
)  # fmt: skip


def some_encoder(seed: int = 3) -> keras.Model:
    """Returns an encoder whose block3_conv4 is an identity."""
    keras.utils.set_random_seed(seed)
    encoder = build_encoder(CONFIG)
    for index, variable in enumerate(encoder.trainable_variables):
        if variable.ndim == 1:
            variable.assign(np.random.default_rng(index).uniform(0, 0.3, variable.shape))
    layer = encoder.get_layer("block3_conv4")
    layer.set_weights([identity_kernel(layer.filters), np.zeros(layer.filters)])
    return encoder


@pytest.fixture(scope="module")
def records(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "records"
    images, _ = mix([Source("drawn", read_folder(drawn, dev_fraction=0.3))])
    write_records(path, images, Vocabulary.build([t for image in images for t in image.captions], min_count=1))
    return path


def test_the_frozen_part_and_the_top_are_the_whole_encoder_and_identities_are_known() -> None:
    encoder = some_encoder()
    names = [layer.name for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D) and is_identity(layer)]
    assert names == ["block3_conv4"]
    images = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), np.uint8)
    maps = frozen_part(encoder)(images)
    expected = keras.Model(encoder.input, encoder.get_layer("block4_pool").output)(images)
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))
    whole = encoder(images, training=False)
    top = top_part(encoder)(maps)
    for name in ("features", "logits"):
        np.testing.assert_allclose(top[name], whole[name], rtol=1e-3, atol=1e-3 * float(np.abs(whole[name]).max()))


def test_identities_are_not_computed_by_the_cpu_engine_and_nothing_changes(toy: Bundle, tmp_path: Path) -> None:
    encoder = some_encoder()
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (3, 224, 224, 3), np.uint8)
    without = with_branches(encoder, {"block3_conv4"})
    for name, value in encoder(images, training=False).items():
        np.testing.assert_array_equal(without(images, training=False)[name], value)
    assert {layer.name for layer in encoder.layers} <= {layer.name for layer in without.layers}
    left = {layer.name for layer in encoder.layers if layer.weights} - {
        layer.name for layer in without.layers if layer.weights
    }
    assert left == {"block3_conv4"}
    config = replace(toy.config, encoder=CONFIG)
    decoder = Decoder(config.decoder, CONFIG.feature_units)
    bundle = replace(toy, config=config, classes=toy.classes[:4], weights=bundle_weights(encoder, decoder, np.float32))
    save_bundle(tmp_path / "bundle", bundle, convert(bundle, images).files)
    engine = LiteEngine.of(tmp_path / "bundle", config)
    scale = float(np.abs(encoder(images)["features"]).max())
    np.testing.assert_allclose(engine.encode(images).features, encoder(images)["features"], atol=0.02 * scale)
    computed = Interpreter(str(tmp_path / "bundle" / LITE_ENCODER))._get_ops_details()
    assert sum(operation["op_name"] == "CONV_2D" for operation in computed) == 15


def test_features_from_maps_are_those_of_the_photos(records: Path, drawn: Path, tmp_path: Path) -> None:
    encoder = some_encoder()
    photos = sorted(drawn.glob("*.jpg"))
    assert cache_maps(tmp_path / "maps", encoder, photos, ["whole"])
    assert known_views(open_maps(tmp_path / "maps", encoder), records, "train") == ("whole",)
    assert cache_maps(tmp_path / "maps", encoder, photos)
    views = known_views(open_maps(tmp_path / "maps", encoder), records, "train")
    found = encode_maps(encoder, records, "train", tmp_path / "maps", views)
    expected = encode_split(encoding_of(encoder), records, "train")
    assert found.features.shape == expected.features.shape == (len(expected.names), 2, CONFIG.feature_units)
    np.testing.assert_allclose(found.features, expected.features, rtol=0.01, atol=0.002 * expected.features.max())
    assert np.abs(found.features[:, 0] - found.features[:, 1]).max() > 0.01 * expected.features.max()
    for name in ("names", "references", "captions"):
        assert getattr(found, name) == getattr(expected, name)
    np.testing.assert_array_equal(found.rows, expected.rows)


def test_maps_in_bfloat16_are_those_of_float32_rounded(drawn: Path) -> None:
    images = np.stack([read_image(path.read_bytes()).pixels for path in sorted(drawn.glob("*.jpg"))[:4]])
    expected = frozen_part(some_encoder())(images)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = some_encoder()
    finally:
        keras.config.set_dtype_policy("float32")
    found = frozen_part(encoder)(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.03 * expected.max())
    assert np.abs(found - expected).max() > 0


def test_maps_of_another_encoder_are_refused_and_missing_ones_are_told(
    records: Path, drawn: Path, tmp_path: Path
) -> None:
    cache_maps(tmp_path / "maps", some_encoder(), sorted(drawn.glob("*.jpg"))[:5], ["whole"])
    with pytest.raises(DataError, match="another's"):
        open_maps(tmp_path / "maps", some_encoder(seed=4))
    run = tmp_path / "run"
    run.mkdir()
    place = {"encoder": {name: getattr(CONFIG, name) for name in CONFIG.__slots__}}
    save_checkpoint(run / BEST, named_variables(some_encoder(), "encoder"), place)
    with pytest.raises(DataError, match="expected maps of every photo"):
        load_features(run, records, "train", tmp_path / "maps")
    assert len(PhotoCache(tmp_path / "maps")) == 5
    assert replace(CONFIG) == CONFIG
