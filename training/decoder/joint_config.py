"""Configuration of training all networks at once; no framework."""

from dataclasses import dataclass

from model.errors import ConfigError
from training.fields import FRACTION, NOT_NEGATIVE, POSITIVE, POSITIVE_FRACTION, SEEDS, check_fields, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class JointConfig:
    """A run that trains encoder, class layers and decoder at once, each step on photos with captions and on views."""

    steps: int = setting(2000, "Steps of the whole run.", POSITIVE)
    captioned: int = setting(128, "Photos with captions in a step.", POSITIVE)
    views: int = setting(128, "Views of all photos in a step, from which classes alone are learned.", POSITIVE)
    learning_rate: float = setting(
        5e-4, "Highest learning rate of the decoder: linear warm-up over 2 % of the steps, then cosine.", POSITIVE
    )
    encoder_learning_rate: float = setting(5e-5, "Highest learning rate of the encoder and its class layers.", POSITIVE)
    weight_decay: float = setting(0.02, "Decoupled weight decay of all kernels (AdamW).", NOT_NEGATIVE)
    label_smoothing: float = setting(0.1, "Share of the target that is spread over all words.", FRACTION)
    dropout: float = setting(0.5, "Dropout of the decoder.", FRACTION)
    samples: int = setting(
        0,
        "Captions drawn of each captioned photo, rewarded by CIDEr (self-critical training). 0: none.",
        NOT_NEGATIVE,
    )
    cross_entropy: float = setting(
        0.1, "With samples: weight of the cross-entropy of the true captions beside them.", NOT_NEGATIVE
    )
    class_weight: float = setting(
        0.5, "Weight of the teacher's classes; that of its features is the same.", NOT_NEGATIVE
    )
    label_weight: float = setting(0.5, "Weight of the true classes, where they are known.", NOT_NEGATIVE)
    labelled_share: float = setting(0.25, "Share of the views that are of photos with a known class.", FRACTION)
    temperature: float = setting(2.0, "Temperature that softens the classes of teacher and student.", POSITIVE)
    smallest_crop: float = setting(0.7, "Least share of a captioned photo's area in a random crop.", POSITIVE_FRACTION)
    smallest_view: float = setting(0.25, "Least share of a photo's area in a view for classes.", POSITIVE_FRACTION)
    first_trained: str = setting("block3_conv1", "First convolution that learns.")
    seed: int = setting(1, "Seed of order, views and dropout.", SEEDS)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.samples == 1:
            raise ConfigError("samples: expected 0, or at least 2 to compare with each other, received 1")
