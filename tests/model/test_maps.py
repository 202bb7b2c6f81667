"""Maps as pictures, as numbers and in words."""

import base64
import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.maps import as_data_uri, as_levels, as_rows, in_words

Floats = npt.NDArray[np.float32]


def spot(row: slice, column: slice, side: int = 14) -> Floats:
    values = np.full((side, side), -0.5, np.float32)
    values[row, column] = 2.0
    return values


def test_the_strongest_place_is_white_and_what_speaks_against_a_word_is_black() -> None:
    levels = as_levels(np.array([[-3, 0], [1, 2]], np.float32))
    assert levels.tolist() == [[0, 0], [128, 255]]


@pytest.mark.parametrize("values", [np.zeros((2, 2), np.float32), np.full((2, 2), -1, np.float32)])
def test_a_map_in_which_nothing_speaks_for_the_word_is_black(values: Floats) -> None:
    assert not as_levels(values).any()
    assert in_words(values) == "no place speaks for it"


def test_a_data_uri_holds_a_grey_picture_of_the_map_s_size() -> None:
    values = np.random.default_rng(1).normal(size=(14, 14)).astype(np.float32)
    start, _, encoded = as_data_uri(values).partition(",")
    assert start == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert (image.mode, image.format) == ("L", "PNG")
        np.testing.assert_array_equal(np.asarray(image), as_levels(values))


def test_rows_keep_their_signs_and_four_digits() -> None:
    assert as_rows(np.array([[0.123456, -1e-7], [0, 12345.6]], np.float32)) == [[0.1235, -1e-7], [0.0, 12350.0]]


ALL = slice(None)


@pytest.mark.parametrize(
    ("row", "column", "text"),
    [
        (slice(0, 4), ALL, "mostly the upper half"),
        (slice(9, 14), ALL, "mostly the lower half"),
        (ALL, slice(0, 5), "mostly the left half"),
        (ALL, slice(10, 14), "mostly the right half"),
        (slice(0, 4), slice(10, 14), "mostly the upper right"),
        (slice(10, 14), slice(0, 3), "mostly the lower left"),
        (slice(5, 9), slice(5, 9), "mostly the middle"),
        (ALL, ALL, "all over the photo"),
    ],
)
@pytest.mark.parametrize("side", [14, 15])
def test_a_place_is_told_in_words(row: slice, column: slice, text: str, side: int) -> None:
    assert in_words(spot(row, column, side)) == text
