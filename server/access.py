"""Access control: API keys, cross-origin requests (CORS), and security headers."""

import hmac
import re
from pathlib import Path

from flask import Flask, Response, request

from model.errors import ConfigError
from server.caching import CALLER
from server.errors import UnauthorizedError
from server.logs import REQUEST_ID
from server.settings import KEY_FORM, KEY_PATTERN, ServerSettings

HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(self), geolocation=(), microphone=(), payment=(), usb=()"),
)
"""Headers of every response."""

KEY_HEADER = "X-API-Key"
"""Header with a key, for clients that cannot send `Authorization: Bearer`."""

OPEN_ENDPOINTS = frozenset({"index", "static", "livez", "readyz", "openapi", "docs"})
"""Endpoints that need no key: probes, the page, and the API's description, which tells how keys are sent."""


def read_keys(settings: ServerSettings) -> tuple[str, ...]:
    """Returns the accepted keys; if there are none, no key is needed.

    Raises:
        ConfigError: The key file cannot be read, is empty, or has a line that is no key.
    """
    path = settings.api_key_file
    return settings.api_key if path is None else (*settings.api_key, *_read_key_file(path))


def _read_key_file(path: Path) -> list[str]:
    try:
        keys = path.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        # The content is not shown: it may be most of a key.
        reason = error.strerror if isinstance(error, OSError) else "other characters"
        raise ConfigError(f"{path}: expected {KEY_FORM}, one a line, received {reason}") from None
    if not keys or not all(re.fullmatch(KEY_PATTERN, key) for key in keys):
        raise ConfigError(
            f"{path}: expected {KEY_FORM}, one a line, received {len(keys)} lines of which not all are keys"
        )
    return keys


_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}", re.ASCII)
"""What a browser asks for in a preflight request (RFC 9110, 5.6.2)."""

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-\d{1,18})", re.ASCII | re.IGNORECASE)


def register_access(app: Flask, settings: ServerSettings, also_open: frozenset[str] = frozenset()) -> None:
    """Makes `app` check keys, answer cross-origin requests, and send security headers.

    Args:
        app: The application.
        settings: The keys and the origins.
        also_open: Endpoints that need no key, besides `OPEN_ENDPOINTS`.

    Raises:
        ConfigError: As `read_keys`.
    """
    keys = [key.encode() for key in read_keys(settings)]
    origins = settings.cors_origins
    is_open = OPEN_ENDPOINTS | also_open

    def require_key() -> None:
        # Unknown paths need a key too. A browser's preflight request cannot carry one.
        if keys and request.endpoint not in is_open and request.method != "OPTIONS":
            request.environ[CALLER] = _number_of_key(keys)

    def ignore_other_ranges() -> None:
        # RFC 9110, 14.2 allows ignoring ranges. werkzeug would refuse unknown ones, also for HEAD.
        found = _RANGE.fullmatch(request.environ.get("HTTP_RANGE", ""))
        if found is None or request.method != "GET" or (found[1] and found[2] and int(found[1]) > int(found[2])):
            request.environ.pop("HTTP_RANGE", None)

    def add_headers(response: Response) -> Response:
        for name, value in HEADERS:
            response.headers[name] = value
        # Static files have "no-cache" and an ETag, so browsers revalidate them. Answers must not be cached at all.
        response.headers.setdefault("Cache-Control", "no-store")
        if origins:
            _allow_origin(response, origins)
        return response

    app.before_request(ignore_other_ranges)
    app.before_request(require_key)
    app.after_request(add_headers)


def _number_of_key(keys: list[bytes]) -> int:
    """Returns the position of the request's key among all keys."""
    authorization = request.authorization
    bearer = authorization.token if authorization is not None and authorization.type == "bearer" else None
    # This header first: it can only be meant for this server; Authorization may be meant for a proxy in front.
    given = request.headers.get(KEY_HEADER) or bearer or ""
    # All keys are compared, so that the time does not tell which one is similar.
    matches = [hmac.compare_digest(given.encode(), key) for key in keys]
    if not any(matches):
        raise UnauthorizedError(
            f"expected a key of this server as 'Authorization: Bearer KEY' or '{KEY_HEADER}: KEY', received "
            f"{'another one' if given else 'none'}; ask its operator for a key"
        )
    return matches.index(True)


def _allow_origin(response: Response, origins: tuple[str, ...]) -> None:
    origin = request.headers.get("Origin")
    if "*" not in origins:
        response.vary.add("Origin")
        if origin not in origins:
            return
    headers = response.headers
    headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else str(origin)
    headers["Access-Control-Expose-Headers"] = f"{REQUEST_ID}, Retry-After"
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        headers["Access-Control-Allow-Methods"] = headers.get("Allow", "")
        # Clients of other protocols send headers of their own, which are harmless: no answer depends on a cookie.
        asked = request.headers.get("Access-Control-Request-Headers", "")
        known = f"Authorization, Content-Type, {KEY_HEADER}, {REQUEST_ID}"
        headers["Access-Control-Allow-Headers"] = asked if _HEADER_NAMES.fullmatch(asked) else known
        response.vary.add("Access-Control-Request-Headers")
        headers["Access-Control-Max-Age"] = "3600"
