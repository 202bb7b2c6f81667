"""Errors to `application/problem+json` (RFC 9457): the only place that knows which error is which HTTP status.

`type` is a URI relative to the server, one for each kind of problem and never changed; `about:blank` where the status
says it all (404, 405). A 500 tells the client nothing but a random incident id, under which the log has the traceback.
"""

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from flask import Flask, Response, g
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from model import errors as model_errors
from model.errors import CaptionerError
from server import errors

PROBLEM_TYPE = "application/problem+json"

UNTYPED = "about:blank"
"""Type of a problem of which the status says it all."""

_logger = logging.getLogger("server")


@dataclass(frozen=True, slots=True)
class Problem:
    """Describes one kind of problem.

    Attributes:
        status: HTTP status.
        type: Relative URI that names the kind.
        title: What is wrong, the same for every occurrence.
        retry_after_seconds: When trying again makes sense; None where it does not.
    """

    status: int
    type: str
    title: str
    retry_after_seconds: int | None = None


_PARAMETER = Problem(400, "/problems/invalid-parameter", "A parameter is not acceptable")
_UNDECODABLE = Problem(422, "/problems/corrupt-image", "The image cannot be decoded")
INTERNAL = Problem(500, "/problems/internal-error", "The server made a mistake")

PROBLEMS: Mapping[type[CaptionerError], Problem] = MappingProxyType(
    {
        errors.ParameterError: _PARAMETER,
        errors.UnauthorizedError: Problem(401, "/problems/unauthorized", "The request has no valid key"),
        errors.MalformedBodyError: Problem(400, "/problems/malformed-body", "The request body is malformed"),
        errors.BodyTooLargeError: Problem(413, "/problems/body-too-large", "The request body is too large"),
        errors.SlowClientError: Problem(408, "/problems/slow-client", "The request took too long to arrive"),
        errors.NotReadyError: Problem(503, "/problems/not-ready", "The server is not ready", 5),
        errors.QueueFullError: Problem(503, "/problems/queue-full", "Too many images are waiting", 1),
        errors.OutOfResourcesError: Problem(
            503, "/problems/out-of-resources", "The server lacks memory or the like", 5
        ),
        errors.CostlyImageError: Problem(422, "/problems/costly-image", "The image takes too much to decode"),
        errors.DeadlineExceededError: Problem(503, "/problems/deadline-exceeded", "The time ran out", 1),
        model_errors.SearchOptionError: _PARAMETER,
        model_errors.ImageError: _UNDECODABLE,
        model_errors.ImageTooLargeError: Problem(413, "/problems/image-too-large", "The image is too large"),
        model_errors.UnsupportedImageError: Problem(
            415, "/problems/unsupported-image", "The image is in no accepted format"
        ),
        model_errors.CorruptImageError: _UNDECODABLE,
        # These belong to loading and training; during a request they are a mistake of ours.
        model_errors.ConfigError: INTERNAL,
        model_errors.VocabularyError: INTERNAL,
        model_errors.BundleError: INTERNAL,
        model_errors.DataError: INTERNAL,
    }
)
"""Every error of the project and the problem that a client gets for it."""


def kind_of(problem_type: str) -> str:
    """Returns the last part of a problem's type, such as `queue-full`."""
    return problem_type.rpartition("/")[2]


KINDS = frozenset(kind_of(problem.type) for problem in PROBLEMS.values())
"""Every kind of problem that a request can have."""

UNREADABLE = "unreadable"
"""Stands for what never became a request, and so has no type of its own."""


def describe(error: CaptionerError) -> dict[str, Any]:
    """Returns the members of the problem that `error` is, for a client to read.

    Args:
        error: An error whose kind is in `PROBLEMS`.

    Returns:
        `status`, `type`, `title` and `detail`, the error's own message.
    """
    problem = PROBLEMS[type(error)]
    return {"status": problem.status, "type": problem.type, "title": problem.title, "detail": str(error)}


def register_problems(app: Flask) -> None:
    """Makes `app` answer every error with problem+json."""
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, _problem)


def _problem(error: Exception) -> Response:
    problem = PROBLEMS.get(type(error), INTERNAL) if isinstance(error, CaptionerError) else INTERNAL
    if not isinstance(error, CaptionerError) or problem is INTERNAL:
        return _incident(error)
    response = _response(describe(error))
    if problem.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(problem.retry_after_seconds)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="show-and-tell"'
    return response


def _incident(error: Exception) -> Response:
    incident = secrets.token_hex(8)
    _logger.error("incident %s", incident, exc_info=error)
    members = {
        "status": INTERNAL.status,
        "type": INTERNAL.type,
        "title": INTERNAL.title,
        "detail": f"expected to answer, failed; tell whoever runs this server the incident {incident}",
        "incident": incident,
    }
    return _response(members)


def _http_problem(error: HTTPException) -> Response:
    # The exception's own response carries headers that matter, such as Allow of a 405.
    headers = [(name, value) for name, value in error.get_headers() if name.lower() != "content-type"]
    members = {"status": error.code, "type": UNTYPED, "title": error.name, "detail": error.description}
    return _response(members, headers)


def _response(members: dict[str, Any], headers: Sequence[tuple[str, str]] = ()) -> Response:
    if members["type"] != UNTYPED:
        g.problem = members["type"]  # for the log and the metrics
    body = json.dumps(members, ensure_ascii=False) + "\n"
    return Response(body, members["status"], Headers(headers), content_type=PROBLEM_TYPE)
