"""Where words and classes looked, on the page: the switch, the shade over the photo, and the same in words."""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, Response, Route, expect

from tests.static.conftest import assert_no_violation, captions, cards, choose, picture, pictures, progress

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PREDICT = "**/v1/predict*"
ALPHA = """([row, column, rows, columns]) => {
  const canvas = document.querySelector('.shade');
  const [x, y] = [((column + 0.5) / columns) * canvas.width, ((row + 0.5) / rows) * canvas.height];
  return canvas.getContext('2d').getImageData(x, y, 1, 1).data[3];
}"""
"""How dark the shade is at the middle of a place of a map, from 0 to 255."""

LEFT = [[9.0, 3.0, -1.0, -2.0]] * 4
RIGHT = [[0.0, 0.0, 0.0, 1.0]] * 4


@pytest.fixture(autouse=True)
def _forgotten(page: Page) -> Iterator[None]:
    """Turns the switch off again for the tests after this one."""
    yield
    if not page.is_closed():
        page.evaluate("localStorage.clear()")


def switch(page: Page) -> Locator:
    return page.get_by_role("switch", name="Show where each word looked")


def looking_at(*maps: list[list[float]]) -> Callable[[Route], None]:
    """Returns a handler that passes on a real answer with these maps for its words and classes, in turns."""

    def answer(route: Route) -> None:
        response = route.fetch()
        body: Any = response.json()
        (result,) = body["results"]
        for items in [*(caption["words"] for caption in result["captions"]), result["classes"]]:
            for index, item in enumerate(items):
                item["map"] = maps[index % len(maps)]
                item["where"] = f"place {index % len(maps)}"
        route.fulfill(response=response, json=body)

    return answer


def is_explained(answer: Response) -> bool:
    return "explain" in parse_qs(urlsplit(answer.url).query)


def test_it_is_off_and_asks_for_no_maps_until_it_is_switched_on(page: Page) -> None:
    with page.expect_response(PREDICT) as first:
        choose(page, picture())
    expect(captions(page)).to_have_count(3)
    assert not is_explained(first.value)
    expect(switch(page)).not_to_be_checked()
    expect(page.locator(".look")).to_have_count(0)

    with page.expect_response(PREDICT) as second:
        switch(page).check()
    assert parse_qs(urlsplit(second.value.url).query)["explain"] == ["values"]
    expect(progress(page)).to_have_text("1 of 1 done")
    words = page.locator(".word").count()
    expect(page.locator(".look")).to_have_count(words + 5)

    switch(page).uncheck()
    expect(page.locator(".look")).to_have_count(0)
    expect(captions(page)).to_have_count(3)


def test_the_switch_is_remembered(page: Page) -> None:
    switch(page).check()
    page.reload()
    expect(switch(page)).to_be_checked()
    with page.expect_response(PREDICT) as answer:
        choose(page, picture())
    assert is_explained(answer.value)

    switch(page).uncheck()
    page.reload()
    expect(switch(page)).not_to_be_checked()


def test_pointing_at_a_word_dims_the_photo_where_it_did_not_look(page: Page) -> None:
    page.route(PREDICT, looking_at(LEFT, RIGHT))
    switch(page).check()
    choose(page, picture())
    shade = page.locator(".shade")
    expect(captions(page)).to_have_count(3)
    expect(shade).to_be_hidden()

    words = captions(page).first.locator(".word")
    name = words.first.locator(".word-text").inner_text()
    words.first.hover()
    expect(shade).to_be_visible()
    expect(page.locator(".where")).to_have_text(f"{name}: place 0")
    expect(page.get_by_role("status")).to_contain_text(f"{name}: place 0")
    alphas = [page.evaluate(ALPHA, [1, column, 4, 4]) for column in range(4)]
    assert alphas[0] < 20
    assert alphas[0] < alphas[1] < alphas[2] == pytest.approx(alphas[3], abs=8)
    assert alphas[3] > 150
    photo = page.locator("img.photo").bounding_box()
    assert shade.bounding_box() == photo
    assert shade.evaluate("shade => shade.width / shade.height") == pytest.approx(320 / 240, rel=0.01)

    words.nth(1).hover()
    alphas = [page.evaluate(ALPHA, [1, column, 4, 4]) for column in range(4)]
    assert alphas[3] < 20 < 150 < alphas[0]
    page.get_by_role("heading", name="Show and Tell").hover()
    expect(shade).to_be_hidden()
    expect(page.locator(".where")).to_be_hidden()


def test_the_keyboard_goes_from_word_to_word_and_escape_undims(page: Page) -> None:
    page.route(PREDICT, looking_at(LEFT, RIGHT))
    switch(page).check()
    choose(page, picture())
    words = captions(page).first.locator(".word")
    first, second = (words.nth(index).locator(".word-text").inner_text() for index in (0, 1))

    words.first.focus()
    expect(page.get_by_role("status")).to_contain_text(f"{first}: place 0")
    page.keyboard.press("Tab")
    expect(words.nth(1)).to_be_focused()
    expect(page.locator(".where")).to_have_text(f"{second}: place 1")
    expect(page.get_by_role("status")).to_contain_text(f"{second}: place 1")
    page.keyboard.press("Escape")
    expect(page.locator(".shade")).to_be_hidden()
    expect(words.nth(1)).to_be_focused()


def test_classes_show_where_they_looked_too(page: Page) -> None:
    switch(page).check()
    with page.expect_response(PREDICT) as answer:
        choose(page, picture())
    found = answer.value.json()["results"][0]["classes"][1]
    label = found["label"].replace("_", " ")

    cards(page).get_by_role("button", name=label, exact=True).focus()

    expect(page.locator(".where")).to_have_text(f"{label}: {found['where']}")
    expect(page.locator(".shade")).to_be_visible()


def test_a_finger_does_what_a_mouse_does(page: Page) -> None:
    page.route(PREDICT, looking_at(LEFT))
    switch(page).check()
    choose(page, picture())
    word = captions(page).first.locator(".word").first
    word.scroll_into_view_if_needed()
    box = word.bounding_box()
    assert box is not None
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    touch = page.context.new_cdp_session(page)
    touch.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    expect(page.locator(".shade")).to_be_visible()


def test_each_card_dims_its_own_photo(page: Page) -> None:
    switch(page).check()
    choose(page, *pictures(2))
    expect(progress(page)).to_have_text("2 of 2 done")

    cards(page).nth(1).locator(".word").first.focus()

    expect(cards(page).nth(1).locator(".shade")).to_be_visible()
    expect(cards(page).nth(0).locator(".shade")).to_be_hidden()
    cards(page).nth(1).get_by_role("button", name="Remove").click()
    expect(page.locator(".shade").first).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_it_keeps_nobody_out_and_fits_a_phone(page: Page, scheme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 720})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    switch(page).check()
    choose(page, picture())
    captions(page).first.locator(".word").first.focus()
    expect(page.locator(".where")).to_be_visible()
    page.get_by_text("Keyboard shortcuts").click()

    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert_no_violation(page)


def test_captions_stand_in_the_order_of_the_one_number_that_is_shown(page: Page) -> None:
    with page.expect_response(PREDICT) as answer:
        choose(page, picture())
    found = answer.value.json()["results"][0]["captions"]

    assert [caption["score"] for caption in found] == sorted((c["score"] for c in found), reverse=True)
    for caption, shown in zip(found, captions(page).all(), strict=True):
        share = math.exp(caption["score"])
        text = shown.locator(".odds").inner_text()
        kind, _, number = text.partition(" ")
        read = float(number[:-1]) / 100 if number.endswith("%") else 1 / float(number[5:].replace(",", ""))
        assert kind == "Score"
        assert read == pytest.approx(share, rel=0.01, abs=0.005)


@pytest.mark.parametrize(("unlikeness", "is_far"), [(None, False), (0.99, False), (1.01, True)])
def test_a_photo_unlike_those_of_training_is_called_so(page: Page, unlikeness: float | None, is_far: bool) -> None:
    def answer(route: Route) -> None:
        response = route.fetch()
        body: Any = response.json()
        if unlikeness is not None:
            body["results"][0]["unlikeness"] = unlikeness
        route.fulfill(response=response, json=body)

    page.route(PREDICT, answer)
    choose(page, picture())

    expect(captions(page)).to_have_count(3)
    expect(page.get_by_text("Far from what it was trained on.")).to_have_count(1 if is_far else 0)


def test_the_model_says_what_it_is_and_where_it_is_good_and_bad(page: Page) -> None:
    found = json.loads(page.request.get(f"{page.url}v1/model").text())

    expect(page.locator("#service")).to_have_text(
        f"toy 1, {found['parameters'] / 1e6:.1f} million parameters. Good at nothing yet. Bad at everything."
    )
