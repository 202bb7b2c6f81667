"""Self-critical training: the decoder learns to raise the CIDEr of captions that it samples itself."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.bundle import CONFIG
from model.config import CaptionerConfig
from model.decoder import Decoder
from model.errors import ConfigError
from model.vocabulary import END, END_ID, PAD_ID, UNKNOWN_ID
from training.config import SelfCriticalConfig
from training.data.language import tokenizer_of
from training.data.pipeline import Share
from training.data.records import INDEX, VOCABULARY, has_split, read_weights
from training.decoder.belonging import check_belongs
from training.decoder.consensus import Consensus
from training.decoder.earlier import decoder_file, load_decoder
from training.decoder.features import Features, input_key, load_features, weighted
from training.decoder.tasks import REHEARSED, CaptionTask, best_figure
from training.encoder.sources import full_precision, load_encoder
from training.loop.replicas import Replicas
from training.loop.step import Sums
from training.loop.task import Specification
from training.loss import full_softmax_losses, word_mask
from training.provenance import key_of


class SelfCriticalTask(CaptionTask):
    """The task of training a decoder by policy gradient, on captions that it samples and on frozen features.

    Args:
        encoder_run: Where the encoder comes from; see `training.encoder.sources.encoder_file`.
        captioner_run: Run directory of the decoder to train further, which was trained on its features.
        records: The records that the decoder was trained on.
        config: Options of the training.
        replicas: The devices that compute.
        maps: Cached maps of all photos, so that only the encoder's last block runs.
        features: Where the features come from; for an estimate `sketched_features`.

    Raises:
        ConfigError: XLA is on.
        DataError: The three do not belong together.

    Source:
        Rennie et al. 2017 (arXiv:1612.00563). Deviations: a sample's baseline is the mean reward of the other samples
        of its image (Luo 2020, arXiv:2003.09971) in place of the greedy caption's; and the end of a sentence counts
        as a word, since otherwise captions learn to break off.
    """

    def __init__(
        self, encoder_run: Path, captioner_run: Path, records: Path, config: SelfCriticalConfig, replicas: Replicas,
        *, maps: Path | None = None, features: Features = load_features,
    ) -> None:  # fmt: skip
        check_belongs(captioner_run, encoder_run, records)
        if replicas.config.xla:
            raise ConfigError("xla: expected to be off, since XLA cannot compile the reward, which Python computes")
        self.options = config
        captioner_config = CaptionerConfig.from_json((captioner_run / CONFIG).read_text())
        with replicas.chief_first(), full_precision():
            train = features(encoder_run, records, "train", maps)
            self.dev = features(encoder_run, records, "dev", maps) if has_split(records, "dev") else None
            encoder = load_encoder(encoder_run).network
        self.train, weights = weighted(train, read_weights(records), config.source_weights)
        self._chosen, first = np.unique(self.train.rows, return_index=True)  # rows of features that have captions
        self._photo_weights = weights[first]
        with replicas.strategy.scope():
            decoder = load_decoder(captioner_run, captioner_config, self.train.features[self._chosen, 0])
        parted = tokenizer_of(captioner_config.segmentation)
        self._consensus = Consensus([[[*parted(text), END] for text in texts] for texts in self.train.references])
        settings = {
            "decoder": asdict(captioner_config.decoder),
            "self_critical": asdict(config),
            "start": key_of(decoder_file(captioner_run), records / INDEX, records / VOCABULARY),
            "inputs": input_key(encoder_run, records),
        }
        spec = Specification(
            replicas=replicas,
            records=records,
            networks={"decoder": decoder},
            optimizer=config.optimizer,
            steps_per_epoch=math.ceil(len(self._chosen) / config.batch_size),
            epochs=config.epochs,
            settings=settings,
            best_figure=best_figure(records),
        )
        super().__init__(spec, captioner_config, encoder, decoder)

    def loss(self, batch: Any, step: tf.Tensor) -> Sums:
        """Draws captions for a part, features (B, D), rows and weights (B,) of photos, and rewards the better ones.

        The part also holds a true caption of each photo, (B, T), whose cross-entropy is added.
        """
        features, rows, weights, true = batch
        own = self._own_losses(features, weights, true)
        features, rows, weights = (
            tf.repeat(values, self.options.samples, axis=0) for values in (features, rows, weights)
        )  # (B * S, ...)
        tokens = tf.stop_gradient(sample(self.decoder, features, self.search.max_words, self._seed(rows, step)))
        tokens = _without_padding(tokens)
        rewards = tf.ensure_shape(tf.numpy_function(self._rewards, [rows, tokens], tf.float32), (None,))
        by_image = tf.reshape(rewards, (-1, self.options.samples))  # (B, S)
        others = tf.reduce_sum(by_image, axis=1, keepdims=True) - by_image
        advantages = tf.reshape(by_image - others / (self.options.samples - 1), (-1, 1))  # (B * S, 1)
        losses = full_softmax_losses(
            self.decoder.hidden(features, tokens), tokens, self.decoder.output_kernel, self.decoder.output_bias
        )
        counts = weights[:, None]
        words = tf.reduce_sum(word_mask(tokens) * counts)
        # Times the number of words, because figures are later divided by it.
        reward = tf.math.divide_no_nan(tf.reduce_sum(rewards), tf.cast(tf.size(rewards), tf.float32)) * words
        return Sums(tf.reduce_sum(advantages * losses * counts) + own, words, {"reward": reward})

    def _own_losses(self, features: tf.Tensor, weights: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the sum of the cross-entropy of true captions, weighted as if there were as many as samples."""
        if self.options.cross_entropy == 0:
            return tf.zeros(())
        tokens = _without_padding(tokens)
        hidden = self.decoder.hidden(features, tokens, training=True)
        losses = full_softmax_losses(hidden, tokens, self.decoder.output_kernel, self.decoder.output_bias)
        return self.options.cross_entropy * self.options.samples * tf.reduce_sum(losses * weights[:, None])

    def epoch_batches(self, epoch: int, first_step: int, share: Share) -> tf.data.Dataset:
        """Returns every photo once: features of it or its mirror image, its row, its weight and one of its captions."""
        random = np.random.default_rng((self.options.seed, epoch))
        order = random.permutation(len(self._chosen))
        rows = self._chosen[order]
        views = random.integers(self.train.features.shape[1], size=len(rows))
        first = np.searchsorted(self.train.rows, rows)
        chosen = first + random.integers(np.searchsorted(self.train.rows, rows, side="right") - first)
        tokens = np.zeros((len(rows), max(map(len, self.train.captions))), np.int32)  # (P, T)
        for place, index in enumerate(chosen):
            tokens[place, : len(self.train.captions[index])] = self.train.captions[index]
        batches = tf.data.Dataset.from_tensor_slices(
            (self.train.features[rows, views], rows, self._photo_weights[order], tokens)
        )
        return share(batches.batch(self.options.batch_size).skip(first_step).prefetch(2))

    def evaluate(self) -> dict[str, float]:
        """Scores greedy captions of dev."""
        return self.scores(self.dev)

    def rehearse(self) -> None:
        """Scores a few photos of dev."""
        if self.dev is not None:
            self.scores(self.dev.first(REHEARSED))

    def _seed(self, rows: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns a seed (2,) of the step and the part, so that no two replicas draw alike."""
        first = tf.reduce_sum(tf.cast(rows[:1], tf.int64))  # 0 for an empty part
        return tf.stack([tf.cast(step, tf.int64) + self.options.seed * 2**32, first * 2**16])

    def _rewards(self, rows: npt.NDArray[np.int64], tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        scores = []
        for row, ids in zip(rows, tokens, strict=True):
            words = [*self.vocabulary.decode(ids), *([END] if END_ID in ids else [])]
            scores.append(self._consensus.reward(int(row), words, self.options.unsupported))
        return np.array(scores, np.float32)


def _without_padding(tokens: tf.Tensor) -> tf.Tensor:
    """Cuts off the columns of captions (N, T) that hold only padding; one column always stays."""
    return tokens[:, : tf.reduce_max(tf.concat([[1], tf.math.count_nonzero(tokens, axis=1)], axis=0))]


def sample(decoder: Decoder, features: tf.Tensor, max_words: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws one caption for each feature from the decoder's own distribution over words.

    Args:
        decoder: The decoder.
        features: Image features. Shape (N, D), float32.
        max_words: Most words drawn.
        seed: Equal seeds draw equal captions. Shape (2,), int64; the 2**16 numbers from its second on are used.

    Returns:
        Word ids, an end where there is one, then padding. Shape (N, max_words), int32.
    """
    never = tf.scatter_nd([[PAD_ID], [UNKNOWN_ID]], [-np.inf, -np.inf], (decoder.config.vocabulary_size,))
    logits, state = decoder.start(features)
    alive = tf.ones(tf.shape(features)[0], tf.bool)
    words = []
    for position in range(max_words):
        place = tf.stack([seed[0], seed[1] + position])
        drawn = tf.random.stateless_categorical(logits + never, 1, place, dtype=tf.int32)[:, 0]  # (N,)
        words.append(tf.where(alive, drawn, PAD_ID))
        alive &= drawn != END_ID
        if position + 1 < max_words:
            logits, state = decoder.step(drawn, state)
    return tf.stack(words, axis=1)
