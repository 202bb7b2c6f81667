"""What every protocol of the table keeps to: errors, keys, its place in the description, the log and the proxy."""

import functools
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from server.app import create_app
from server.batching import InferenceQueue
from server.bodies import json_limit
from server.decoding.pool import DecodingPool
from server.description.openapi import describe_api
from server.metrics import ServerMetrics
from server.problems import PROBLEM_TYPE, Json
from server.protocols.protocol import Protocol, Route
from server.protocols.streams import json_lines
from server.protocols.table import PROTOCOLS, chosen
from server.settings import PROTOCOL_NAMES, ServerSettings

KEY = "a-key-of-22-characters"
ROUTES = [(protocol, route) for protocol in chosen(ServerSettings()) for route in protocol.routes]
NAMES = [route.operation.name for _, route in ROUTES]
ROOT = Path(__file__).parents[3]
NGINX = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text(encoding="utf-8")

Serve = Callable[[ServerSettings], FlaskClient]
EveryRoute = pytest.mark.parametrize(("protocol", "route"), ROUTES, ids=NAMES)


@pytest.fixture
def serve(inference: InferenceQueue, decoding: DecodingPool) -> Serve:
    """Returns a function from settings to a client of a server with them."""
    return lambda settings: create_app(settings, inference, decoding, ServerMetrics(), threading.Event()).test_client()


def path_of(route: Route, model: str = "other", version: str = "1") -> str:
    return route.operation.path.replace("<model>", model).replace("<version>", version)


@functools.cache
def schemas() -> Json:
    """Returns every schema of the description."""
    found: Json = describe_api(ServerSettings())["components"]["schemas"]
    return found


def check(schema: Json, value: object) -> None:
    """Fails unless a value is what a schema of the description says."""
    jsonschema.validate(value, {**schema, "components": {"schemas": schemas()}}, jsonschema.Draft202012Validator)


def check_form(protocol: Protocol, response: TestResponse, status: int) -> None:
    """Checks that an error has the form that its protocol describes."""
    assert (response.status_code, response.mimetype) == (status, protocol.form.media_type)
    check(protocol.form.schema, response.get_json())


def test_every_name_among_the_settings_is_a_protocol() -> None:
    assert tuple(PROTOCOLS) == PROTOCOL_NAMES


def test_no_two_schemas_and_no_two_endpoints_have_one_name() -> None:
    own = describe_api(ServerSettings(protocols=("none",)))
    names = [*own["components"]["schemas"], *(name for protocol in PROTOCOLS.values() for name in protocol.schemas)]
    assert len(names) == len(set(names))
    assert len(NAMES) == len(set(NAMES))


@EveryRoute
def test_a_wrong_method_is_refused_in_the_protocol_s_form(
    client: FlaskClient, protocol: Protocol, route: Route
) -> None:
    response = client.delete(path_of(route))
    check_form(protocol, response, 405)
    path = route.operation.path
    methods = {other.operation.method.upper() for _, other in ROUTES if other.operation.path == path}
    assert {*response.headers["Allow"].split(", ")} - {"HEAD", "OPTIONS"} == methods


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_an_unknown_path_is_refused_in_the_form_of_the_protocol_around_it(serve: Serve, protocol: Protocol) -> None:
    client = serve(ServerSettings(protocols=(protocol.name,)))  # others may share its paths
    for prefix in protocol.prefixes:
        for rest in ("/no/where", "/\n", "/%2f"):
            check_form(protocol, client.get(prefix + rest), 404)
        assert client.get(f"{prefix}x").mimetype == PROBLEM_TYPE


@EveryRoute
def test_a_key_is_asked_for_and_taken_as_bearer(serve: Serve, protocol: Protocol, route: Route) -> None:
    client = serve(ServerSettings(api_key=(KEY,)))
    method = route.operation.method
    response = client.open(path_of(route), method=method)
    if route.operation.is_open:
        assert response.status_code != 401
    else:
        check_form(protocol, response, 401)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    given = client.open(path_of(route), method=method, headers={"Authorization": f"Bearer {KEY}"})
    assert given.status_code != 401


@EveryRoute
def test_a_body_beyond_the_limit_is_refused_in_the_protocol_s_form(
    client: FlaskClient, protocol: Protocol, route: Route
) -> None:
    if route.operation.method == "post":
        body = bytes(json_limit(ServerSettings().max_body_bytes) + 1)
        model = client.get("/v1/model").get_json()
        check_form(protocol, client.post(path_of(route, model["name"], model["version"]), data=body), 413)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_mistake_of_ours_is_told_in_the_protocol_s_form(
    inference: InferenceQueue, decoding: DecodingPool, protocol: Protocol
) -> None:
    settings = ServerSettings(protocols=(protocol.name,))
    app = create_app(settings, inference, decoding, ServerMetrics(), threading.Event())
    app.add_url_rule(f"{protocol.prefixes[0]}/fails", view_func=lambda: str(1 // 0))
    check_form(protocol, app.test_client().get(f"{protocol.prefixes[0]}/fails"), 500)


def test_protocols_that_are_not_chosen_are_neither_served_nor_described(serve: Serve) -> None:
    client = serve(ServerSettings.from_strings({}, {"protocols": "none"}))
    served = {route.operation.path for _, route in ROUTES}
    assert served.isdisjoint(rule.rule for rule in client.application.url_map.iter_rules())
    assert {tag["name"] for tag in client.get("/openapi.json").get_json()["tags"]}.isdisjoint(PROTOCOL_NAMES)
    response = client.post("/v1/chat/completions", json={})
    assert (response.status_code, response.mimetype) == (404, PROBLEM_TYPE)


def test_a_request_is_counted_by_its_route_and_never_by_what_the_client_names(
    inference: InferenceQueue, decoding: DecodingPool
) -> None:
    metrics = ServerMetrics()
    client = create_app(ServerSettings(), inference, decoding, metrics, threading.Event()).test_client()
    for _, route in ROUTES:
        client.open(path_of(route, "private"), method=route.operation.method)
        labels = {"route": route.operation.path, "method": route.operation.method.upper()}
        assert any(
            labels.items() <= sample.labels.items()
            for metric in metrics.requests.collect()
            for sample in metric.samples
        )
    assert b"private" not in client.get("/metrics").data


def patterns(text: str) -> Iterator[str]:
    yield from re.findall(r'(?m)^ *"~(\^[^"]+)" ', text)


@EveryRoute
def test_the_proxy_names_every_route_in_its_log_and_limits_what_captions(protocol: Protocol, route: Route) -> None:
    del protocol
    path = path_of(route)
    names = patterns(NGINX[NGINX.index("map $uri") : NGINX.index("log_format")])
    assert any(re.search(pattern, path) for pattern in names)
    limited = re.findall(r"location ~ (\S+) \{[^}]*limit_req zone", NGINX)
    assert any(re.search(pattern, path) for pattern in limited) == (route.operation.method == "post")


def test_the_page_about_the_api_has_every_route() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for _, route in ROUTES:
        assert f"`{route.operation.method.upper()} {route.operation.path}`" in text


def test_no_module_of_a_protocol_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / "server" / "protocols").rglob("*.py")}
    assert {path: lines for path, lines in lengths.items() if lines > 150} == {}


def test_lines_of_json_are_one_object_each() -> None:
    items: list[Any] = [{"text": "a\nb"}, {"done": True}]
    response = json_lines(items)
    assert [json.loads(line) for line in response.get_data(as_text=True).splitlines()] == items
