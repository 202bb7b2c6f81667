"""What the checks look at: plain values, each of which may be lacking, with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from model.scripts import Segmentation
from model.search import Floats
from model.vocabulary import Vocabulary
from training.data.language import tokenizer_of
from training.doctor.verdicts import LackingError, present


class Photo(NamedTuple):
    """A photo of records.

    Attributes:
        name: Its name there.
        key: A hash of its file's bytes.
        captions: Its sentences; none in class records.
        lengths: Words of each sentence as training reads them, after the cut and with the end.
    """

    name: str
    key: str
    captions: tuple[str, ...]
    lengths: tuple[int, ...]


class Contents(NamedTuple):
    """The photos of a split that were read.

    Attributes:
        photos: Those read.
        total: Number of photos that the split has.
        captioned: Whether the records hold captions, not classes.
    """

    photos: Sequence[Photo]
    total: int
    captioned: bool


class Sample(NamedTuple):
    """The photos of dev that networks are run on.

    Attributes:
        photos: The photos.
        data: The bytes of each file.
    """

    photos: Sequence[Photo]
    data: Sequence[bytes]


class Trained(NamedTuple):
    """What training saw of the sample.

    Attributes:
        features: Shape (N, D), float32.
        probabilities: Of the classes, (N, C), where the encoder was run for them.
        origin: Where they come from, in words.
    """

    features: Floats
    probabilities: Floats | None
    origin: str


class Answers(NamedTuple):
    """What an engine says of the sample, read as the server reads photos.

    Attributes:
        features: Shape (N, D), float32.
        probabilities: Of the classes, (N, C).
        captions: The best caption of each photo.
        words: The words of each caption.
        log_probs: Natural log-probability of each caption.
        max_words: Most words of a caption.
    """

    features: Floats
    probabilities: Floats
    captions: Sequence[str]
    words: Sequence[Sequence[str]]
    log_probs: Sequence[float]
    max_words: int


class Classes(NamedTuple):
    """Probabilities of the classes of each photo, (N, C), and the labels, where they are known."""

    probabilities: Floats
    labels: Sequence[str]


class Neighbours(NamedTuple):
    """Features for finding near-same photos.

    Attributes:
        names: Names of photos of dev.
        dev: Their features. Shape (N, D).
        train: Features of all training photos. Shape (P, D).
    """

    names: Sequence[str]
    dev: Floats
    train: Floats


class Machine(NamedTuple):
    """The GPUs of this machine.

    Attributes:
        gpus: Number that TensorFlow sees.
        has_driver: Whether a driver of NVIDIA's GPUs is loaded.
        asked: The run's devices, as `--devices` or its preset has them; empty where neither has, or no run is known.
    """

    gpus: int
    has_driver: bool
    asked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the checks look at.

    Attributes:
        train: Training photos with their captions.
        dev: The same of dev.
        vocabulary: The words of the model, or of the records where no model is given.
        sample: Photos of dev that networks are run on.
        fit: Whether run, encoder and records belong together: an empty text, or what does not.
        trained: What training saw of the sample.
        answers: What the float engine says of it.
        lite: What the CPU engine says of it.
        classes: The classes of the sample.
        neighbours: Features of dev and train.
        machine: The GPUs.
        segmentation: How captions are parted into words.
    """

    train: Contents | LackingError
    dev: Contents | LackingError
    vocabulary: Vocabulary | LackingError
    sample: Sample | LackingError
    fit: str | LackingError
    trained: Trained | LackingError
    answers: Answers | LackingError
    lite: Answers | LackingError
    classes: Classes | LackingError
    neighbours: Neighbours | LackingError
    machine: Machine
    segmentation: Segmentation = "spaces"

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a sentence's words and its end.

        Raises:
            LackingError: There is no vocabulary.
        """
        return present(self.vocabulary).encode(text, tokenizer=tokenizer_of(self.segmentation))
