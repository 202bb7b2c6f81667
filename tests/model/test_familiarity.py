"""How far photos are from those of training: laws of the distance, and its file in a bundle."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save

from model.bundle import BundleInfo
from model.captioner import Captioner
from model.errors import BundleError
from model.familiarity import FAMILIARITY, Familiarity
from training.shipping.configured import save_with_config

UNITS = 40
Floats = npt.NDArray[np.float32]


def features(count: int, seed: int, raised: int = 0) -> Floats:
    """Draws features of a kind of photos; the first ones may be raised."""
    found = np.random.default_rng(seed).gamma(2.0, size=(count, UNITS)).astype(np.float32)
    found[:, :raised] *= 6
    return found


@pytest.fixture(scope="module")
def fitted() -> Familiarity:
    return Familiarity.fit(features(3000, 1), features(1000, 2))


def test_one_in_twenty_of_the_same_kind_is_above_the_limit(fitted: Familiarity) -> None:
    assert (fitted.unlikeness(features(1000, 2)) > 1).mean() == pytest.approx(0.05, abs=0.001)
    assert (fitted.unlikeness(features(4000, 3)) > 1).mean() == pytest.approx(0.05, abs=0.015)


def test_another_kind_is_farther(fitted: Familiarity) -> None:
    assert (fitted.unlikeness(features(200, 4, raised=8)) > 1).mean() > 0.95


def test_the_size_of_a_feature_does_not_count(fitted: Familiarity) -> None:
    some = features(50, 5)
    np.testing.assert_allclose(fitted.unlikeness(some * 0.01), fitted.unlikeness(some), rtol=1e-4)


def test_features_of_nothing_and_units_that_never_vary_have_a_distance(fitted: Familiarity) -> None:
    assert np.isfinite(fitted.unlikeness(np.zeros((1, UNITS), np.float32))).all()
    never = np.ones((30, UNITS), np.float32)
    never[:, 0] = 0
    assert np.isfinite(Familiarity.fit(never, features(30, 6)).unlikeness(features(30, 7))).all()


def test_what_is_written_is_read_again(fitted: Familiarity, tmp_path: Path) -> None:
    (tmp_path / FAMILIARITY).write_bytes(fitted.to_bytes())
    found = Familiarity.read(tmp_path / FAMILIARITY, UNITS)
    np.testing.assert_array_equal(found.unlikeness(features(9, 8)), fitted.unlikeness(features(9, 8)))


def content(**changes: Floats) -> bytes:
    """Returns a file, changed."""
    three = np.ones(3, np.float32)
    return save({"mean": three, "deviation": three, "limit": three[:1], **changes})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "expected a safetensors file"),
        (content(mean=np.zeros(4, np.float32)), "expected finite float32 of shapes"),
        (content(mean=np.full(3, np.nan, np.float32)), "expected finite float32 of shapes"),
        (content(more=np.zeros(3, np.float32)), "expected finite float32 of shapes"),
        (content(deviation=np.zeros(3, np.float32)), "expected deviations and a limit above 0"),
        (content(limit=np.full(1, -1, np.float32)), "expected deviations and a limit above 0"),
    ],
)
def test_another_file_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / FAMILIARITY).write_bytes(data)
    with pytest.raises(BundleError, match=message):
        Familiarity.read(tmp_path / FAMILIARITY, 3)


def test_a_bundle_that_can_tell_does_and_another_says_nothing(
    toy_bundle: Path, images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    plain = Captioner.load(toy_bundle)
    assert [prediction.unlikeness for prediction in plain.predict(images)] == [None] * len(images)
    found = plain.features(images)
    familiar = Familiarity.fit(found, found)
    save_with_config(tmp_path / "bundle", toy_bundle, plain.config, {FAMILIARITY: familiar.to_bytes()})
    info = BundleInfo.from_bundle(tmp_path / "bundle")

    told = Captioner.load(tmp_path / "bundle", info=info).predict(images)

    expected = familiar.unlikeness(found)
    assert [prediction.unlikeness for prediction in told] == pytest.approx(expected.tolist(), rel=1e-5)
    assert [prediction.captions for prediction in told] == [prediction.captions for prediction in plain.predict(images)]
