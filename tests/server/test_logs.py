"""One line for each request, with its id, and nothing of what the client sent."""

import json
import logging
import re
import subprocess
import sys
from typing import Any

import pytest
from flask.testing import FlaskClient

from server.logs import JsonFormatter, TextFormatter
from tests.server.conftest import Log


def test_a_request_is_one_line_with_all_that_is_known(client: FlaskClient, photo: bytes, log: Log) -> None:
    client.post("/v1/predict?classes=0", data=photo, headers={"X-Request-ID": "abc-1"})
    (entry,) = log.entries
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry.pop("time"))
    assert 0 < entry.pop("seconds") < 10
    assert entry.pop("message").startswith("POST /v1/predict 200 0.")
    assert entry == {
        "level": "info",
        "logger": "server.access",
        "request_id": "abc-1",
        "method": "POST",
        "route": "/v1/predict",
        "status": 200,
    }


def test_a_refusal_says_which(client: FlaskClient, log: Log) -> None:
    client.post("/v1/predict", data=b"no photo")
    assert log.entries[0]["problem"] == "/problems/unsupported-image"


@pytest.mark.parametrize("log", [JsonFormatter, TextFormatter], indirect=True)
def test_nothing_that_a_client_sends_is_logged(client: FlaskClient, photo: bytes, log: Log, form: Any) -> None:
    client.post("/v1/predict?classes=0", **form(photo))
    client.post("/v1/predict?private=private", **form(photo))
    client.put("/private.jpg", data=photo)
    client.get("/break%0Aprivate?private=1", headers={"X-Request-ID": "private\tline"})
    assert len(log.text.splitlines()) == 4
    assert "private" not in log.text


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 64])
@pytest.mark.parametrize("path", ["/livez", "/", "/nowhere"])
def test_a_sane_request_id_comes_back(client: FlaskClient, given: str, path: str) -> None:
    with client.get(path, headers={"X-Request-ID": given}) as response:
        assert response.headers.getlist("X-Request-ID") == [given]


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", "ä", '"', "a\n"])
def test_without_a_sane_one_each_request_gets_an_id_of_its_own(client: FlaskClient, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given.rstrip("\n")}
    if given == "a\n":
        headers = {"X-Request-ID": "a,"}
    made = [client.get("/livez", headers=headers).headers["X-Request-ID"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", identity) for identity in made)
    assert made[0] != made[1]


def test_an_error_of_ours_has_its_trace_in_the_line(log: Log) -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.getLogger("server").exception("it failed")
    (entry,) = log.entries
    assert (entry["level"], entry["message"]) == ("error", "it failed")
    assert entry["trace"].startswith("Traceback")
    assert "ZeroDivisionError" in entry["trace"]


@pytest.mark.parametrize("log", [TextFormatter], indirect=True)
def test_text_ends_with_the_request_s_id(client: FlaskClient, log: Log) -> None:
    client.get("/livez", headers={"X-Request-ID": "abc-1"})
    assert re.fullmatch(r"GET /livez 200 [\d.e-]+ s \[abc-1\]\n", log.text)


@pytest.mark.parametrize(("log_format", "is_json"), [("auto", True), ("json", True), ("text", False)])
def test_the_format_is_chosen_and_gunicorn_keeps_to_it(log_format: str, is_json: bool) -> None:
    code = (
        "import logging, warnings; from gunicorn.config import Config;"
        "from server.logs import GunicornLogger, configure_logs;"
        f"configure_logs({log_format!r}); log = GunicornLogger(Config()); log.error('from %s', 'gunicorn');"
        "warnings.warn('beware')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    if is_json:
        first, second = map(json.loads, lines)
        assert (first["logger"], first["message"]) == ("gunicorn.error", "from gunicorn")
        assert "beware" in second["message"]
    else:
        assert lines[0].endswith("ERROR gunicorn.error: from gunicorn")
