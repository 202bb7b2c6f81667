"""The loss of reference captions on their photos, word by word, as a training run measures that of dev."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.decoder import Decoder
from model.engines.protocol import Engine
from model.vocabulary import PAD_ID, UNKNOWN_ID, Tokenizer, Vocabulary
from training.loss import full_softmax_losses, perplexity_of
from training.scoring.references import padded_batches


class WordLoss(NamedTuple):
    """The cross-entropy of the reference captions, by the full softmax, as a training run measures that of dev.

    Attributes:
        nats: Mean over all reference words and ends, in nats per word.
        words: Words and ends that the mean is over.
        unknown: Those among them that the vocabulary lacks; they count as the unknown word.
        max_words: Words after which captions were cut, as the records say; None where they were not.
        cut: Captions that were cut.
    """

    nats: float
    words: int
    unknown: int
    max_words: int | None = None
    cut: int = 0

    @property
    def perplexity(self) -> float:
        """Returns exp(nats); infinity where that is no float."""
        return perplexity_of(self.nats)


class LossMeter:
    """The sum of the loss of reference captions given their images, with teacher forcing.

    Args:
        engine: Encodes the images.
        decoder: Its decoder.
        vocabulary: Its words.
        max_words: Words after which captions are cut; None for whole ones.
    """

    def __init__(self, engine: Engine, decoder: Decoder, vocabulary: Vocabulary, max_words: int | None) -> None:
        self._engine = engine
        self._decoder = decoder
        self._vocabulary = vocabulary
        self._max_words = max_words
        self._cut = 0
        self._nats = 0.0
        self._words = 0
        self._unknown = 0
        features = tf.TensorSpec((None, None), tf.float32)
        self._loss = tf.function(self._loss_graph, input_signature=[features, tf.TensorSpec((None, None), tf.int32)])

    def add(self, images: npt.NDArray[np.uint8], references: Sequence[Sequence[str]], tokenizer: Tokenizer) -> None:
        """Adds the captions of a batch of images (B, 224, 224, 3), uint8, which `tokenizer` parts into words."""
        features = np.asarray(self._engine.encode(images).features)  # (B, D)
        told = [(row, text) for row, texts in enumerate(references) for text in texts]
        whole = [(row, self._vocabulary.encode(text, tokenizer=tokenizer)) for row, text in told]
        captions = [(row, self._shortened(ids)) for row, ids in whole]
        self._cut += sum(len(ids) < len(before) for (_, ids), (_, before) in zip(captions, whole, strict=True))
        for rows, tokens in padded_batches(captions):
            self._nats += float(self._loss(features[rows], tokens))
            self._words += int(np.count_nonzero(tokens != PAD_ID))
            self._unknown += int(np.count_nonzero(tokens == UNKNOWN_ID))

    def result(self) -> WordLoss:
        """Returns the mean over all that was added."""
        return WordLoss(self._nats / self._words, self._words, self._unknown, self._max_words, self._cut)

    def _shortened(self, ids: list[int]) -> list[int]:
        """Returns a caption's ids cut at the most words, with the end behind them."""
        return ids if self._max_words is None else [*ids[:-1][: self._max_words], ids[-1]]

    def _loss_graph(self, features: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        losses = full_softmax_losses(
            self._decoder.hidden(features, tokens), tokens, self._decoder.output_kernel, self._decoder.output_bias
        )
        return tf.reduce_sum(losses)
