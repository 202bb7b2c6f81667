"""A page that shows where each word of a photo came from: one HTML file that holds everything and runs no script."""

import base64
import io
from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.atomic import atomic_file
from model.captioner import Prediction
from model.errors import LibraryError
from model.library.names import printable
from model.library.pipeline import Captioned
from model.maps import as_data_uri, in_words
from model.search import Floats

LONGEST_SIDE = 320
"""Of the photo's shape on the page, in its own units."""

_STYLE = """
:root { color-scheme: light dark; --wall: #f2f4f3; --card: #fff; --ink: #17211f; --soft: #52605c; --line: #cfd7d4; }
@media (prefers-color-scheme: dark) { :root { --wall: #121716; --card: #1a2120; --ink: #e9efed; --soft: #a3b1ad;
  --line: #34403d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: clamp(1rem, 3vw, 2.5rem); max-width: 84rem; background: var(--wall); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0 1rem; max-width: 44rem; }
.soft { color: var(--soft); font-size: .875rem; }
.defs { position: absolute; width: 0; height: 0; }
.photo { display: block; width: min(100%, 26rem); height: auto; border-radius: .6rem; }
ol { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); margin: 0;
  padding: 0; list-style: none; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
figure svg { display: block; width: 100%; height: auto; background: #000; }
figcaption { padding: .5rem .75rem .75rem; }
figcaption strong { display: block; font-size: 1.125rem; }
"""

_ABOUT = (
    "Bright places spoke for the word, dark ones did not: by how much each place raised the probability of the word "
    "after the words before it, as far as the captioner’s own gradient tells. The brightest place of each map is "
    "equally bright, however little it did. The photo is shown as the captioner saw it: 224 by 224 points, without its "
    "metadata."
)


def write_explained(path: Path, done: Captioned, captioner: str) -> None:
    """Writes the page of one photo; nothing if it was not predicted.

    Args:
        path: The HTML file; an older one is replaced.
        done: The photo, with its prediction and explanation.
        captioner: Name of the captioner.

    Raises:
        LibraryError: The file cannot be written.
    """
    photo, prediction = done
    if photo.pixels is None or prediction is None:
        return
    name = printable(Path(photo.path).name)  # a page is shown to others, who need not know the folders
    text = explained_page(name, photo.pixels, (photo.width, photo.height), prediction, captioner)
    try:
        with atomic_file(path) as file:
            file.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise LibraryError(f"{path}: cannot be written: {error.strerror}; name another file by --explain") from error


def explained_page(
    name: str, pixels: npt.NDArray[np.uint8], size: tuple[int, int], prediction: Prediction, captioner: str
) -> str:
    """Returns the page of one photo.

    Args:
        name: Of the photo, as it is shown.
        pixels: The photo as the captioner saw it. Shape (224, 224, 3), uint8.
        size: Width and height of the upright original, in pixels.
        prediction: With its explanation.
        captioner: Name of the captioner.

    Returns:
        A whole HTML document that loads nothing from elsewhere.

    Raises:
        ValueError: The prediction has no explanation.
    """
    maps = prediction.explanation
    if maps is None:
        raise ValueError("expected a prediction with its explanation, received one without; predict with explain")
    width, height = (max(1, round(side * LONGEST_SIDE / max(size))) for side in size)
    page = _Page(width, height)
    body = [_head(name, pixels, page)]
    for caption, words in zip(prediction.captions, maps.captions, strict=True):
        told = f"Probability of the whole sentence: {caption.probability:.2g}"
        entries = ((word.text, word.probability) for word in caption.words)
        body.append(page.section(caption.text, told, entries, words))
    if prediction.classes:
        entries = ((item.label.replace("_", " "), item.probability) for item in prediction.classes)
        body.append(
            page.section("Classes", "What the photo shows, among the captioner’s classes", entries, maps.classes)
        )
    body.append(f'<p class="soft">Captions and maps by <bdi>{escape(captioner)}</bdi>.</p>')
    return _document(name, "\n".join(body))


class _Page:
    """The figures of one page, which are numbered.

    Args:
        width: Of each picture, in units of its own.
        height: Of each picture.
    """

    def __init__(self, width: int, height: int) -> None:
        self.size = f'width="{width}" height="{height}"'
        self.box = f'viewBox="0 0 {width} {height}"'
        self._masks = 0

    def section(self, heading: str, about: str, entries: Iterable[tuple[str, float]], maps: Floats) -> str:
        """Returns a heading with a figure for each entry's text, probability and map."""
        figures = [self._figure(*entry, values) for entry, values in zip(entries, maps, strict=True)]
        return "\n".join(
            [
                "<section>",
                f'<h2 dir="auto">{escape(heading) or "No words at all"}</h2>',
                f'<p class="soft">{escape(about)}</p>',
                *(["<ol>", *figures, "</ol>"] if figures else []),
                "</section>",
            ]
        )

    def _figure(self, text: str, probability: float, values: Floats) -> str:
        self._masks += 1
        mask = f"mask-{self._masks}"
        where = in_words(values)
        label = escape(f"The photo, bright where it spoke for “{text}”: {where}", quote=True)
        return f"""<li><figure>
<svg {self.box} role="img" aria-label="{label}">
<mask id="{mask}"><image {self.size} preserveAspectRatio="none" href="{as_data_uri(values)}"/></mask>
<use href="#photo" opacity="0.35"/>
<use href="#photo" mask="url(#{mask})"/>
</svg>
<figcaption><strong dir="auto">{escape(text)}</strong> {probability:.0%}; {where}</figcaption>
</figure></li>"""


def _head(name: str, pixels: npt.NDArray[np.uint8], page: _Page) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f"""<h1>Where each word looked: <bdi>{escape(name)}</bdi></h1>
<svg class="defs" aria-hidden="true"><defs>
<image id="photo" {page.size} preserveAspectRatio="none" href="{source}"/>
</defs></svg>
<svg class="photo" {page.box} role="img" aria-label="The photo"><use href="#photo"/></svg>
<p class="soft">{escape(_ABOUT)}</p>"""


def _document(name: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Where each word looked: {escape(name)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
