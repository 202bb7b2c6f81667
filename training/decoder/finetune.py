"""Training a decoder and its encoder together, from photos."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from model.bundle import CONFIG
from model.config import CaptionerConfig
from model.decoder import Decoder
from training.config import FinetuneConfig
from training.data.pipeline import Share, captioned_batches
from training.data.records import INDEX, VOCABULARY, read_index, read_weights, shard_paths
from training.data.shards import count_records
from training.decoder.belonging import check_belongs
from training.decoder.earlier import decoder_file, load_decoder
from training.decoder.features import encode_split
from training.decoder.tasks import CaptionTask, best_figure
from training.encoder.encoding import encoding_of
from training.encoder.sources import load_encoder
from training.loop.replicas import Replicas
from training.loop.step import Sums
from training.loop.task import Specification
from training.provenance import key_of


class Networks(NamedTuple):
    """A trained encoder and the decoder that was trained on its features.

    Attributes:
        encoder: The encoder.
        decoder: The decoder.
        config: Architecture of both.
        key: A hash of the decoder's file and the records.
    """

    encoder: keras.Model
    decoder: Decoder
    config: CaptionerConfig
    key: str

    def specification(
        self, records: Path, config: FinetuneConfig, replicas: Replicas, steps_per_epoch: int, **settings: Any
    ) -> Specification:
        """Returns the specification of a run that trains both, the encoder at its own learning rate.

        Args:
            records: The records.
            config: Options of the training.
            replicas: The devices that compute.
            steps_per_epoch: Steps of an epoch.
            **settings: Further settings that a resumed run must share.
        """
        optimizer = config.captions.optimizer
        ratio = config.encoder_learning_rate / optimizer.learning_rate
        slowed = self.encoder.trainable_variables if ratio != 1 else []
        shared = {
            "encoder": asdict(self.config.encoder),
            "decoder": asdict(self.config.decoder),
            "finetuning": asdict(config),
            "inputs": self.key,
        }
        return Specification(
            replicas=replicas,
            records=records,
            networks={"encoder": self.encoder, "decoder": self.decoder},
            optimizer=optimizer,
            steps_per_epoch=steps_per_epoch,
            epochs=config.captions.epochs,
            settings=shared | settings,
            best_figure=best_figure(records),
            multipliers={variable.path: ratio for variable in slowed},
        )


def load_networks(
    encoder_run: Path, captioner_run: Path, records: Path, config: FinetuneConfig, replicas: Replicas
) -> Networks:
    """Loads an encoder and the decoder that was trained on its features.

    Raises:
        DataError: The three do not belong together.
    """
    check_belongs(captioner_run, encoder_run, records)
    captioner_config = CaptionerConfig.from_json((captioner_run / CONFIG).read_text())
    keras.utils.set_random_seed(config.captions.seed)
    with replicas.strategy.scope():
        encoder = load_encoder(encoder_run).network
        decoder = load_decoder(captioner_run, captioner_config)
    key = key_of(decoder_file(captioner_run), records / INDEX, records / VOCABULARY)
    return Networks(encoder, decoder, captioner_config, key)


class PhotosTask(CaptionTask):
    """A task that trains a decoder and its encoder together, from photos.

    Args:
        networks: Both networks.
        records: Finished caption records.
        config: Options of the training; the encoder learns at its own rate.
        replicas: The devices that compute.
        training: Whether the encoder's batch norms learn statistics, and its dropout is on.
    """

    def __init__(
        self, networks: Networks, records: Path, config: FinetuneConfig, replicas: Replicas, *, training: bool
    ) -> None:
        self.config = config.captions
        self.pipeline = config.pipeline
        self._training = training
        images = count_records(read_index(records), "train")
        replicas.check_pipeline(config.pipeline, images)
        spec = networks.specification(records, config, replicas, images // config.pipeline.batch_size)
        super().__init__(spec, networks.config, networks.encoder, networks.decoder)

    def loss(self, batch: Any, step: tf.Tensor) -> Sums:
        """Sums the loss of a part: images (B, 224, 224, 3), tokens of their captions (B, captions, T), weights (B,)."""
        images, tokens, weights = batch
        features = self.encoder(images, training=self._training)["features"]  # (B, D)
        captions = tf.shape(tokens)[1]
        length = tf.shape(tokens)[2]
        repeated = tf.repeat(features, captions, axis=0)  # (B * captions, D)
        flat = tf.reshape(tokens, (-1, length))
        return self.caption_sums((repeated, flat, tf.repeat(weights, captions)), step, self.config)

    def epoch_batches(self, epoch: int, first_step: int, share: Share) -> tf.data.Dataset:
        """Reads an epoch's shuffled, augmented records."""
        paths = shard_paths(self.spec.records, "train")
        weights = read_weights(self.spec.records)
        return captioned_batches(paths, self.pipeline, epoch, first_step, share=share, by_source=weights)

    def evaluate(self) -> dict[str, float]:
        """Encodes dev with the encoder as it is, and scores greedy captions."""
        return self.scores(encode_split(encoding_of(self.encoder), self.spec.records, "dev"))

    def rehearse(self) -> None:
        """Encodes and scores a batch of dev."""
        self.scores(encode_split(encoding_of(self.encoder), self.spec.records, "dev", batches=1))


class FinetuneTask(PhotosTask):
    """The task of training a decoder further, and its trained encoder with it.

    The encoder's batch norms keep their statistics, and its dropout is off.

    Args:
        encoder_run: Where the encoder comes from.
        captioner_run: Run directory of the decoder that was trained on its features.
        records: The records that the decoder was trained on.
        config: Options of the training; the encoder learns at its own rate.
        replicas: The devices that compute.

    Raises:
        DataError: The three do not belong together.
    """

    def __init__(
        self, encoder_run: Path, captioner_run: Path, records: Path, config: FinetuneConfig, replicas: Replicas
    ) -> None:
        networks = load_networks(encoder_run, captioner_run, records, config, replicas)
        super().__init__(networks, records, config, replicas, training=False)
