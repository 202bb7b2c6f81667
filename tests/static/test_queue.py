"""What goes wrong, and what the person can do about it: each photo has its own card for it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.conftest import running_server, wait_until
from tests.static.conftest import captions, card, cards, choose, not_a_picture, picture, pictures, progress

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PREDICT = "**/v1/predict*"
RETRY_AFTER_SECONDS = 20


def refuse_as_busy(route: Route, status: int = 503) -> None:
    """Answers as the server does when its queue is full, and a proxy in front of it with another status."""
    problem = {"status": status, "title": "Too many images are waiting", "detail": "expected room in the queue"}
    route.fulfill(
        status=status,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        content_type="application/problem+json",
        body=json.dumps(problem),
    )


def hold_back(page: Page, count: int) -> list[Route]:
    """Keeps the next requests from the server, and lets those after them pass."""
    held: list[Route] = []

    def hold_or_pass(route: Route) -> None:
        if len(held) < count:
            held.append(route)
        else:
            route.continue_()

    page.route(PREDICT, hold_or_pass)
    return held


def test_a_bad_file_among_good_ones_has_its_error_in_its_own_card(page: Page) -> None:
    choose(page, picture("one.png"), not_a_picture("two.jpg"), picture("three.png"))

    expect(progress(page)).to_have_text("2 of 3 done, 1 failed")
    bad = card(page, "two.jpg")
    expect(bad).to_contain_text("not an image we can read")
    expect(bad).to_contain_text("Accepted: JPEG, PNG, WEBP, AVIF, GIF, BMP")
    expect(bad).to_contain_text("The server said: ")
    expect(bad.get_by_role("button", name="Try again")).to_be_hidden()
    expect(captions(bad)).to_have_count(0)
    for name in ("one.png", "three.png"):
        expect(captions(card(page, name))).to_have_count(3)
        expect(card(page, name).locator(".problem")).to_be_hidden()


def test_a_photo_in_a_format_that_is_not_read_hears_which_it_is(page: Page) -> None:
    raw = b"II*\0\x10\0\0\0CR\2\0" + bytes(40)

    choose(page, {"name": "one.cr2", "mimeType": "image/x-canon-cr2", "buffer": raw})

    expect(card(page, "one.cr2")).to_contain_text("received a RAW photo (CR2); export it as JPEG")


def test_a_cut_off_picture_is_told_from_a_file_that_is_none(page: Page) -> None:
    whole = picture("cut.png")

    choose(page, {**whole, "buffer": whole["buffer"][:400]})

    expect(card(page, "cut.png")).to_contain_text("damaged or cut short")


def test_a_file_over_the_limit_is_refused_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)

    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(10 * 1024**2 + 1)
    page.get_by_label("Choose photos").set_input_files(huge)

    expect(card(page, "huge.jpg")).to_contain_text("too large")
    expect(card(page, "huge.jpg")).to_contain_text("up to 10 MiB and 50 megapixels")
    assert sent == []


def test_cancelling_lets_the_next_photo_go_and_can_be_undone(page: Page) -> None:
    hold_back(page, 2)
    choose(page, *pictures(4))
    expect(page.get_by_text("Looking…")).to_have_count(2)
    expect(page.get_by_text("Waiting for its turn")).to_have_count(2)

    for name in ("3.png", "1.png"):  # one that waits, one that is sent
        page.get_by_role("button", name=f"Cancel {name}").click()
        expect(card(page, name)).to_contain_text("Cancelled")

    expect(captions(card(page, "4.png"))).to_have_count(3)
    expect(card(page, "2.png")).to_contain_text("Looking…")
    expect(progress(page)).to_have_text("1 of 4 done, 2 cancelled")
    card(page, "1.png").get_by_role("button", name="Try again").click()
    expect(captions(card(page, "1.png"))).to_have_count(3)


def test_removing_and_clearing_ends_the_requests(page: Page) -> None:
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url) if request.method == "POST" else None)
    hold_back(page, 3)
    choose(page, *pictures(3))
    expect(page.get_by_text("Looking…")).to_have_count(2)

    page.get_by_role("button", name="Remove 1.png").click()
    expect(cards(page)).to_have_count(2)
    expect(page.get_by_text("Looking…")).to_have_count(2)
    page.get_by_role("button", name="Clear all").click()

    expect(cards(page)).to_have_count(0)
    expect(page.get_by_role("button", name="Clear all")).to_be_hidden()
    expect(page.get_by_label("Choose photos")).to_be_focused()
    expect(page.get_by_role("status")).to_contain_text("Removed: 2 photos")
    assert len(failed) == 3


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_server_is_asked_again_when_it_says_and_not_before(page: Page, status: int) -> None:
    page.clock.install()
    page.route(PREDICT, lambda route: refuse_as_busy(route, status), times=1)

    choose(page, picture())
    expect(cards(page)).to_contain_text(f"The server is busy. Trying again in {RETRY_AFTER_SECONDS} s.")
    expect(page.get_by_role("status")).to_contain_text("field.png: the server is busy.")
    page.clock.fast_forward((RETRY_AFTER_SECONDS - 1) * 1000)
    expect(cards(page)).to_contain_text("The server is busy.")
    page.clock.fast_forward(1000)

    expect(captions(page)).to_have_count(3)


def test_a_server_that_stays_busy_is_left_alone_after_a_few_tries(page: Page) -> None:
    page.clock.install()
    tries = 0

    def refuse(route: Route) -> None:
        nonlocal tries
        tries += 1
        refuse_as_busy(route)

    page.route(PREDICT, refuse)
    choose(page, picture())
    for _ in range(3):
        expect(cards(page)).to_contain_text("Trying again in")
        with page.expect_response(PREDICT):
            page.clock.fast_forward(RETRY_AFTER_SECONDS * 1000)

    expect(cards(page)).to_contain_text(f"Try again in {RETRY_AFTER_SECONDS} seconds.")
    assert tries == 4
    page.unroute(PREDICT)
    page.get_by_role("button", name="Try again").click()
    expect(captions(page)).to_have_count(3)


def test_a_server_that_stops_half_way_is_told_in_words_and_asked_again_when_it_is_back(
    visit: Callable[[str], Page], toy_bundle: Path, tmp_path: Path
) -> None:
    with running_server(toy_bundle, tmp_path / "first.txt") as url:
        page = visit(url)
        choose(page, picture("before.png"))
        expect(captions(card(page, "before.png"))).to_have_count(3)
        held = hold_back(page, 2)
        choose(page, *pictures(4))
        # Routes are taken while we talk with the browser.
        wait_until(lambda: page.evaluate("true") and len(held) == 2)
    for route in held:  # on the way while the server stopped
        route.continue_()

    expect(progress(page)).to_have_text("1 of 5 done, 4 failed")
    for number in range(1, 5):
        expect(card(page, f"{number}.png")).to_contain_text("could not be reached")
    expect(captions(card(page, "before.png"))).to_have_count(3)

    with running_server(toy_bundle, tmp_path / "second.txt", "--port", url.rpartition(":")[2]):
        card(page, "4.png").get_by_role("button", name="Try again").click()
        expect(captions(card(page, "4.png"))).to_have_count(3)
        page.get_by_role("button", name="Try the failed again").click()
        expect(progress(page)).to_have_text("5 of 5 done")
        page.close()  # its idle connections with it, so that the server need not wait for them
