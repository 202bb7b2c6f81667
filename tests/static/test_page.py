"""The demo page in a real browser, against the real server."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import BrowserContext, FilePayload, Locator, Page, expect, sync_playwright

pytestmark = [pytest.mark.slow, pytest.mark.browser]

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
PHONE = (320, 640)

DROP = """([names, bytes, where]) => {
  const carried = new DataTransfer();
  for (const name of names) carried.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  const drop = new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
  return !document.querySelector(where).dispatchEvent(drop);
}"""
"""Drops files on an element; true if the page kept the browser from opening them."""

PASTE = """([name, bytes]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def browser_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Starts Chromium with an empty profile."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("expected Chromium to try the page in, found none: apt-get install chromium")
    expect.set_options(timeout=ANSWER_TIMEOUT_MILLISECONDS)
    with sync_playwright() as playwright:
        profile = tmp_path_factory.mktemp("chromium")
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=list(CHROMIUM_FLAGS)
        )
        context.set_default_timeout(ANSWER_TIMEOUT_MILLISECONDS)
        yield context
        context.close()


@pytest.fixture
def complaints() -> list[str]:
    """Collects what the browser's console says is wrong."""
    return []


@pytest.fixture
def page(browser_context: BrowserContext, live_server: str, complaints: list[str]) -> Iterator[Page]:
    """Opens the demo page."""
    opened = browser_context.new_page()
    # Chromium reports violations of the Content-Security-Policy as errors on the console, too.
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    # Held for the whole visit: armed only within expect_file_chooser, it comes too late for some key presses.
    opened.on("filechooser", lambda _: None)
    opened.goto(live_server)
    yield opened
    opened.close()


def drawn_picture() -> bytes:
    """Draws a green field under a blue sky with a yellow sun, as PNG."""
    image = Image.new("RGB", (320, 240), (120, 180, 240))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 150, 320, 240), fill=(60, 140, 50))
    draw.ellipse((230, 20, 290, 80), fill=(250, 220, 60))
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def picture(name: str = "field.png") -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": drawn_picture()}


def not_a_picture() -> FilePayload:
    return {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": b"This is only text, whatever its name says."}


def choose(page: Page, file: FilePayload) -> None:
    page.get_by_label("Choose a photo").set_input_files(file)


def captions(page: Page) -> Locator:
    return page.get_by_role("region", name="Tell").locator(".caption")


def classes(page: Page) -> Locator:
    return page.get_by_role("region", name="Tell").locator(".class")


def test_a_chosen_picture_gets_captions_and_classes(page: Page, complaints: list[str]) -> None:
    choose(page, picture())

    expect(captions(page)).to_have_count(3)
    expect(classes(page)).to_have_count(5)
    for caption in captions(page).all():
        expect(caption.locator(".word")).not_to_have_count(0)
        expect(caption.locator(".exact")).to_contain_text("p = ")
    expect(classes(page).first.locator(".class-percent")).to_contain_text("%")
    expect(page.get_by_role("status")).to_contain_text("Done.")
    expect(page.locator("#photo")).to_be_visible()
    assert complaints == []


def test_the_page_is_served_under_a_strict_policy_and_the_browser_keeps_it(page: Page, complaints: list[str]) -> None:
    response = page.reload()

    assert response is not None
    assert response.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert "Content Security Policy" in " ".join(complaints)


def test_a_text_file_gets_an_error_in_words_and_the_page_goes_on(page: Page) -> None:
    choose(page, not_a_picture())

    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("not an image we can read")
    expect(captions(page)).to_have_count(0)

    choose(page, picture())
    expect(captions(page)).to_have_count(3)
    expect(alert).to_be_hidden()


def test_a_file_over_the_limit_is_refused_before_it_is_sent(page: Page) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)

    choose(page, {"name": "huge.jpg", "mimeType": "image/jpeg", "buffer": bytes(10 * 1024**2 + 1)})

    expect(page.get_by_role("alert")).to_contain_text("too large")
    assert sent == []


def test_the_keyboard_is_enough(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "field.png"
    path.write_bytes(drawn_picture())

    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose a photo")).to_be_focused()
    with page.expect_file_chooser() as opened:
        page.keyboard.press("Enter")
    opened.value.set_files(path)
    expect(captions(page)).to_have_count(3)

    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose another")).to_be_focused()
    with page.expect_file_chooser():
        page.keyboard.press("Enter")


def test_a_drop_beside_the_frame_takes_the_first_file_and_says_so(page: Page) -> None:
    names = ["first.png", "second.png"]

    was_kept = page.evaluate(DROP, [names, list(drawn_picture()), "footer"])

    assert was_kept is True
    expect(captions(page)).to_have_count(3)
    expect(page.get_by_role("status")).to_contain_text("One photo at a time: this is the first of 2.")
    expect(page.locator("#file-name")).to_have_text("first.png")


def test_a_pasted_picture_gets_captions(page: Page) -> None:
    page.evaluate(PASTE, ["image.png", list(drawn_picture())])

    expect(captions(page)).to_have_count(3)


def test_cancelling_leaves_the_page_as_it_was(page: Page) -> None:
    page.route("**/v1/predict*", lambda _: None)  # never answered
    choose(page, picture())
    expect(page.get_by_role("progressbar")).to_be_visible()

    page.get_by_role("button", name="Cancel").click()

    expect(page.get_by_role("progressbar")).to_be_hidden()
    expect(page.get_by_text("or drop it here")).to_be_visible()
    expect(page.get_by_label("Choose a photo")).to_be_focused()


def test_a_server_out_of_reach_is_told_in_words_and_tried_again(page: Page) -> None:
    page.route("**/v1/predict*", lambda route: route.abort())
    choose(page, picture())
    expect(page.get_by_role("alert")).to_contain_text("could not be reached")

    page.unroute("**/v1/predict*")
    page.get_by_role("button", name="Try again").click()

    expect(captions(page)).to_have_count(3)


def test_a_phone_never_scrolls_sideways(page: Page) -> None:
    width, height = PHONE
    page.set_viewport_size({"width": width, "height": height})
    scroll_width = "document.documentElement.scrollWidth"

    assert page.evaluate(scroll_width) == width
    choose(page, picture("a picture whose name is much wider than the screen of a telephone.png"))
    expect(captions(page)).to_have_count(3)
    assert page.evaluate(scroll_width) == width
    choose(page, not_a_picture())
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.evaluate(scroll_width) == width
