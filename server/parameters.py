"""The parameters of a prediction: what each may be, and how they are read from a query or from JSON."""

import functools
import json
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType
from werkzeug.datastructures import MultiDict

from model.config import MAX_BEAM_SIZE, MAX_CLASSES, MAX_WORDS, CaptionerConfig, SearchConfig
from model.options import (
    MAX_DIVERSITY,
    MAX_SEED,
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    OPTIONS,
    Option,
    SearchOptions,
)
from server.envelopes import JSON_EXAMPLE, PREDICT_ADVICE
from server.errors import MalformedBodyError, ParameterError
from server.jobs import Explain, PredictOptions

DEFAULT_CAPTIONS = 3
DEFAULT_CLASSES = 5

_OWN = {
    "captions": Option(
        int, 1, MAX_BEAM_SIZE,
        "Captions to return, best first; at most the hypotheses of the search, also where their number is the model's "
        f"own. Default: {DEFAULT_CAPTIONS}, or the hypotheses if they are fewer.",
    ),
    "classes": Option(
        int, 0, MAX_CLASSES,
        f"Classes to return, most probable first; all of them if the model has fewer. Default: {DEFAULT_CLASSES}.",
    ),
    "explain": Option(
        str, 0, 0,
        "Explains every word and every class by a map over the photo, as a PNG in a data URI or as rows of numbers; 1 "
        "means png. At most one image in the request. Default: no maps.",
        ("1", *get_args(Explain)),
    ),
}  # fmt: skip

PARAMETERS: Mapping[str, Option] = types.MappingProxyType(
    {name: (_OWN | dict(OPTIONS))[name] for name in PREDICT_ADVICE.parameters}
)
"""What can be asked for, by name."""

_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?([eE]-?[0-9]{1,2})?")

Base64 = Annotated[str, Meta(description="An image as base64 or as a data URI.", extra_json_schema={"format": "byte"})]


class PredictBody(msgspec.Struct, forbid_unknown_fields=True):
    """A request as JSON: one image or several, each as base64 or a data URI, and what is wanted for each of them."""

    image: Base64 | UnsetType = UNSET
    images: Annotated[list[Base64], Meta(min_length=1, description="Several images.")] | UnsetType = UNSET
    beam_size: Annotated[int, Meta(ge=1, le=MAX_BEAM_SIZE)] | UnsetType = UNSET
    captions: Annotated[int, Meta(ge=1, le=MAX_BEAM_SIZE)] | UnsetType = UNSET
    classes: Annotated[int, Meta(ge=0, le=MAX_CLASSES)] | UnsetType = UNSET
    explain: Literal["1", "png", "values"] | UnsetType = UNSET
    min_words: Annotated[int, Meta(ge=0, le=MAX_WORDS)] | UnsetType = UNSET
    max_words: Annotated[int, Meta(ge=1, le=MAX_WORDS)] | UnsetType = UNSET
    no_repeat_ngram: Annotated[int, Meta(ge=0, le=MAX_WORDS)] | UnsetType = UNSET
    diverse_groups: Annotated[int, Meta(ge=1, le=MAX_BEAM_SIZE)] | UnsetType = UNSET
    diversity: Annotated[float, Meta(ge=0, le=MAX_DIVERSITY)] | UnsetType = UNSET
    sample: bool | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)] | UnsetType = UNSET
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] | UnsetType = UNSET

    @property
    def texts(self) -> list[str]:
        """Returns the images as they were sent.

        Raises:
            MalformedBodyError: `image` and `images` are both there, or neither is.
        """
        if isinstance(self.image, str) and self.images is UNSET:
            return [self.image]
        if isinstance(self.images, list) and self.image is UNSET:
            return self.images
        both = "neither" if self.image is UNSET else "both"
        raise MalformedBodyError(f"expected 'image' or 'images' in the JSON, received {both}; {JSON_EXAMPLE}")

    @property
    def parameters(self) -> "MultiDict[str, str]":
        """Returns the parameters as a query would have them."""
        named = ((name, getattr(self, name)) for name in PARAMETERS)
        given = [(name, value) for name, value in named if value is not UNSET]
        return MultiDict([(name, value if isinstance(value, str) else json.dumps(value)) for name, value in given])


def parse_options(arguments: "MultiDict[str, str]", config: CaptionerConfig) -> PredictOptions:
    """Returns the options that the query parameters of a prediction ask for.

    Args:
        arguments: Those of `PARAMETERS`, each at most once.
        config: Has the defaults of the search.

    Returns:
        The options, defaults filled in.

    Raises:
        ParameterError: A parameter is unknown, repeated or out of its range.
        SearchOptionError: It does not fit the others or the model.
    """
    return _options(arguments, config.search) if arguments else _default_options(config.search)


@functools.lru_cache(1)
def _default_options(defaults: SearchConfig) -> PredictOptions:
    return _options(MultiDict(), defaults)


def _options(arguments: "MultiDict[str, str]", defaults: SearchConfig) -> PredictOptions:
    values = {name: _parse_one(name, texts) for name, texts in arguments.lists()}
    asked = SearchOptions(**{name: value for name, value in values.items() if name in OPTIONS})
    most = asked.most_captions(defaults)
    captions = values.get("captions", min(DEFAULT_CAPTIONS, most))
    if captions > most:
        raise ParameterError(
            f"captions: expected a whole number from 1 to {most} (the hypotheses), received '{captions}'"
        )
    search = asked.search(defaults, captions)
    explain = values.get("explain")
    return PredictOptions(
        search=search,
        captions=captions,
        classes=values.get("classes", DEFAULT_CLASSES),
        explain="png" if explain == "1" else explain,
        may_be_kept=explain is None and (not asked.sample or asked.seed is not None),
    )


def _parse_one(name: str, texts: list[str]) -> Any:
    if name not in PARAMETERS:
        raise ParameterError(f"{name[:50]!r}: expected only {', '.join(PARAMETERS)}, received an unknown parameter")
    if len(texts) > 1:
        raise ParameterError(f"{name}: expected it once, received it {len(texts)} times")
    option = PARAMETERS[name]
    (text,) = texts
    value = _value(option, text)
    if value is None or (isinstance(value, float | int) and not option.low <= value <= option.high):
        raise ParameterError(f"{name}: expected {option.expected}, received {text[:50]!r}")
    return value


def _value(option: Option, text: str) -> float | str | None:
    """Returns the value of a text; None if it is none of that kind."""
    if option.kind is str:
        return text if text in option.choices else None
    if option.kind is bool:
        return {"true": True, "false": False}.get(text)
    # Stricter than int() and float(), which accept "1_0", " 7", digits of other scripts and "nan".
    if option.kind is int:
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None
    return float(text) if _NUMBER.fullmatch(text) else None
