"""Judging explanations: the curves and the game by themselves, and one whole judgement of a tiny captioner."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bench.explain import WORDS, Judge, cost_rows, perturbed_rows, pointing_rows, read_photos
from bench.perturbing import area, at_random, by_map, deleted, from_the_centre, inserted
from bench.pointing import LEFT, RIGHT, drawn_questions, grid_questions, points_into, share_in
from model.captioner import Captioner

Images = npt.NDArray[np.uint8]
SHAPE = (14, 14)


def noise(seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (224, 224, 3), np.uint8)


def test_deletion_covers_the_strongest_places_first_and_everything_at_last() -> None:
    image = noise()
    values = np.zeros(SHAPE, np.float32)
    values[3, 5] = 1
    values[0, 0] = 2
    whole, first, *_, last = deleted(image, by_map(values), SHAPE, 98)
    np.testing.assert_array_equal(whole, image)
    changed = np.argwhere((first != image).any(axis=2)) // 16
    assert {tuple(place) for place in changed.tolist()} == {(0, 0), (3, 5)}
    assert len(np.unique(last.reshape(-1, 3), axis=0)) == 1


def test_insertion_begins_blurred_and_ends_with_the_photo() -> None:
    image = noise()
    first, *_, last = inserted(image, from_the_centre(*SHAPE), SHAPE, 14)
    np.testing.assert_array_equal(last, image)
    assert first.std() < image.std() / 5


@pytest.mark.parametrize("shape", [(14, 14), (7, 7), (3, 3)])
def test_every_order_has_each_place_once(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    for order in (by_map(random.normal(size=shape)), at_random(*shape, random), from_the_centre(*shape)):
        assert sorted(order) == list(range(shape[0] * shape[1]))


def test_the_centre_comes_first_and_the_corners_last() -> None:
    order = from_the_centre(*SHAPE).tolist()
    assert {divmod(place, 14) for place in order[:4]} == {(6, 6), (6, 7), (7, 6), (7, 7)}
    assert {divmod(place, 14) for place in order[-4:]} == {(0, 0), (0, 13), (13, 0), (13, 13)}


def test_areas_are_those_of_trapezia() -> None:
    assert area([1, 1, 1]) == pytest.approx(1)
    assert area([1, 0]) == pytest.approx(0.5)
    assert area([0, 1, 0]) == pytest.approx(0.5)


def test_drawn_pictures_differ_and_ask_for_what_is_on_each_side() -> None:
    questions = drawn_questions(6)
    assert [(question.word, question.box) for question in questions[:2]] == [("dog", LEFT), ("boat", RIGHT)]
    assert len({question.picture.tobytes() for question in questions}) == 6
    assert {question.picture.shape for question in questions} == {(224, 224, 3)}
    assert questions[0].picture.tobytes() == drawn_questions(6)[0].picture.tobytes()


def test_grids_ask_for_words_that_one_photo_alone_has() -> None:
    photos = [np.full((224, 224, 3), 50 * number, np.uint8) for number in range(4)]
    words = [["grass", "dog"], ["grass", "cat"], ["grass"], ["boat"]]
    questions = grid_questions(photos, words)
    assert sorted(question.word for question in questions) == ["boat", "cat", "dog"]
    for question in questions:
        (owner,) = (number for number, own in enumerate(words) if question.word in own)
        assert (question.picture[question.box] == photos[owner][0, 0]).all()


@pytest.mark.parametrize(("place", "is_left"), [((0, 0), True), ((7, 6), True), ((7, 7), False), ((13, 13), False)])
def test_a_map_points_to_its_strongest_place(place: tuple[int, int], is_left: bool) -> None:
    values = np.full(SHAPE, -1.0)
    values[place] = 0.5
    assert (points_into(values, LEFT), points_into(values, RIGHT)) == (is_left, not is_left)
    assert share_in(values, LEFT) == pytest.approx(float(is_left))


def test_a_tiny_captioner_is_judged(toy_bundle: Path, tmp_path: Path) -> None:
    captioner = Captioner.load(toy_bundle)
    judge = Judge(captioner)
    for number in range(2):
        Image.fromarray(noise(number)).save(tmp_path / f"{number}.png")
    photos = read_photos(tmp_path, 5)
    told = [judge.caption(photo) for photo in photos]
    expected = sum(min(WORDS, len(caption.places)) for caption in told)
    rows = perturbed_rows(judge, told)
    assert [row.what.partition(",")[0] for row in rows] == [
        f"{way}: {who}" for way in ("deletion", "insertion") for who in ("maps", "random", "centre")
    ]
    assert {row.runs for row in rows} == {expected}
    assert set(rows[0].figures) == {
        f"better than {who}{bound}" for who in ("random", "centre") for bound in ("", ", low", ", high")
    }
    assert all(row.value is not None and 0 < row.value < 100 for row in rows)


def test_words_that_a_captioner_does_not_know_are_not_asked_for(toy_bundle: Path) -> None:
    judge = Judge(Captioner.load(toy_bundle))
    questions = drawn_questions(6)
    rows = pointing_rows(judge, "drawn", questions)
    known = [question for question in questions if judge.knows(question.word)]
    assert {row.runs for row in rows} == {len(known)}
    assert {question.word for question in known} == {"dog"}
    assert [row.value for row in rows if row.what.endswith("centre")] == [50.0]


def test_what_maps_cost_is_told_against_a_plain_photo(toy_bundle: Path) -> None:
    plain, maps = cost_rows(Captioner.load(toy_bundle), [noise()])
    assert (plain.unit, maps.unit) == ("ms", "ms")
    added = maps.milliseconds / plain.milliseconds - 1
    assert maps.figures["added, times the plain"] == pytest.approx(added, abs=1e-3)
