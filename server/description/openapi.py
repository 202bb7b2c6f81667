"""Builds the API's description (OpenAPI 3.1) from the code that answers: its ranges, limits and problems."""

import re
from http import HTTPStatus

from model.errors import CaptionerError
from server.access import KEY_HEADER, OPEN_ENDPOINTS
from server.description.operation import Operation
from server.description.operations import operations
from server.description.schemas import Json, answer_schemas, reference
from server.errors import UnauthorizedError
from server.logs import REQUEST_ID, REQUEST_ID_PATTERN
from server.metrics import project_version
from server.problems import (
    INTERNAL,
    PROBLEM_FORM,
    PROBLEM_TYPE,
    PROBLEMS,
    UNREADABLE,
    UNREADABLE_PROBLEMS,
    UNTYPED,
    ErrorForm,
    kind_of,
)
from server.protocols.table import chosen
from server.settings import ServerSettings
from server.uploads import FIELD

EXAMPLE_SERVER = "http://127.0.0.1:8000"
"""Where the examples send their requests."""

ABOUT = (
    "Captions and classes for photos, by a VGG-19 encoder and a Show-and-Tell decoder. "
    "Every error is problem+json (RFC 9457): programs compare its `type`. "
    "Other servers' protocols have the errors of their own, with the same statuses and texts. "
    f"Every answer has an id in `{REQUEST_ID}`, which is also in the server's log. "
    "HEAD works wherever GET does."
)
ABOUT_KEYS = (
    f"This server requires an API key, as `Authorization: Bearer KEY` or `{KEY_HEADER}: KEY`. "
    "The probes, the page and this description need none."
)
TAGS = {
    "captions": "Photos in, sentences out.",
    "health": "For the server's operators.",
    "pages": "The demo page, and this description.",
}

_PART = re.compile("<([^>]+)>")
_RAW_STATUSES = frozenset(problem.status for problem in UNREADABLE_PROBLEMS.values())
_ANSWER_HEADERS = {REQUEST_ID: {"$ref": "#/components/headers/RequestId"}}
_REQUEST_ID = {"$ref": "#/components/parameters/RequestId"}


def describe_api(settings: ServerSettings) -> Json:
    """Returns the description of every route but the page's files.

    Args:
        settings: The limits of this server, and whether it requires a key.

    Returns:
        An OpenAPI 3.1 document.
    """
    needs_key = bool(settings.api_key) or settings.api_key_file is not None
    responses: Json = {}
    protocols = chosen(settings)
    described = [(operation, PROBLEM_FORM) for operation in operations(settings)]
    described += [(route.operation, protocol.form) for protocol in protocols for route in protocol.routes]
    paths: Json = {}
    for operation, form in described:
        methods = paths.setdefault(_PART.sub(r"{\1}", operation.path), {})
        methods[operation.method] = _describe(operation, form, needs_key, responses)
    components = {
        "schemas": answer_schemas(settings) | {n: s for protocol in protocols for n, s in protocol.schemas.items()},
        "responses": responses,
        "parameters": {"RequestId": _request_id_parameter()},
        "headers": _headers(),
    }
    if needs_key:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Show and Tell",
            "summary": "Captions for photos",
            "description": f"{ABOUT} {ABOUT_KEYS}" if needs_key else ABOUT,
            "version": project_version(),
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The server that this description comes from."}],
        "tags": [
            {"name": name, "description": about}
            for name, about in (*TAGS.items(), *((protocol.name, protocol.about) for protocol in protocols))
        ],
        "paths": paths,
        "components": components,
    }


def _describe(operation: Operation, form: ErrorForm, needs_key: bool, responses: Json) -> Json:
    """Returns an operation as OpenAPI; adds its problems to `responses`, which all operations share."""
    asks = needs_key and not (operation.is_open or operation.name in OPEN_ENDPOINTS)
    errors = (*operation.errors, UnauthorizedError) if asks else operation.errors
    answers: Json = {"200": {"description": "The answer.", "headers": _ANSWER_HEADERS, "content": operation.content}}
    if operation.name == "index":  # a file, which browsers cache and revalidate
        answers["304"] = {
            "description": "The page has not changed: its `ETag` is the given one.",
            "headers": _ANSWER_HEADERS,
        }
    for status, reasons in _reasons(errors).items():
        kinds = (UNREADABLE if kind == UNTYPED else kind_of(kind) for kind in reasons)
        name = f"{status}-{'-or-'.join(kinds)}"
        if form is not PROBLEM_FORM and reasons.keys() != {UNTYPED}:
            name += f"-{operation.tag}"
        responses[name] = _problem_response(status, reasons, form)
        answers[str(status)] = {"$ref": f"#/components/responses/{name}"}
    described: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.about,
        "parameters": [*operation.parameters, _REQUEST_ID],
        "responses": answers,
        "x-codeSamples": _samples(operation, asks),
    }
    if operation.body:
        described["requestBody"] = operation.body
    if needs_key:
        described["security"] = [{"bearer": []}, {"header": []}] if asks else []
    return described


def _reasons(errors: tuple[type[CaptionerError], ...]) -> dict[int, dict[str, str]]:
    """Returns the causes of an operation's problems, by status, then by type, including those of any request."""
    reasons: dict[int, dict[str, str]] = {}
    for error in errors:
        reasons.setdefault(PROBLEMS[error].status, {})[PROBLEMS[error].type] = _first_line(error)
    for kind, problem in UNREADABLE_PROBLEMS.items():
        text = f"{problem.title}: this server cannot read the HTTP." if problem.type == UNTYPED else _first_line(kind)
        reasons.setdefault(problem.status, {})[problem.type] = text
    reasons[INTERNAL.status] = {INTERNAL.type: "The server failed; its log has the reason under the incident id."}
    return dict(sorted(reasons.items()))


def _problem_response(status: int, reasons: dict[str, str], form: ErrorForm) -> Json:
    headers = dict(_ANSWER_HEADERS)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/Challenge"}
    this = {"status": {"const": status}, "type": {"enum": list(reasons)}}
    content: Json = {}
    if form is not PROBLEM_FORM and reasons.keys() != {UNTYPED}:
        content[form.media_type] = {"schema": form.schema}
    # What never becomes a request has no protocol.
    if form is PROBLEM_FORM or status in _RAW_STATUSES:
        content[PROBLEM_TYPE] = {"schema": {**reference("Problem"), "properties": this}}
    return {
        "description": " ".join(reasons.values()),
        "headers": headers,
        "content": content,
    }


def _headers() -> Json:
    return {
        "RequestId": {
            "description": "The request's id in the server's log.",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{REQUEST_ID_PATTERN}$"},
        },
        "RetryAfter": {
            "description": "Try again after this many seconds.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        },
        "Challenge": {
            "description": "The scheme by which a key is sent.",
            "required": True,
            "schema": {"type": "string"},
        },
    }


def _request_id_parameter() -> Json:
    # Without a pattern in the schema: other texts are ignored, not refused.
    return {
        "name": REQUEST_ID,
        "in": "header",
        "description": f"Your own id for this request; replaced by the server's if it does not match "
        f"`{REQUEST_ID_PATTERN}`.",
        "schema": {"type": "string"},
    }


def _samples(operation: Operation, asks: bool) -> list[Json]:
    """Returns example commands; `KEY` is a placeholder."""
    curl = f"curl -s -H '{KEY_HEADER}: KEY'" if asks else "curl -s"
    url = EXAMPLE_SERVER + _PART.sub(lambda part: part[1].upper(), operation.path)
    commands = {"": f"{curl} {operation.sample} {url}" if operation.sample else f"{curl} {url}"}
    if operation.name == "predict":
        commands = {
            "Two photos": f"{curl} -F {FIELD}=@one.jpg -F {FIELD}=@two.png {url}",
            "One photo as JSON": f"{curl} --json '{{\"image\": \"'$(base64 -w0 photo.jpg)'\"}}' {url}",
            "One photo, its caption alone": f"{curl} -H 'Accept: text/plain' --data-binary @photo.jpg {url}",
            "One photo as the body, one caption": f"{curl} --data-binary @photo.jpg '{url}?captions=1'",
        }
    return [{"lang": "Shell", "label": label, "source": source} for label, source in commands.items()]


def _first_line(error: type[Exception]) -> str:
    return (error.__doc__ or error.__name__).partition("\n")[0]
