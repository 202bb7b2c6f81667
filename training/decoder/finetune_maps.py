"""Training an encoder's last block and its top together with the decoder, from cached maps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.errors import DataError
from model.vocabulary import PAD_ID
from training.config import FinetuneConfig
from training.data.mixing import source_of
from training.data.photo_cache import PhotoCache, photo_key
from training.data.pipeline import Share
from training.data.records import read_weights
from training.decoder.features import FeatureSet, encode_maps, known_views, raw_records
from training.decoder.finetune import load_networks
from training.decoder.tasks import CaptionTask
from training.encoder.distill import FeatureLoss, SoftClassLoss
from training.encoder.maps import FROZEN, MAPS, open_maps, top_part
from training.loop.replicas import Replicas
from training.loop.step import Sums

TEMPERATURE = 2.0
"""Temperature that softens the classes of teacher and student."""


class MapsFinetuneTask(CaptionTask):
    """The task of training a decoder together with the encoder's layers behind the cached maps.

    Args:
        encoder_run: Where the encoder comes from.
        captioner_run: Run directory of the decoder that was trained on its features.
        records: The records that the decoder was trained on.
        maps: Cached maps of their photos.
        config: Options of the training; the encoder has its own learning rate. Mirror images are used where they
            have maps. There are no crops.
        replicas: The devices that compute.
        answers: A teacher's answers to the photos of train, from `showtell-train answers`, so that the classes are
            trained too; None to train on captions alone.
        class_weight: Weight of the loss of the teacher's answers; that of the captions is 1.

    Raises:
        DataError: These do not belong together, or maps or answers of a photo are missing.
    """

    def __init__(
        self, encoder_run: Path, captioner_run: Path, records: Path, maps: Path, config: FinetuneConfig,
        replicas: Replicas, *, answers: Path | None = None, class_weight: float = 0.1,
    ) -> None:  # fmt: skip
        self.config = config.captions
        self._batch_size = config.pipeline.batch_size
        self._maps_directory = maps
        self._class_weight = class_weight
        networks = load_networks(encoder_run, captioner_run, records, config, replicas)
        encoder = networks.encoder
        _freeze(encoder)
        if answers is None:
            _freeze_unused(encoder, networks.config.encoder.features)
        self._maps = open_maps(maps, encoder)
        self._top = top_part(encoder)
        self._data = _Photos(records, self._maps, None if answers is None else PhotoCache(answers))
        self._feature_loss = FeatureLoss(self._data.variance())
        self._class_loss = SoftClassLoss(TEMPERATURE)
        steps_per_epoch = len(self._data.keys) // self._batch_size
        if steps_per_epoch == 0:
            raise DataError(
                f"expected at least {self._batch_size} photos for a batch, found {len(self._data.keys)}; "
                "give a smaller --batch-size"
            )
        kept = class_weight if answers is not None else None
        spec = networks.specification(records, config, replicas, steps_per_epoch, answers=kept)
        super().__init__(spec, networks.config, encoder, networks.decoder)

    def loss(self, batch: Any, step: tf.Tensor) -> Sums:
        """Sums the loss of a part: maps (B, H, W, C), tokens (B, captions, T), weights (B,), a teacher's answers."""
        maps, tokens, weights, *answers = batch
        outputs = self._top(maps)
        places = tf.where(tokens[:, :, 0] != PAD_ID)  # (captions, 2): photos have different numbers of them
        captions = tf.gather_nd(tokens, places)
        features, counts = (tf.gather(values, places[:, 0]) for values in (outputs["features"], weights))
        longest = tf.reduce_max(tf.math.count_nonzero(captions, axis=1))
        sums = self.caption_sums((features, captions[:, :longest], counts), step, self.config)
        if not self._data.answered:
            return sums
        own = self._feature_loss.call(answers[0], outputs["taught"])
        own += self._class_loss.call(answers[1], outputs["logits"])
        share = tf.math.divide_no_nan(tf.reduce_sum(own), tf.cast(tf.shape(maps)[0], tf.float32))
        # The mean over photos times the number of words, because the sum is later divided by that number.
        return sums._replace(loss=sums.loss + self._class_weight * share * sums.weight)

    def epoch_batches(self, epoch: int, first_step: int, share: Share) -> tf.data.Dataset:
        """Returns every photo once, or its mirror image, with all its captions."""
        random = np.random.default_rng((self.config.seed, epoch))
        rows = random.permutation(len(self._data.keys))[: self.spec.steps_per_epoch * self._batch_size]
        mirrored = random.random(len(rows)) < 0.5
        indices = tf.data.Dataset.from_tensor_slices((rows, mirrored)).batch(self._batch_size).skip(first_step)
        return share(indices).map(self._data.batch(), num_parallel_calls=1, deterministic=True).prefetch(2)

    def evaluate(self) -> dict[str, float]:
        """Encodes dev with the last block as it is, and scores greedy captions."""
        views = known_views(self._maps, self.spec.records, "dev")[:1]
        dev: FeatureSet = encode_maps(self.encoder, self.spec.records, "dev", self._maps_directory, views)
        return self.scores(dev)


def _freeze(encoder: keras.Model) -> None:
    """Freezes the layers up to `FROZEN`."""
    for layer in encoder.layers:
        layer.trainable = False
        if layer.name == FROZEN:
            return


def _freeze_unused(encoder: keras.Model, features: str) -> None:
    """Freezes the layers that get no gradient from captions: otherwise weight decay alone would change them."""
    unused = {"predictions"} if "fc2" in features else {"fc1", "fc2", "predictions"}
    for name in unused:
        encoder.get_layer(name).trainable = False


class _Photos:
    """The photos of train by row: keys of their maps, captions, weights, and a teacher's answers."""

    def __init__(self, records: Path, maps: PhotoCache, answers: PhotoCache | None) -> None:
        self._maps = maps
        by_source = read_weights(records)
        self.keys: list[str] = []
        captions: list[list[list[int]]] = []
        weights = []
        for record in raw_records(records, "train"):
            weight = by_source.get(source_of(record.name.numpy().decode()), 1.0)
            if weight > 0:
                self.keys.append(photo_key(record.image.numpy()))
                captions.append(record.tokens.to_list())
                weights.append(weight)
        self._weights = np.array(weights, np.float32)
        self._tokens = np.zeros(
            (len(captions), max(map(len, captions)), max(len(ids) for texts in captions for ids in texts)), np.int32
        )
        for row, texts in enumerate(captions):
            for place, ids in enumerate(texts):
                self._tokens[row, place, : len(ids)] = ids
        self.answered = answers is not None
        self._answers = (np.zeros((0, 1), np.float16), np.zeros((0, 1), np.float16))
        if answers is not None:
            features, logits = (
                np.stack([answers.read(name, key) for key in self.keys]) for name in ("features", "logits")
            )
            self._answers = features, logits

    def variance(self) -> npt.NDArray[np.float32]:
        """Returns the variance of the teacher's features; ones where there is no teacher."""
        return np.ones(1, np.float32) if not self.answered else self._answers[0].astype(np.float32).var(axis=0)

    def batch(self) -> Callable[[tf.Tensor, tf.Tensor], Any]:
        """Returns a function for `tf.data` from rows (B,), and whether each is mirrored, to the arguments of `loss`."""
        answers = [tf.constant(values) for values in self._answers] if self.answered else []
        tokens = tf.constant(self._tokens)
        weights = tf.constant(self._weights)
        shape = (None, *self._maps.shapes[MAPS])

        def gather(rows: tf.Tensor, mirrored: tf.Tensor) -> Any:
            maps = tf.ensure_shape(tf.numpy_function(self._read, [rows, mirrored], tf.float32, stateful=False), shape)
            taught = (tf.cast(tf.gather(values, rows), tf.float32) for values in answers)
            return (maps, tf.gather(tokens, rows), tf.gather(weights, rows), *taught)

        return gather

    def _read(self, rows: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        maps = np.empty((len(rows), *self._maps.shapes[MAPS]), np.float32)
        for place, (row, other) in enumerate(zip(rows, mirrored, strict=True)):
            key = self.keys[row]
            maps[place] = self._maps.read(
                MAPS, key, "mirrored" if other and (key, "mirrored") in self._maps else "whole"
            )
        return maps
