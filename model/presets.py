"""Ready-made configurations by name, for training to begin with."""

import types
from dataclasses import replace

from model.config import CaptionerConfig, DecoderConfig, EncoderConfig, SearchConfig


def paper() -> CaptionerConfig:
    """Returns the full-size design: VGG-19 with ImageNet input and four GRU layers of 1000 on unprojected features.

    No run at this size was completed for this project: it needs the ImageNet weights file and a data set such as COCO.
    """
    return CaptionerConfig(
        name="show-and-tell-paper",
        version="1",
        encoder=EncoderConfig(),
        decoder=DecoderConfig(
            vocabulary_size=10_000, embedding_units=4096, layers=4, units=1000, project_features=False
        ),
        search=SearchConfig(max_words=10),
    )


def original() -> CaptionerConfig:
    """Returns the TensorFlow 1 design that this project comes from: `paper`, its input scaled to [-1, 1].

    `docs/original-design.md` has its parts one by one. It is there to be run and compared with, not to be served.
    """
    config = paper()
    return replace(config, name="show-and-tell-original", encoder=replace(config.encoder, normalization="unit"))


def small() -> CaptionerConfig:
    """Returns a size for little machines: narrow VGG-19 at 112 pixels, wider in its last blocks, one GRU of 512."""
    return CaptionerConfig(
        name="show-and-tell-small",
        version="1",
        encoder=EncoderConfig(
            widths=(0.25, 0.25, 0.25, 0.375, 0.5625),
            fc_units=1280,
            normalization="unit",
            input_pooling=2,
            batch_norm=True,
            residual=True,
            pooling="average",
            dropout=0.0,
        ),
        decoder=DecoderConfig(vocabulary_size=10_000, embedding_units=256, units=512, dropout=0.4),
        search=SearchConfig(),
    )


def vgg19() -> CaptionerConfig:
    """Returns VGG-19 of full width with average pooling, as `showtell-train grow` makes it, and one wide GRU.

    The default bundle has this size. The GRU sees the last map's mean beside every word.
    """
    return CaptionerConfig(
        name="show-and-tell-vgg19",
        version="1",
        encoder=EncoderConfig(fc_units=1280, pooling="average", dropout=0.0, features="average"),
        decoder=DecoderConfig(
            vocabulary_size=10_000, embedding_units=384, units=768, dropout=0.5, image_every_step=True
        ),
        search=SearchConfig(),
    )


PRESETS = types.MappingProxyType({"original": original, "paper": paper, "small": small, "vgg19": vgg19})
"""Preset configurations by the name that the command line takes."""


def with_vocabulary_size(config: CaptionerConfig, vocabulary_size: int) -> CaptionerConfig:
    """Returns `config` with the decoder's vocabulary size replaced, as a data set's own vocabulary needs."""
    return replace(config, decoder=replace(config.decoder, vocabulary_size=vocabulary_size))
