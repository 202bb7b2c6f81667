"""Every way in which a photo comes to the page."""

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Request, expect

from tests.static.conftest import captions, card, cards, choose, drawn_picture, picture, pictures, progress

pytestmark = [pytest.mark.slow, pytest.mark.browser]

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

PASTE_TEXT = """() => {
  const carried = new DataTransfer();
  carried.setData("text/plain", "only text");
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true }));
}"""


def test_a_chosen_picture_gets_captions_classes_and_timings(page: Page) -> None:
    choose(page, picture())

    expect(captions(card(page, "field.png"))).to_have_count(3)
    expect(cards(page).locator(".class")).to_have_count(5)
    for caption in captions(page).all():
        expect(caption.locator(".word")).not_to_have_count(0)
        expect(caption).to_contain_text("Score ")
    expect(cards(page).locator(".class-percent").first).to_contain_text("%")
    expect(cards(page)).to_contain_text("320 × 240 pixels")
    expect(cards(page).locator(".timings")).to_contain_text("encode")
    expect(page.get_by_role("status")).to_contain_text("1 of 1 done")


def test_each_word_is_tinted_by_its_probability_and_says_it_without_colour(page: Page) -> None:
    with page.expect_response("**/v1/predict*") as answer:
        choose(page, picture())
    words = answer.value.json()["results"][0]["captions"][0]["words"]

    marks = captions(page).first.locator(".word")
    expect(marks).to_have_count(len(words))
    for word, mark in zip(words, marks.all(), strict=True):
        probability = word["probability"]
        tint = float(mark.evaluate("mark => mark.style.getPropertyValue('--sure')"))
        assert tint == pytest.approx(probability, abs=0.0006)
        shown = "<1%" if probability < 0.01 else ">99%" if probability > 0.99 else f"{probability:.0%}"
        expect(mark).to_have_text(f"{word['text']}{shown}")
        expect(captions(page).first).to_contain_text(f"{word['text']} {shown}")


def test_ten_pictures_at_once_are_all_answered_in_order_and_two_at_a_time(page: Page) -> None:
    under_way = 0
    most = 0

    def began(request: Request) -> None:
        nonlocal under_way, most
        under_way += request.method == "POST"
        most = max(most, under_way)

    def ended(request: Request) -> None:
        nonlocal under_way
        under_way -= request.method == "POST"

    page.on("request", began)
    page.on("requestfinished", ended)

    choose(page, *pictures(10))

    expect(progress(page)).to_have_text("10 of 10 done")
    expect(captions(page)).to_have_count(30)
    assert [name.inner_text() for name in cards(page).locator(".name").all()] == [f"{n}.png" for n in range(1, 11)]
    assert most == 2


def test_a_drop_of_many_anywhere_on_the_page_takes_them_all(page: Page) -> None:
    names = ["first.png", "second.png", "third.png"]

    was_kept = page.evaluate(DROP, [names, list(drawn_picture()), "footer"])

    assert was_kept is True
    expect(progress(page)).to_have_text("3 of 3 done")
    for name in names:
        expect(captions(card(page, name))).to_have_count(3)


def test_a_drop_without_a_file_says_what_to_do(page: Page) -> None:
    page.evaluate(DROP, [[], [], "main"])

    expect(page.locator("#note")).to_contain_text("Save the picture first")
    expect(cards(page)).to_have_count(0)


def test_a_pasted_picture_gets_captions_and_pasted_text_a_word(page: Page) -> None:
    page.evaluate(PASTE_TEXT)
    expect(page.locator("#note")).to_contain_text("no picture in that")

    page.evaluate(PASTE, ["image.png", list(drawn_picture())])

    expect(captions(card(page, "image.png"))).to_have_count(3)
    expect(page.locator("#note")).to_be_hidden()


def test_every_drawing_of_the_page_gets_captions(page: Page) -> None:
    drawings = page.get_by_role("list", name="Try a drawing").get_by_role("button")
    expect(drawings).to_have_count(3)

    for drawing in drawings.all():
        drawing.click()

    expect(progress(page)).to_have_text("3 of 3 done")
    expect(captions(card(page, "boat.jpg"))).to_have_count(3)


def test_a_phone_is_offered_its_camera_and_its_photo_gets_captions(page: Page) -> None:
    camera = page.locator("#camera")
    assert camera.get_attribute("capture") == "environment"
    assert camera.get_attribute("accept") == "image/*"
    expect(camera).to_be_hidden()

    camera.set_input_files([picture("IMG_1.png")])

    expect(captions(card(page, "IMG_1.png"))).to_have_count(3)


def test_the_preview_is_turned_as_the_camera_says(page: Page, tmp_path: Path) -> None:
    image = Image.new("RGB", (120, 80), (220, 30, 30))
    image.paste((30, 30, 220), (60, 0, 120, 80))
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is on the left of what is stored
    path = tmp_path / "turned.jpg"
    image.save(path, exif=exif, quality=95)

    page.get_by_label("Choose photos").set_input_files(path)

    expect(cards(page)).to_contain_text("80 × 120 pixels")
    photo = cards(page).locator(".photo")
    assert photo.evaluate("photo => [photo.naturalWidth, photo.naturalHeight]") == [80, 120]
    with Image.open(io.BytesIO(photo.screenshot())) as shot:
        middle = shot.width // 2
        above, below = (shot.convert("RGB").getpixel((middle, shot.height * part // 4)) for part in (1, 3))
    assert isinstance(above, tuple)
    assert isinstance(below, tuple)
    assert above[0] > 180 > 80 > above[2]
    assert below[2] > 180 > 80 > below[0]


def test_what_the_browser_cannot_show_is_captioned_without_a_preview(page: Page) -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (64, 48), "skyblue").save(encoded, "TIFF")

    choose(page, {"name": "scan.tiff", "mimeType": "image/tiff", "buffer": encoded.getvalue()})

    expect(captions(page)).to_have_count(3)
    expect(cards(page)).to_contain_text("No preview")
