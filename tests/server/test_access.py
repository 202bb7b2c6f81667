"""Keys, origins and headers: who may ask, and what browsers are told."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from model.errors import ConfigError
from server.access import HEADERS, read_keys
from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.metrics import ServerMetrics
from server.settings import ServerSettings

OLD = "an-old-key-of-20-characters"
NEW = "YS1uZXcta2V5LW9mLTIwIQ=="
ORIGIN = "https://example.org"
Serve = Callable[..., FlaskClient]


@pytest.fixture
def serve(inference: InferenceQueue, decoding: DecodingPool) -> Serve:
    """Returns a function from flags to a client of a server with them."""

    def make(**flags: str) -> FlaskClient:
        environment = {"SHOWTELL_API_KEY": flags.pop("api_key")} if "api_key" in flags else {}
        settings = ServerSettings.from_strings(environment, flags)
        return create_app(settings, inference, decoding, ServerMetrics(), threading.Event()).test_client()

    return make


@pytest.mark.parametrize("key", [OLD, NEW])
@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_every_key_opens_by_either_header(serve: Serve, photo: bytes, key: str, header: str) -> None:
    given = f"Bearer {key}" if header == "Authorization" else key
    answer = serve(api_key=f"{OLD},{NEW}").post("/v1/predict", data=photo, headers={header: given})
    assert answer.status_code == 200


def test_a_key_opens_beside_what_is_meant_for_a_proxy(serve: Serve, photo: bytes) -> None:
    headers = {"X-API-Key": OLD, "Authorization": "Bearer a-token-of-the-proxy"}
    assert serve(api_key=OLD).post("/v1/predict", data=photo, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": OLD[:-1]}, {"X-API-Key": "é"}, {"Authorization": f"Basic {OLD}"}, {"Authorization": "Bearer "}],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/model", "/metrics", "/nowhere"])
def test_without_a_right_key_nothing_is_told(serve: Serve, headers: dict[str, str], path: str) -> None:
    answer = serve(api_key=OLD).post(path, data=b"x", headers=headers)
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert OLD[:-1] not in answer.text
    assert "X-Request-ID" in answer.headers


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/livez", "/readyz"])
def test_the_page_and_the_probes_need_no_key(serve: Serve, path: str) -> None:
    with serve(api_key=OLD).get(path) as answer:
        assert answer.status_code == 200


def test_keys_come_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{NEW}\n")
    assert read_keys(ServerSettings(api_key=(OLD,), api_key_file=file)) == (OLD, NEW)


@pytest.mark.parametrize("text", ["", "short\n", f"{NEW} {'x' * 300}\n"])
def test_a_file_of_no_keys_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"keys: expected keys of 16 to 256 letters") as caught:
        read_keys(ServerSettings(api_key_file=file))
    assert NEW not in str(caught.value)


def test_a_key_is_never_shown(serve: Serve) -> None:
    assert OLD not in repr(ServerSettings(api_key=(OLD,)))
    with pytest.raises(ConfigError) as caught:
        serve(api_key=f"{OLD},short")
    assert OLD not in str(caught.value)


def test_a_page_of_a_known_origin_may_read_answers(serve: Serve) -> None:
    answer = serve(cors_origins=f"{ORIGIN},http://localhost:3000").get("/v1/model", headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origins", [None, ORIGIN])
def test_a_page_of_another_origin_may_not(serve: Serve, origins: str | None) -> None:
    flags = {} if origins is None else {"cors_origins": origins}
    answer = serve(**flags).get("/v1/model", headers={"Origin": "https://example.net"})
    assert not [name for name in answer.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118


def test_a_preflight_needs_no_key_and_says_what_may_be_sent(serve: Serve) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = serve(cors_origins="*", api_key=OLD).options("/v1/predict", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/chat/completions"])
def test_a_preflight_allows_the_headers_that_are_asked_for(serve: Serve, path: str) -> None:
    asked = "authorization,content-type,x-stainless-os, x-stainless-retry-count"
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked, "Origin": ORIGIN}
    answer = serve(cors_origins=ORIGIN).options(path, headers=headers)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Headers"]) == (200, asked)
    assert {"Origin", "Access-Control-Request-Headers"} <= set(answer.vary)


@pytest.mark.parametrize("asked", ["", "a\tb", "é", "<script>", "x" * 2001, "a;b", 'a"b'])
def test_what_is_no_list_of_headers_is_not_repeated(serve: Serve, asked: str) -> None:
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked, "Origin": ORIGIN}
    answer = serve(cors_origins="*").options("/v1/predict", headers=headers)
    assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, X-API-Key, X-Request-ID"


@pytest.mark.parametrize("path", ["/", "/nowhere", "/v1/predict", "/livez", "/metrics", "/static/style.css"])
def test_every_answer_has_the_security_headers(serve: Serve, path: str) -> None:
    with serve().get(path) as answer:
        assert [(name, answer.headers[name]) for name, _ in HEADERS] == list(HEADERS)
