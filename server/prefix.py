"""The path below which a proxy serves this server, from a setting or from the proxy's header."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

from server.settings import ROOT_PATTERN, ServerSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_MOST_LETTERS = 200


class Prefixed:
    """A WSGI application that a proxy may serve below a path. Paths are accepted with that prefix and without it.

    Some proxies strip the prefix from a path and some keep it, so both must work.

    Args:
        app: The application.
        settings: The path, and whether a proxy's header is trusted for it.
    """

    def __init__(self, app: "WSGIApplication", settings: ServerSettings) -> None:
        self._app = app
        self._root = settings.root_path.rstrip("/")
        self._is_told = settings.forwarded_prefix == "trust"

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answers a request, with the prefix moved from `PATH_INFO` to `SCRIPT_NAME`."""
        root = self._root_of(environ)
        path = environ["PATH_INFO"]
        environ["SCRIPT_NAME"] = root
        if root and f"{path}/".startswith(f"{root}/"):
            environ["PATH_INFO"] = path[len(root) :]
        return self._app(environ, start_response)

    def _root_of(self, environ: "WSGIEnvironment") -> str:
        told: Any = environ.get("HTTP_X_FORWARDED_PREFIX", "") if self._is_told else ""
        is_path = len(told) <= _MOST_LETTERS and re.fullmatch(ROOT_PATTERN, told.rstrip("/") or "/")
        return told.rstrip("/") if told and is_path else self._root


def register_prefix(app: Flask, settings: ServerSettings) -> None:
    """Makes `app` also serve below the path that the settings name.

    Call this after `register_logs` and before `register_access`, since the page needs no key.
    """
    app.wsgi_app = Prefixed(app.wsgi_app, settings)  # type: ignore[method-assign]

    def go_into() -> Response | None:
        # The page's links are relative, so its own address must end in a slash.
        if request.script_root and not request.environ["PATH_INFO"]:
            return Response(status=308, headers={"Location": f"{request.script_root}/"})
        return None

    app.before_request(go_into)
