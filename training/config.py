"""Configurations of training; no framework."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from model.errors import ConfigError
from training.fields import FRACTION, NOT_NEGATIVE, POSITIVE, POSITIVE_FRACTION, SEEDS, Range, check_fields, setting

# Each class raises ConfigError where a value is outside the range of its field.


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """The devices of a run and their arithmetic."""

    devices: str = setting("auto", "auto, cpu, cpu:N (N logical devices), gpu or gpu:0,1. Each device is one replica.")
    precision: Literal["float32", "bfloat16", "float16"] = setting(
        "float32", "Arithmetic of the layers. Variables stay float32; float16 scales the loss."
    )
    xla: bool = setting(False, "Compile forward and backward pass with XLA.")
    memory_limit_mb: int | None = setting(
        None, "Most memory taken on each GPU, in MiB; GPUs alone. Default: grows as needed.", POSITIVE
    )
    soft_placement: bool = setting(True, "Run an operation on another device if one lacks it.")
    log_placement: bool = setting(False, "Log the device of every operation.")
    operation_timeout_seconds: int | None = setting(
        None, "Longest wait for a batch, and for a step after the first one. Default: no limit.", POSITIVE
    )
    worker_timeout_seconds: int = setting(120, "Longest wait for the other workers of TF_CONFIG to appear.", POSITIVE)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def policy(self) -> str:
        """The name of Keras's dtype policy."""
        return self.precision if self.precision == "float32" else f"mixed_{self.precision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and its schedule of learning rates.

    Source:
        Staircase of 0.05, 100 000 steps and 0.998: the TensorFlow 1 design this project comes from. AdamW: Loshchilov &
        Hutter 2017 (arXiv:1711.05101). The average: Polyak & Juditsky 1992, as an exponential one.
    """

    name: Literal["adam", "sgd"] = setting(
        "adam", "adam (decoupled weight decay) or sgd (momentum; decay is added to the gradient).", flag="optimizer"
    )
    learning_rate: float = setting(1e-3, "Highest learning rate of the schedule.", POSITIVE)
    schedule: Literal["cosine", "exponential", "constant"] = setting(
        "cosine", "cosine (linear warm-up, then cosine to zero), exponential (a staircase) or constant."
    )
    warmup: float = setting(0.05, "Share of the steps for the warm-up of cosine.", FRACTION)
    decay_steps: int = setting(100_000, "Steps on each stair of exponential.", POSITIVE)
    decay_rate: float = setting(0.998, "Factor from one stair of exponential to the next.", POSITIVE_FRACTION)
    momentum: float = setting(0.9, "Momentum of sgd; 0 is plain gradient descent.", FRACTION)
    weight_decay: float = setting(
        0.01, "Weight decay of kernels and embeddings; biases and norms have none.", NOT_NEGATIVE
    )
    average: float = setting(
        0.0, "Decay of the moving average of the weights. The average is scored and kept; 0 for none.", FRACTION
    )
    clip_norm: float = setting(5.0, "Largest global norm of a step's gradient; 0 for no limit.", NOT_NEGATIVE)

    def __post_init__(self) -> None:
        check_fields(self)

    def rate(self, step: int, total: int) -> float:
        """Returns the learning rate of a step, counted from 0, in a run of `total` steps."""
        if self.schedule == "exponential":
            return self.learning_rate * self.decay_rate ** (step // self.decay_steps)
        if self.schedule == "constant":
            return self.learning_rate
        warmup = round(self.warmup * total)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """The input pipeline: batches, threads and augmentation."""

    batch_size: int = setting(64, "Records in a step, over all replicas together.", POSITIVE)
    threads: int = setting(2, "Batches decoded in parallel.", POSITIVE)
    shuffle_buffer: int = setting(2048, "Size of the shuffle buffer, in records.", POSITIVE)
    prefetch: int = setting(4, "Batches prefetched.", POSITIVE)
    flip: bool = setting(True, "Mirror half of the images.")
    smallest_crop: float = setting(
        1.0, "Least share of the photo's area in a random crop; 1 crops nothing.", POSITIVE_FRACTION
    )
    service: str = setting("", "Address of a tf.data service with one worker, grpc://host:port, that decodes.")
    seed: int = setting(1, "Seed of order and augmentation.", SEEDS)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The intervals of checkpoints and figures."""

    checkpoint_steps: int = setting(500, "Most steps between two checkpoints.", POSITIVE)
    checkpoint_minutes: float = setting(10.0, "Most minutes between two checkpoints.", POSITIVE)
    keep: int = setting(3, "Checkpoints kept, beside the best.", POSITIVE)
    summary_steps: int = setting(20, "Steps between two lines of figures.", POSITIVE)
    histogram_steps: int = setting(
        500, "Steps between two histograms of gradients and variables; 0 for none.", NOT_NEGATIVE
    )

    def __post_init__(self) -> None:
        check_fields(self)


RUN_DEFAULTS = RunConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """A distillation run: a small encoder learns from a larger teacher.

    Both see the same views of each photo; see `training.encoder.views.view_of`.
    """

    epochs: float = setting(7.0, "Passes over all views of all photos; may be a fraction.", POSITIVE)
    views: int = setting(
        6, "Views of each photo: the whole, then random crops; every third mixes two photos.", POSITIVE
    )
    batch_size: int = setting(64, "Images in a step.", POSITIVE)
    learning_rate: float = setting(
        1.5e-3, "Highest learning rate: linear warm-up over 2 % of the steps, then cosine to zero.", POSITIVE
    )
    weight_decay: float = setting(0.02, "Decoupled weight decay of all kernels (AdamW).", NOT_NEGATIVE)
    seed: int = setting(1, "Seed of views, order and initial weights.", SEEDS)
    smallest_crop: float = setting(0.25, "Least share of the photo's area in a random crop.", POSITIVE_FRACTION)
    temperature: float = setting(
        2.0,
        "Temperature that softens the classes of teacher and student; their loss is scaled by its square.",
        POSITIVE,
    )
    class_weight: float = setting(0.5, "Weight of the class loss; the feature loss has weight 1.", NOT_NEGATIVE)
    map_weight: float = setting(1.0, "Weight of the loss of the last feature map.", NOT_NEGATIVE)
    map_components: int = setting(
        128, "Principal components of the teacher's last feature map that the student learns.", POSITIVE
    )

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopConfig:
    """A run that trains the top of a grown encoder on a teacher's answers."""

    train_from: str = setting("block5_conv4", "First layer that learns; all layers behind it do too.")
    epochs: int = setting(20, "Passes over all views.", POSITIVE)
    batch_size: int = setting(64, "Views in a step.", POSITIVE)
    learning_rate: float = setting(
        1e-3, "Highest learning rate: linear warm-up over 2 % of the steps, then cosine to zero.", POSITIVE
    )
    weight_decay: float = setting(0.02, "Decoupled weight decay of all kernels (AdamW).", NOT_NEGATIVE)
    class_weight: float = setting(0.5, "Weight of the class loss; the feature loss has weight 1.", NOT_NEGATIVE)
    label_weight: float = setting(
        0.0, "Weight of the true classes of photos whose name or folder tells them, see --classes; 0 for none.",
        NOT_NEGATIVE,
    )  # fmt: skip
    mixup: float = setting(
        0.0, "Views are mixed two by two, by a share from Beta(MIXUP, MIXUP); 0 for not at all.", NOT_NEGATIVE
    )
    seed: int = setting(1, "Seed of the order and of the mixing.", SEEDS)
    temperature: float = setting(2.0, "Temperature that softens the classes of teacher and student.", POSITIVE)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierTrainingConfig:
    """A run that trains the encoder on class records."""

    epochs: int = setting(30, "Passes over the records.", POSITIVE)
    label_smoothing: float = setting(0.1, "Share of the target that is spread over all classes.", FRACTION)
    seed: int = setting(1, "Seed of the initial weights and of dropout.", SEEDS)
    pipeline: PipelineConfig = field(default_factory=lambda: PipelineConfig(smallest_crop=0.4))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=2e-3, weight_decay=0.05))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionerTrainingConfig:
    """A run that trains the decoder.

    Sources that `source_weights` does not name keep the weight in the records.
    """

    epochs: int = setting(15, "Passes over all captions.", POSITIVE)
    batch_size: int = setting(128, "Captions in a step, over all replicas together.", POSITIVE)
    loss: Literal["full", "sampled"] = setting(
        "full", "full: softmax over the whole vocabulary. sampled: over words sampled by their frequency."
    )
    negative_samples: int = setting(50, "Words sampled in each step by --loss sampled.", POSITIVE)
    label_smoothing: float = setting(0.0, "Share of the target that is spread over all words, --loss full.", FRACTION)
    seed: int = setting(1, "Seed of initial weights, order, sampled words and dropout.", SEEDS)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=2e-3))
    source_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.loss == "sampled" and self.label_smoothing > 0:
            raise ConfigError("label_smoothing: expected 0 with the sampled loss, which does not support it")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCriticalConfig:
    """A run of self-critical training. Each drawn caption is compared with the others of its photo.

    Sources that `source_weights` does not name keep the weight in the records.
    """

    epochs: int = setting(15, "Passes over all photos.", POSITIVE)
    batch_size: int = setting(64, "Photos in a step, over all replicas together.", POSITIVE)
    samples: int = setting(5, "Captions drawn for each photo.", Range(2))
    cross_entropy: float = setting(
        0.0, "Weight of the cross-entropy of one true caption of each photo, beside the reward.", NOT_NEGATIVE
    )
    unsupported: float = setting(
        0.0,
        "Taken off the CIDEr (0 to 10) of a caption, times the share of its words that no reference says so often.",
        NOT_NEGATIVE,
    )
    seed: int = setting(1, "Seed of order and drawn captions.", SEEDS)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=2e-4, weight_decay=0.0, clip_norm=1.0)
    )
    source_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """A run that trains decoder and encoder together.

    `captions` has the options of the decoder; its batch size is not used.
    """

    captions: CaptionerTrainingConfig = field(
        default_factory=lambda: CaptionerTrainingConfig(epochs=5, optimizer=OptimizerConfig(learning_rate=3e-4))
    )
    pipeline: PipelineConfig = field(default_factory=lambda: PipelineConfig(batch_size=32, smallest_crop=0.7))
    encoder_learning_rate: float = setting(5e-5, "Highest learning rate of the encoder.", POSITIVE)

    def __post_init__(self) -> None:
        check_fields(self)
