"""The training that belongs to a preset, by its name: optimizers, batches and devices."""

from typing import TypeVar

from model.presets import PRESETS
from training.config import (
    CaptionerTrainingConfig,
    ClassifierTrainingConfig,
    DeviceConfig,
    FinetuneConfig,
    OptimizerConfig,
    PipelineConfig,
)

USUAL = "small"
"""The preset where none is given."""

C = TypeVar("C")


def of_presets(usual: C, **others: C) -> dict[str, C]:
    """Returns the configuration of each preset, that of the usual one first.

    Args:
        usual: The configuration of all presets that are not named.
        **others: Those of others, by the preset's name.
    """
    return {USUAL: usual, **dict.fromkeys(PRESETS, usual), **others}


def paper_pipeline() -> PipelineConfig:
    """Returns the input queue of the TensorFlow 1 design: batch 5, two threads, a capacity of 100 + 3 batches.

    Its minimum of 15 records after a dequeue is not needed: `tf.data` keeps its buffer full.
    """
    return PipelineConfig(batch_size=5, threads=2, shuffle_buffer=100 + 3 * 5, prefetch=3, flip=False)


def paper_captioner() -> CaptionerTrainingConfig:
    """Returns the design's training: gradient descent, 32 captions a step, softmax sampled over 50 words."""
    optimizer = OptimizerConfig(
        name="sgd", learning_rate=0.05, schedule="exponential", momentum=0.0, weight_decay=0.0, clip_norm=0.0
    )
    return CaptionerTrainingConfig(batch_size=32, loss="sampled", negative_samples=50, optimizer=optimizer)


def paper_classifier() -> ClassifierTrainingConfig:
    """Returns the design's training of VGG-19: its queue, and gradient descent on a staircase of 0.05."""
    optimizer = OptimizerConfig(
        name="sgd", learning_rate=0.05, schedule="exponential", momentum=0.9, weight_decay=5e-4, clip_norm=5.0
    )
    return ClassifierTrainingConfig(label_smoothing=0.0, pipeline=paper_pipeline(), optimizer=optimizer)


def original_classifier() -> ClassifierTrainingConfig:
    """Returns the training of VGG-19 in the TensorFlow 1 design: Adam on a staircase of 0.05, which diverges."""
    optimizer = OptimizerConfig(
        name="adam", learning_rate=0.05, schedule="exponential", weight_decay=0.0, clip_norm=0.0
    )
    return ClassifierTrainingConfig(label_smoothing=0.0, pipeline=paper_pipeline(), optimizer=optimizer)


CAPTIONERS = of_presets(CaptionerTrainingConfig(), original=paper_captioner(), paper=paper_captioner())
"""The decoder's training by preset."""

CLASSIFIERS = of_presets(ClassifierTrainingConfig(), original=original_classifier(), paper=paper_classifier())
"""The encoder's training on classes by preset."""

PIPELINES_TOGETHER = of_presets(FinetuneConfig().pipeline, original=paper_pipeline(), paper=paper_pipeline())
"""The input pipeline by preset where encoder and decoder are trained together."""

DEVICES = of_presets(DeviceConfig(), original=DeviceConfig(devices="cpu:4"))
"""The devices by preset."""
