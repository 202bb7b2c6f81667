"""The description of the API is that of the API: every route, every answer, every limit, and nothing else."""

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from model.captioner import Captioner
from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.description.openapi import describe_api
from server.metrics import ServerMetrics
from server.parameters import PARAMETERS
from server.problems import INTERNAL, PROBLEMS
from server.settings import ServerSettings

Form = Callable[..., dict[str, Any]]

KEY = "a-key-of-22-characters"
OPEN = ServerSettings()
LOCKED = ServerSettings(api_key=(KEY,))


@pytest.fixture(scope="module")
def document(client: FlaskClient) -> dict[str, Any]:
    """Returns the description as a client gets it."""
    answer: dict[str, Any] = client.get("/openapi.json").get_json()
    return answer


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def template(rule: str) -> str:
    """Returns a route as OpenAPI writes it."""
    return rule.replace("<", "{").replace(">", "}")


def closed(value: Any) -> Any:
    """Returns a schema in which no object may have a property that is not described."""
    if isinstance(value, list):
        return [closed(item) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {name: closed(item) for name, item in value.items()}
    return {"additionalProperties": False, **copy} if isinstance(copy.get("required"), list) else copy


def check(document: dict[str, Any], name: str, value: object) -> None:
    """Fails unless a value is what a schema of the document says, and nothing besides."""
    schemas = {"components": {"schemas": closed(document["components"]["schemas"])}}
    schema = {"$ref": f"#/components/schemas/{name}", **schemas}
    jsonschema.validate(value, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("settings", [OPEN, LOCKED], ids=["open", "with a key"])
def test_the_description_is_valid_openapi(settings: ServerSettings) -> None:
    document = describe_api(settings)
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described_with_its_methods_and_nothing_else_is(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    rules = [rule for rule in client.application.url_map.iter_rules() if rule.endpoint != "static"]
    served = {
        (template(rule.rule), method) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _ in operations(document)} == served
    # Its names are those by which server/access.py decides what needs a key.
    assert {item["operationId"] for _, _, item in operations(document)} == {rule.endpoint for rule in rules}


def test_every_problem_is_an_answer_of_some_operation() -> None:
    responses = describe_api(LOCKED)["components"]["responses"].values()
    contents = [response["content"].get("application/problem+json") for response in responses]
    schemas = [content["schema"]["properties"] for content in contents if content]
    described = {(item["status"]["const"], kind) for item in schemas for kind in item["type"]["enum"]}
    assert {(problem.status, problem.type) for problem in PROBLEMS.values()} <= described


def test_a_prediction_is_as_described(client: FlaskClient, document: dict[str, Any], photo: bytes, form: Form) -> None:
    check(document, "Answer", client.post("/v1/predict?beam_size=4&captions=4", **form(photo)).get_json())


def test_several_images_with_bad_ones_among_them_are_as_described(
    client: FlaskClient, document: dict[str, Any], photo: bytes, form: Form
) -> None:
    answer = client.post("/v1/predict?classes=0", **form(b"no photo", photo, photo[:300])).get_json()
    assert [result["status"] for result in answer["results"]] == [415, 200, 422]
    check(document, "Answer", answer)


@pytest.mark.parametrize(("path", "name"), [("/v1/model", "Model"), ("/livez", "Alive"), ("/readyz", "Ready")])
def test_the_other_answers_are_as_described(
    client: FlaskClient, document: dict[str, Any], path: str, name: str
) -> None:
    check(document, name, client.get(path).get_json())


def test_a_refusal_is_as_described(client: FlaskClient, document: dict[str, Any]) -> None:
    response = client.post("/v1/predict", data=b"no photo")
    answer = response.get_json()
    check(document, "Problem", answer)
    described = document["paths"]["/v1/predict"]["post"]["responses"][str(response.status_code)]["$ref"]
    content = document["components"]["responses"][described.rpartition("/")[2]]["content"][response.mimetype]
    assert answer["type"] in content["schema"]["properties"]["type"]["enum"]


def test_a_mistake_of_ours_is_as_described(
    document: dict[str, Any], inference: InferenceQueue, decoding: DecodingPool
) -> None:
    app = create_app(OPEN, inference, decoding, ServerMetrics(), threading.Event())
    app.add_url_rule("/fails", view_func=lambda: str(1 // 0))
    response = app.test_client().get("/fails")
    assert response.status_code == INTERNAL.status
    check(document, "Problem", response.get_json())


def test_the_examples_are_what_their_schemas_say(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    assert len(content["examples"]) == 2
    for example in content["examples"].values():
        check(document, "Answer", example["value"])


BESIDE = {
    "captions": "beam_size=10",
    "diverse_groups": "beam_size=1",
    "diversity": "diverse_groups=2",
    "temperature": "sample=true",
    "seed": "sample=true",
}
"""What a parameter needs beside it to reach its ends, which no schema can say."""


@pytest.mark.parametrize("name", [name for name, option in PARAMETERS.items() if option.kind not in (bool, str)])
def test_a_parameter_s_ends_are_accepted_and_what_is_beyond_them_is_refused(
    client: FlaskClient, captioner: Captioner, document: dict[str, Any], photo: bytes, name: str
) -> None:
    (schema,) = [
        parameter["schema"]
        for parameter in document["paths"]["/v1/predict"]["post"]["parameters"]
        if parameter.get("name") == name
    ]
    own = captioner.config.search.max_words
    most = own if name in ("min_words", "max_words") else schema["maximum"]
    statuses = [
        client.post(f"/v1/predict?{name}={value}&{BESIDE.get(name, '')}", data=photo).status_code
        for value in (schema["minimum"] - 1, schema["minimum"], most, schema["maximum"] + 1)
    ]
    assert statuses == [400, 200, 200, 400]


def test_the_query_and_the_json_take_the_same_parameters(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/predict"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    in_query = {item["name"]: item["schema"] for item in operation["parameters"] if "name" in item}
    for name in PARAMETERS:
        told = {key: value for key, value in body[name].items() if key in ("type", "minimum", "maximum", "enum")}
        assert told == in_query[name], name


def test_the_limits_are_those_of_this_very_server(inference: InferenceQueue, decoding: DecodingPool) -> None:
    settings = ServerSettings(max_images=3, max_body_bytes=4321, max_pixels=987, deadline_seconds=6.5)
    client = create_app(settings, inference, decoding, ServerMetrics(), threading.Event()).test_client()
    document = client.get("/openapi.json").get_json()
    body = document["paths"]["/v1/predict"]["post"]["requestBody"]
    assert "4,321 bytes" in body["description"]
    assert "987 pixels" in body["description"]
    assert body["content"]["multipart/form-data"]["schema"]["properties"]["image"]["maxItems"] == 3
    check(document, "Model", client.get("/v1/model").get_json())


def test_what_needs_a_key_says_so_and_nothing_else_does(inference: InferenceQueue, decoding: DecodingPool) -> None:
    client = create_app(LOCKED, inference, decoding, ServerMetrics(), threading.Event()).test_client()
    document = client.get("/openapi.json").get_json()
    assert KEY not in str(document)
    for path, method, operation in operations(document):
        with client.open(path, method=method) as response:
            is_refused = response.status_code == 401
        assert is_refused == bool(operation["security"]) == ("401" in operation["responses"]), path
    assert {"bearer", "header"} == set(document["components"]["securitySchemes"])


def test_an_open_server_asks_for_no_key(document: dict[str, Any]) -> None:
    assert "securitySchemes" not in document["components"]
    assert not any(
        "security" in operation or "401" in operation["responses"] for _, _, operation in operations(document)
    )


def test_a_form_is_sent_as_described(client: FlaskClient, document: dict[str, Any], photo: bytes) -> None:
    schema = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    (field,) = schema["required"]
    images = [photo] * (schema["properties"][field]["minItems"] + 1)

    def status_with(**others: str) -> int:
        data = {field: [(io.BytesIO(image), "") for image in images], **others}
        return client.post("/v1/predict?classes=0", data=data).status_code

    assert (status_with(), status_with(other="x")) == (200, 400)
