"""A full-size encoder grown from ImageNet VGG-16's convolutions, as a run directory that later stages start from."""

from dataclasses import asdict
from pathlib import Path

import keras

from model.config import EncoderConfig
from model.encoder import build_encoder
from training.encoder.imagenet import grow_imagenet
from training.loop.checkpoint import BEST, named_variables, save_checkpoint


def grow(directory: Path, weights: Path, config: EncoderConfig, seed: int) -> None:
    """Writes the grown encoder.

    Args:
        directory: Run directory.
        weights: Keras's file of ImageNet VGG-16.
        config: Architecture; its convolutions must be those of the paper.
        seed: Seed of the untrained fully connected layers.

    Raises:
        ConfigError: The architecture has other convolutions.
        DataError: The file is damaged or another one, or the disk is full.
    """
    keras.utils.set_random_seed(seed)
    encoder = build_encoder(config)
    grow_imagenet(weights, encoder)
    directory.mkdir(parents=True, exist_ok=True)
    save_checkpoint(directory / BEST, named_variables(encoder, "encoder"), {"encoder": asdict(config)})
