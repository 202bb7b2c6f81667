"""Captions in other scripts on the page: their direction, and how a sentence ends."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.static.conftest import captions, choose, picture

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def saying(words: list[str], text: str) -> Callable[[Route], None]:
    """Returns a handler that passes on a real answer whose captions say something else."""

    def answer(route: Route) -> None:
        response = route.fetch()
        body: Any = response.json()
        for caption in body["results"][0]["captions"]:
            caption["text"] = text
            caption["words"] = [{"text": word, "probability": 0.5} for word in words]
        route.fulfill(response=response, json=body)

    return answer


@pytest.mark.parametrize(
    ("words", "text", "sentence", "direction"),
    [
        (["كلب", "يجري"], "كلب يجري", "كلب يجري.", "rtl"),
        (["כלב", "רץ"], "כלב רץ", "כלב רץ.", "rtl"),
        (["一只", "狗"], "一只狗", "一只狗。", "ltr"),
        (["สุนัข", "วิ่ง"], "สุนัขวิ่ง", "สุนัขวิ่ง", "ltr"),
        (["straße", "über"], "straße über", "Straße über.", "ltr"),
    ],
)
def test_a_caption_has_the_direction_and_the_full_stop_of_its_script(
    page: Page, words: list[str], text: str, sentence: str, direction: str
) -> None:
    page.route("**/v1/predict*", saying(words, text))
    choose(page, picture())
    shown = captions(page).first.locator(".sentence")
    expect(shown).to_have_css("direction", direction)
    expect(shown.locator(".visually-hidden")).to_have_text(sentence)
    assert shown.locator(".word-text").all_text_contents() == words
