"""Serves the description of the API as JSON for programs and as a page for people, from one document."""

import functools
import json
import re
from collections.abc import Iterator

from flask import Flask, render_template, request
from markupsafe import Markup, escape

from server.description.openapi import describe_api
from server.description.schemas import Json
from server.problems import PROBLEMS
from server.settings import ServerSettings


def register_docs(app: Flask, settings: ServerSettings) -> None:
    """Adds `/openapi.json` and `/docs` to `app`."""
    document = describe_api(settings)
    page = {
        "api": document,
        "groups": _groups(document),
        "common": {status: _resolved(document, item) for status, item in _common(document).items()},
        # Several errors can be the same problem, which is shown once.
        "problems": dict.fromkeys(PROBLEMS.values()),
    }
    for to_html in (with_code, in_words, indented):
        app.add_template_filter(to_html)
    app.add_url_rule("/openapi.json", "openapi", lambda: document | {"servers": _servers(document)})
    # Rendered once: it never changes, and takes as long as many requests.
    rendered = functools.cache(lambda: render_template("docs.html", **page))
    app.add_url_rule("/docs", "docs", rendered)


def _servers(document: Json) -> list[Json]:
    """Returns where the API is: the path below which this request was made."""
    return [server | {"url": request.script_root or server["url"]} for server in document["servers"]]


def with_code(text: str) -> Markup:
    """Returns a description as HTML, with backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first


def in_words(schema: Json) -> Markup:
    """Returns as HTML which values fit a schema; references become links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#{0}">{0}</a>').format(name)
    if options := schema.get("oneOf") or schema.get("anyOf"):
        return Markup(" or ").join(map(in_words, options))
    if "const" in schema or "enum" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return Markup(" or ").join(Markup("<code>{}</code>").format(json.dumps(value)) for value in values)
    words = escape("bytes" if schema.get("format") == "binary" else schema.get("type", "anything")) + _bounds(schema)
    return words + Markup(" of ") + in_words(schema["items"]) if "items" in schema else words


def indented(value: Json) -> str:
    """Returns indented JSON, in the order of its members."""
    return json.dumps(value, indent=2)


def _bounds(schema: Json) -> str:
    low = schema.get("minimum", schema.get("minItems"))
    high = schema.get("maximum", schema.get("maxItems"))
    if low is not None and high is not None:
        return f" ({low})" if low == high else f" ({low} to {high})"
    if low is not None:
        return f" (at least {low})"
    return "" if high is None else f" (at most {high})"


def _groups(document: Json) -> list[tuple[Json, list[Json]]]:
    """Returns every tag with its operations, and each operation with its own responses, references resolved."""
    operations = list(_operations(document))
    return [(tag, [item for item in operations if tag["name"] in item["tags"]]) for tag in document["tags"]]


def _common(document: Json) -> Json:
    """Returns the responses that all operations share, whatever their form, by status."""
    every = [item["responses"] for methods in document["paths"].values() for item in methods.values()]
    abouts = [{status: _resolved(document, item)["description"] for status, item in one.items()} for one in every]
    return {
        status: item
        for status, item in every[0].items()
        if status != "200" and all(about.get(status) == abouts[0][status] for about in abouts)
    }


def _operations(document: Json) -> Iterator[Json]:
    common = _common(document)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            own = {status: item for status, item in operation["responses"].items() if status not in common}
            responses = {status: _resolved(document, item) for status, item in own.items()}
            parameters = [_resolved(document, item) for item in operation["parameters"]]
            yield {**operation, "path": path, "method": method, "responses": responses, "parameters": parameters}


def _resolved(document: Json, item: Json) -> Json:
    if "$ref" not in item:
        return item
    group, name = item["$ref"].split("/")[-2:]
    found: Json = document["components"][group][name]
    return found
