"""The page about the API in a real browser: on a desk and on a phone, in light and in dark."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.static.conftest import assert_no_violation

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_the_page_of_the_api_fits_a_phone_keeps_nobody_out_and_asks_no_one_else(
    visit: Callable[[str], Page], live_server: str, complaints: list[str]
) -> None:
    page = visit(f"{live_server}/docs")
    asked_for = set[str]()
    backgrounds = set[str]()
    page.on("request", lambda request: asked_for.add(request.url))
    for width, scheme in ((1280, "light"), (320, "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.reload()
        for answer in page.locator("summary").all():
            answer.click()
        assert page.locator("details[open] pre").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator("main").get_by_role("heading", name="POST /v1/predict").is_visible()
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert_no_violation(page)
    assert complaints == []
    assert all(url.startswith(live_server) for url in asked_for)
    assert len(backgrounds) == 2
