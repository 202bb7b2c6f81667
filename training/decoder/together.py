"""Training a decoder and its encoder together from the start."""

from pathlib import Path

import keras

from model.config import CaptionerConfig, EncoderConfig
from training.config import FinetuneConfig
from training.data.records import INDEX, VOCABULARY, check_kind
from training.decoder.earlier import new_decoder
from training.decoder.finetune import Networks, PhotosTask
from training.decoder.tasks import check_fits, fitted
from training.encoder.norm import trainable_encoder
from training.encoder.sources import load_encoder
from training.loop.replicas import Replicas
from training.provenance import key_of


class TogetherTask(PhotosTask):
    """The task of training an encoder and a decoder together, both from the start.

    Args:
        records: Finished caption records.
        preset: Architecture of both; vocabulary size and most words come from the records.
        config: Options of the training.
        replicas: The devices that compute.
        source: A trained encoder to start from, see `training.encoder.sources.encoder_file`; None for fresh weights of
            the preset's encoder.

    Raises:
        DataError: The records are incomplete or hold classes, or `source` has no trained encoder that fits.
    """

    def __init__(
        self, records: Path, preset: CaptionerConfig, config: FinetuneConfig, replicas: Replicas,
        source: Path | None = None,
    ) -> None:  # fmt: skip
        check_kind(records, "captions")
        keras.utils.set_random_seed(config.captions.seed)
        with replicas.strategy.scope():
            encoder, encoder_config = _encoder(preset, source, synchronized=replicas.count > 1)
            architecture = fitted(preset, encoder_config, records)
            decoder = new_decoder(architecture)
        files = (records / INDEX, records / VOCABULARY)
        networks = Networks(encoder, decoder, architecture, key_of(*files))
        super().__init__(networks, records, config, replicas, training=True)


def _encoder(preset: CaptionerConfig, source: Path | None, *, synchronized: bool) -> tuple[keras.Model, EncoderConfig]:
    if source is None:
        return trainable_encoder(preset.encoder, synchronized=synchronized), preset.encoder
    network, config, _ = load_encoder(source)
    check_fits(preset, source, config.feature_units)
    return network, config
