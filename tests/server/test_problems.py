"""Every error of the project has its problem, and no problem tells what it should not."""

import logging
from collections.abc import Iterator

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from model.errors import CaptionerError, CorruptImageError
from server.problems import PROBLEMS, register_problems


def errors_of(root: type[CaptionerError]) -> Iterator[type[CaptionerError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from errors_of(kind)


def test_every_error_of_model_and_server_is_in_the_table() -> None:
    known = {kind for kind in errors_of(CaptionerError) if kind.__module__.split(".")[0] in ("model", "server")}
    assert known == set(PROBLEMS)


def test_only_a_busy_server_says_when_to_try_again() -> None:
    for kind, problem in PROBLEMS.items():
        assert (problem.retry_after_seconds is not None) == (problem.status == 503), kind
        assert problem.type.startswith("/problems/")


def test_one_type_has_one_status_and_one_title() -> None:
    by_type = {problem.type: problem for problem in PROBLEMS.values()}
    assert set(by_type.values()) == set(PROBLEMS.values())


@pytest.fixture
def failing() -> FlaskClient:
    """Returns a client of an application with an endpoint for each way to fail."""
    app = Flask("failing")

    def fail(name: str) -> Response:
        kinds = {kind.__name__: kind for kind in PROBLEMS}
        raise kinds.get(name, ZeroDivisionError)("secret/path.py")

    app.add_url_rule("/<name>", view_func=fail)
    register_problems(app)
    return app.test_client()


@pytest.mark.parametrize("name", ["unexpected", "BundleError", "ConfigError"])
def test_a_mistake_of_ours_tells_the_log_everything_and_the_client_a_number(
    failing: FlaskClient, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.ERROR, "server")
    first = failing.get(f"/{name}")
    second = failing.get(f"/{name}")
    assert (first.status_code, first.mimetype) == (500, "application/problem+json")
    assert first.get_json()["type"] == "/problems/internal-error"
    assert "secret" not in first.get_data(as_text=True)
    assert first.get_json()["incident"] != second.get_json()["incident"]
    assert first.get_json()["incident"] in caplog.text
    assert "secret/path.py" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("kind", [kind for kind, problem in PROBLEMS.items() if problem.status != 500])
def test_an_error_meant_for_the_client_reaches_it(failing: FlaskClient, kind: type[CaptionerError]) -> None:
    response = failing.get(f"/{kind.__name__}")
    problem = PROBLEMS[kind]
    assert response.mimetype == "application/problem+json"
    assert response.get_json() == {
        "status": problem.status,
        "type": problem.type,
        "title": problem.title,
        "detail": "secret/path.py",
    }
    assert response.status_code == problem.status
    retry = problem.retry_after_seconds
    assert response.headers.get("Retry-After") == (None if retry is None else str(retry))


def test_flask_s_own_errors_are_problems_and_keep_their_headers(client: FlaskClient) -> None:
    missing = client.get("/nowhere")
    wrong = client.delete("/v1/predict")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.get_json()["title"] == "Not Found"
    assert wrong.get_json()["status"] == 405
    assert set(wrong.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
    assert {missing.mimetype, wrong.mimetype} == {"application/problem+json"}


def test_an_unknown_path_is_told_the_known_ones_and_where_they_are_described(client: FlaskClient) -> None:
    detail = client.get("/a-secret.jpg").get_json()["detail"]
    for rule in client.application.url_map.iter_rules():
        assert f" {rule.rule}" in detail
    assert "POST /v1/predict, " in detail
    assert detail.endswith("received another path; /docs describes each of them")
    assert "secret" not in detail
    assert "secret" not in client.get("/static/a-secret.js").get_json()["detail"]


def test_an_error_s_chain_is_not_shown(failing: FlaskClient) -> None:
    assert set(failing.get(f"/{CorruptImageError.__name__}").get_json()) == {"status", "type", "title", "detail"}
