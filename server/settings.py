"""The server's settings: one table of names, defaults and ranges, read from the environment and from flags."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from model.bundle import DEFAULT_BUNDLE
from model.errors import ConfigError
from model.image import MAX_PIXELS
from model.runtime.choice import ENGINES, PRECISIONS, EngineName, Precision

ENVIRONMENT_PREFIX = "SHOWTELL_"


def _about(text: str, low: float = -math.inf, high: float = math.inf, choices: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns what `--help` says of a setting and its range, for a number, or its choices."""
    return {"about": text, "low": low, "high": high, "choices": choices}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Holds the settings of one server.

    Attributes:
        host: Address to listen on.
        port: TCP port to listen on; 0 lets the system choose one.
        bundle: Directory of the bundle to serve.
        max_body_bytes: Largest request body, in bytes.
        max_pixels: Largest width times height of an image, in pixels.
        max_images: Most images in one request.
        engine: What runs the networks: `auto`, `litert` or `tensorflow`.
        precision: Arithmetic of the TensorFlow engine's encoder: `float32`, `bfloat16` or `float16`.
        max_waiting: Most images that wait for the captioner; a request with more is refused at once.
        max_batch: Most images that the captioner works on at once.
        max_wait_seconds: Time that images wait for others to join them while there is traffic, in seconds.
        deadline_seconds: Time to answer a request once its body has arrived, waiting included, in seconds.
        request_seconds: Time for a request to arrive, headers and body, in seconds.
        drain_seconds: Time during which requests are still served after SIGTERM, in seconds.
        threads: Requests handled at the same time, waiting ones included.

    Raises:
        ConfigError: A value is outside its range.
    """

    host: str = field(default="127.0.0.1", metadata=_about("Address to listen on; 0.0.0.0 for all of this machine's."))
    port: int = field(default=8000, metadata=_about("TCP port; 0 lets the system choose one.", 0, 65535))
    bundle: Path = field(default=DEFAULT_BUNDLE, metadata=_about("Directory of the bundle to serve."))
    max_body_bytes: int = field(default=10 * 1024**2, metadata=_about("Largest request body.", 1024, 1024**3))
    max_pixels: int = field(default=MAX_PIXELS, metadata=_about("Largest width times height.", 1, 10**9))
    max_images: int = field(default=16, metadata=_about("Most images in one request.", 1, 256))
    engine: EngineName = field(
        default="auto", metadata=_about("What runs the networks; auto takes the fastest here.", choices=ENGINES)
    )
    precision: Precision = field(
        default="float32", metadata=_about("Arithmetic of the TensorFlow engine's encoder.", choices=PRECISIONS)
    )
    max_waiting: int = field(default=64, metadata=_about("Most images that wait for the captioner.", 1, 10_000))
    max_batch: int = field(default=16, metadata=_about("Most images that the captioner works on at once.", 1, 64))
    max_wait_seconds: float = field(
        default=0.0, metadata=_about("Time that images wait for others while there is traffic.", 0, 1)
    )
    deadline_seconds: float = field(default=10.0, metadata=_about("Time to answer a request.", 0.05, 3600))
    request_seconds: float = field(default=10.0, metadata=_about("Time for a request to arrive.", 0.1, 3600))
    drain_seconds: float = field(
        default=5.0, metadata=_about("Time during which requests are still served after SIGTERM.", 0, 600)
    )
    threads: int = field(default=24, metadata=_about("Requests handled at the same time.", 2, 1000))

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name), item.name)

    @classmethod
    def from_strings(cls, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> Self:
        """Reads settings as a person gives them.

        Args:
            environment: Environment variables; `SHOWTELL_PORT` sets `port`, and so on.
            flags: Values of command line flags by setting; they win, and None leaves a setting alone.

        Returns:
            The settings; what is given nowhere has its default.

        Raises:
            ConfigError: A value has the wrong form or is outside its range; the message names its variable or flag.
        """
        values: dict[str, Any] = {}
        for item in dataclasses.fields(cls):
            flag, variable = flags.get(item.name), variable_of(item.name)
            if flag is not None:
                values[item.name] = _parse(item, flag, flag_of(item.name))
            elif variable in environment:
                values[item.name] = _parse(item, environment[variable], variable)
        return cls(**values)


def variable_of(name: str) -> str:
    """Returns the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def flag_of(name: str) -> str:
    """Returns the command line flag of a setting."""
    return "--" + name.replace("_", "-")


def _parse(item: "dataclasses.Field[Any]", text: str, source: str) -> object:
    kind: Any = str if item.metadata["choices"] else item.type
    try:
        value = kind(text)
    except ValueError as error:
        raise _out_of_range(item, text, source) from error
    _check(item, value if kind in (int, float) else text, source)
    return value


def _check(item: "dataclasses.Field[Any]", value: object, source: str) -> None:
    if item.metadata["choices"]:
        fits = value in item.metadata["choices"]
    elif isinstance(value, int | float):
        fits = item.metadata["low"] <= value <= item.metadata["high"]
    else:
        fits = bool(str(value).strip())
    if not fits:
        raise _out_of_range(item, value, source)


def _out_of_range(item: "dataclasses.Field[Any]", value: object, source: str) -> ConfigError:
    expected = ", ".join(item.metadata["choices"]) or "some text"
    if item.type in (int, float):
        kind = "whole number" if item.type is int else "number"
        expected = f"a {kind} from {item.metadata['low']} to {item.metadata['high']}"
    return ConfigError(f"{source}: expected {expected}, received {value!r}")
