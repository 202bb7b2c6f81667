"""Whether everyone can use the page: by keyboard, on a phone, with a screen reader, in the dark."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.static.conftest import (
    assert_no_violation,
    captions,
    card,
    cards,
    choose,
    drawn_picture,
    not_a_picture,
    picture,
    pictures,
    progress,
)

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PHONE: ViewportSize = {"width": 320, "height": 640}
FOCUSED = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"


def press_tab_until(page: Page, name: str) -> None:
    """Goes on with the Tab key until the focus is where it is wanted."""
    passed: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        passed.append(page.evaluate(FOCUSED))
        if passed[-1] == name:
            return
    pytest.fail(f"expected the focus on {name!r} at some time, it was on {passed}")


def show_all_states(page: Page) -> None:
    """Brings an answer, an error, a cancelled photo, one that is sent and one that waits."""
    choose(page, picture("good.png"), not_a_picture("bad.jpg"))
    expect(progress(page)).to_have_text("1 of 2 done, 1 failed")
    page.route("**/v1/predict*", lambda _: None)  # never answered
    choose(page, *pictures(4))
    page.get_by_role("button", name="Cancel 1.png").click()
    expect(page.get_by_text("Looking…")).to_have_count(2)
    expect(page.get_by_text("Waiting for its turn")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE["width"], 1280])
def test_axe_finds_nothing_in_any_state(page: Page, scheme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 720})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")

    assert_no_violation(page)
    show_all_states(page)
    page.get_by_text("How to read the numbers").click()
    assert_no_violation(page)


def test_a_phone_never_scrolls_sideways(page: Page) -> None:
    page.set_viewport_size(PHONE)
    scroll_width = "document.documentElement.scrollWidth"

    assert page.evaluate(scroll_width) == PHONE["width"]
    page.get_by_role("slider", name="Captions").fill("10")
    choose(page, picture("a picture whose name is much wider than the screen of a telephone.png"), picture("b" * 80))
    expect(captions(page)).to_have_count(20)
    assert page.evaluate(scroll_width) == PHONE["width"]
    choose(page, not_a_picture("c" * 80), *pictures(2))
    expect(progress(page)).to_have_text("4 of 5 done, 1 failed")
    assert page.evaluate(scroll_width) == PHONE["width"]


def test_the_keyboard_is_enough(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "field.png"
    path.write_bytes(drawn_picture())

    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose photos")).to_be_focused()
    with page.expect_file_chooser() as opened:
        page.keyboard.press("Enter")
    assert opened.value.is_multiple()
    opened.value.set_files(path)
    expect(captions(page)).to_have_count(3)

    page.keyboard.press("Tab")  # the first drawing
    page.keyboard.press("Enter")
    expect(progress(page)).to_have_text("2 of 2 done")
    page.get_by_role("slider", name="Captions").focus()
    page.keyboard.press("ArrowLeft")
    press_tab_until(page, "Text")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Copied.")
    press_tab_until(page, "Again with 2 captions, beam size 3: field.png")
    page.keyboard.press("Enter")
    expect(captions(card(page, "field.png"))).to_have_count(2)
    expect(card(page, "field.png")).to_be_focused()  # the button is gone


def test_the_focus_stays_near_when_a_card_goes(page: Page) -> None:
    choose(page, *pictures(3))
    expect(progress(page)).to_have_text("3 of 3 done")

    for removed, next_name in (("1.png", "2.png"), ("3.png", "2.png")):
        page.get_by_role("button", name=f"Remove {removed}").focus()
        page.keyboard.press("Enter")
        expect(card(page, next_name)).to_be_focused()
    page.get_by_role("button", name="Remove 2.png").focus()
    page.keyboard.press("Space")

    expect(cards(page)).to_have_count(0)
    expect(page.get_by_label("Choose photos")).to_be_focused()


def test_every_answer_keeps_the_focus_where_it_was(page: Page) -> None:
    page.get_by_role("slider", name="Beam size").focus()

    choose(page, *pictures(3))

    expect(progress(page)).to_have_text("3 of 3 done")
    expect(page.get_by_role("slider", name="Beam size")).to_be_focused()


def test_a_screen_reader_hears_of_every_photo(page: Page) -> None:
    page.evaluate(
        """() => {
          window.heard = [];
          const status = document.querySelector("[role=status]");
          const listen = () => window.heard.push(status.textContent.trim());
          new MutationObserver(listen).observe(status, { childList: true, characterData: true, subtree: true });
        }"""
    )

    choose(page, picture("good.png"), not_a_picture("bad.jpg"))
    expect(progress(page)).to_have_text("1 of 2 done, 1 failed")

    heard = page.evaluate("window.heard")
    best = captions(card(page, "good.png")).first.locator(".visually-hidden").first.inner_text()
    assert heard[0] == "Added: 2 photos."
    assert any(line.startswith(f"good.png: {best} 1 of 2 done") for line in heard)
    assert any(line.startswith("bad.jpg: That file is not an image we can read.") for line in heard)


def test_motion_stops_for_those_who_ask_for_it(page: Page) -> None:
    moving = "document.querySelector('.card .mat') && document.getAnimations().length"
    page.route("**/v1/predict*", lambda _: None)
    choose(page, picture())
    expect(page.get_by_text("Looking…")).to_be_visible()
    assert page.evaluate(moving) == 1

    page.emulate_media(reduced_motion="reduce")

    assert page.evaluate(moving) == 0
