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

ProtocolName = Literal["openai", "ollama", "max", "open-inference", "tf-serving"]
PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)
NO_PROTOCOL = "none"

ForwardedPrefix = Literal["ignore", "trust"]

ROOT_PATTERN = r"/|(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+"
"""Form of a root path. No part begins with a dot, so that `..` cannot lead elsewhere."""

KEY_PATTERN = r"[A-Za-z0-9._~+/-]{16,256}={0,2}"
"""A Bearer token (RFC 6750, 2.1) of at least 16 characters; `=` only pads the end."""
KEY_FORM = "keys of 16 to 256 letters, digits and ._~+/-, with up to two = at the end"


def _about(
    text: str, low: float = -math.inf, high: float = math.inf, choices: tuple[str, ...] = (), **others: Any
) -> dict[str, Any]:
    """Returns the metadata of a setting: its help text, and which values it takes.

    Args:
        text: Help text.
        low: Lowest number.
        high: Highest number.
        choices: All values, if they are few.
        others: `pattern`, which a text must match, or each part of a comma-separated one; `form`, the pattern in
            words; `secret`, whether it is never shown and never read from the command line.
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
    """The settings of one server.

    Attributes:
        host: Address to listen on, or `unix:` and the path of a socket.
        port: TCP port to listen on; 0 lets the system choose one.
        admin_port: TCP port on the same address for probes and metrics only; 0 for none.
        bundle: Directory of the bundle to serve.
        max_body_bytes: Largest request body, in bytes.
        max_pixels: Largest width times height of an image, in pixels.
        max_images: Most images in one request.
        engine: Runs the model: `auto`, `litert` or `tensorflow`.
        precision: Arithmetic of the encoder under TensorFlow: `float32`, `bfloat16` or `float16`.
        max_waiting: Most images that wait for the captioner; further requests are refused at once.
        max_batch: Most images captioned in one batch.
        max_wait_seconds: Time to wait for a batch to fill while there is traffic, in seconds.
        cache_megabytes: Memory for answers to photos that may be sent again, in units of 1024 * 1024 bytes; 0 for none.
        deadline_seconds: Time to answer a request after its body has arrived, in seconds.
        request_seconds: Time for a request to arrive, headers and body, in seconds.
        drain_seconds: Time to go on serving after SIGTERM, in seconds.
        threads: Worker threads for requests with a body, one for each that waits or is worked on. With more than
            `max_waiting` + `max_batch`, one is always free to refuse a request. Pages and probes have their own.
        keepalive_seconds: Time to keep an idle connection for another request, in seconds.
        max_connections: Most open connections; the limit of open files can lower it.
        max_connections_per_address: Most of them from one address, or one /64 of IPv6.
        api_key: API keys, of which a request needs one; empty if none is needed.
        api_key_file: File with more API keys.
        cors_origins: Origins whose pages may read answers; `*` for all.
        root_path: Path below which a proxy serves this server; `/` if it is below none.
        forwarded_prefix: Whether `X-Forwarded-Prefix` tells that path: `ignore` or `trust`.
        protocols: Protocols that are served besides our own; see `server/protocols`.
        log_format: `json`, `text`, or `auto`: text on a terminal, JSON elsewhere.

    Raises:
        ConfigError: A value is outside its range.
    """

    host: str = field(
        default="127.0.0.1",
        metadata=_about(
            "Address to listen on: 0.0.0.0 is all addresses, :: all of IPv6 and IPv4, unix:/path a Unix socket.",
            pattern=r"(?s)(?!unix:).*\S.*|unix:[^\0]+",
            form="an address, or unix: and a path",
        ),
    )
    port: int = field(default=8000, metadata=_about("TCP port; 0 lets the system choose one.", 0, 65535))
    admin_port: int = field(
        default=0,
        metadata=_about("Separate TCP port for /livez, /readyz and /metrics only; 0 for none.", 0, 65535),
    )
    bundle: Path = field(default=DEFAULT_BUNDLE, metadata=_about("Directory of the bundle to serve."))
    max_body_bytes: int = field(default=10 * 1024**2, metadata=_about("Largest request body, in bytes.", 1024, 1024**3))
    max_pixels: int = field(
        default=MAX_PIXELS, metadata=_about("Largest width times height of an image, in pixels.", 1, 10**9)
    )
    max_images: int = field(default=16, metadata=_about("Most images in one request.", 1, 256))
    engine: EngineName = field(
        default="auto",
        metadata=_about("Engine that runs the model; auto takes the fastest on this machine.", choices=ENGINES),
    )
    precision: Precision = field(
        default="float32", metadata=_about("Arithmetic of the encoder under TensorFlow.", choices=PRECISIONS)
    )
    max_waiting: int = field(
        default=64, metadata=_about("Most images waiting for the captioner; further requests get 503.", 1, 10_000)
    )
    max_batch: int = field(default=16, metadata=_about("Most images captioned in one batch.", 1, 64))
    max_wait_seconds: float = field(
        default=0.0, metadata=_about("Time to wait for a batch to fill while there is traffic.", 0, 1)
    )
    cache_megabytes: int = field(
        default=0,
        metadata=_about("Memory for answers, so that a photo sent again is not computed again; 0 for none.", 0, 65536),
    )
    deadline_seconds: float = field(
        default=10.0, metadata=_about("Time to answer a request after its body has arrived.", 0.05, 3600)
    )
    request_seconds: float = field(
        default=10.0, metadata=_about("Time for a request to arrive, headers and body.", 0.1, 3600)
    )
    drain_seconds: float = field(default=5.0, metadata=_about("Time to go on serving after SIGTERM.", 0, 600))
    threads: int = field(
        default=96,
        metadata=_about(
            "Worker threads. Keep above max_waiting + max_batch, so that refusals and probes never queue.", 2, 1000
        ),
    )
    keepalive_seconds: float = field(
        default=75.0,
        metadata=_about("Time to keep an idle connection. Keep above the 60 s of most load balancers.", 1, 3600),
    )
    max_connections: int = field(
        default=1000,
        metadata=_about(
            "Most open connections, further limited by open files. Beyond, the one idle longest is closed.", 8, 100_000
        ),
    )
    max_connections_per_address: int = field(
        default=500,
        metadata=_about(
            "Most connections from one address. Behind a proxy, keep above what the proxy opens.", 1, 100_000
        ),
    )
    api_key: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=_about(
            "Comma-separated API keys. Environment only: command lines are visible to other users.",
            pattern=KEY_PATTERN,
            form=KEY_FORM,
            secret=True,
        ),
    )
    api_key_file: Path | None = field(
        default=None, metadata=_about("File with API keys, one a line; read once, at the start.")
    )
    cors_origins: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "Comma-separated origins whose pages may read answers.",
            pattern=r"\*|https?://[A-Za-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?",
            form="* or origins such as https://example.org",
        ),
    )
    root_path: str = field(
        default="/",
        metadata=_about(
            "Path below which a proxy serves this server.",
            pattern=ROOT_PATTERN,
            form="/ or a path such as /caption, without a slash at its end",
        ),
    )
    forwarded_prefix: ForwardedPrefix = field(
        default="ignore",
        metadata=_about(
            "Whether the header X-Forwarded-Prefix tells that path. Trust it only if the proxy always sets it.",
            choices=get_args(ForwardedPrefix),
        ),
    )
    protocols: tuple[str, ...] = field(
        default=PROTOCOL_NAMES,
        metadata=_about(
            "Comma-separated protocols of other servers that are served too.", choices=(*PROTOCOL_NAMES, NO_PROTOCOL)
        ),
    )
    log_format: LogFormat = field(
        default="auto", metadata=_about("Log format; auto is text on a terminal, JSON elsewhere.", choices=LOG_FORMATS)
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if value is not None:
                _check(item, value, item.name)

    @classmethod
    def from_strings(cls, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> Self:
        """Reads settings from environment variables and flags.

        Args:
            environment: Environment variables; `SHOWTELL_PORT` sets `port`, and so on.
            flags: Values of command line flags by setting; they take precedence. None means not given.

        Returns:
            The settings, with defaults for all that are not given.

        Raises:
            ConfigError: A value has the wrong form or is outside its range; the message names its variable or flag.
        """
        values: dict[str, Any] = {}
        for item in dataclasses.fields(cls):
            flag = flags.get(item.name)
            variable = variable_of(item.name)
            if flag is not None:
                values[item.name] = _parse(item, flag, flag_of(item.name))
            elif variable in environment:
                values[item.name] = _parse(item, environment[variable], variable)
        return cls(**values)


def flag_of(name: str) -> str:
    """Returns the command line flag of a setting."""
    return "--" + name.replace("_", "-")


def accepted(item: "dataclasses.Field[Any]") -> str:
    """Returns in words which values a setting takes."""
    if item.type in (int, float):
        kind = "whole number" if item.type is int else "number"
        return f"a {kind} from {item.metadata['low']} to {item.metadata['high']}"
    choices = ", ".join(item.metadata["choices"])
    if choices:
        return f"some of {choices}" if isinstance(item.default, tuple) else choices
    return str(item.metadata["form"])


def default_of(item: "dataclasses.Field[Any]") -> str:
    """Returns the default of a setting in words."""
    if item.default is DEFAULT_BUNDLE:
        return "/".join(DEFAULT_BUNDLE.parts[-3:])
    if item.default in (None, ()):
        return "none"
    return ",".join(item.default) if isinstance(item.default, tuple) else str(item.default)


def _split(text: str) -> tuple[str, ...]:
    # An empty text gives one empty part, which matches no pattern: an empty variable is a mistake.
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
    parts = value if isinstance(value, tuple) else (value,)
    if item.metadata["choices"]:
        fits = all(part in item.metadata["choices"] for part in parts)
    elif isinstance(value, int | float):
        fits = item.metadata["low"] <= value <= item.metadata["high"]
    else:
        fits = all(re.fullmatch(item.metadata["pattern"], str(part)) for part in parts)
    if not fits:
        raise _out_of_range(item, value, source)


def _out_of_range(item: "dataclasses.Field[Any]", value: object, source: str) -> ConfigError:
    received = "a secret that is not shown" if item.metadata["secret"] else repr(value)
    return ConfigError(f"{source}: expected {accepted(item)}, received {received}")
