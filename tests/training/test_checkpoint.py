from pathlib import Path

import keras
import numpy as np
import pytest

from model.config import DecoderConfig
from model.decoder import Decoder
from model.errors import DataError
from training.checkpoint import load_checkpoint, read_progress, save_checkpoint


def compiled(units: int = 6) -> Decoder:
    decoder = Decoder(DecoderConfig(vocabulary_size=9, embedding_units=4, units=units, dropout=0.5), 3)
    decoder.compile(optimizer=keras.optimizers.AdamW(0.01))
    return decoder


def test_a_checkpoint_gives_back_weights_optimizer_and_progress(tmp_path: Path) -> None:
    saved, restored = compiled(), compiled()
    gradients = [keras.ops.ones_like(variable) for variable in saved.trainable_variables]
    saved.optimizer.apply(gradients, saved.trainable_variables)
    save_checkpoint(tmp_path / "c.safetensors", saved, {"step": 7})
    assert (
        load_checkpoint(tmp_path / "c.safetensors", restored)
        == {"step": 7}
        == read_progress(tmp_path / "c.safetensors")
    )
    for one, two in zip(saved.variables, restored.variables, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(two))
    assert int(restored.optimizer.iterations) == 1
    for network in (saved, restored):
        network.optimizer.apply(gradients, network.trainable_variables)
    for one, two in zip(saved.variables, restored.variables, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(two))


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.safetensors", compiled(units=6), {})
    with pytest.raises(DataError, match=r"expected shape"):
        load_checkpoint(tmp_path / "c.safetensors", compiled(units=7))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, compiled(), {})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"c\.safetensors: expected a checkpoint"):
        load_checkpoint(path, compiled())
