"""Runs networks on the sample: training's encoder as training reads photos, and the model as the server does."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from model.config import CaptionerConfig
from model.engines.protocol import Engine
from model.image import read_image
from model.options import Search
from model.scripts import join
from model.search import Floats, beam_search
from model.vocabulary import END_ID, Vocabulary
from training.data.pixels import decode_images, decode_in_graph
from training.doctor.evidence import Answers
from training.progress import progress

BATCH = 16
"""Photos that a network is run on at once."""


class Network(NamedTuple):
    """A captioner that an engine runs.

    Attributes:
        config: Its architecture and its search.
        vocabulary: Its words.
        engine: Runs it.
    """

    config: CaptionerConfig
    vocabulary: Vocabulary
    engine: Engine


def ask(network: Network, photos: Sequence[bytes], label: str) -> Answers:
    """Captions and classifies photos as the server would, from the bytes of their files."""
    search = Search.of(network.config.search)
    features: list[Floats] = []
    probabilities: list[Floats] = []
    words: list[list[str]] = []
    log_probs: list[float] = []
    for part in _batches(photos, label):
        pixels = np.stack([read_image(data).pixels for data in part])
        encoded = network.engine.encode(pixels)
        features.append(np.asarray(encoded.features))
        probabilities.append(np.asarray(encoded.class_probabilities))
        found = beam_search(network.engine.start(encoded.features), network.engine.step, search, end_id=END_ID)
        # There is none where the scores of all words overflow.
        words += [network.vocabulary.decode(best[0].tokens) if best else [] for best in found]
        log_probs += [best[0].log_prob if best else -np.inf for best in found]
    captions = [join(texts, network.config.segmentation) for texts in words]
    return Answers(
        np.concatenate(features), np.concatenate(probabilities), captions, words, log_probs, search.max_words
    )


def encode(encoder: keras.Model, photos: Sequence[bytes], *, by_service: bool) -> tuple[Floats, Floats]:
    """Encodes photos as training reads them.

    Args:
        encoder: Training's encoder.
        photos: The bytes of their files.
        by_service: Whether a `tf.data` service decoded them.

    Returns:
        Features (N, D) and probabilities of the classes (N, C).
    """
    decode = decode_in_graph if by_service else decode_images
    features: list[Floats] = []
    probabilities: list[Floats] = []
    for part in _batches(photos, "training's encoder"):
        outputs: Any = encoder(decode(list(part)), training=False)
        features.append(np.asarray(outputs["features"]))
        probabilities.append(_softmax(np.asarray(outputs["logits"])))
    return np.concatenate(features), np.concatenate(probabilities)


def _batches(photos: Sequence[bytes], label: str) -> Iterator[Sequence[bytes]]:
    bar: tqdm[bytes] = progress([], label, total=len(photos), unit="photo")
    with bar:
        for start in range(0, len(photos), BATCH):
            part = photos[start : start + BATCH]
            yield part
            bar.update(len(part))


def _softmax(logits: npt.NDArray[np.float32]) -> Floats:
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(values / values.sum(axis=1, keepdims=True))
