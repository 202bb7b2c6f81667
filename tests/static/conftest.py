"""The demo page in a real browser, against the real server: fixtures, pictures, and ways to find things on it."""

import io
import shutil
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw
from playwright.sync_api import BrowserContext, FilePayload, Locator, Page, expect, sync_playwright

CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
ANSWER_TIMEOUT_MILLISECONDS = 30_000

REFUSED = "Failed to load resource"
"""How Chromium notes on its console every answer with an error status, and every lost connection."""


@pytest.fixture(scope="module")
def browser_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Starts Chromium with an empty profile; for one file, since asyncio does not run elsewhere meanwhile."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("expected Chromium to try the page in, found none: apt-get install chromium")
    expect.set_options(timeout=ANSWER_TIMEOUT_MILLISECONDS)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"), executable_path=chromium, args=list(CHROMIUM_FLAGS)
        )
        context.set_default_timeout(ANSWER_TIMEOUT_MILLISECONDS)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield context
        context.close()


@pytest.fixture
def complaints() -> list[str]:
    """Collects what the browser's console says is wrong."""
    return []


@pytest.fixture
def visit(browser_context: BrowserContext, complaints: list[str]) -> Iterator[Callable[[str], Page]]:
    """Returns a function that opens the page of a server; after the test nothing but refusals may have been wrong."""
    opened: list[Page] = []

    def open_page(url: str) -> Page:
        page = browser_context.new_page()
        opened.append(page)
        # Chromium reports violations of the Content-Security-Policy as errors on the console, too.
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        # Held for the whole visit: armed only within expect_file_chooser, it comes too late for some key presses.
        page.on("filechooser", lambda _: None)
        page.goto(url)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert [complaint for complaint in complaints if not complaint.startswith(REFUSED)] == []


@pytest.fixture
def page(visit: Callable[[str], Page], live_server: str) -> Page:
    """Opens the demo page."""
    return visit(live_server)


def assert_no_violation(page: Page) -> None:
    """Asks axe-core about the page as it is now."""
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def drawn_picture(sky: tuple[int, int, int] = (120, 180, 240)) -> bytes:
    """Draws a green field under the sky with a yellow sun, as PNG."""
    image = Image.new("RGB", (320, 240), sky)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 150, 320, 240), fill=(60, 140, 50))
    draw.ellipse((230, 20, 290, 80), fill=(250, 220, 60))
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def picture(name: str = "field.png") -> FilePayload:
    """Returns a picture as it is chosen."""
    return {"name": name, "mimeType": "image/png", "buffer": drawn_picture()}


def pictures(count: int) -> list[FilePayload]:
    """Returns pictures that differ in their name and their sky."""
    return [
        {"name": f"{number}.png", "mimeType": "image/png", "buffer": drawn_picture((20 * number, 150, 220))}
        for number in range(1, count + 1)
    ]


def not_a_picture(name: str = "photo.jpg") -> FilePayload:
    """Returns a text that has the name of a picture."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": b"This is only text, whatever its name says."}


def choose(page: Page, *files: FilePayload) -> None:
    """Chooses files in the page's file dialogue."""
    page.get_by_label("Choose photos").set_input_files(files)


def cards(page: Page) -> Locator:
    """Returns every photo's card."""
    return page.get_by_role("article")


def card(page: Page, name: str) -> Locator:
    """Returns the card of one photo."""
    return page.get_by_role("article", name=name, exact=True)


def captions(place: Page | Locator) -> Locator:
    """Returns the captions in a place."""
    return place.get_by_role("list", name="Captions, best first").locator(".caption")


def progress(page: Page) -> Locator:
    """Returns the line that says how many photos are done."""
    return page.locator("#progress-text")
