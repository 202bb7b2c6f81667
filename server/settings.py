"""The server's settings: one table of names, defaults and ranges, read from the environment and from flags."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from model.bundle import DEFAULT_BUNDLE
from model.engines.choice import ENGINES, PRECISIONS, EngineName, Precision
from model.image import MAX_PIXELS
from server.setting_values import about, check, flag_of, parsed, variable_of

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
        replicas: Copies of the model that caption at once: a number, or `auto`; see `server.replicas`.
        replica_seconds: Longest time that `auto` lets one photo alone take, in seconds.
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
        metadata=about(
            "Address to listen on: 0.0.0.0 is all addresses, :: all of IPv6 and IPv4, unix:/path a Unix socket.",
            pattern=r"(?s)(?!unix:).*\S.*|unix:[^\0]+",
            form="an address, or unix: and a path",
        ),
    )
    port: int = field(default=8000, metadata=about("TCP port; 0 lets the system choose one.", 0, 65535))
    admin_port: int = field(
        default=0,
        metadata=about("Separate TCP port for /livez, /readyz and /metrics only; 0 for none.", 0, 65535),
    )
    bundle: Path = field(default=DEFAULT_BUNDLE, metadata=about("Directory of the bundle to serve."))
    max_body_bytes: int = field(default=10 * 1024**2, metadata=about("Largest request body, in bytes.", 1024, 1024**3))
    max_pixels: int = field(
        default=MAX_PIXELS, metadata=about("Largest width times height of an image, in pixels.", 1, 10**9)
    )
    max_images: int = field(default=16, metadata=about("Most images in one request.", 1, 256))
    engine: EngineName = field(
        default="auto",
        metadata=about("Engine that runs the model; auto takes the fastest on this machine.", choices=ENGINES),
    )
    precision: Precision = field(
        default="float32", metadata=about("Arithmetic of the encoder under TensorFlow.", choices=PRECISIONS)
    )
    replicas: str = field(
        default="1",
        metadata=about(
            "Copies of the model that caption at once and share the cores; auto measures at the start what is best.",
            pattern="auto|[1-9]|[1-5][0-9]|6[0-4]",
            form="auto or a whole number from 1 to 64",
        ),
    )
    replica_seconds: float = field(
        default=0.25, metadata=about("Longest time that --replicas auto lets one photo alone take.", 0.001, 60)
    )
    max_waiting: int = field(
        default=64, metadata=about("Most images waiting for the captioner; further requests get 503.", 1, 10_000)
    )
    max_batch: int = field(default=16, metadata=about("Most images captioned in one batch.", 1, 64))
    max_wait_seconds: float = field(
        default=0.0, metadata=about("Time to wait for a batch to fill while there is traffic.", 0, 1)
    )
    cache_megabytes: int = field(
        default=0,
        metadata=about("Memory for answers, so that a photo sent again is not computed again; 0 for none.", 0, 65536),
    )
    deadline_seconds: float = field(
        default=10.0, metadata=about("Time to answer a request after its body has arrived.", 0.05, 3600)
    )
    request_seconds: float = field(
        default=10.0, metadata=about("Time for a request to arrive, headers and body.", 0.1, 3600)
    )
    drain_seconds: float = field(default=5.0, metadata=about("Time to go on serving after SIGTERM.", 0, 600))
    threads: int = field(
        default=96,
        metadata=about(
            "Worker threads. Keep above max_waiting + max_batch, so that refusals and probes never queue.", 2, 1000
        ),
    )
    keepalive_seconds: float = field(
        default=75.0,
        metadata=about("Time to keep an idle connection. Keep above the 60 s of most load balancers.", 1, 3600),
    )
    max_connections: int = field(
        default=1000,
        metadata=about(
            "Most open connections, further limited by open files. Beyond, the one idle longest is closed.", 8, 100_000
        ),
    )
    max_connections_per_address: int = field(
        default=500,
        metadata=about(
            "Most connections from one address. Behind a proxy, keep above what the proxy opens.", 1, 100_000
        ),
    )
    api_key: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=about(
            "Comma-separated API keys. Environment only: command lines are visible to other users.",
            pattern=KEY_PATTERN,
            form=KEY_FORM,
            secret=True,
        ),
    )
    api_key_file: Path | None = field(
        default=None, metadata=about("File with API keys, one a line; read once, at the start.")
    )
    cors_origins: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "Comma-separated origins whose pages may read answers.",
            pattern=r"\*|https?://[A-Za-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?",
            form="* or origins such as https://example.org",
        ),
    )
    root_path: str = field(
        default="/",
        metadata=about(
            "Path below which a proxy serves this server.",
            pattern=ROOT_PATTERN,
            form="/ or a path such as /caption, without a slash at its end",
        ),
    )
    forwarded_prefix: ForwardedPrefix = field(
        default="ignore",
        metadata=about(
            "Whether the header X-Forwarded-Prefix tells that path. Trust it only if the proxy always sets it.",
            choices=get_args(ForwardedPrefix),
        ),
    )
    protocols: tuple[str, ...] = field(
        default=PROTOCOL_NAMES,
        metadata=about(
            "Comma-separated protocols of other servers that are served too.", choices=(*PROTOCOL_NAMES, NO_PROTOCOL)
        ),
    )
    log_format: LogFormat = field(
        default="auto", metadata=about("Log format; auto is text on a terminal, JSON elsewhere.", choices=LOG_FORMATS)
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if value is not None:
                check(item, value, item.name)

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
                values[item.name] = parsed(item, flag, flag_of(item.name))
            elif variable in environment:
                values[item.name] = parsed(item, environment[variable], variable)
        return cls(**values)
