"""Captions in other languages, from drawn photos to a server that answers in them."""

import http.client
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from model.bundle import BundleInfo
from model.config import SearchConfig
from model.presets import small
from model.scripts import join
from tests.training.conftest import COLOURS, draw
from tests.training.stages import one_device
from training.commands.prepare import prepare
from training.config import CaptionerTrainingConfig, OptimizerConfig, RunConfig
from training.data.language import Language
from training.data.records import read_language
from training.decoder.tasks import DecoderTask
from training.loop.run import train_task
from training.shipping.export import assemble, export

pytestmark = pytest.mark.slow

PHOTOS = 16
TRAINING = CaptionerTrainingConfig(epochs=8, batch_size=4, optimizer=OptimizerConfig(learning_rate=0.02))


class Toy(NamedTuple):
    """A toy data set in one language: what is found out about it, and two captions of each colour."""

    language: Language
    captions: dict[str, tuple[str, str]]


TOYS = {
    "Arabic": Toy(
        Language("und", "spaces"),
        {
            "red": ("مُرَبَّع أحمر في الصورة.", "هنا مُرَبَّع أحمر كبير على الأرض"),
            "green": ("مُرَبَّع أخضر في الصورة.", "هنا مُرَبَّع أخضر كبير على الأرض"),
            "blue": ("مُرَبَّع أزرق في الصورة.", "هنا مُرَبَّع أزرق كبير على الأرض"),
            "yellow": ("مُرَبَّع أصفر في الصورة.", "هنا مُرَبَّع أصفر كبير على الأرض"),
        },
    ),
    "Chinese": Toy(
        Language("und", "icu"),
        {
            "red": ("1个红色的方块在草地上。", "照片里有一个红色的T形方块"),
            "green": ("1个绿色的方块在草地上。", "照片里有一个绿色的T形方块"),
            "blue": ("1个蓝色的方块在草地上。", "照片里有一个蓝色的T形方块"),
            "yellow": ("1个黄色的方块在草地上。", "照片里有一个黄色的T形方块"),
        },
    ),
    "German": Toy(
        Language("und", "spaces"),
        {
            "red": ("Ein großes rotes Quadrat auf der Straße.", "Hier ist ein rotes Straßenschild"),
            "green": ("Ein großes grünes Quadrat auf der Straße.", "Hier ist ein grünes Straßenschild"),
            "blue": ("Ein großes blaues Quadrat auf der Straße.", "Hier ist ein blaues Straßenschild"),
            "yellow": ("Ein großes gelbes Quadrat auf der Straße.", "Hier ist ein gelbes Straßenschild"),
        },
    ),
}


def drawn_in(toy: Toy, folder: Path) -> Path:
    """Draws squares in four colours, each with its captions in a text file beside it."""
    folder.mkdir()
    for index in range(PHOTOS):
        colour = COLOURS[index % len(COLOURS)]
        draw(folder / f"photo-{index:02}.jpg", colour, "square", index)
        text = "\n".join(toy.captions[colour])
        (folder / f"photo-{index:02}.txt").write_text(text, encoding="utf-8")
    return folder


def trained_in(toy: Toy, root: Path, encoder: Path) -> Path:
    """Prepares, trains and exports; returns the bundle."""
    records = root / "records"
    words = ["folder", drawn_in(toy, root / "photos"), "--out", records, "--min-count", 1, "--dev-fraction", 0.3]
    result = CliRunner().invoke(prepare, list(map(str, words)))
    assert result.exit_code == 0, result.output
    assert read_language(records) == toy.language
    preset = small()
    preset = replace(preset, decoder=replace(preset.decoder, embedding_units=16, units=32, dropout=0.0))
    task = DecoderTask(encoder, records, preset, TRAINING, one_device())
    assert train_task(root / "captioner", task, RunConfig(summary_steps=1, histogram_steps=0))
    bundle = assemble(encoder, root / "captioner", records, BundleInfo.from_bundle(encoder).classes)
    search = SearchConfig(beam_size=2, max_words=12)
    scored = export(
        root / "bundle", bundle, records, {}, name="toy", version="1", card={"data": "drawings"}, search=search
    )
    assert scored is not None
    assert scored.tokenizer == "showtell"
    assert scored.left_out.keys() == {"METEOR"}
    assert scored.scores["BLEU-1"] > 40
    return root / "bundle"


def asked(url: str, photo: Path) -> list[Any]:
    """Returns the captions that a server answers for a photo."""
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)) as connection:
        connection.request("POST", "/v1/predict?captions=1", photo.read_bytes())
        found: list[Any] = json.load(connection.getresponse())["results"][0]["captions"]
        return found


@pytest.mark.parametrize("name", TOYS)
def test_a_captioner_trained_in_a_language_answers_in_it(
    name: str, tmp_path: Path, toy_bundle: Path, serve: Callable[[Path], AbstractContextManager[str]]
) -> None:
    toy = TOYS[name]
    path = trained_in(toy, tmp_path, toy_bundle)
    config, vocabulary, *_ = BundleInfo.from_bundle(path)
    assert config.segmentation == toy.language.segmentation
    parted = [toy.language.tokenizer(text) for texts in toy.captions.values() for text in texts]
    assert set(vocabulary.words[3:]) == {word for words in parted for word in words}
    with serve(path) as url:
        for photo in sorted((tmp_path / "photos").glob("*.jpg"))[:4]:
            (caption,) = asked(url, photo)
            words = [word["text"] for word in caption["words"]]
            assert set(words) <= set(vocabulary.words[3:])
            assert caption["text"] == join(words, config.segmentation)
            assert caption["text"].count(" ") == (0 if config.segmentation == "icu" else len(words) - 1)
            assert len(words) > 2
