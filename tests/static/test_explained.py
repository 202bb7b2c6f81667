"""The page that explains a photo in a real browser: on a desk and on a phone, in light and in dark."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from model.explained_page import explained_page
from tests.model.test_explained_page import prediction
from tests.static.conftest import assert_no_violation

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_the_page_fits_a_phone_keeps_nobody_out_and_asks_no_one(visit: Callable[[str], Page], tmp_path: Path) -> None:
    pixels = np.full((224, 224, 3), (90, 140, 60), np.uint8)
    path = tmp_path / "page.html"
    path.write_text(explained_page("photo.jpg", pixels, (300, 200), prediction(), "toy 1"), encoding="utf-8")
    page = visit(path.as_uri())
    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url))
    for width, scheme in ((1280, "light"), (320, "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.reload()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        names = [picture.get_attribute("aria-label") for picture in page.get_by_role("img").all()]
        assert names[2] == "The photo, bright where it spoke for “dog”: mostly the left half"
        assert_no_violation(page)
    assert all(url.startswith(("file:", "data:")) for url in asked_for)


def test_the_photo_is_bright_where_the_map_is(visit: Callable[[str], Page], tmp_path: Path) -> None:
    pixels = np.full((224, 224, 3), 255, np.uint8)
    path = tmp_path / "page.html"
    path.write_text(explained_page("photo.jpg", pixels, (200, 200), prediction(), "toy 1"), encoding="utf-8")
    picture = visit(path.as_uri()).get_by_role("img").nth(2).screenshot()
    levels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), np.float32)
    side = levels.shape[1]
    assert levels[:, : side // 8].mean() > 2 * levels[:, side // 2 :].mean()
