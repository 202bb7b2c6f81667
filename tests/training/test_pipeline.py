import numpy as np
import pytest

from model.errors import DataError
from training.pipeline import caption_batches, count_batches

FEATURES = np.arange(20, dtype=np.float32).reshape(5, 2, 2)
CAPTIONS = [[3] * (2 + index % 7) + [1] for index in range(40)]
ROWS = np.arange(40) % 5


def batches(seed: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (features.numpy(), tokens.numpy())
        for features, tokens in caption_batches(FEATURES, ROWS, CAPTIONS, batch_size=8, seed=seed)
    ]


def test_every_caption_comes_once_with_the_feature_of_its_image() -> None:
    seen = []
    for features, tokens in batches(seed=None):
        for feature, row in zip(features, tokens, strict=True):
            seen.append((feature.tolist(), [int(token) for token in row if token]))
    expected = [(FEATURES[row, 0].tolist(), ids) for row, ids in zip(ROWS, CAPTIONS, strict=True)]
    assert sorted(seen) == sorted(expected)


def test_the_same_seed_gives_the_same_batches_and_another_seed_others() -> None:
    first, again, other = batches(1), batches(1), batches(2)
    assert all(
        np.array_equal(a, b) for one, two in zip(first, again, strict=True) for a, b in zip(one, two, strict=True)
    )
    assert not all(np.array_equal(one[0], two[0]) for one, two in zip(first, other, strict=True))


def test_training_draws_both_views_of_an_image() -> None:
    drawn = {tuple(feature) for features, _ in batches(seed=3) for feature in features}
    assert drawn == {tuple(view) for image in FEATURES for view in image}


def test_padding_of_a_batch_is_less_than_a_bucket() -> None:
    for _, tokens in batches(seed=1):
        lengths = (tokens != 0).sum(axis=1)
        assert tokens.shape[1] == lengths.max()
        assert lengths.max() - lengths.min() < 3


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_number_of_batches_is_known_beforehand(seed: int | None) -> None:
    assert len(batches(seed)) == count_batches(CAPTIONS, 8)


def test_no_captions_are_refused() -> None:
    with pytest.raises(DataError, match="received none"):
        caption_batches(FEATURES, np.zeros(0, np.int64), [], batch_size=8)
