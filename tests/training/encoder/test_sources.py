"""What makes two encoders the same to a decoder."""

from dataclasses import asdict, replace
from pathlib import Path

import keras
import pytest

from model.config import EncoderConfig
from model.encoder import build_encoder
from training.encoder.sources import features_key
from training.loop.checkpoint import BEST, named_variables, save_checkpoint

CONFIG = EncoderConfig(widths=(0.05,) * 5, fc_units=12, input_pooling=7, pooling="average", features="average")


@pytest.fixture
def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    return build_encoder(CONFIG)


def key(path: Path, network: keras.Model, config: EncoderConfig = CONFIG) -> str:
    path.mkdir(exist_ok=True)
    save_checkpoint(path / BEST, named_variables(network, "encoder"), {"encoder": asdict(config)})
    return features_key(path)


@pytest.mark.parametrize("layer", ["fc1", "fc2", "predictions"])
def test_class_layers_trained_again_leave_a_decoder_its_encoder(
    network: keras.Model, tmp_path: Path, layer: str
) -> None:
    before = key(tmp_path, network)
    network.get_layer(layer).bias.assign_add(keras.ops.ones_like(network.get_layer(layer).bias))
    assert key(tmp_path, network) == before
    read = replace(CONFIG, features="average_fc2")
    other = key(tmp_path, network, read)
    network.get_layer(layer).bias.assign_add(keras.ops.ones_like(network.get_layer(layer).bias))
    assert key(tmp_path, network, read) != other


@pytest.mark.parametrize("layer", ["block1_conv1", "block5_conv4"])
def test_another_convolution_is_another_encoder(network: keras.Model, tmp_path: Path, layer: str) -> None:
    before = key(tmp_path, network)
    network.get_layer(layer).bias.assign_add(keras.ops.ones_like(network.get_layer(layer).bias))
    assert key(tmp_path, network) != before
