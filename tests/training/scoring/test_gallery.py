import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from model.bundle import Bundle
from model.captioner import Caption, ClassPrediction
from model.errors import DataError
from model.vocabulary import Vocabulary
from training.commands.score import evaluate as command
from training.data.captioned import CaptionedImage
from training.data.records import write_records
from training.scoring.evaluate import BeamResult, Evaluation, evaluate_bundle
from training.scoring.gallery import thumbnail, write_page
from training.scoring.word_loss import WordLoss

HOSTILE = '"><script>alert(1)</script>&amp;'


class Page(HTMLParser):
    """Collects what a browser would see: tags, attributes and text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


@pytest.fixture(scope="module")
def records(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns records of 12 drawn photos, whose names and captions are hostile."""
    photos = sorted(drawn.glob("*.jpg"))[:12]
    images = [
        CaptionedImage(p, f"{i:02}{HOSTILE}.jpg", (f"photo {HOSTILE}", "a dog"), "dev") for i, p in enumerate(photos)
    ]
    path = tmp_path_factory.mktemp("gallery") / "records"
    assert write_records(path, images, Vocabulary.build(["a dog"]), max_words=6)
    return path


def scored(captions: dict[int, str], count: int = 12) -> Evaluation:
    """Returns an evaluation in which photo number n has a CIDEr of 10 n."""
    names = [f"{index:02}{HOSTILE}.jpg" for index in range(count)]
    ciders = {name: 10.0 * index for index, name in enumerate(names)}
    beams = {
        size: BeamResult(dict.fromkeys(names, Caption(text, -5.0, (), -1.0)), {"BLEU-4": 12.3, "CIDEr": 45.6}, ciders)
        for size, text in captions.items()
    }
    references = {name: [f"photo {HOSTILE}", "a dog"] for name in names}
    classes = dict.fromkeys(names, ClassPrediction("n1", f"golden_retriever {HOSTILE}", 0.625))
    return Evaluation("dev", beams, references, classes, WordLoss(2.0, 60, 3), "ptb", {"METEOR": f"no {HOSTILE}"})


def test_hostile_names_captions_and_classes_are_text(records: Path, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", scored({3: HOSTILE}), records, title=HOSTILE)
    page = Page(tmp_path / "page.html")
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert {image["alt"] for image in page.images()} == {HOSTILE}
    for text in (HOSTILE, f"00{HOSTILE}.jpg", f"photo {HOSTILE}", f"METEOR left out: no {HOSTILE}"):
        assert text in page.texts


def test_the_page_holds_everything_itself(records: Path, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", scored({3: "a dog"}), records, title="toy")
    page = Page(tmp_path / "page.html")
    addresses = [a[name] or "" for _, a in page.tags for name in ("src", "href") if name in a]
    assert addresses
    assert all(re.match("data:image/jpeg;base64,|#", address) for address in addresses)
    source = page.images()[0]["src"] or ""
    assert Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).size == (128, 96)
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_each_photo_has_its_captions_figures_class_and_references(records: Path, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", scored({1: "a cat", 3: "a dog", 5: "a cat"}), records, title="toy", photos=0)
    texts = [text.replace("\N{NO-BREAK SPACE}", " ") for text in Page(tmp_path / "page.html").texts]
    best = texts[texts.index("Best CIDEr", texts.index("METEOR")) :]
    assert best[best.index("a cat") :][:5:2] == ["a cat", "beam 1, 5: probability 0.67 %, CIDEr 110.0", "a dog"]
    assert f"golden retriever {HOSTILE}" in best
    assert ", 62.5 %" in best
    assert {"BLEU-4", "12.30", "perplexity", "7.39", "beam 3"} <= set(texts)


def test_best_and_worst_are_by_cider_and_the_sample_is_the_same_for_the_same_seed(
    records: Path, tmp_path: Path
) -> None:
    shown = []
    for seed in (4, 4, 5):
        write_page(tmp_path / "page.html", scored({3: "a dog"}), records, title="toy", photos=5, seed=seed)
        texts = Page(tmp_path / "page.html").texts
        shown.append([int(text[:2]) for text in texts if text.endswith(f"{HOSTILE}.jpg")])
    assert shown[0] == shown[1] != shown[2]
    assert len(set(shown[0][:5])) == 5
    assert shown[0][5:] == [11, 10, 9, 8, 7, 6, 0, 1, 2, 3, 4, 5]


def test_a_sample_of_no_photos_leaves_its_section_out(records: Path, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", scored({3: "a dog"}), records, title="toy", photos=0)
    assert "Random sample" not in Page(tmp_path / "page.html").texts


def test_photos_that_the_records_lack_are_named_and_the_old_page_stays(records: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    with pytest.raises(DataError, match=r"expected the photo '12.*jpg' that was scored, found none"):
        write_page(page, scored({3: "a dog"}, count=13), records, title="toy")
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_thumbnails_are_small_upright_and_keep_their_shape() -> None:
    wide = Image.new("RGB", (2000, 1000), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert Image.open(io.BytesIO(thumbnail(encoded(wide, "JPEG")))).size == (400, 200)
    turned = Image.open(io.BytesIO(thumbnail(encoded(wide, "JPEG", exif=exif, comment=b"where I live"))))
    assert turned.size == (200, 400)
    assert not turned.getexif()
    assert "comment" not in turned.info


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "I;16", "1", "L"])
def test_thumbnails_of_any_kind_of_picture_are_jpegs(mode: str) -> None:
    picture = Image.open(io.BytesIO(thumbnail(encoded(Image.new(mode, (60, 30)), "PNG"))))
    assert (picture.format, picture.mode) == ("JPEG", "RGB")
    assert picture.width == 2 * picture.height


def test_transparency_lies_over_white() -> None:
    picture = Image.open(io.BytesIO(thumbnail(encoded(Image.new("RGBA", (60, 30), (0, 0, 0, 0)), "PNG"))))
    assert picture.getpixel((5, 5)) == (255, 255, 255)


def test_the_command_writes_the_page_of_what_it_scored(
    toy: Bundle, toy_bundle: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without Java, whose METEOR takes seconds to start
    page = tmp_path / "out" / "page.html"
    arguments = [str(toy_bundle), "--records", str(records), "--page", str(page), "--page-photos", "2"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert f"{page}: 0." in result.stdout
    found = evaluate_bundle(toy, records, "dev").beams[toy.config.search.beam_size].captions
    names = [text for text in Page(page).texts if text.endswith(f"{HOSTILE}.jpg")]
    assert len(names) == 2 + 6 + 6
    assert [image["alt"] for image in Page(page).images()] == [found[name].text for name in names]
