"""The bundle that comes with the project: whole, honest about itself, and not blind."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from model.bundle import DEFAULT_BUNDLE, load_bundle
from model.captioner import Captioner
from model.image import read_image

ORIENTATION = 0x0112
# What to do to an upright picture so that a viewer that honours the tag shows it upright again.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner.load(DEFAULT_BUNDLE)


def beach() -> Image.Image:
    """Draws sky, sea, sand and a figure."""
    image = Image.new("RGB", (480, 320), "skyblue")
    pencil = ImageDraw.Draw(image)
    pencil.rectangle((0, 140, 480, 240), fill="steelblue")
    pencil.rectangle((0, 240, 480, 320), fill="khaki")
    pencil.ellipse((100, 150, 130, 180), fill="peru")
    pencil.rectangle((105, 180, 125, 260), fill="firebrick")
    return image


def meadow() -> Image.Image:
    """Draws grass with a brown animal."""
    image = Image.new("RGB", (480, 320), "forestgreen")
    pencil = ImageDraw.Draw(image)
    pencil.ellipse((150, 130, 330, 220), fill="saddlebrown")
    pencil.ellipse((300, 100, 370, 160), fill="saddlebrown")
    for left in (170, 210, 270, 300):
        pencil.rectangle((left, 200, left + 15, 270), fill="saddlebrown")
    return image


def stored(image: Image.Image, orientation: int) -> bytes:
    transpose = STORED_AS[orientation]
    turned = image if transpose is None else image.transpose(transpose)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)  # without loss, so that all have the same pixels
    return buffer.getvalue()


def caption(captioner: Captioner, data: bytes) -> str:
    return captioner.predict(read_image(data).pixels[None])[0].captions[0].text


def test_it_says_how_it_was_made_and_how_well_it_does() -> None:
    config = load_bundle(DEFAULT_BUNDLE).config
    assert config.scores["dev"]["BLEU-4 flickr8k"] >= 20.5
    assert config.scores["dev"]["CIDEr flickr8k"] >= 50
    assert config.scores["dev"]["CIDEr coco"] >= 55
    assert config.scores["dev"]["distinct captions flickr8k"] >= 500
    assert [*config.provenance["stages"]] == ["prepare", "encoder", "captioner", "export"]


def test_it_is_at_most_56_mb() -> None:
    assert sum(file.stat().st_size for file in DEFAULT_BUNDLE.iterdir()) <= 56e6


def test_its_classes_are_those_of_imagenet() -> None:
    classes = load_bundle(DEFAULT_BUNDLE).classes
    assert len(classes) == 1000
    assert classes[0] == ("n01440764", "tench")


def test_different_pictures_get_different_captions_in_whole_sentences(captioner: Captioner) -> None:
    captions = [caption(captioner, stored(picture, 1)) for picture in (beach(), meadow())]
    assert captions[0] != captions[1]
    assert all(len(text.split()) >= 4 and text.isascii() for text in captions)


@pytest.mark.parametrize("picture", [beach, meadow])
def test_every_exif_orientation_of_a_picture_gets_the_same_caption(captioner: Captioner, picture: type) -> None:
    assert len({caption(captioner, stored(picture(), orientation)) for orientation in STORED_AS}) == 1


def drawn(seed: int) -> np.ndarray:
    """Draws a scene of sky, ground and a few shapes, shape (224, 224, 3)."""
    random = np.random.default_rng(seed)

    def colour() -> tuple[int, ...]:
        return tuple(int(value) for value in random.integers(0, 256, 3))

    image = Image.new("RGB", (224, 224), colour())
    pencil = ImageDraw.Draw(image)
    pencil.rectangle((0, int(random.integers(90, 180)), 224, 224), fill=colour())
    for _ in range(int(random.integers(2, 8))):
        left, top = random.integers(0, 180, 2)
        width, height = random.integers(10, 90, 2)
        shape = pencil.ellipse if random.random() < 0.5 else pencil.rectangle
        shape((int(left), int(top), int(left + width), int(top + height)), fill=colour())
    return np.asarray(image.filter(ImageFilter.GaussianBlur(1.5)))


@pytest.mark.slow
def test_the_cpu_engine_says_what_the_reference_says_of_drawn_pictures(captioner: Captioner) -> None:
    assert captioner.engine == "litert"
    reference = Captioner.load(DEFAULT_BUNDLE, engine="tensorflow")
    pictures = np.stack([drawn(seed) for seed in range(48)])
    ours = [found for start in range(0, 48, 16) for found in captioner.predict(pictures[start : start + 16])]
    theirs = [found for start in range(0, 48, 16) for found in reference.predict(pictures[start : start + 16])]
    pairs = list(zip(ours, theirs, strict=True))
    assert len({pair[1].captions[0].text for pair in pairs}) > 10
    assert sum(one.captions[0].text == other.captions[0].text for one, other in pairs) >= 0.85 * len(pairs)
    assert sum(one.classes[0].id == other.classes[0].id for one, other in pairs) >= 0.95 * len(pairs)
    same = [(one, other) for one, other in pairs if one.captions[0].text == other.captions[0].text]
    assert np.mean([abs(a.captions[0].log_probability - b.captions[0].log_probability) for a, b in same]) < 0.05


def test_its_config_says_how_far_the_engines_agree_on_dev() -> None:
    parity = load_bundle(DEFAULT_BUNDLE).config.provenance["parity"]
    assert parity["captions"] >= 95
    assert parity["classes"] >= 98
    assert abs(parity["BLEU-4"] - parity["BLEU-4 of the CPU engine"]) <= 0.3
