"""Scoring a captioner on a split of records: loss, perplexity and caption scores for each beam size."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from model.captioner import Caption, Captioner, ClassPrediction
from model.config import SearchConfig
from model.decoder import Decoder
from model.encoder import build_encoder
from model.engines.protocol import Encoded, Engine
from model.engines.tensorflow import TensorFlowEngine
from model.options import Search, SearchOptions
from model.search import Floats, Ints
from model.weights import assign_weights
from training.data.pipeline import split_batches
from training.data.records import read_max_words
from training.scoring.captions import choose_tokenizer, compare_captions
from training.scoring.references import language_of
from training.scoring.topics import topics_of
from training.scoring.word_loss import LossMeter, WordLoss

BUNDLES_OWN = SearchOptions()
"""The options of a search as the bundle has them."""


class BeamResult(NamedTuple):
    """The captions of one beam size and their scores.

    Attributes:
        captions: Best caption by file name.
        scores: Scores times 100 by metric name, and the count of distinct captions.
        ciders: CIDEr times 100 by file name.
    """

    captions: dict[str, Caption]
    scores: dict[str, float]
    ciders: dict[str, float]


class Evaluation(NamedTuple):
    """The scores of a bundle and the captions that were scored.

    Attributes:
        split: Which photos were captioned.
        beams: Results by beam size, in the order that was asked for.
        references: Reference captions by file name.
        classes: Most probable class by file name.
        loss: Of the reference captions; None where it was not measured.
        tokenizer: Which tokenizer the scores were taken with, `ptb` or `showtell`.
        left_out: Why a metric was left out, by its name.
        options: Options of the search, by name, where they are not the bundle's own.
    """

    split: str
    beams: dict[int, BeamResult]
    references: dict[str, list[str]]
    classes: dict[str, ClassPrediction]
    loss: WordLoss | None
    tokenizer: str
    left_out: dict[str, str]
    options: Mapping[str, Any] = MappingProxyType({})

    @property
    def scores(self) -> dict[str, float]:
        """Returns the scores of the first beam size."""
        return next(iter(self.beams.values())).scores

    def table(self) -> list[tuple[str, ...]]:
        """Returns the scores as text: a row of beam sizes, then a row per metric, its name first."""
        results = list(self.beams.values())
        rows = [("", *(f"beam {size}" for size in self.beams))]
        for name in dict.fromkeys([*results[0].scores, *self.left_out]):
            digits = 0 if name.startswith("distinct captions") else 2
            rows.append((name, *(f"{r.scores[name]:.{digits}f}" if name in r.scores else "-" for r in results)))
        if self.loss is not None:
            rows.append(("loss, nats per word", *[f"{self.loss.nats:.3f}"] * len(results)))
            rows.append(("perplexity", *[f"{self.loss.perplexity:.2f}"] * len(results)))
        return rows

    def topic_table(self) -> list[tuple[str, ...]]:
        """Returns CIDEr by what photos show as text: a row per topic, with the mean of each beam size."""
        topics = topics_of(self.references)
        results = self.beams.values()
        return [
            (f"CIDEr, {topic} ({len(names)})", *(f"{fmean(r.ciders[name] for name in names):.2f}" for r in results))
            for topic, names in topics.items()
        ]

    def notes(self) -> list[str]:
        """Returns sentences that say how the scores were taken."""
        notes = [f"{len(self.references)} photos of {self.split}, scores times 100, tokenizer {self.tokenizer}"]
        if self.loss is not None:
            share = 100 * self.loss.unknown / self.loss.words
            cut = f"; {self.loss.cut} captions cut after {self.loss.max_words} words, as in training"
            notes.append(
                f"loss of {self.loss.words} reference words, ends included; the vocabulary lacks {share:.1f} %"
                f"{cut if self.loss.cut else ''}"
            )
        if self.options:
            notes.append(f"search: {', '.join(f'{name} {value}' for name, value in self.options.items())}")
        return notes + [f"{name} left out: {reason}" for name, reason in self.left_out.items()]

    def to_json(self) -> dict[str, Any]:
        """Returns scores and captions as plain values for a JSON file."""
        loss: dict[str, Any] = {}
        if self.loss is not None:
            loss = {"loss": self.loss.nats, "perplexity": self.loss.perplexity}
            loss |= {"words": self.loss.words, "unknown_words": self.loss.unknown, "cut_captions": self.loss.cut}
        beams = {
            str(size): {"scores": r.scores, "captions": {name: c.text for name, c in r.captions.items()}}
            for size, r in self.beams.items()
        }
        head: dict[str, Any] = {"split": self.split, "tokenizer": self.tokenizer, "left_out": self.left_out}
        head |= {"options": dict(self.options)} if self.options else {}
        return head | loss | {"beams": beams}


def evaluate(
    captioner: Captioner, records: Path, split: str, *,
    beam_size: int | None = None, batch_size: int = 32, tokenizer: str | None = None,
) -> Evaluation:  # fmt: skip
    """Captions every image of a split and scores the best captions; measures no loss.

    Args:
        captioner: What to score.
        records: Finished records.
        split: `train`, `dev` or `test`.
        beam_size: Hypotheses kept; None for the captioner's default.
        batch_size: Images captioned at once.
        tokenizer: `ptb` or `showtell`; None for `ptb` where captions are English and Java is installed.

    Returns:
        Scores, captions and references.

    Raises:
        DataError: The records are incomplete or in another language, or the tokenizer fails or does not fit it.
    """
    searches = _searches(captioner.config.search, BUNDLES_OWN, () if beam_size is None else (beam_size,))
    return _evaluate(captioner, None, records, split, searches, batch_size, tokenizer)


def evaluate_bundle(
    bundle: Bundle, records: Path, split: str, *,
    beam_sizes: Sequence[int] = (), options: SearchOptions = BUNDLES_OWN, batch_size: int = 32,
    tokenizer: str | None = None,
) -> Evaluation:  # fmt: skip
    """Scores a bundle on a split for several beam sizes, and its loss, in one pass over the images.

    Args:
        bundle: What to score; its networks run in float32.
        records: Finished records; for the loss their captions are encoded anew with the bundle's vocabulary, and cut at
            the records' most words, as in training.
        split: `train`, `dev` or `test`.
        beam_sizes: Hypotheses kept, 1 to 10 each; empty for the bundle's default.
        options: How captions are searched otherwise.
        batch_size: Images captioned at once.
        tokenizer: `ptb` or `showtell`; None for `ptb` where captions are English and Java is installed.

    Returns:
        Scores and captions of each beam size, references, and the loss.

    Raises:
        DataError: The records are incomplete or in another language, or the tokenizer fails or does not fit it.
        SearchOptionError: A beam size or an option is out of its range, or they do not fit each other.
    """
    searches = _searches(bundle.config.search, options, beam_sizes)
    config = bundle.config
    encoder = build_encoder(config.encoder)
    decoder = Decoder(config.decoder, config.encoder.feature_units)
    assign_weights(encoder, bundle.weights, "encoder")
    assign_weights(decoder, bundle.weights, "decoder")
    engine = _EncodeOnce(TensorFlowEngine(encoder, decoder))
    captioner = Captioner(config, bundle.vocabulary, bundle.classes, engine)
    meter = LossMeter(engine, decoder, bundle.vocabulary, read_max_words(records))
    found = _evaluate(captioner, meter, records, split, searches, batch_size, tokenizer)
    return found._replace(options={name: value for name, value in asdict(options).items() if value is not None})


class _EncodeOnce:
    """An engine that caches the encoding of the last batch, so that several searches encode once."""

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self._engine = engine
        self._images: npt.NDArray[np.uint8] | None = None
        self._encoded: Encoded | None = None

    def warm_up(self) -> None:
        self._engine.warm_up()

    def encode(self, images: npt.NDArray[np.uint8], /) -> Encoded:
        if self._encoded is None or images is not self._images:
            self._images = images
            self._encoded = self._engine.encode(images)
        return self._encoded

    def start(self, features: Any, /) -> tuple[Floats, Ints, Any]:
        return self._engine.start(features)

    def step(self, tokens: Ints, parents: Ints, state: Any, /) -> tuple[Floats, Ints, Any]:
        return self._engine.step(tokens, parents, state)


def _searches(own: SearchConfig, options: SearchOptions, beam_sizes: Sequence[int]) -> dict[int, Search]:
    """Returns the search for each beam size; for the bundle's own where there is none."""
    found = [replace(options, beam_size=size).search(own) for size in beam_sizes] or [options.search(own)]
    return {search.beam_size: search for search in found}


def _evaluate(
    captioner: Captioner, meter: LossMeter | None, records: Path, split: str, searches: Mapping[int, Search],
    batch_size: int, tokenizer: str | None,
) -> Evaluation:  # fmt: skip
    language = language_of(records, captioner.config.segmentation)
    tokenizer = choose_tokenizer(tokenizer, language)
    captions: dict[int, dict[str, Caption]] = {size: {} for size in searches}
    references: dict[str, list[str]] = {}
    classes: dict[str, ClassPrediction] = {}
    for batch in split_batches(records, split, batch_size, f"captioning {split}"):
        names = [name.decode() for name in batch.names.numpy()]
        images = batch.images.numpy()
        texts = [[text.decode() for text in row.numpy()] for row in batch.captions]
        references |= zip(names, texts, strict=True)
        for size, search in searches.items():
            predictions = captioner.predict(images, search=search, classes=1)
            captions[size] |= {name: p.captions[0] for name, p in zip(names, predictions, strict=True)}
            classes |= {name: p.classes[0] for name, p in zip(names, predictions, strict=True)}
        if meter is not None:
            meter.add(images, texts, language.tokenizer)
    sentences = {size: {name: caption.text for name, caption in found.items()} for size, found in captions.items()}
    scored, left_out = compare_captions(references, sentences, tokenizer=tokenizer, language=language)
    results = {size: BeamResult(captions[size], scored[size].scores, scored[size].ciders) for size in searches}
    loss = None if meter is None else meter.result()
    return Evaluation(split, results, references, classes, loss, tokenizer, left_out)
