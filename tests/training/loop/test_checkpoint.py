from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy

from model.config import DecoderConfig, EncoderConfig
from model.decoder import Decoder
from model.encoder import build_encoder
from model.errors import DataError
from training.loop.checkpoint import (
    CheckpointStore,
    Variables,
    load_checkpoint,
    named_variables,
    read_progress,
    save_checkpoint,
    serialized,
)


def compiled(units: int = 6) -> Decoder:
    decoder = Decoder(DecoderConfig(vocabulary_size=9, embedding_units=4, units=units, dropout=0.5), 3)
    decoder.compile(optimizer=keras.optimizers.AdamW(0.01))
    return decoder


def variables(decoder: Decoder) -> Variables:
    return named_variables(decoder, "decoder")


def bias_of(decoder: Decoder) -> keras.Variable:
    assert decoder.projection is not None
    return decoder.projection.bias


def values(network: keras.Model) -> list[np.ndarray]:
    return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in network.variables]


def flipped(data: bytes, place: int, mask: int = 0x10) -> bytes:
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


def test_a_checkpoint_gives_back_weights_optimizer_and_progress(tmp_path: Path) -> None:
    saved = compiled()
    restored = compiled()
    gradients = [keras.ops.ones_like(variable) for variable in saved.trainable_variables]
    saved.optimizer.apply(gradients, saved.trainable_variables)
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, variables(saved), {"step": 7})
    assert load_checkpoint(path, variables(restored)) == {"step": 7}
    assert read_progress(path) == read_progress(path, whole=True) == {"step": 7}
    for one, two in zip(values(saved), values(restored), strict=True):
        np.testing.assert_array_equal(one, two)
    assert int(restored.optimizer.iterations) == 1
    for network in (saved, restored):
        network.optimizer.apply(gradients, network.trainable_variables)
    for one, two in zip(values(saved), values(restored), strict=True):
        np.testing.assert_array_equal(one, two)


def test_names_are_the_same_for_every_network_of_an_architecture() -> None:
    assert variables(compiled()).keys() == variables(compiled()).keys()
    assert {name.split("/")[0] for name in variables(compiled())} == {"decoder", "optimizer"}


def test_one_part_of_a_checkpoint_is_restored_alone(tmp_path: Path) -> None:
    encoder = build_encoder(EncoderConfig(widths=(0.01,) * 5, fc_units=3, classes=2, input_pooling=7))
    decoder = Decoder(DecoderConfig(vocabulary_size=9, embedding_units=4, units=6), 3)
    both = named_variables(encoder, "encoder") | named_variables(decoder, "decoder")
    save_checkpoint(tmp_path / "c.safetensors", both, {})
    restored = Decoder(decoder.config, 3)
    load_checkpoint(tmp_path / "c.safetensors", named_variables(restored, "decoder"))
    for one, two in zip(values(decoder), values(restored), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_transposed_array_is_written_as_it_reads() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    found = safetensors.numpy.load(serialized({"decoder/kernel": values}, {}))
    np.testing.assert_array_equal(found["decoder/kernel"], values)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.safetensors", variables(compiled(units=6)), {})
    with pytest.raises(DataError, match=r"expected shape"):
        load_checkpoint(tmp_path / "c.safetensors", variables(compiled(units=7)))


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.safetensors", variables(compiled()), {})
    deeper = Decoder(DecoderConfig(vocabulary_size=9, embedding_units=4, units=6, layers=2), 3)
    with pytest.raises(DataError, match=r"expected a checkpoint of this network, differs in decoder/gru_2"):
        load_checkpoint(tmp_path / "c.safetensors", named_variables(deeper, "decoder"))


def test_a_checkpoint_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, variables(compiled()), {})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"c\.safetensors: expected a checkpoint"):
        load_checkpoint(path, variables(compiled()))


def test_a_flipped_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    network = compiled()
    save_checkpoint(path, variables(network), {"step": 7, "note": "some text"})
    whole = path.read_bytes()
    before = values(network)
    for place in [*range(0, len(whole), 97), whole.index(b"some text"), len(whole) - 1]:
        path.write_bytes(flipped(whole, place, 0x01))
        with pytest.raises(DataError, match=r"c\.safetensors: expected"):
            load_checkpoint(path, variables(network))
    for one, two in zip(before, values(network), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, variables(compiled()), {"step": 1})
    (tmp_path / ".c.safetensors.partial").mkdir()
    with pytest.raises((DataError, OSError)):
        save_checkpoint(path, variables(compiled()), {"step": 2})
    assert read_progress(path, whole=True) == {"step": 1}


def test_a_store_keeps_the_newest_and_leaves_other_files_alone(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    (tmp_path / "step-notes.txt").write_text("mine")
    network = compiled()
    paths = [store.save(step, variables(network), {"step": step}) for step in (8, 9, 10, 1000)]
    assert list(store.newest_first()) == paths[:0:-1]  # one more, for whether the last is good is not known yet
    store.confirm()
    assert list(store.newest_first()) == [paths[3], paths[2]]
    assert (tmp_path / "step-notes.txt").exists()


def test_a_store_forgets_a_checkpoint_of_bad_weights_and_names_the_one_before(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    paths = [store.save(step, variables(compiled()), {"step": step}) for step in (1, 2)]
    assert store.reject(2) == paths[0]
    assert store.reject(2) == paths[0]  # there is none of this step any more
    assert store.reject(1) is None


def test_a_store_without_checkpoints_restores_nothing(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none", keep=1).restore(variables(compiled())) is None


def test_a_store_goes_back_to_the_newest_whole_checkpoint_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    saved = compiled()
    restored = compiled()
    paths = []
    for step in (1, 2, 3):
        bias_of(saved).assign(np.full(4, step, np.float32))
        paths.append(store.save(step, variables(saved), {"step": step}))
    for path in paths[1:]:
        path.write_bytes(flipped(path.read_bytes(), -5 % path.stat().st_size))
    assert store.restore(variables(restored)) == {"step": 1}
    assert np.all(keras.ops.convert_to_numpy(bias_of(restored)) == 1)
    told = capsys.readouterr().err
    assert [told.count(f"WARNING: {path}: expected") for path in paths] == [0, 1, 1]
    assert f"WARNING: continuing from {paths[0]} instead" in told
    paths[0].write_bytes(b"")
    with pytest.raises(DataError, match=r"step-000000001\.safetensors: expected a checkpoint"):
        store.restore(variables(restored))
