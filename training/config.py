"""Options of the training stages; no framework."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from model.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """Holds the options of a distillation run.

    Attributes:
        views: Views of each photo, which teacher and student both see: the whole photo, then random crops, every
            third a mixture of two photos; see `training.encoder.views.view_of`.
        smallest_crop: Least fraction of the photo's area in a random crop, in (0, 1].
        batch_size: Images a step.
        epochs: Passes over all views of all photos; may be a fraction.
        learning_rate: Peak of the schedule (linear warm-up over 2 % of the steps, then cosine to zero).
        weight_decay: Decoupled weight decay of AdamW.
        temperature: Softening of teacher and student classes; the loss is scaled by its square.
        class_weight: Weight of the class loss beside the feature loss of weight 1.
        map_weight: Weight of the loss of the last feature map; at least 0.
        map_components: Principal components of the teacher's last feature map that the student must tell.
        seed: Seed of crops, order and initial weights.

    Raises:
        ConfigError: A value is outside its range.
    """

    views: int = 6
    smallest_crop: float = 0.25
    batch_size: int = 64
    epochs: float = 7.0
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    temperature: float = 2.0
    class_weight: float = 0.5
    map_weight: float = 1.0
    map_components: int = 128
    seed: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, ("views", "batch_size", "epochs", "learning_rate", "temperature", "map_components"))
        for name in ("weight_decay", "class_weight", "map_weight"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}: expected at least 0, received {getattr(self, name)}")
        if not 0 < self.smallest_crop <= 1:
            raise ConfigError(f"smallest_crop: expected a number in (0, 1], received {self.smallest_crop}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """Says which devices a run uses and how.

    Attributes:
        devices: `auto` (all GPUs, or the CPU), `cpu`, `cpu:N` (N logical devices on one CPU), `gpu` or `gpu:0,2`.
        soft_placement: Whether an operation that a device lacks runs elsewhere.
        log_placement: Whether every operation's device is logged.
        memory_limit_mb: Most memory taken on each GPU, in MiB; None lets it grow as needed.
        precision: Arithmetic of the layers; variables stay float32, and `float16` scales the loss.
        xla: Whether forward and backward pass are compiled by XLA.
        worker_timeout_seconds: Time within which all workers of `TF_CONFIG` must have appeared.

    Raises:
        ConfigError: A value is outside its range.
    """

    devices: str = "auto"
    soft_placement: bool = True
    log_placement: bool = False
    memory_limit_mb: int | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    xla: bool = False
    worker_timeout_seconds: int = 120

    def __post_init__(self) -> None:
        if self.memory_limit_mb is not None:
            _check_positive(self, ("memory_limit_mb",))
        _check_positive(self, ("worker_timeout_seconds",))
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise ConfigError(f"precision: expected float32, bfloat16 or float16, received {self.precision!r}")

    @property
    def policy(self) -> str:
        """Returns the name of Keras's dtype policy."""
        return self.precision if self.precision == "float32" else f"mixed_{self.precision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """Describes how gradients become updates.

    Attributes:
        name: `adam` (with decoupled weight decay) or `sgd` (with momentum; decay is added to the gradient).
        learning_rate: Highest rate of the schedule.
        schedule: `cosine` (linear warm-up, then to zero), `exponential` (a staircase) or `constant`.
        warmup: Share of the steps in which `cosine` rises from zero, in [0, 1).
        decay_steps: Steps on each stair of `exponential`.
        decay_rate: Factor from one stair to the next, in (0, 1].
        momentum: Momentum of `sgd`, in [0, 1); 0 is plain gradient descent.
        weight_decay: Weight decay of kernels and embeddings; biases and norms have none.
        clip_norm: Largest global norm of a step's gradient; 0 for no limit.
        average: Decay of the moving average of the variables, which is what is scored and kept as the best, in [0, 1);
            0 for none.

    Raises:
        ConfigError: A value is outside its range.

    Source:
        Staircase of 0.05, 100 000 steps and 0.998: the TensorFlow 1 design this project comes from. AdamW: Loshchilov &
        Hutter 2017 (arXiv:1711.05101). The average: Polyak & Juditsky 1992, as an exponential one.
    """

    name: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "exponential", "constant"] = "cosine"
    warmup: float = 0.05
    decay_steps: int = 100_000
    decay_rate: float = 0.998
    momentum: float = 0.9
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    average: float = 0.0

    def __post_init__(self) -> None:
        _check_positive(self, ("learning_rate", "decay_steps", "decay_rate"))
        for name in ("warmup", "momentum", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected a number in [0, 1), received {getattr(self, name)}")
        for name in ("weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}: expected at least 0, received {getattr(self, name)}")
        if self.decay_rate > 1:
            raise ConfigError(f"decay_rate: expected a number in (0, 1], received {self.decay_rate}")
        if self.name not in ("adam", "sgd"):
            raise ConfigError(f"optimizer: expected adam or sgd, received {self.name!r}")
        if self.schedule not in ("cosine", "exponential", "constant"):
            raise ConfigError(f"schedule: expected cosine, exponential or constant, received {self.schedule!r}")

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
    """Says how records become batches.

    Attributes:
        batch_size: Records a step, over all replicas together.
        threads: Batches that are decoded at once.
        shuffle_buffer: Records among which the next one is drawn.
        prefetch: Batches kept ready.
        flip: Whether half of the images are mirrored.
        smallest_crop: Least share of the photo's area in a random crop, in (0, 1]; 1 crops nothing.
        service: Address of a `tf.data` service, `grpc://host:port`, that reads and decodes; empty for none.
        seed: Seed of order and augmentation.

    Raises:
        ConfigError: A value is outside its range.
    """

    batch_size: int = 64
    threads: int = 2
    shuffle_buffer: int = 2048
    prefetch: int = 4
    flip: bool = True
    smallest_crop: float = 1.0
    service: str = ""
    seed: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, ("batch_size", "threads", "shuffle_buffer", "prefetch"))
        if not 0 < self.smallest_crop <= 1:
            raise ConfigError(f"smallest_crop: expected a number in (0, 1], received {self.smallest_crop}")


def paper_pipeline() -> PipelineConfig:
    """Returns the input queue of the TensorFlow 1 design: batch 5, two threads, a capacity of 100 + 3 batches.

    Its least number of records after a dequeue, 15, has no counterpart: `tf.data` keeps its buffer full.
    """
    return PipelineConfig(batch_size=5, threads=2, shuffle_buffer=100 + 3 * 5, prefetch=3, flip=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Says how a run is kept and watched.

    Attributes:
        checkpoint_steps: Steps between two checkpoints.
        checkpoint_minutes: Minutes after which one is written anyway.
        keep: Checkpoints kept, beside the best.
        summary_steps: Steps between two lines of figures.
        histogram_steps: Steps between two histograms of gradients and variables; 0 for none.

    Raises:
        ConfigError: A value is outside its range.
    """

    checkpoint_steps: int = 500
    checkpoint_minutes: float = 10.0
    keep: int = 3
    summary_steps: int = 20
    histogram_steps: int = 500

    def __post_init__(self) -> None:
        _check_positive(self, ("checkpoint_steps", "checkpoint_minutes", "keep", "summary_steps"))
        if self.histogram_steps < 0:
            raise ConfigError(f"histogram_steps: expected at least 0, received {self.histogram_steps}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierTrainingConfig:
    """Holds the options of training the encoder on class records.

    Attributes:
        epochs: Passes over the records.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        pipeline: How records become batches.
        optimizer: How gradients become updates.
        seed: Seed of the initial weights and of dropout.

    Raises:
        ConfigError: A value is outside its range.
    """

    epochs: int = 30
    label_smoothing: float = 0.1
    pipeline: PipelineConfig = field(default_factory=lambda: PipelineConfig(smallest_crop=0.4))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=2e-3, weight_decay=0.05))
    seed: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, ("epochs",))
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing: expected a number in [0, 1), received {self.label_smoothing}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionerTrainingConfig:
    """Holds the options of training the decoder.

    Attributes:
        epochs: Passes over all captions.
        batch_size: Captions a step, over all replicas together.
        loss: `full` softmax over the vocabulary, or `sampled` with `negative_samples` classes drawn by frequency.
        negative_samples: Classes drawn a step for `sampled`.
        label_smoothing: Share of the target spread over all words, for `full`, in [0, 1).
        optimizer: How gradients become updates.
        source_weights: How much a caption counts by the source of its photo; one not named counts as its records say.
        seed: Seed of initial weights, order, sampled words and dropout.

    Raises:
        ConfigError: A value is outside its range.
    """

    epochs: int = 15
    batch_size: int = 128
    loss: Literal["full", "sampled"] = "full"
    negative_samples: int = 50
    label_smoothing: float = 0.0
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=2e-3))
    source_weights: Mapping[str, float] = field(default_factory=dict)
    seed: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, ("epochs", "batch_size", "negative_samples"))
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing: expected a number in [0, 1), received {self.label_smoothing}")
        if self.loss not in ("full", "sampled"):
            raise ConfigError(f"loss: expected full or sampled, received {self.loss!r}")
        if self.loss == "sampled" and self.label_smoothing > 0:
            raise ConfigError("label_smoothing: expected 0 with the sampled loss, which has no place for it")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCriticalConfig:
    """Holds the options of self-critical training.

    Attributes:
        epochs: Passes over all photos.
        batch_size: Photos a step, over all replicas together.
        samples: Captions drawn for each photo, at least 2: each is compared with the others.
        cross_entropy: Weight of the cross-entropy of one of the photo's own captions, dropout on, beside the reward; at
            least 0.
        optimizer: How gradients become updates.
        seed: Seed of order and drawn captions.

    Raises:
        ConfigError: A value is outside its range.
    """

    epochs: int = 15
    batch_size: int = 64
    samples: int = 5
    cross_entropy: float = 0.0
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=2e-4, weight_decay=0.0, clip_norm=1.0)
    )
    seed: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, ("epochs", "batch_size"))
        if self.samples < 2:
            raise ConfigError(f"samples: expected at least 2, received {self.samples}")
        if not self.cross_entropy >= 0:
            raise ConfigError(f"cross_entropy: expected at least 0, received {self.cross_entropy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """Holds the options of training decoder and encoder together.

    Attributes:
        captions: Options of the decoder's part; its batch size is not used.
        pipeline: How records become batches of photos, each with all its captions.
        encoder_learning_rate: Highest learning rate of the encoder; the decoder's is `captions.optimizer`'s.

    Raises:
        ConfigError: A value is outside its range.
    """

    captions: CaptionerTrainingConfig = field(
        default_factory=lambda: CaptionerTrainingConfig(epochs=5, optimizer=OptimizerConfig(learning_rate=3e-4))
    )
    pipeline: PipelineConfig = field(default_factory=lambda: PipelineConfig(batch_size=32, smallest_crop=0.7))
    encoder_learning_rate: float = 5e-5

    def __post_init__(self) -> None:
        _check_positive(self, ("encoder_learning_rate",))


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


def _check_positive(config: object, names: tuple[str, ...]) -> None:
    for name in names:
        # Not `<= 0`, which NaN is not either.
        if not getattr(config, name) > 0:
            raise ConfigError(f"{name}: expected a positive number, received {getattr(config, name)}")
