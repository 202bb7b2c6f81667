"""Turns errors into `application/problem+json` (RFC 9457) or a protocol's own form: the one table of HTTP statuses.

`type` is a URI relative to the server, one for each kind of problem, and never changes. It is `about:blank` if the
status says everything (404, 405). A 500 shows the client only a random incident id; the log has the traceback under it.
"""

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from flask import Flask, Request, Response, current_app, g, request
from gunicorn.http import errors as http_errors
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, NotFound

from model import errors as model_errors
from model.errors import CaptionerError
from server import errors
from server.bodies import CODINGS

PROBLEM_TYPE = "application/problem+json"

UNTYPED = "about:blank"
"""Type of a problem that its status describes completely."""

Json = dict[str, Any]

_logger = logging.getLogger("server")


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem.

    Attributes:
        status: HTTP status.
        type: Relative URI of the kind.
        title: What is wrong, the same for every occurrence.
        retry_after_seconds: When to try again; None if that is useless.
    """

    status: int
    type: str
    title: str
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """The form in which errors are answered.

    Attributes:
        media_type: Of the body.
        body: Returns the body for a problem's members, which are those of `describe`.
        schema: Of the body, for the description of the API.
    """

    media_type: str
    body: Callable[[Json], Json]
    schema: Json = field(default_factory=dict)


PROBLEM_FORM = ErrorForm(PROBLEM_TYPE, dict)
"""The form of all paths that belong to no other protocol."""

_PARAMETER = Problem(400, "/problems/invalid-parameter", "A parameter is invalid")
_UNDECODABLE = Problem(422, "/problems/corrupt-image", "The image cannot be decoded")
_NOT_READY = Problem(503, "/problems/not-ready", "The server is not ready", 5)
INTERNAL = Problem(500, "/problems/internal-error", "The server failed")

PROBLEMS: Mapping[type[CaptionerError], Problem] = MappingProxyType(
    {
        errors.ParameterError: _PARAMETER,
        errors.UnauthorizedError: Problem(401, "/problems/unauthorized", "The request has no valid key"),
        errors.MalformedBodyError: Problem(400, "/problems/malformed-body", "The request body is malformed"),
        errors.BodyTooLargeError: Problem(413, "/problems/body-too-large", "The request body is too large"),
        errors.UnsupportedCodingError: Problem(
            415, "/problems/unsupported-coding", "The request body is compressed in an unknown way"
        ),
        errors.ModelNotFoundError: Problem(404, "/problems/model-not-found", "There is no such model"),
        errors.SlowClientError: Problem(408, "/problems/slow-client", "The request took too long to arrive"),
        errors.NotReadyError: _NOT_READY,
        errors.QueueFullError: Problem(503, "/problems/queue-full", "Too many images are waiting", 1),
        errors.OutOfResourcesError: Problem(
            503, "/problems/out-of-resources", "The server lacks memory, processes or files", 5
        ),
        errors.CostlyImageError: Problem(422, "/problems/costly-image", "The image costs too much to decode"),
        errors.DeadlineExceededError: Problem(503, "/problems/deadline-exceeded", "The deadline passed", 1),
        model_errors.SearchOptionError: _PARAMETER,
        model_errors.ImageError: _UNDECODABLE,
        model_errors.ImageTooLargeError: Problem(413, "/problems/image-too-large", "The image is too large"),
        model_errors.UnsupportedImageError: Problem(
            415, "/problems/unsupported-image", "The image is in no accepted format"
        ),
        model_errors.CorruptImageError: _UNDECODABLE,
        model_errors.BundleReplacedError: _NOT_READY,
        # Errors of loading and training; during a request they are a fault of the server.
        model_errors.ConfigError: INTERNAL,
        model_errors.VocabularyError: INTERNAL,
        model_errors.BundleError: INTERNAL,
        model_errors.DataError: INTERNAL,
        model_errors.LibraryError: INTERNAL,
    }
)
"""Every error of `model` and `server`, and the problem that a client gets for it."""


def _untyped(status: HTTPStatus) -> Problem:
    return Problem(status.value, UNTYPED, status.phrase)


UNREADABLE_PROBLEMS: Mapping[type[Exception], Problem] = MappingProxyType(
    {
        http_errors.LimitRequestLine: _untyped(HTTPStatus.REQUEST_URI_TOO_LONG),
        http_errors.LimitRequestHeaders: _untyped(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        http_errors.ExpectationFailed: _untyped(HTTPStatus.EXPECTATION_FAILED),
        http_errors.UnsupportedTransferCoding: _untyped(HTTPStatus.NOT_IMPLEMENTED),
        http_errors.ParseException: _untyped(HTTPStatus.BAD_REQUEST),
        errors.SlowClientError: PROBLEMS[errors.SlowClientError],
        errors.NotServedError: _untyped(HTTPStatus.NOT_FOUND),
    }
)
"""Errors that keep a request from the application, and their problems. The first class that fits counts."""


def kind_of(problem_type: str) -> str:
    """Returns the last part of a problem's type, such as `queue-full`."""
    return problem_type.rpartition("/")[2]


KINDS = frozenset(kind_of(problem.type) for problem in PROBLEMS.values())
"""Kinds of all problems."""

UNREADABLE = "unreadable"
"""Kind of a problem without a type, for bytes that could not be read as a request."""


def describe(error: CaptionerError) -> Json:
    """Returns the problem of an error as a client reads it.

    Args:
        error: An error whose class is in `PROBLEMS`.

    Returns:
        `status`, `type`, `title` and `detail`, the error's own message.
    """
    return _members(PROBLEMS[type(error)], str(error))


def describe_unreadable(error: Exception) -> Json | None:
    """Returns the problem of bytes that could not be read as a request; None for any other error.

    Args:
        error: The error; one of a class that `UNREADABLE_PROBLEMS` lacks is a fault of the server.

    Returns:
        As `describe`.
    """
    problem = next((problem for kind, problem in UNREADABLE_PROBLEMS.items() if isinstance(error, kind)), None)
    if problem is None:
        return None
    # gunicorn's own messages are left out: they repeat what the client sent.
    is_ours = isinstance(error, errors.SlowClientError | errors.NotServedError)
    return _members(
        problem,
        str(error)
        if is_ours
        else "expected an HTTP request within this server's limits, received one that cannot be read",
    )


def _members(problem: Problem, detail: str) -> Json:
    return {"status": problem.status, "type": problem.type, "title": problem.title, "detail": detail}


def register_problems(app: Flask, form_of: Callable[[Request], ErrorForm] = lambda _: PROBLEM_FORM) -> None:
    """Makes `app` answer every error.

    Args:
        app: The application.
        form_of: Returns the form for a request; its route may be unknown.
    """

    def answer(error: Exception) -> Response:
        members, headers = _http_problem(error) if isinstance(error, HTTPException) else _problem(error)
        if members["type"] != UNTYPED:
            g.problem = members["type"]  # for the log and the metrics
        form = form_of(request)
        body = json.dumps(form.body(members), ensure_ascii=False) + "\n"
        return Response(body, members["status"], headers, content_type=form.media_type)

    app.register_error_handler(HTTPException, answer)
    app.register_error_handler(Exception, answer)


def _problem(error: Exception) -> tuple[Json, Headers]:
    problem = PROBLEMS.get(type(error), INTERNAL) if isinstance(error, CaptionerError) else INTERNAL
    headers = Headers()
    if not isinstance(error, CaptionerError) or problem is INTERNAL:
        return _incident(error), headers
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="show-and-tell"'
    if isinstance(error, errors.UnsupportedCodingError):
        headers["Accept-Encoding"] = ", ".join(CODINGS)  # RFC 9110, 15.5.16
    return describe(error), headers


def _incident(error: Exception) -> Json:
    incident = secrets.token_hex(8)
    _logger.error("incident %s", incident, exc_info=error)
    members = _members(INTERNAL, f"the server failed; report incident {incident} to its operator")
    return members | {"incident": incident}


def _http_problem(error: HTTPException) -> tuple[Json, Headers]:
    # The exception's own response carries headers that matter, such as Allow of a 405.
    headers = [(name, value) for name, value in error.get_headers() if name.lower() != "content-type"]
    is_unknown = isinstance(error, NotFound) and request.url_rule is None
    detail = _known_paths() if is_unknown else error.description
    return {"status": error.code, "type": UNTYPED, "title": error.name, "detail": detail}, Headers(headers)


def _known_paths() -> str:
    """Returns the known paths in words. The unknown one is not repeated: it may be anything."""
    rules = sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule)
    root = request.script_root
    asked = [(rule, sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})) for rule in rules]
    known = ", ".join(f"{method} {root}{rule}" for rule, methods in asked for method in methods)
    return f"expected one of {known}; received another path; {root}/docs describes each of them"
