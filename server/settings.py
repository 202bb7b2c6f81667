"""The server's settings: one table of names, defaults and ranges, read from the environment and from flags."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

from model.bundle import DEFAULT_BUNDLE
from model.engines.choice import ENGINES, PRECISIONS, EngineName, Precision
from model.errors import ConfigError
from model.image import MAX_PIXELS

ENVIRONMENT_PREFIX = "SHOWTELL_"

LogFormat = Literal["auto", "json", "text"]
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)

KEY_PATTERN = r"[A-Za-z0-9._~+/-]{16,256}={0,2}"
"""What a Bearer token may be (RFC 6750, 2.1), and not short: `=` is padding, at the end alone."""
KEY_FORM = "keys of 16 to 256 letters, digits and ._~+/-, with up to two = behind them"


def _about(
    text: str, low: float = -math.inf, high: float = math.inf, choices: tuple[str, ...] = (), **others: Any
) -> dict[str, Any]:
    """Returns what is said of a setting, and its range, for a number, its choices or its form, for text.

    Args:
        text: What it is.
        low: Lowest number.
        high: Highest number.
        choices: All values, where there are few.
        others: `pattern` that a text has to match, each part of it where commas separate several; `form`, the pattern
            in words; `secret`, whether it is neither shown nor taken from the command line.
    """
    return {
        "about": text, "low": low, "high": high, "choices": choices,
        "pattern": r"(?s).*\S.*", "form": "some text", "secret": False, **others,
    }  # fmt: skip


def variable_of(name: str) -> str:
    """Returns the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Holds the settings of one server.

    Attributes:
        host: Address to listen on.
        port: TCP port to listen on; 0 lets the system choose one.
        admin_port: TCP port where probes and metrics alone are served, on the same address; 0 for none.
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
        threads: Requests with a body handled at the same time, waiting ones included. Above `max_waiting` and
            `max_batch` together there is always one to refuse what is too much. Pages and probes have others.
        max_connections: Most open connections; fewer where the limit of open files says so.
        max_connections_per_address: Most of them from one address, or one /64 of IPv6.
        api_key: Keys of which a request needs one; without any, none is needed.
        api_key_file: File with more such keys.
        cors_origins: Origins of pages that may read answers; `*` for all.
        log_format: `json`, `text`, or `auto`, which is text on a terminal.

    Raises:
        ConfigError: A value is outside its range.
    """

    host: str = field(default="127.0.0.1", metadata=_about("Address to listen on; 0.0.0.0 for all of this machine's."))
    port: int = field(default=8000, metadata=_about("TCP port; 0 lets the system choose one.", 0, 65535))
    admin_port: int = field(
        default=0,
        metadata=_about(
            "TCP port on which /livez, /readyz and /metrics are served too, and nothing else; 0 for none.", 0, 65535
        ),
    )
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
    threads: int = field(
        default=96,
        metadata=_about(
            "Requests with a body handled at once: more than wait and are worked on, so that refusals need not.",
            2,
            1000,
        ),
    )
    max_connections: int = field(
        default=1000,
        metadata=_about(
            "Most open connections, if as many files may be open; above, who has waited longest is closed.", 8, 100_000
        ),
    )
    max_connections_per_address: int = field(
        default=500,
        metadata=_about(
            "Most of them from one address. Behind a proxy all come from its own: more than it opens at once.",
            1,
            100_000,
        ),
    )
    api_key: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=_about(
            "Keys, with commas between them, of which a request needs one. Not a flag: the command line is public.",
            pattern=KEY_PATTERN,
            form=KEY_FORM,
            secret=True,
        ),
    )
    api_key_file: Path | None = field(
        default=None, metadata=_about(f"File of such keys, one a line; {variable_of('api_key')} holds them itself.")
    )
    cors_origins: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "Origins, with commas between them, whose pages may read answers.",
            pattern=r"\*|https?://[A-Za-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?",
            form="* or origins such as https://example.org",
        ),
    )
    log_format: LogFormat = field(
        default="auto", metadata=_about("Form of the log; auto is text on a terminal.", choices=LOG_FORMATS)
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if value is not None:
                _check(item, value, item.name)

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


def flag_of(name: str) -> str:
    """Returns the command line flag of a setting."""
    return "--" + name.replace("_", "-")


def accepted(item: "dataclasses.Field[Any]") -> str:
    """Returns which values a setting takes, for a person."""
    if item.type in (int, float):
        kind = "whole number" if item.type is int else "number"
        return f"a {kind} from {item.metadata['low']} to {item.metadata['high']}"
    return ", ".join(item.metadata["choices"]) or str(item.metadata["form"])


def default_of(item: "dataclasses.Field[Any]") -> str:
    """Returns the default of a setting, for a person."""
    if item.default is DEFAULT_BUNDLE:
        return "/".join(DEFAULT_BUNDLE.parts[-3:])
    return "none" if item.default in (None, ()) else str(item.default)


def settings_table() -> str:
    """Returns all settings as the Markdown table of the README."""
    lines = ["| flag | variable | default | what it is |", "|---|---|---|---|"]
    for item in dataclasses.fields(ServerSettings):
        flag = "" if item.metadata["secret"] else f"`{flag_of(item.name)}`"
        text = item.metadata["about"].removesuffix(".")
        note = "" if accepted(item) == "some text" else f": {accepted(item)}"
        lines.append(f"| {flag} | `{variable_of(item.name)}` | {default_of(item)} | {text}{note} |")
    return "\n".join(lines)


def _split(text: str) -> tuple[str, ...]:
    # An empty text gives one empty part, which fits no pattern: a variable that is set to nothing is a mistake.
    return tuple(part.strip() for part in text.split(","))


_PARSERS: Mapping[Any, Callable[[str], Any]] = MappingProxyType(
    {int: int, float: float, Path: Path, Path | None: Path, tuple[str, ...]: _split}
)


def _parse(item: "dataclasses.Field[Any]", text: str, source: str) -> object:
    try:
        value = _PARSERS.get(item.type, str)(text)
    except ValueError as error:
        raise _out_of_range(item, text, source) from error
    _check(item, text if isinstance(value, Path) else value, source)
    return value


def _check(item: "dataclasses.Field[Any]", value: object, source: str) -> None:
    if item.metadata["choices"]:
        fits = value in item.metadata["choices"]
    elif isinstance(value, int | float):
        fits = item.metadata["low"] <= value <= item.metadata["high"]
    else:
        parts = value if isinstance(value, tuple) else (value,)
        fits = all(re.fullmatch(item.metadata["pattern"], str(part)) for part in parts)
    if not fits:
        raise _out_of_range(item, value, source)


def _out_of_range(item: "dataclasses.Field[Any]", value: object, source: str) -> ConfigError:
    received = "something else, which is not shown" if item.metadata["secret"] else repr(value)
    return ConfigError(f"{source}: expected {accepted(item)}, received {received}")
