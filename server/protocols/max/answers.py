"""The bodies of MAX's answers."""

from typing import Literal

from msgspec import Struct


class MaxPrediction(Struct):
    """A caption, its rank as text, and the probability of the whole sentence."""

    index: str
    caption: str
    probability: float


class MaxAnswer(Struct):
    """The captions of a photo, best first."""

    predictions: list[MaxPrediction]
    status: Literal["ok"] = "ok"


class MaxMetadata(Struct):
    """Metadata of the model."""

    id: str
    name: str
    description: str
    type: str
    source: str


class MaxLabel(Struct):
    """A class of the encoder."""

    id: str
    name: str


class MaxLabels(Struct):
    """The classes of the encoder."""

    count: int
    labels: list[MaxLabel]


class MaxError(Struct):
    """The body of an error."""

    message: str
    status: Literal["error"] = "error"
