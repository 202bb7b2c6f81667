"""Options of the training stages; no framework."""

from dataclasses import dataclass
from typing import Literal

from model.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """Holds the options of a distillation run.

    Attributes:
        views: Crops of each photo that the teacher sees: the whole photo, then random ones.
        smallest_crop: Least fraction of the photo's area in a random crop, in (0, 1].
        batch_size: Images a step.
        epochs: Passes over all views of all photos; may be a fraction.
        learning_rate: Peak of the schedule (linear warm-up over 2 % of the steps, then cosine to zero).
        weight_decay: Decoupled weight decay of AdamW.
        temperature: Softening of teacher and student classes; the loss is scaled by its square.
        class_weight: Weight of the class loss beside the feature loss of weight 1.
        seed: Seed of crops, order and initial weights.

    Raises:
        ConfigError: A value is outside its range.
    """

    views: int = 2
    smallest_crop: float = 0.5
    batch_size: int = 64
    epochs: float = 4.0
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    temperature: float = 2.0
    class_weight: float = 0.5
    seed: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, ("views", "batch_size", "epochs", "learning_rate", "temperature"))
        if not 0 < self.smallest_crop <= 1:
            raise ConfigError(f"smallest_crop: expected a number in (0, 1], received {self.smallest_crop}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionerTrainingConfig:
    """Holds the options of training the decoder on a frozen encoder.

    Attributes:
        epochs: Passes over all captions.
        batch_size: Captions a step.
        learning_rate: Peak of the schedule (linear warm-up over the first epoch, then cosine to zero).
        weight_decay: Decoupled weight decay of AdamW.
        clip_norm: Largest global norm of a step's gradient.
        loss: `full` softmax over the vocabulary, or `sampled` with `negative_samples` classes drawn by frequency.
        negative_samples: Classes drawn a step for `sampled`.
        label_smoothing: Share of the target spread over all words, for `full`, in [0, 1).
        seed: Seed of initial weights, order and dropout.

    Raises:
        ConfigError: A value is outside its range.
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    loss: Literal["full", "sampled"] = "full"
    negative_samples: int = 50
    label_smoothing: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, ("epochs", "batch_size", "learning_rate", "clip_norm", "negative_samples"))
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing: expected a number in [0, 1), received {self.label_smoothing}")
        if self.loss not in ("full", "sampled"):
            raise ConfigError(f"loss: expected full or sampled, received {self.loss!r}")
        if self.loss == "sampled" and self.label_smoothing > 0:
            raise ConfigError("label_smoothing: expected 0 with the sampled loss, which has no place for it")


def _check_positive(config: object, names: tuple[str, ...]) -> None:
    for name in names:
        # Not `<= 0`, which NaN is not either.
        if not getattr(config, name) > 0:
            raise ConfigError(f"{name}: expected a positive number, received {getattr(config, name)}")
