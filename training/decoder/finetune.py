"""Training a decoder and its encoder together, from photos."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from model.config import CaptionerConfig
from training.config import FinetuneConfig
from training.data.pipeline import Share, captioned_batches
from training.data.records import INDEX, VOCABULARY, read_index, shard_paths
from training.data.shards import count_records
from training.decoder.features import encode_split
from training.decoder.tasks import CONFIG, CaptionTask, check_belongs, load_decoder
from training.encoder.sources import load_encoder
from training.loop.checkpoint import BEST
from training.loop.replicas import Replicas
from training.loop.step import Sums
from training.provenance import key_of


class FinetuneTask(CaptionTask):
    """Trains a decoder and its encoder together, from photos.

    The encoder's batch norms keep their statistics, and its dropout is off.

    Args:
        encoder_run: Where the encoder comes from.
        captioner_run: Run directory of the decoder that was trained on its features.
        records: The records that the decoder was trained on.
        config: Options of the training; the encoder learns at its own rate.
        replicas: Who computes.

    Raises:
        DataError: The three do not belong together.
    """

    def __init__(
        self, encoder_run: Path, captioner_run: Path, records: Path, config: FinetuneConfig, replicas: Replicas
    ) -> None:
        check_belongs(captioner_run, encoder_run, records)
        self.captioner_config = CaptionerConfig.from_json((captioner_run / CONFIG).read_text())
        keras.utils.set_random_seed(config.captions.seed)
        with replicas.strategy.scope():
            encoder = load_encoder(encoder_run).network
            decoder = load_decoder(captioner_run, self.captioner_config)
        super().__init__(records, (encoder, decoder), self.captioner_config.search, replicas)
        self.config = config.captions
        self.networks = {"encoder": encoder, "decoder": decoder}
        ratio = config.encoder_learning_rate / config.captions.optimizer.learning_rate
        self.multipliers = {variable.path: ratio for variable in encoder.trainable_variables}
        self.pipeline = config.pipeline
        self.optimizer, self.epochs = config.captions.optimizer, config.captions.epochs
        images = count_records(read_index(records), "train")
        replicas.check_pipeline(config.pipeline, images)
        shard_paths(records, "dev")  # missing ones are told now, not after an epoch
        self.steps_per_epoch = images // config.pipeline.batch_size
        self.settings = {
            "encoder": asdict(self.captioner_config.encoder),
            "decoder": asdict(self.captioner_config.decoder),
            "finetuning": asdict(config),
            "inputs": key_of(captioner_run / BEST, records / INDEX, records / VOCABULARY),
        }

    def loss(self, batch: Any, step: tf.Tensor) -> Sums:
        """Sums the loss of a part: images (B, 224, 224, 3) and the tokens of all their captions (B, captions, T)."""
        images, tokens = batch
        features = self.encoder(images, training=False)["features"]  # (B, D)
        captions, length = tf.shape(tokens)[1], tf.shape(tokens)[2]
        repeated = tf.repeat(features, captions, axis=0)  # (B * captions, D)
        flat = tf.reshape(tokens, (-1, length))
        return self.caption_sums((repeated, flat, tf.ones_like(flat[:, 0], tf.float32)), step, self.config)

    def epoch_batches(self, epoch: int, first_step: int, share: Share) -> tf.data.Dataset:
        """Reads an epoch's shuffled, augmented records."""
        return captioned_batches(shard_paths(self.records, "train"), self.pipeline, epoch, first_step, share=share)

    def evaluate(self) -> dict[str, float]:
        """Encodes dev with the encoder as it is, and scores greedy captions."""
        return self.scores(encode_split(self.encoder, self.records, "dev"))
