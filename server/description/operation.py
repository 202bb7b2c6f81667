"""One operation of the API, as far as its description differs from the others'."""

from dataclasses import dataclass, field

from model.errors import CaptionerError, CorruptImageError, ImageTooLargeError, UnsupportedImageError
from server.errors import (
    BodyTooLargeError,
    CostlyImageError,
    DeadlineExceededError,
    MalformedBodyError,
    NotReadyError,
    OutOfResourcesError,
    ParameterError,
    QueueFullError,
    UnsupportedCodingError,
)
from server.problems import Json

CAPTIONING = (
    ParameterError, MalformedBodyError, BodyTooLargeError, UnsupportedCodingError, ImageTooLargeError,
    UnsupportedImageError, CorruptImageError, CostlyImageError, NotReadyError, QueueFullError,
    DeadlineExceededError, OutOfResourcesError,
)  # fmt: skip
"""Errors of every operation that captions photos."""

EXAMPLE_PHOTO = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
)
"""A photo of one grey pixel, for examples of requests."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One route's description, as far as it differs from the others.

    Attributes:
        path: Of the route, in Flask's form.
        name: Flask's endpoint name.
        tag: Its group on the page.
        summary: What it is, in a few words.
        about: What it does.
        content: Schemas of a good answer, by media type.
        errors: Errors it raises, besides those of any request.
        method: In lower case.
        parameters: Parameters of the query and the path.
        body: Request body; empty if none.
        sample: Arguments of an example by curl, besides the URL.
        is_open: Whether it needs no key.
    """

    path: str
    name: str
    tag: str
    summary: str
    about: str
    content: Json
    errors: tuple[type[CaptionerError], ...] = ()
    method: str = "get"
    parameters: tuple[Json, ...] = ()
    body: Json = field(default_factory=dict)
    sample: str = ""
    is_open: bool = False
