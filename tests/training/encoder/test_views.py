"""Views: the same every time, whole first, crops, and mixtures of two photos."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import DistillConfig
from training.encoder.views import MIXED_EVERY, Photos, view_of

CONFIG = DistillConfig(smallest_crop=0.25)


@pytest.fixture(scope="module")
def photos() -> Photos:
    """Returns four photos of one colour each, the first of them named again by the last row."""
    pixels = np.zeros((4, 224, 224, 3), np.uint8)
    pixels[1, ..., 0] = 200
    pixels[2, ..., 1] = 200
    pixels[3, ..., 2] = 200
    pixels[0] = np.arange(224)[:, None]  # brighter from left to right
    return Photos(pixels, np.array([0, 1, 2, 3, 0]))


@settings(max_examples=20)
@given(row=st.integers(0, 4), view=st.integers(0, 9))
def test_a_view_is_the_same_every_time(photos: Photos, row: int, view: int) -> None:
    first = view_of(photos, row, view, CONFIG)
    assert (first.shape, first.dtype) == ((224, 224, 3), np.dtype(np.uint8))
    np.testing.assert_array_equal(first, view_of(photos, row, view, CONFIG))


def test_the_first_view_is_the_whole_photo(photos: Photos) -> None:
    for row in range(len(photos)):
        np.testing.assert_array_equal(view_of(photos, row, 0, CONFIG), photos[row])


def test_a_photo_named_twice_has_other_crops_the_second_time(photos: Photos) -> None:
    np.testing.assert_array_equal(photos[0], photos[4])
    assert (view_of(photos, 0, 1, CONFIG) != view_of(photos, 4, 1, CONFIG)).mean() > 0.5


def colours(view: npt.NDArray[np.uint8]) -> int:
    """Returns how many of the channels hold anything."""
    return int((view.max(axis=(0, 1)) > 0).sum())


def test_every_third_view_is_a_mixture_and_no_other() -> None:
    pixels = np.zeros((60, 224, 224, 3), np.uint8)
    for row in range(60):
        pixels[row, ..., row % 3] = 200
    photos = Photos(pixels, np.arange(60))
    mixed = [view for view in range(9) if max(colours(view_of(photos, row, view, CONFIG)) for row in range(20)) > 1]
    assert mixed == list(range(MIXED_EVERY - 1, 9, MIXED_EVERY))
    sums = np.array([view_of(photos, row, 2, CONFIG)[0, 0].sum(dtype=int) for row in range(20)])
    assert np.all(np.abs(sums - 200) <= 1)  # shares add up to 1


def test_crops_are_as_large_as_asked_for_and_half_of_them_are_mirrored(photos: Photos) -> None:
    views = [view_of(photos, 0, view, CONFIG)[..., 0].astype(int) for view in range(1, 301) if view % 3 != 2]
    spans = np.array([np.ptp(view) / 224 for view in views])  # about the widths of the crops
    assert spans.min() >= np.sqrt(0.25 * 3 / 4) - 0.02
    assert spans.max() > 0.95
    mirrored = np.mean([view[0, 0] > view[0, -1] for view in views])
    assert 0.4 < mirrored < 0.6
