"""The server below a path: told by a setting or by the proxy, whether the proxy takes the path off or not."""

import re
import threading
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.metrics import ServerMetrics
from server.settings import ServerSettings

Serve = Callable[..., FlaskClient]
TOLD = {"X-Forwarded-Prefix": "/told"}


@pytest.fixture
def serve(inference: InferenceQueue, decoding: DecodingPool) -> Serve:
    """Returns a function from settings to a client of a server with them."""

    def make(**settings: str) -> FlaskClient:
        made = ServerSettings.from_strings({}, settings)
        return create_app(made, inference, decoding, ServerMetrics(), threading.Event()).test_client()

    return make


def server_in_description(client: FlaskClient, path: str, **headers: str) -> str:
    url: str = client.get(path, headers=headers).get_json()["servers"][0]["url"]
    return url


@pytest.mark.parametrize("root", ["/caption", "/a/b-c/d.e"])
@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/static/main.js", "/livez", "/v1/model"])
def test_every_route_is_below_the_path_and_without_it(serve: Serve, root: str, path: str) -> None:
    client = serve(root_path=root)
    with client.get(path) as without, client.get(root + path) as below:
        assert (without.status_code, below.status_code) == (200, 200)
        assert without.data == below.data


def test_a_photo_is_captioned_below_the_path(serve: Serve, photo: bytes) -> None:
    assert serve(root_path="/caption").post("/caption/v1/predict", data=photo).status_code == 200


@pytest.mark.parametrize("path", ["/captions/livez", "/captionlivez", "/other/livez", "/caption/caption/livez"])
def test_another_path_is_not_the_path(serve: Serve, path: str) -> None:
    assert serve(root_path="/caption").get(path).status_code == 404


def test_without_its_slash_the_path_leads_to_the_page(serve: Serve) -> None:
    answer = serve(root_path="/caption").get("/caption", headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.headers["Location"]) == (308, "/caption/")
    assert answer.data == b""


def test_the_description_says_where_the_api_is(serve: Serve) -> None:
    assert server_in_description(serve(), "/openapi.json") == "/"
    assert server_in_description(serve(root_path="/caption"), "/openapi.json") == "/caption"


def test_a_trusted_proxy_tells_the_path_and_wins_over_the_setting(serve: Serve) -> None:
    client = serve(root_path="/caption", forwarded_prefix="trust")
    for path in ("/openapi.json", "/told/openapi.json"):
        assert server_in_description(client, path, **TOLD) == "/told"
    assert server_in_description(client, "/openapi.json", **{"X-Forwarded-Prefix": "/told/"}) == "/told"
    assert server_in_description(client, "/openapi.json", **{"X-Forwarded-Prefix": "/"}) == "/"
    assert server_in_description(client, "/caption/openapi.json") == "/caption"


def test_nobody_else_tells_it(serve: Serve) -> None:
    client = serve()
    assert server_in_description(client, "/openapi.json", **TOLD) == "/"
    assert client.get("/told/livez", headers=TOLD).status_code == 404


@pytest.mark.parametrize(
    "prefix",
    ["told", "//evil.example", "/..", "/a/../b", "/a b", "/a,/b", "https://evil.example", "/" + "a" * 200, "/é"],
)
def test_what_is_no_path_is_ignored(serve: Serve, prefix: str) -> None:
    client = serve(root_path="/caption", forwarded_prefix="trust")
    assert server_in_description(client, "/openapi.json", **{"X-Forwarded-Prefix": prefix}) == "/caption"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_every_link_of_the_pages_is_relative_and_leads_to_something(serve: Serve, path: str) -> None:
    client = serve(root_path="/caption")
    with client.get(path) as page:
        text = page.get_data(as_text=True)
    links = re.findall(r'(?:href|src)="([^"#]+)"', text)
    assert len(links) >= 4
    for link in links:
        assert not link.startswith("/"), link
        with client.get(f"/caption/{link.removeprefix('./')}") as answer:
            assert answer.status_code == 200, link


def test_keys_are_asked_for_below_the_path_too(inference: InferenceQueue, decoding: DecodingPool) -> None:
    settings = ServerSettings(root_path="/caption", api_key=("a-key-of-20-characters",))
    client = create_app(settings, inference, decoding, ServerMetrics(), threading.Event()).test_client()
    assert [client.get(f"/caption{path}").status_code for path in ("", "/livez", "/v1/model")] == [308, 200, 401]
