"""The page about the API in a real browser: on a desk and on a phone, in light and in dark."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("expected Chromium to try the page in, found none: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def test_the_page_fits_a_phone_breaks_no_policy_and_is_light_or_dark(browser: Browser, live_server: str) -> None:
    complaints: list[str] = []
    asked_for: list[str] = []
    backgrounds = set()
    for width, scheme in ((1280, "light"), (320, "dark")):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
        # Chromium reports violations of the Content-Security-Policy as errors on the console, too.
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda request: asked_for.append(request.url))
        page.goto(f"{live_server}/docs")
        for answer in page.locator("summary").all():
            answer.click()
        assert page.locator("details[open] pre").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator("main").get_by_role("heading", name="POST /v1/predict").is_visible()
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert complaints == []
    assert all(url.startswith(live_server) for url in asked_for)
    assert len(backgrounds) == 2
