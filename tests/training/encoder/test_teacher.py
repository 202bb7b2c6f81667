"""The teacher's projected feature maps: principal components in eight bits."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.encoder.teacher import Projection


@pytest.fixture(scope="module")
def maps() -> npt.NDArray[np.float32]:
    """Returns maps of 12 channels that three hidden numbers make up, but for a little noise."""
    random = np.random.default_rng(4)
    hidden = random.normal(size=(40, 7, 7, 3)) * [5.0, 2.0, 1.0]
    noise = 0.01 * random.normal(size=(40, 7, 7, 12))
    return np.asarray(hidden @ random.normal(size=(3, 12)) + noise + 3, np.float32)


def test_targets_have_a_mean_of_zero_and_a_mean_variance_of_one(maps: npt.NDArray[np.float32]) -> None:
    projection = Projection.fitted([maps[:10], maps[10:]], 3)
    targets = projection.targets(projection.codes(maps)).reshape(-1, 3)
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=0.02)
    variances = targets.var(axis=0)
    assert variances.mean() == pytest.approx(1, rel=0.02)
    assert list(variances) == sorted(variances, reverse=True)
    np.testing.assert_allclose(np.corrcoef(targets.T), np.eye(3), atol=0.02)


def test_the_codes_hold_all_of_maps_that_the_components_span(maps: npt.NDArray[np.float32]) -> None:
    projection = Projection.fitted([maps], 3)
    targets = projection.targets(projection.codes(maps))
    restored = (targets * projection.scale) @ projection.components.T + projection.mean
    assert np.square(restored - maps).mean() < 0.002 * maps.var()


def test_batches_do_not_matter_to_the_fit(maps: npt.NDArray[np.float32]) -> None:
    whole = Projection.fitted([maps], 3)
    parts = Projection.fitted([maps[:7], maps[7:9], maps[9:]], 3)
    np.testing.assert_allclose(whole.steps, parts.steps, rtol=1e-3)
    np.testing.assert_allclose(np.abs(whole.components), np.abs(parts.components), atol=1e-3)


def test_outliers_are_clipped(maps: npt.NDArray[np.float32]) -> None:
    projection = Projection.fitted([maps], 2)
    codes = projection.codes(maps[:1] + 1e4)
    assert codes.dtype == np.int8
    assert np.abs(codes.astype(int)).max() == 127


def test_channels_that_never_change_do_no_harm() -> None:
    projection = Projection.fitted([np.ones((2, 7, 7, 5), np.float32)], 2)
    codes = projection.codes(np.ones((1, 7, 7, 5), np.float32))
    assert np.isfinite(projection.targets(codes)).all()


def test_a_saved_projection_is_read_back(maps: npt.NDArray[np.float32], tmp_path: Path) -> None:
    projection = Projection.fitted([maps], 3)
    projection.save(tmp_path / "projection.npz")
    for one, two in zip(projection, Projection.load(tmp_path / "projection.npz"), strict=True):
        np.testing.assert_array_equal(one, two)
