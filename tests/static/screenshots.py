"""Takes the documents' pictures of the page, with its own drawings and the default bundle.

    .venv/bin/python -m tests.static.screenshots

writes `docs/images/page-desktop.webp`, `page-dark.webp` and `page-phone.webp`. It needs Chromium, and no server.
"""

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from model.bundle import DEFAULT_BUNDLE
from tests.conftest import running_server
from tests.static.conftest import CHROMIUM_FLAGS, progress

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1120, "height": 1180}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}


def take(browser: Browser, url: str, name: str, drawings: tuple[str, ...], top: str, **options: Any) -> None:
    """Shows the page some of its drawings, and writes what it looks like from the element `top` on."""
    with browser.new_context(**options) as context:
        page = context.new_page()
        page.goto(url)
        for drawing in drawings:
            page.locator(f"[data-sample={drawing}]").click()
        expect(progress(page)).to_have_text(f"{len(drawings)} of {len(drawings)} done")
        page.mouse.move(0, 0)  # nothing looks hovered
        page.evaluate("top => scrollTo(0, document.querySelector(top).offsetTop - 20)", top)
        with Image.open(io.BytesIO(page.screenshot())) as shot:
            shot.save(IMAGES / f"{name}.webp", quality=90, method=6)


def main() -> None:
    """Writes every picture."""
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as logs,
        running_server(DEFAULT_BUNDLE, Path(logs) / "log.txt") as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM_FLAGS))
        take(browser, url, "page-desktop", ("skier", "boat"), "body", **DESKTOP)
        take(browser, url, "page-dark", ("skier", "boat"), "body", color_scheme="dark", **DESKTOP)
        take(browser, url, "page-phone", ("skier",), ".queue-bar", **PHONE)
        browser.close()


if __name__ == "__main__":
    main()
