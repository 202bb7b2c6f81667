"""The page about the API: all of it, and nothing from elsewhere."""

import threading
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.description.docs import in_words, with_code
from server.metrics import ServerMetrics
from server.settings import ServerSettings


class Page(HTMLParser):
    """The tags of a page, its ids, and what it links to and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            elif name in ("href", "src"):
                self.targets.append(str(value))
            elif name.startswith("on") or name == "style":
                self.handlers.append(name)


@pytest.fixture(scope="module")
def text(client: FlaskClient) -> str:
    response = client.get("/docs")
    assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
    return response.text


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_every_operation_problem_and_schema_is_on_the_page(client: FlaskClient, text: str, page: Page) -> None:
    document = client.get("/openapi.json").get_json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"<b>{method.upper()}</b> {path}</code>" in text
            assert operation["operationId"] in page.ids
            assert all(parameter.get("name", "") in text for parameter in operation["parameters"])
    assert set(document["components"]["schemas"]) <= set(page.ids)
    assert "/problems/queue-full" in text


def test_the_page_needs_no_script_and_nothing_from_elsewhere(page: Page) -> None:
    assert page.tags.keys().isdisjoint({"script", "style", "iframe", "object"})
    assert page.handlers == []
    assert {target for target in page.targets if not target.startswith("#")} == {
        "static/favicon.svg", "static/docs.css", "openapi.json", "./",
    }  # fmt: skip


def test_what_the_page_links_to_is_there(client: FlaskClient, page: Page) -> None:
    assert max(Counter(page.ids).values()) == 1
    for target in set(page.targets):
        if target.startswith("#"):
            assert target[1:] in page.ids
        else:
            with client.get(urljoin("/docs", target)) as response:
                assert response.status_code == 200


def test_the_page_has_one_title_and_its_landmarks(page: Page) -> None:
    assert [page.tags[tag] for tag in ("html", "title", "h1", "header", "nav", "main")] == [1] * 6


def test_a_server_with_a_key_shows_where_it_goes_and_not_the_key(
    inference: InferenceQueue, decoding: DecodingPool
) -> None:
    settings = ServerSettings(api_key=("a-key-of-22-characters",))
    client = create_app(settings, inference, decoding, ServerMetrics(), threading.Event()).test_client()
    text = client.get("/docs").text
    paths = client.get("/openapi.json").get_json()["paths"]
    secured = [item for methods in paths.values() for item in methods.values() if item["security"]]
    assert "a-key-of" not in text
    assert "-H &#39;X-API-Key: KEY&#39;" in text
    assert text.count("Needs a key.") == len(secured) >= 3


def test_the_host_of_the_request_is_not_written_into_the_page(client: FlaskClient, text: str) -> None:
    assert client.get("/docs", headers={"Host": "evil.example"}).text == text


def test_a_description_is_text_and_its_code_is_code() -> None:
    assert with_code("`a<b` & `c`") == "<code>a&lt;b</code> &amp; <code>c</code>"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 10}, "integer (1 to 10)"),
        ({"type": "number", "maximum": 0}, "number (at most 0)"),
        ({"type": "string", "format": "binary"}, "bytes"),
        ({"type": "array", "minItems": 1, "items": {"type": "string"}}, "array (at least 1) of string"),
        ({"enum": ["a<", 2]}, "<code>&#34;a&lt;&#34;</code> or <code>2</code>"),
        ({"oneOf": [{"$ref": "#/x/A"}, {"const": None}]}, '<a href="#A">A</a> or <code>null</code>'),
    ],
)
def test_a_schema_is_said_in_words(schema: dict[str, object], words: str) -> None:
    assert in_words(schema) == words
