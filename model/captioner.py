"""Images to captions and classes: the public face of the package."""

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle, BundleInfo, ClassName, load_bundle
from model.calibration import calibrated
from model.config import MAX_BEAM_SIZE, MAX_CLASSES, CaptionerConfig
from model.engines.choice import EngineName, Precision, choose_engine
from model.engines.protocol import Engine
from model.engines.quiet import quiet_tensorflow
from model.errors import SearchOptionError
from model.explaining import Explainer, Explanation
from model.familiarity import Familiarity
from model.options import Search
from model.scripts import join
from model.search import Floats, FoundCaption, Wanted, beam_search
from model.vocabulary import END_ID, Vocabulary


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a caption, with its calibrated probability given the words before it, in [0, 1]."""

    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption of an image.

    Attributes:
        text: The words, joined as their scripts do.
        log_probability: Natural logarithm of the caption's probability, calibrated, its end included unless it was cut
            at the most words.
        words: The words with their probabilities.
        score: What the search ranked the caption by: `log_probability / steps ** length_penalty`, not calibrated, where
            steps are the words and the end.
    """

    text: str
    log_probability: float
    words: tuple[Word, ...]
    score: float

    @property
    def probability(self) -> float:
        """Returns the probability of the whole caption, in [0, 1]."""
        return math.exp(self.log_probability)


@dataclass(frozen=True, slots=True)
class ClassPrediction:
    """One class of an image: id, label and probability in [0, 1]."""

    id: str
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Everything predicted for one image.

    Attributes:
        captions: Best first, in turns where several groups were searched; see `model.search.beam_search`.
        classes: Most probable first.
        encode_seconds: Time that the encoder took for the whole batch.
        search_seconds: Time that the search took for the whole batch.
        explanation: Maps of the same captions and classes; None unless they were asked for.
        unlikeness: How far the image is from those of training, at least 0: above 1 it is farther than most like ones.
            None if the bundle does not know.
    """

    captions: tuple[Caption, ...]
    classes: tuple[ClassPrediction, ...]
    encode_seconds: float
    search_seconds: float
    explanation: Explanation | None = None
    unlikeness: float | None = None

    def first(self, captions: int, classes: int) -> "Prediction":
        """Returns the prediction with so many captions and classes at most."""
        explanation = self.explanation and self.explanation.first(captions, classes)
        return replace(self, captions=self.captions[:captions], classes=self.classes[:classes], explanation=explanation)


class Captioner:
    """A loaded model that predicts captions and classes. Not thread-safe: one caller at a time.

    Args:
        config: Architecture and search defaults.
        vocabulary: Words of the decoder.
        classes: Names of the encoder's classes.
        engine: Runs the encoder and the decoder.
        familiarity: Tells images unlike those of training; None if nothing can.
    """

    def __init__(
        self, config: CaptionerConfig, vocabulary: Vocabulary, classes: tuple[ClassName, ...], engine: Engine,
        familiarity: Familiarity | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.vocabulary = vocabulary
        self.classes = classes
        self._engine = engine
        self._familiarity = familiarity
        self._explainer = Explainer(config, engine)

    @classmethod
    def load(
        cls, path: Path, *, engine: EngineName = "auto", precision: Precision = "float32",
        info: BundleInfo | None = None, threads: int | None = None,
    ) -> Self:  # fmt: skip
        """Restores a captioner and warms it up.

        Args:
            path: The bundle's directory.
            engine: Which engine to use; `auto` takes the fastest on this machine, see `model.engines.choice`.
            precision: Arithmetic of the TensorFlow engine's encoder.
            info: As in `load_bundle`.
            threads: How many threads compute on the CPU; None for one on each core that this process may use. Several
                captioners on one machine are slow if each takes all cores.

        Returns:
            A captioner whose first prediction is as fast as the next.

        Raises:
            BundleError: The bundle is missing, damaged or inconsistent, or lacks the engine's files.
            ConfigError: There is no such engine or precision, or they do not fit each other or this machine.
        """
        if info is None:
            info = BundleInfo.from_bundle(path)
        if choose_engine(engine, precision, has_lite_files=info.has_lite_files) == "tensorflow":
            loaded = _tensorflow_engine(load_bundle(path, info), precision, threads)
        else:
            loaded = _lite_engine(path, info.config, threads)
        loaded.warm_up()
        return cls(info.config, info.vocabulary, info.classes, loaded, info.familiarity)

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Restores a captioner from a bundle in memory, run by TensorFlow in float32."""
        return cls(bundle.config, bundle.vocabulary, bundle.classes, _tensorflow_engine(bundle, "float32"))

    @property
    def explainer(self) -> Explainer:
        """Returns what explains, for measuring it."""
        return self._explainer

    @property
    def engine(self) -> str:
        """Returns the name of the engine."""
        return self._engine.name

    def features(self, images: npt.NDArray[np.uint8]) -> Floats:
        """Returns what the encoder says of images (B, 224, 224, 3), uint8. Shape (B, D), float32."""
        return np.asarray(self._engine.encode(images).features, np.float32)

    def predict(
        self, images: npt.NDArray[np.uint8], *, search: Search | None = None, beam_size: int | None = None,
        captions: int = 1, classes: int = 5, wanted: Wanted | None = None, explain: bool = False,
    ) -> list[Prediction]:  # fmt: skip
        """Captions and classifies a batch of images.

        Args:
            images: RGB from `model.image.read_image`. Shape (B, 224, 224, 3), uint8.
            search: How captions are searched, from `SearchOptions.search`; None for the bundle's defaults.
            beam_size: Hypotheses kept in place of those of `search`, 1 to 10; None for those.
            captions: Captions per image, 1 to the hypotheses of the search; fewer if it finds fewer.
            classes: Classes per image, 0 to 20; fewer if the model has fewer.
            wanted: Called between two words, and between two explained captions; returns for each image whether anyone
                still waits for it. None if all are wanted.
            explain: Whether to explain words and classes by maps. The first time loads what that takes.

        Returns:
            One prediction per image, in order. An image that is no longer wanted has no captions.

        Raises:
            SearchOptionError: A number is out of its range.
            BundleReplacedError: What explaining takes is to be loaded, and the bundle is no longer there.
        """
        search = Search.of(self.config.search) if search is None else search
        if beam_size is not None:
            _check_range("beam_size", beam_size, 1, MAX_BEAM_SIZE)
            search = replace(search, beam_size=beam_size)
        _check_range("captions", captions, 1, search.hypotheses)
        _check_range("classes", classes, 0, MAX_CLASSES)
        started = time.monotonic()
        encoded, maps = self._explainer.encode(images) if explain else (self._engine.encode(images), None)
        encoded_at = time.monotonic()
        start = self._engine.start(encoded.features)
        found = beam_search(start, self._engine.step, search, end_id=END_ID, wanted=wanted)
        times = (encoded_at - started, time.monotonic() - encoded_at)
        order = np.argsort(-encoded.class_probabilities, axis=1, kind="stable")[:, :classes]
        predictions = [
            Prediction(
                tuple(self._caption(f, search.max_words) for f in best[:captions]),
                self._classes_of(row, numbers),
                *times,
                unlikeness=unlikeness,
            )
            for best, row, numbers, unlikeness in zip(
                found, encoded.class_probabilities, order, self._unlikeness(encoded.features), strict=True
            )
        ]
        if maps is None:
            return predictions
        explained = []
        for index, prediction in enumerate(predictions):
            tokens = [caption.tokens for caption in found[index][:captions]]
            is_wanted = partial(_is_wanted, wanted, index)
            explanation = self._explainer.explain(maps[index], tokens, order[index].tolist(), is_wanted)
            explained.append(replace(prediction, explanation=explanation))
        return explained

    def _caption(self, found: FoundCaption, most_words: int) -> Caption:
        texts = self.vocabulary.decode(found.tokens)
        temperature = self.config.confidence_temperature
        values = [calibrated(value, temperature) for value in found.word_log_probs]
        words = tuple(Word(text, math.exp(value)) for text, value in zip(texts, values, strict=True))
        log_prob = found.log_prob
        if temperature != 1:
            # A caption that was cut has no end; what differs from its words is rounding.
            end = min(found.log_prob - math.fsum(found.word_log_probs), 0.0) if len(texts) < most_words else 0.0
            log_prob = math.fsum(values) + calibrated(end, temperature)
        return Caption(join(texts, self.config.segmentation), log_prob, words, found.score)

    def _unlikeness(self, features: Any) -> list[float] | list[None]:
        """Returns the unlikeness of each row of features (B, D)."""
        if self._familiarity is None:
            return [None] * len(features)
        found: list[float] = self._familiarity.unlikeness(np.asarray(features)).tolist()
        return found

    def _classes_of(self, probabilities: Floats, numbers: npt.NDArray[np.intp]) -> tuple[ClassPrediction, ...]:
        names = [self.classes[number] for number in numbers]
        return tuple(
            ClassPrediction(name.id, name.label, float(probabilities[number]))
            for name, number in zip(names, numbers, strict=True)
        )


def _tensorflow_engine(bundle: Bundle, precision: Precision, threads: int | None = None) -> Engine:
    quiet_tensorflow()
    # Imported here: only this engine needs TensorFlow, and importing it takes seconds.
    from model.engines.tensorflow import TensorFlowEngine

    return TensorFlowEngine.of(bundle, precision, threads)


def _lite_engine(path: Path, config: CaptionerConfig, threads: int | None) -> Engine:
    # Imported here: a machine that serves with TensorFlow need not be able to load it.
    from model.engines.lite import LiteEngine

    return LiteEngine.of(path, config, threads)


def _is_wanted(wanted: Wanted | None, image: int) -> bool:
    return wanted is None or bool(wanted()[image])


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise SearchOptionError(f"{name}: expected {low} to {high}, received {value}")
