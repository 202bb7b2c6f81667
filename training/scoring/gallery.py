"""A page of photos with their captions, to look at: one HTML file that holds everything and runs no script."""

import base64
import io
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps
from tqdm import tqdm

from model.atomic import atomic_file
from model.errors import DataError
from model.formats.known import format_of
from model.image import FORMATS, read_image
from training.data.damage import damaged_records
from training.data.records import shard_paths
from training.progress import progress
from training.scoring.evaluate import Evaluation

PHOTO_PIXELS = 400
"""Longest side of a photo on the page."""

EXTREMES = 6
"""Photos shown with the best and with the worst CIDEr."""

STYLE = """
:root { color-scheme: light dark; --wall: #f2f4f3; --card: #fff; --mat: #e7ebe9; --ink: #17211f; --soft: #52605c;
  --line: #cfd7d4; --hue: #0f6b63; }
@media (prefers-color-scheme: dark) { :root { --wall: #121716; --card: #1a2120; --mat: #0c100f; --ink: #e9efed;
  --soft: #a3b1ad; --line: #34403d; --hue: #5fcfbf; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: clamp(1rem, 3vw, 2.5rem); max-width: 84rem; background: var(--wall); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
nav a { color: var(--hue); margin-right: 1.25rem; white-space: nowrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: clamp(.8125rem, 3.4vw, 1rem);
  font-variant-numeric: tabular-nums; }
th, td { padding: .2rem 0 .2rem clamp(.75rem, 2.5vw, 1.5rem); text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child { padding-left: 0; text-align: left; font-weight: 500; }
.note, .figures, .name, .wrote { color: var(--soft); font-size: .875rem; margin: .25rem 0; }
.photos { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
.mat { display: block; height: 15rem; background: var(--mat); }
.mat img { display: block; width: 100%; height: 100%; object-fit: contain; }
figcaption { padding: .75rem 1rem 1rem; }
.ours { font-size: 1.125rem; line-height: 1.35; font-weight: 600; margin: .5rem 0 0; }
.ours:first-child { margin-top: 0; }
.wrote { margin-top: .75rem; font-weight: 600; }
ul { margin: .25rem 0 .75rem; padding-left: 1.1rem; font-size: .9375rem; }
"""


def write_page(
    path: Path, evaluation: Evaluation, records: Path, *, title: str, photos: int = 60, seed: int = 0
) -> None:
    """Writes a page with the scores, a random sample of photos, and those with the best and worst CIDEr.

    Args:
        path: The HTML file; an older one is replaced.
        evaluation: Captions and scores; its first beam size ranks the photos.
        records: The records that were scored, for their photos.
        title: Heading, such as the name of the bundle.
        photos: Photos of the random sample, at most all that there are.
        seed: Seed of the sample: the same seed shows the same photos.

    Raises:
        DataError: The records are incomplete or damaged, or no longer hold a photo that was scored.
    """
    names = sorted(evaluation.references)
    sample = [names[index] for index in np.random.default_rng(seed).permutation(len(names))[:photos]]
    ciders = next(iter(evaluation.beams.values())).ciders
    ranked = sorted(names, key=lambda name: (-ciders[name], name))
    sections = {"Random sample": sample, "Best CIDEr": ranked[:EXTREMES], "Worst CIDEr": ranked[::-1][:EXTREMES]}
    sections = {heading: chosen for heading, chosen in sections.items() if chosen}
    images = _read_photos(records, evaluation.split, {name for chosen in sections.values() for name in chosen})
    body = [_header(evaluation, title, list(sections))]
    for heading, chosen in sections.items():
        cards = [_card(evaluation, name, images[name]) for name in chosen]
        body.append(f'<section id="{_anchor(heading)}">\n<h2>{escape(heading)}</h2>\n<div class="photos">')
        body += [*cards, "</div>\n</section>"]
    with atomic_file(path) as file:
        file.write_text(_document(title, "\n".join(body)), encoding="utf-8", errors="replace")


def thumbnail(data: bytes) -> bytes:
    """Makes a photo small enough for the page.

    Args:
        data: An image file that `model.image.read_image` accepts.

    Returns:
        An upright RGB JPEG of at most 400x400 pixels, without metadata.

    Raises:
        ImageError: The bytes are no whole image.
    """
    decoded = read_image(data)  # checks the bytes and the number of pixels before anything else is decoded
    is_heic = format_of(data) == "HEIF"  # Pillow does not read it by itself
    image: Image.Image = Image.fromarray(decoded.pixels) if is_heic else Image.open(io.BytesIO(data), formats=FORMATS)
    if not is_heic and image.mode in ("RGB", "L") and "transparency" not in image.info:
        image.draft("RGB", (PHOTO_PIXELS, PHOTO_PIXELS))
        image = ImageOps.exif_transpose(image).convert("RGB")
    else:  # palettes, transparency, 16 bits, CMYK, HEIC: the encoder's pixels, stretched to the photo's shape
        scale = PHOTO_PIXELS / max(decoded.width, decoded.height)
        size = (max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale)))
        image = Image.fromarray(decoded.pixels).resize(size)
    image.thumbnail((PHOTO_PIXELS, PHOTO_PIXELS))
    image.info.clear()  # no comment or profile of the original on the page
    file = io.BytesIO()
    image.save(file, "JPEG", quality=78, optimize=True)
    return file.getvalue()


def _read_photos(records: Path, split: str, names: Collection[str]) -> dict[str, bytes]:
    """Reads the named photos from the records, as thumbnails."""
    spec = {"image": tf.io.FixedLenFeature((), tf.string), "name": tf.io.FixedLenFeature((), tf.string)}
    dataset = tf.data.TFRecordDataset(shard_paths(records, split)).map(lambda r: tf.io.parse_single_example(r, spec))
    found: dict[str, bytes] = {}
    bar: tqdm[str] = progress([], "photos of the page", total=len(names), unit="photo")
    with bar:
        try:
            for record in dataset:
                name = record["name"].numpy().decode()
                if name in names and name not in found:
                    found[name] = thumbnail(record["image"].numpy())
                    bar.update()
        except tf.errors.OpError as error:
            raise damaged_records(records, split, error) from error
    missing = next((name for name in sorted(names) if name not in found), None)
    if missing is not None:
        raise DataError(f"{records}: expected the photo {missing!r} that was scored, found none; evaluate again")
    return found


def _document(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _header(evaluation: Evaluation, title: str, headings: Sequence[str]) -> str:
    first, *rows = evaluation.table()
    head = "".join(f'<th scope="col">{escape(cell)}</th>' if cell else "<td></td>" for cell in first)
    lines = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    notes = "\n".join(f'<p class="note">{escape(note)}</p>' for note in evaluation.notes())
    links = "\n".join(f'<a href="#{_anchor(heading)}">{escape(heading)}</a>' for heading in headings)
    return f"""<header>
<h1 dir="auto">{escape(title)}</h1>
<nav aria-label="Sections">
{links}
</nav>
<div class="scroll"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{lines}
</tbody>
</table></div>
{notes}
</header>"""


def _card(evaluation: Evaluation, name: str, photo: bytes) -> str:
    by_text: dict[str, list[int]] = {}
    for size, result in evaluation.beams.items():
        by_text.setdefault(result.captions[name].text, []).append(size)
    ours = "\n".join(_caption(evaluation, name, text, sizes) for text, sizes in by_text.items())
    best = evaluation.classes[name]
    written = "\n".join(f'<li dir="auto">{escape(text)}</li>' for text in evaluation.references[name])
    source = f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"
    return f"""<figure>
<span class="mat"><img src="{source}" alt="{escape(next(iter(by_text)))}"></span>
<figcaption>
{ours}
<p class="figures">Class: <bdi>{escape(best.label.replace("_", " "))}</bdi>, {_percent(best.probability)}</p>
<p class="wrote">People wrote</p>
<ul>
{written}
</ul>
<p class="name"><bdi>{escape(name)}</bdi></p>
</figcaption>
</figure>"""


def _caption(evaluation: Evaluation, name: str, text: str, sizes: Sequence[int]) -> str:
    result = evaluation.beams[sizes[0]]
    probability = _percent(result.captions[name].probability)
    cider = f"CIDEr\N{NO-BREAK SPACE}{result.ciders[name]:.1f}"
    figures = f"beam {', '.join(map(str, sizes))}: probability {probability}, {cider}"
    return f'<p class="ours" dir="auto">{escape(text)}</p>\n<p class="figures">{figures}</p>'


def _percent(probability: float) -> str:
    percent = 100 * probability
    if percent >= 1:
        return f"{percent:.1f}\N{NO-BREAK SPACE}%"
    if percent < 1e-6:
        return "under 0.000001\N{NO-BREAK SPACE}%"
    return f"{np.format_float_positional(percent, precision=2, fractional=False, trim='-')}\N{NO-BREAK SPACE}%"


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
