"""What a captioner must do before it serves, and when another one is loaded."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from model.captioner import Captioner
from model.config import IMAGE_PIXELS
from model.errors import BundleError
from model.manifest import MANIFEST

LOOK_EVERY_SECONDS = 2.0


def self_tested(captioner: Captioner) -> Captioner:
    """Returns a captioner that has captioned a built-in picture.

    Raises:
        BundleError: It found no caption, or probabilities that are none.
    """
    side = np.linspace(0, 255, IMAGE_PIXELS).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(side[:, None], side[None, :], np.uint8(128)), axis=-1)
    (prediction,) = captioner.predict(picture[None])
    numbers = [word.probability for caption in prediction.captions for word in caption.words]
    numbers += [found.probability for found in prediction.classes]
    if not numbers or not prediction.captions[0].text or not all(0 <= number <= 1 for number in numbers):
        raise BundleError(
            f"{captioner.config.name}: expected a caption of the built-in picture with probabilities, received "
            f"{prediction.captions}; train or export it again"
        )
    return captioner


def watch(bundle: Path, changed: Callable[[], None]) -> None:
    """Calls `changed` in a thread of its own whenever another bundle lies at the path."""

    def look() -> None:
        known = _identity(bundle)
        while True:
            time.sleep(LOOK_EVERY_SECONDS)
            found = _identity(bundle)
            # A bundle appears whole, so that a manifest that is not there is a bundle on its way.
            if found is not None and found != known:
                known = found
                changed()

    threading.Thread(target=look, name="watch", daemon=True).start()


def _identity(bundle: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(bundle / MANIFEST)  # noqa: PTH116 - follows links, which are what is changed
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns
