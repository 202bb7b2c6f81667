"""What the browser keeps of a visit, and what leaves the page: the history, files of all answers, shortcuts."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import wait_until
from tests.static.conftest import captions, card, cards, choose, picture, pictures, progress

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PREDICT = "**/v1/predict*"
KEPT = """() => new Promise((resolve) => {
  const opening = indexedDB.open('show-and-tell');
  opening.onsuccess = () => {
    const request = opening.result.transaction('photos').objectStore('photos').getAll();
    request.onsuccess = () => {
      opening.result.close();
      resolve(request.result.map(({ name, phase }) => `${name} ${phase.tag}`));
    };
  };
})"""
"""Reads the names of the photos that the browser keeps, of all visits, and where they stand."""

GROW_OLD = """(hours) => new Promise((resolve) => {
  const opening = indexedDB.open('show-and-tell');
  opening.onsuccess = () => {
    const photos = opening.result.transaction('photos', 'readwrite').objectStore('photos');
    photos.getAll().onsuccess = ({ target }) => {
      photos.clear();
      for (const photo of target.result) photos.put({ ...photo, id: photo.id - hours * 3600 * 1000 });
    };
    photos.transaction.oncomplete = () => { opening.result.close(); resolve(); };
  };
})"""
"""Makes all that is kept older."""


@pytest.fixture(autouse=True)
def _cleared(page: Page) -> None:
    """Begins without what earlier tests left in the browser: their tabs are closed, but a day has not passed."""
    choose(page, picture("first of all.png"))
    page.get_by_role("button", name="Clear all").click()
    wait_for_kept(page)


def wait_for_kept(page: Page, *expected: str) -> None:
    """Waits until the browser keeps these photos."""
    wait_until(lambda: page.evaluate(KEPT) == list(expected))


def count_requests(page: Page) -> list[str]:
    """Returns a list that grows with every photo that is sent."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    return sent


def test_photos_and_answers_survive_a_reload_without_being_asked_for_again(page: Page) -> None:
    choose(page, *pictures(2))
    expect(progress(page)).to_have_text("2 of 2 done")
    texts = captions(page).all_inner_texts()
    wait_for_kept(page, "1.png done", "2.png done")
    sent = count_requests(page)

    page.reload()

    expect(progress(page)).to_have_text("2 of 2 done")
    assert captions(page).all_inner_texts() == texts
    assert [name.inner_text() for name in cards(page).locator(".name").all()] == ["1.png", "2.png"]
    assert (
        card(page, "1.png").locator("img.photo").evaluate("async (photo) => (await photo.decode(), photo.naturalWidth)")
        == 320
    )
    assert sent == []
    page.get_by_role("slider", name="Captions").fill("2")
    card(page, "2.png").get_by_role("button", name="Again").click()
    expect(captions(card(page, "2.png"))).to_have_count(2)
    assert len(sent) == 1


def test_what_was_not_answered_can_be_tried_again_after_a_reload(page: Page) -> None:
    page.route(PREDICT, lambda _: None)  # never answered
    choose(page, picture())
    expect(page.get_by_text("Looking…")).to_be_visible()
    wait_for_kept(page, "field.png cancelled")

    page.reload()

    expect(cards(page)).to_contain_text("Cancelled")
    page.unroute(PREDICT)
    cards(page).get_by_role("button", name="Try again").click()
    expect(captions(page)).to_have_count(3)


def test_removed_photos_and_cleared_ones_are_gone_from_the_device(page: Page) -> None:
    choose(page, *pictures(3))
    expect(progress(page)).to_have_text("3 of 3 done")
    page.get_by_role("button", name="Remove 2.png").click()
    wait_for_kept(page, "1.png done", "3.png done")
    page.reload()
    expect(cards(page)).to_have_count(2)

    page.get_by_role("button", name="Clear all").click()

    wait_for_kept(page)
    page.reload()
    expect(page.get_by_label("Choose photos")).to_be_visible()
    expect(cards(page)).to_have_count(0)


def test_another_tab_is_another_visit_but_clear_all_clears_the_device(
    page: Page, visit: Callable[[str], Page], live_server: str
) -> None:
    choose(page, picture("mine.png"))
    wait_for_kept(page, "mine.png done")

    other = visit(live_server)
    choose(other, picture("theirs.png"))
    wait_for_kept(other, "mine.png done", "theirs.png done")
    expect(cards(other)).to_have_count(1)
    other.get_by_role("button", name="Clear all").click()

    wait_for_kept(page)


def test_what_a_closed_tab_left_goes_a_day_later(page: Page, visit: Callable[[str], Page], live_server: str) -> None:
    choose(page, picture("mine.png"))
    wait_for_kept(page, "mine.png done")
    page.evaluate(GROW_OLD, 23)
    visit(live_server)
    wait_for_kept(page, "mine.png done")

    page.evaluate(GROW_OLD, 2)
    visit(live_server)

    wait_for_kept(page)


def test_without_storage_the_page_works_and_forgets(page: Page) -> None:
    page.add_init_script(
        """for (const name of ['indexedDB', 'localStorage', 'sessionStorage'])
          Object.defineProperty(window, name, { get() { throw new DOMException('blocked', 'SecurityError'); } });"""
    )
    page.reload()

    page.get_by_role("switch", name="Show where each word looked").check()
    choose(page, picture())

    expect(captions(page)).to_have_count(3)
    page.reload()
    expect(cards(page)).to_have_count(0)


def test_all_answers_are_saved_as_csv_and_as_json(page: Page, tmp_path: Path) -> None:
    hostile = '=HYPERLINK("x"), "y".png'
    with page.expect_response(PREDICT) as answer:
        choose(page, picture(hostile))
    result = answer.value.json()["results"][0]
    page.route(PREDICT, lambda route: route.abort())
    choose(page, picture("unanswered.png"))
    expect(progress(page)).to_have_text("1 of 2 done, 1 failed")

    saved = {}
    for form in ("CSV", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save {form}").click()
        assert download.value.suggested_filename == f"captions.{form.lower()}"
        download.value.save_as(tmp_path / form)
        saved[form] = (tmp_path / form).read_text("utf-8-sig")

    assert json.loads(saved["JSON"]) == [{"photo": hostile, **result}]
    rows = list(csv.DictReader(io.StringIO(saved["CSV"])))
    assert [(row["photo"], row["rank"], row["caption"]) for row in rows] == [
        (f"'{hostile}", str(rank), caption["text"]) for rank, caption in enumerate(result["captions"], 1)
    ]
    assert [float(row["score"]) for row in rows] == [caption["score"] for caption in result["captions"]]
    first = result["classes"][0]
    assert rows[0]["classes"].startswith(f"{first['label'].replace('_', ' ')} {first['probability']}; ")


def test_shortcuts_work_on_the_card_that_has_the_focus(page: Page) -> None:
    choose(page, *pictures(3))
    expect(progress(page)).to_have_text("3 of 3 done")
    page.keyboard.press("Delete")  # the focus is in no card
    expect(cards(page)).to_have_count(3)

    card(page, "1.png").get_by_role("button", name="Text").focus()
    page.keyboard.press("j")
    expect(card(page, "2.png")).to_be_focused()
    page.keyboard.press("m")
    expect(card(page, "2.png").get_by_role("button", name="Markdown")).to_have_class("button quiet copied")
    assert page.evaluate("navigator.clipboard.readText()").endswith("](2.png)")
    page.keyboard.press("c")
    expect(card(page, "2.png").get_by_role("button", name="Text")).to_have_class("button quiet copied")
    page.keyboard.press("Control+a")  # the browser's own
    page.keyboard.press("a")  # nothing has changed that could be asked for again
    expect(progress(page)).to_have_text("3 of 3 done")
    page.get_by_role("slider", name="Captions").fill("1")
    card(page, "2.png").focus()
    page.keyboard.press("a")
    expect(captions(card(page, "2.png"))).to_have_count(1)
    page.keyboard.press("k")
    expect(card(page, "1.png")).to_be_focused()
    page.keyboard.press("Delete")
    expect(cards(page)).to_have_count(2)
    expect(card(page, "2.png")).to_be_focused()
    page.route(PREDICT, lambda _: None)
    choose(page, picture("4.png"))
    card(page, "4.png").focus()
    page.keyboard.press("Escape")
    expect(card(page, "4.png")).to_contain_text("Cancelled")
