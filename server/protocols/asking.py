"""The one way from a protocol to the service: all protocols read JSON, photos, options and models alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask import request

from model.bundle import ClassName
from model.config import MAX_BEAM_SIZE, MAX_CLASSES, CaptionerConfig
from model.errors import ImageError
from model.options import SearchOptions
from server.bodies import json_limit
from server.errors import ModelNotFoundError, ParameterError
from server.jobs import PredictOptions
from server.service import Answered, Asked, CaptionService
from server.settings import ServerSettings
from server.typed_json import images_of, read_json

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish(Generic[R]):
    """The contents of a request: photos, and what is wanted for each of them.

    Attributes:
        images: The photos, as files in memory.
        rest: What writing the answer needs; not the body, whose memory counts as free once the photos are decoded.
        captions: Captions for each photo.
        classes: Classes for each photo.
    """

    images: list[bytes]
    rest: R
    captions: int = 1
    classes: int = 0


class Asker:
    """A protocol's access to the service.

    Args:
        settings: The limits.
        service: Captions images.
    """

    def __init__(self, settings: ServerSettings, service: CaptionService) -> None:
        self.settings = settings
        self._service = service

    @property
    def config(self) -> CaptionerConfig:
        """Returns the configuration of the captioner that serves.

        Raises:
            NotReadyError: None is loaded yet.
        """
        return self._service.captioner.config

    @property
    def classes(self) -> tuple[ClassName, ...]:
        """Returns the names of the encoder's classes.

        Raises:
            NotReadyError: No captioner is loaded yet.
        """
        return self._service.captioner.classes

    def check(self) -> None:
        """Makes sure that a photo would be captioned now."""
        self._service.check()

    def serves(self, name: str, version: str | None = None) -> bool:
        """Returns whether a model is the one that serves, of any version if none is given.

        Raises:
            NotReadyError: None is loaded yet.
        """
        return name == self.config.name and version in (None, self.config.version)

    def check_model(self, name: str, version: str | None = None) -> None:
        """Refuses a model that does not serve.

        Raises:
            ModelNotFoundError: It is another one, or another version of it.
            NotReadyError: None is loaded yet.
        """
        if not self.serves(name, version):
            expected = repr(self.config.name) if version is None else f"{self.config.name!r}, {self.config.version!r}"
            received = repr(name[:50]) if version is None else f"{name[:50]!r}, {version[:50]!r}"
            raise ModelNotFoundError(f"expected the model {expected}, received {received}; ask for the one that serves")

    def images(self, texts: list[str], example: str) -> list[bytes]:
        """Returns photos that were sent as text; see `images_of`."""
        return images_of(texts, self.settings, example)

    def answer_json(self, kind: type[T], read: Callable[[T], Wish[R]]) -> tuple[R, list[Answered]]:
        """Captions every image of the current request, which is JSON; see `answer`.

        Args:
            kind: What the body must be.
            read: Reads the parsed body.
        """
        most = json_limit(self.settings.max_body_bytes)
        return self.answer(lambda: read(read_json(request, self.settings, kind)), most)

    def answer(self, read: Callable[[], Wish[R]], most_bytes: int | None = None) -> tuple[R, list[Answered]]:
        """Captions every image of the current request.

        Args:
            read: Reads the body; called when there is memory for it.
            most_bytes: Size of the largest body that it reads; None for the setting.

        Returns:
            The rest of the wish, and one prediction for each image, in order.

        Raises:
            ImageError: An image could not be read. These protocols have no place for an error among the answers.
            CaptionerError: No image can be answered.
        """
        config = self.config  # before the body is read, so that no client uploads photos in vain
        rest: list[R] = []

        def parse() -> Asked:
            wish = read()
            rest.append(wish.rest)
            return Asked(wish.images, _options(wish, config))

        answers = self._service.answer(request, parse, most_bytes)
        return rest[0], _whole(answers)


def _options(wish: Wish[R], config: CaptionerConfig) -> PredictOptions:
    """Returns the options of a search whose beam is wide enough."""
    if not 1 <= wish.captions <= MAX_BEAM_SIZE or not 0 <= wish.classes <= MAX_CLASSES:
        raise ParameterError(
            f"expected 1 to {MAX_BEAM_SIZE} captions and 0 to {MAX_CLASSES} classes for each image, received "
            f"{wish.captions} and {wish.classes}; ask for fewer"
        )
    search = SearchOptions().wide_enough(config.search, wish.captions)
    return PredictOptions(search=search, captions=wish.captions, classes=wish.classes)


def _whole(answers: list[Answered | ImageError]) -> list[Answered]:
    for number, item in enumerate(answers, 1):
        if isinstance(item, ImageError):
            raise type(item)(f"image {number} of {len(answers)}: {item}") from item
    return [item for item in answers if not isinstance(item, ImageError)]
