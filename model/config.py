"""The architecture and the defaults of a captioner as frozen dataclasses with strict JSON.

Standard library only, so that a tool can read a bundle's `config.json` without numpy or Keras.
"""

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, get_args

from model.blocks import BLOCKS
from model.errors import ConfigError
from model.ranges import check, check_between, check_choice, check_fraction, check_least
from model.scripts import SEGMENTATIONS, Segmentation
from model.strict_json import parse
from model.versions import ADDED, FORMAT_VERSION, upgraded
from model.vocabulary import SPECIAL

IMAGE_PIXELS = 224
"""Height and width of every image that enters the encoder, in pixels."""


Normalization = Literal["caffe", "unit"]
Pooling = Literal["flatten", "average"]
Activation = Literal["relu", "relu6"]
Features = Literal["fc2", "average", "average_max", "grid", "average_fc2"]

FEATURES: Mapping[Features, tuple[int, int]] = types.MappingProxyType(
    {"fc2": (0, 1), "average": (1, 0), "average_max": (2, 0), "grid": (4, 0), "average_fc2": (1, 1)}
)
"""Features that the decoder can read. Lengths: a factor on the last map's channels, and one on the FC layers' units."""

INPUT_POOLINGS = (1, 2, 4, 7)
"""Sides of the pool in front of the first convolution, in pixels: divisors of 224 that leave room for five poolings."""

GRID_POOLINGS = INPUT_POOLINGS[:2]
"""Those that leave a last map of more than two positions a side, as the feature `grid` needs to quarter it."""

MAX_BEAM_SIZE = 10
"""Candidates that an engine returns for each hypothesis, and therefore the widest beam."""

MAX_CLASSES = 20
"""Most classes in one answer."""

MIN_VOCABULARY_SIZE = len(SPECIAL) + 1
MAX_LAYERS = 16
MAX_WORDS = 100
MAX_LENGTH_PENALTY = 2
CONFIDENCE_TEMPERATURES = (0.05, 20.0)
"""Least and largest temperature that calibrates probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Architecture of a VGG-19 encoder; the defaults are the paper's.

    Attributes:
        widths: Factor on the channels of the convolutions of each of the five blocks, each in (0, 1].
        fc_units: Units of both fully connected layers, and so the length D of `features`.
        classes: Number of classes C of the `predictions` layer.
        normalization: `caffe` (BGR minus the ImageNet mean, in [-124, 152]) or `unit` (RGB in [-1, 1]).
        input_pooling: Side of the average pool in front of the first convolution, in pixels. 2 makes the
            convolutions see 112x112 and costs a quarter of the time.
        batch_norm: Whether batch normalisation follows every convolution and both FC layers, in front of the ReLU
            (training only; a bundle has it folded).
        residual: Whether a convolution that keeps the number of channels adds its input to its output, in front of
            the ReLU (training only; a bundle has it folded into the kernel).
        pooling: `flatten` feeds the FC layers the whole last feature map, `average` its mean over positions.
        dropout: Fraction of FC units dropped while training, in [0, 1).
        activation: What follows every convolution: `relu`, or `relu6`, which is min(max(x, 0), 6). The FC layers have
            `relu`.
        features: What the decoder reads: `fc2`, the second FC layer; `average`, the mean of the last feature map over
            positions; `average_max`, that and the largest values; `grid`, the means of its four quarters, which
            overlap; `average_fc2`, the mean and the second FC layer.

    Raises:
        ConfigError: A value is outside its range.

    Source:
        Simonyan & Zisserman 2014, configuration E (arXiv:1409.1556). Deviations, all off by default: `widths`,
        `unit`, `input_pooling`, `batch_norm`, `average`, `features`, `relu6`, and `residual`, which is the identity
        branch of RepVGG (Ding et al. 2021, arXiv:2101.03697).
    """

    widths: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)
    fc_units: int = 4096
    classes: int = 1000
    normalization: Normalization = "caffe"
    input_pooling: int = 1
    batch_norm: bool = False
    residual: bool = False
    pooling: Pooling = "flatten"
    dropout: float = 0.5
    activation: Activation = "relu"
    features: Features = "fc2"

    def __post_init__(self) -> None:
        fit = len(self.widths) == len(BLOCKS) and all(0 < width <= 1 for width in self.widths)
        check("encoder.widths", self.widths, fit, "five numbers in (0, 1]")
        check_least("encoder.fc_units", self.fc_units, 1)
        check_least("encoder.classes", self.classes, 1)
        check_choice("encoder.normalization", self.normalization, get_args(Normalization))
        check_choice("encoder.input_pooling", self.input_pooling, INPUT_POOLINGS)
        check_choice("encoder.pooling", self.pooling, get_args(Pooling))
        check_fraction("encoder.dropout", self.dropout)
        check_choice("encoder.activation", self.activation, get_args(Activation))
        check_choice("encoder.features", self.features, list(FEATURES))
        if self.features == "grid":
            check_choice("encoder.input_pooling", self.input_pooling, GRID_POOLINGS, " with the feature grid")

    @property
    def feature_units(self) -> int:
        """Returns the length D of what the decoder reads."""
        maps, fc = FEATURES[self.features]
        return maps * BLOCKS[-1].scaled(self.widths[-1]) + fc * self.fc_units


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Architecture of a Show-and-Tell decoder of stacked GRU cells.

    Attributes:
        vocabulary_size: Number of tokens V, the special ones included.
        embedding_units: Length E of a word's embedding, and of the decoder's first input.
        layers: Number of stacked GRU cells L.
        units: Units U of each cell.
        project_features: Whether a dense layer maps the feature (D,) to (E,); without it D must equal E.
        dropout: Fraction dropped of inputs and outputs while training, in [0, 1).
        image_every_step: Whether the (projected) feature is appended to every input of the first cell, not only to the
            first.
        residual: Whether every cell but the first adds its input to its output.
        tied_embeddings: Whether a word is scored by its embedding: a dense layer maps the last cell's output to (E,).
        word_dropout: Fraction of words whose embedding is dropped while training, in [0, 1).

    Raises:
        ConfigError: A value is outside its range.

    Source:
        Vinyals et al. 2015 (arXiv:1411.4555), with GRU cells (Cho et al. 2014, arXiv:1406.1078) in place of LSTM.
        Deviations, all off by default: the image at every step (Mao et al. 2014, arXiv:1412.6632), residual cells (Wu
        et al. 2016, arXiv:1609.08144), tied embeddings (Press & Wolf 2016, arXiv:1608.05859) and dropped words (Bowman
        et al. 2015, arXiv:1511.06349).
    """

    vocabulary_size: int
    embedding_units: int
    layers: int = 1
    units: int = 512
    project_features: bool = True
    dropout: float = 0.0
    image_every_step: bool = False
    residual: bool = False
    tied_embeddings: bool = False
    word_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_least("decoder.vocabulary_size", self.vocabulary_size, MIN_VOCABULARY_SIZE)
        check_least("decoder.embedding_units", self.embedding_units, 1)
        check_between("decoder.layers", self.layers, 1, MAX_LAYERS)
        check_least("decoder.units", self.units, 1)
        check_fraction("decoder.dropout", self.dropout)
        check_fraction("decoder.word_dropout", self.word_dropout)

    @property
    def input_units(self) -> int:
        """Returns the length of the first cell's input: a word or the image; twice that if every step has the image."""
        return self.embedding_units * (2 if self.image_every_step else 1)

    @property
    def state_units(self) -> int:
        """Returns the length of the decoder's state: its cells, and the image if every step has it."""
        return self.layers * self.units + (self.embedding_units if self.image_every_step else 0)

    @property
    def scored_units(self) -> int:
        """Returns the length of the vector that scores words."""
        return self.embedding_units if self.tied_embeddings else self.units


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Defaults of the caption search.

    Attributes:
        beam_size: Hypotheses kept per image K, 1 to MAX_BEAM_SIZE; 1 is greedy.
        max_words: Most words in a caption, 1 to MAX_WORDS.
        length_penalty: Exponent a of `log_probability / steps ** a` by which captions are ranked, where steps are the
            words and the end, 0 to MAX_LENGTH_PENALTY; 0 ranks by probability alone.
        no_repeat_ngram: A caption says no sequence of so many words twice, 1 to MAX_WORDS; 0 allows all. Words are
            said again nevertheless where no other of an engine's best words is left.
        repeatable_words: How many words of the vocabulary, the most frequent ones, a caption may say more than once; it
            says each other word once at most, with the same exception. 0 allows all. "A hat and a hat" is hardly ever
            right, "a dog and a dog's toy" may be.

    Raises:
        ConfigError: A value is outside its range.
    """

    beam_size: int = 3
    max_words: int = 20
    length_penalty: float = 0.0
    no_repeat_ngram: int = 0
    repeatable_words: int = 0

    def __post_init__(self) -> None:
        check_between("search.beam_size", self.beam_size, 1, MAX_BEAM_SIZE)
        check_between("search.max_words", self.max_words, 1, MAX_WORDS)
        check_between("search.length_penalty", self.length_penalty, 0, MAX_LENGTH_PENALTY)
        check_between("search.no_repeat_ngram", self.no_repeat_ngram, 0, MAX_WORDS)
        check_least("search.repeatable_words", self.repeatable_words, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionerConfig:
    """Configuration of a whole captioner: the content of a bundle's `config.json`.

    Attributes:
        name: Short name, shown to every client.
        version: Version of the trained model, shown to every client.
        encoder: Architecture of the encoder.
        decoder: Architecture of the decoder.
        search: Defaults of the search.
        segmentation: How the words of captions were parted, and so how they are joined; see `model.scripts`.
        confidence_temperature: What calibrates reported probabilities; 1 changes none. See `model.calibration`.
        format_version: Version of the bundle format; must be `FORMAT_VERSION`; older ones are converted to it.
        provenance: How it was made: data, commands, hours; `good_at` and `bad_at` in a few words for users. Free form.
        scores: Measured scores by split and metric, for example `{"flickr8k dev": {"BLEU-4": 11.2}}`.

    Raises:
        ConfigError: A value is outside its range, or encoder and decoder do not fit.
    """

    name: str
    version: str
    encoder: EncoderConfig
    decoder: DecoderConfig
    search: SearchConfig
    segmentation: Segmentation = "spaces"
    confidence_temperature: float = 1.0
    format_version: int = FORMAT_VERSION
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check("name", self.name, bool(self.name), "a non-empty string")
        check("version", self.version, bool(self.version), "a non-empty string")
        check("format_version", self.format_version, self.format_version == FORMAT_VERSION, str(FORMAT_VERSION))
        check_choice("segmentation", self.segmentation, SEGMENTATIONS)
        check_between("confidence_temperature", self.confidence_temperature, *CONFIDENCE_TEMPERATURES)
        units = self.encoder.feature_units
        fits = self.decoder.project_features or self.decoder.embedding_units == units
        expected = f"equal to the encoder's feature ({units}) when features are not projected"
        check("decoder.embedding_units", self.decoder.embedding_units, fits, expected)

    def to_json(self) -> str:
        """Returns the configuration as indented JSON, ending in a newline."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parses JSON strictly: an unknown, missing or mistyped field is an error that names it.

        Args:
            text: A JSON object as `to_json` writes it, now or in an earlier version of the format.

        Returns:
            The configuration.

        Raises:
            ConfigError: The text is not such an object.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"expected a JSON object, received text that is not JSON: {error}") from error
        if isinstance(value, dict) and type(value.get("format_version")) is int:
            value = upgraded(value)
        return parse(cls, value, "")


def parse_encoder(value: object) -> EncoderConfig:
    """Builds an encoder's configuration from parsed JSON, as strictly as `CaptionerConfig.from_json`.

    Run directories do not record a version, so fields that earlier versions lack may be missing.

    Raises:
        ConfigError: A field is unknown, missing, mistyped or out of its range.
    """
    added = {name: meant for parts in ADDED.values() for name, meant in parts.get("encoder", {}).items()}
    return parse(EncoderConfig, {**added, **value} if isinstance(value, dict) else value, "encoder")
