"""Judges explanations: deletion and insertion, the pointing game, and what maps cost, with the default bundle.

Without photos the drawn pictures are judged. What is random follows from one seed.
"""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.perturbing import Images, Order, area, at_random, by_map, deleted, from_the_centre, inserted
from bench.pointing import Question, drawn_questions, grid_questions, points_into, share_in
from bench.report import Row, median_row
from model.bundle import DEFAULT_BUNDLE
from model.captioner import Captioner
from model.image import SUFFIXES, read_image
from model.vocabulary import UNKNOWN_ID

PART = "explain"
PHOTOS = 200
DRAWN = 60
STEPS = 14
WORDS = 4
"""Most words judged for each photo by deletion and insertion: each takes as long as captioning 28 photos."""

RUNS = 25
RESAMPLES = 2000
SEED = 0

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at behind by down for from front group has her him his in into is it its near next of off on "
        "one other out over some that the their them there through to two up while with",
    )
)
"""Words that the words before them decide, and no thing in the photo."""

WAYS: Mapping[str, Callable[[Images, Order, tuple[int, int], int], Iterator[Images]]] = MappingProxyType(
    {"deletion": deleted, "insertion": inserted}
)


class Told(NamedTuple):
    """A photo's best caption."""

    image: Images
    tokens: tuple[int, ...]
    words: tuple[str, ...]

    @property
    def places(self) -> list[int]:
        """Returns the places of the words that name something."""
        return [place for place, word in enumerate(self.words) if word not in FUNCTION_WORDS]


class Judge:
    """A captioner whose explanations are judged.

    Args:
        captioner: Explains.
    """

    def __init__(self, captioner: Captioner) -> None:
        self._captioner = captioner
        self._explainer = captioner.explainer

    def caption(self, image: Images) -> Told:
        """Captions one image (224, 224, 3)."""
        (prediction,) = self._captioner.predict(image[None], classes=0)
        words = tuple(word.text for word in prediction.captions[0].words)
        return Told(image, self.tokens(words), words)

    def tokens(self, words: Sequence[str]) -> tuple[int, ...]:
        """Returns the ids of words."""
        return tuple(self._captioner.vocabulary.encode(" ".join(words))[:-1])

    def maps(self, image: Images, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Returns the maps of a caption's words for an image, (T, H, W)."""
        _, maps = self._explainer.encode(image[None])
        return self._explainer.attribution.words(maps[0], [tokens])[0]

    def probabilities(self, images: Sequence[Images], tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Returns the probability of each word of a caption for each image, (N, T)."""
        encoded, _ = self._explainer.encode(np.stack(images))
        return np.exp(self._explainer.attribution.log_probs(np.asarray(encoded.features), tokens))

    def knows(self, word: str) -> bool:
        """Returns whether a word is in the vocabulary."""
        return UNKNOWN_ID not in self.tokens([word])


def measure(photos: Path | None = None, most: int = PHOTOS) -> list[Row]:
    """Judges the maps of the default bundle.

    Args:
        photos: A folder with photos; None for drawn pictures.
        most: Most photos of it that are judged, chosen at random.
    """
    captioner = Captioner.load(DEFAULT_BUNDLE)
    judge = Judge(captioner)
    drawn = drawn_questions(DRAWN, SEED)
    images = [question.picture for question in drawn[::2]][:most] if photos is None else read_photos(photos, most)
    told = [judge.caption(image) for image in images]
    rows = [*perturbed_rows(judge, told), *pointing_rows(judge, "drawn pictures, two things", drawn)]
    if photos is not None:
        asked = [[caption.words[place] for place in caption.places] for caption in told]
        rows += pointing_rows(judge, "grids of four photos", grid_questions(images, asked, SEED))
    return [*rows, *cost_rows(captioner, images)]


def read_photos(folder: Path, most: int) -> list[Images]:
    """Returns photos of a folder, at most so many, chosen at random by the seed, as the captioner reads them."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    chosen = np.random.default_rng(SEED).permutation(len(paths))[:most]
    return [read_image(paths[index].read_bytes()).pixels for index in chosen]


def perturbed_rows(judge: Judge, told: Sequence[Told]) -> list[Row]:
    """Returns rows of deletion and insertion: the areas of the maps and of both baselines, in percent."""
    random = np.random.default_rng(SEED)
    areas: dict[tuple[str, str], list[list[float]]] = {}
    for caption in told:
        chosen = random.permutation(caption.places)[:WORDS].tolist()
        if not chosen:
            continue
        for key, found in _areas(judge, caption, chosen, random):
            areas.setdefault(key, []).append(found)
    return [_area_row(way, ours, areas) for way in WAYS for ours in ("maps", "random", "centre") if areas]


def _areas(
    judge: Judge, told: Told, chosen: Sequence[int], random: np.random.Generator
) -> Iterator[tuple[tuple[str, str], list[float]]]:
    """Yields, for each way and each order, the areas under the curves of the chosen words."""
    maps = judge.maps(told.image, told.tokens)
    shape = (maps.shape[1], maps.shape[2])
    for way in WAYS:
        curve = partial(_curve, judge, told, way, shape)
        yield (way, "maps"), [area(curve(by_map(maps[place]))[:, place]) for place in chosen]
        for name, order in (("random", at_random(*shape, random)), ("centre", from_the_centre(*shape))):
            curves = curve(order)
            yield (way, name), [area(curves[:, place]) for place in chosen]


def _curve(judge: Judge, told: Told, way: str, shape: tuple[int, int], order: Order) -> npt.NDArray[np.float32]:
    return judge.probabilities(list(WAYS[way](told.image, order, shape, STEPS)), told.tokens)


def _area_row(way: str, name: str, areas: dict[tuple[str, str], list[list[float]]]) -> Row:
    means = np.array([100 * statistics.fmean(found) for found in areas[way, name]])
    figures: dict[str, float] = {}
    if name == "maps":
        for other in ("random", "centre"):
            sign = -1 if way == "deletion" else 1
            others = np.array([100 * statistics.fmean(found) for found in areas[way, other]])
            for part, value in zip(("", ", low", ", high"), _margin(sign * (means - others)), strict=True):
                figures[f"better than {other}{part}"] = value
    remark = "area under the probability; less is better" if way == "deletion" else "more is better"
    words = sum(map(len, areas[way, name]))
    what = f"{way}: {name}, {words} words of {len(means)} photos"
    return Row(PART, what, round(float(means.mean()), 2), words, "%", remark=remark, figures=figures)


def _margin(better: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Returns the mean of what is better for each photo, and the bounds of its 95 % interval by the bootstrap."""
    rows = np.random.default_rng(SEED).integers(0, len(better), (RESAMPLES, len(better)))
    low, high = np.percentile(better[rows].mean(axis=1), [2.5, 97.5])
    return tuple(round(float(value), 2) for value in (better.mean(), low, high))


def pointing_rows(judge: Judge, name: str, questions: Sequence[Question]) -> list[Row]:
    """Returns rows of the pointing game: how often the maps and both baselines point into the box, in percent."""
    random = np.random.default_rng(SEED)
    hits: dict[str, list[float]] = {"maps": [], "random": [], "centre": []}
    shares = []
    for question in questions:
        if not judge.knows(question.word):
            continue
        values = judge.maps(question.picture, judge.tokens(["a", question.word]))[-1]
        place = np.zeros_like(values)
        place.reshape(-1)[random.integers(values.size)] = 1
        hits["maps"].append(points_into(values, question.box))
        hits["random"].append(points_into(place, question.box))
        hits["centre"].append(_of_centre(values.shape, question))
        shares.append(share_in(values, question.box))
    if not shares:
        return []
    figures = {"share of the map in the box": round(100 * statistics.fmean(shares), 1)}
    return [
        Row(PART, f"pointing, {name}: {who}", round(100 * statistics.fmean(found), 1), len(found), "%",
            remark="more is better", figures=figures if who == "maps" else {})
        for who, found in hits.items()
    ]  # fmt: skip


def _of_centre(shape: tuple[int, ...], question: Question) -> float:
    """Returns how often a place at the centre lies in the box: of an even number of places four are there."""
    places = [(row, column) for row in _middle(shape[0]) for column in _middle(shape[1])]
    hits = []
    for row, column in places:
        values = np.zeros(shape)
        values[row, column] = 1
        hits.append(points_into(values, question.box))
    return statistics.fmean(hits)


def _middle(count: int) -> set[int]:
    return {(count - 1) // 2, count // 2}


def cost_rows(captioner: Captioner, images: Sequence[Images]) -> list[Row]:
    """Returns the times of a caption with five classes, without and with maps, in turn."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(RUNS):
        image = images[number % len(images)][None]
        for explain in (False, True):
            started = time.perf_counter()
            captioner.predict(image, captions=3, explain=explain)
            seconds[explain].append(time.perf_counter() - started)
    plain = median_row(PART, "a photo, three captions, five classes", seconds[False])
    maps = median_row(PART, "the same, all words and classes explained", seconds[True])
    added = {"added, times the plain": round(maps.milliseconds / plain.milliseconds - 1, 3)}
    return [plain, Row(PART, maps.what, maps.value, maps.runs, figures=added)]
