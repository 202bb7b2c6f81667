"""Toy inputs of every command that trains, and the words that call it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import keras

from model.config import EncoderConfig
from model.encoder import build_encoder
from model.presets import small
from model.vocabulary import Vocabulary
from tests.training.stages import CLASSES, RUN, one_device, read_folder
from training.config import CaptionerTrainingConfig, OptimizerConfig
from training.data.labelled import LabelledImage
from training.data.records import write_class_records, write_records
from training.decoder.tasks import DecoderTask
from training.encoder.lite2 import cache_answers
from training.encoder.maps import cache_maps
from training.loop.checkpoint import BEST, named_variables, save_checkpoint
from training.loop.run import train_task

ENCODER = EncoderConfig(
    widths=(0.05,) * 5, fc_units=1280, classes=1000, input_pooling=2, pooling="average", features="average", dropout=0.0
)
TRAINING = CaptionerTrainingConfig(epochs=1, batch_size=16, optimizer=OptimizerConfig(learning_rate=0.01))
TINY = ("--widths", *["0.03"] * 5, "--input-pooling", "7")

RUNS = ("classifier", "captioner", "together", "self-critical", "finetune", "finetune-maps")
"""Commands whose steps are ours."""

KERAS_RUNS = ("distill-top",)
"""Commands whose steps are Keras's; a student of `distill` takes minutes, and is trained in `test_distill` alone."""


class Toys(NamedTuple):
    """Directories that commands read, and the words of each command without `--out`.

    Attributes:
        records: Captions of drawn photos.
        classes: Classes of the same.
        encoder: An encoder that has learned nothing.
        captioner: A decoder that was trained on its features for an epoch.
        commands: Words by command; `together` is `captioner --together`, `finetune-maps` is `finetune` from maps.
    """

    records: Path
    classes: Path
    encoder: Path
    captioner: Path
    commands: dict[str, list[str]]


def make_toys(root: Path, drawn: Path, lite2: Path, *, dev_fraction: float = 0.3, max_words: int = 20) -> Toys:
    """Writes the inputs of every command that trains.

    Args:
        root: Where they go.
        drawn: Photos with captions beside them.
        lite2: File of an EfficientNet-Lite2.
        dev_fraction: Share of the photos in dev.
        max_words: Words after which a caption is cut.
    """
    made = Toys(root / "records", root / "classes", root / "encoder", root / "captioner", {})
    images = read_folder(drawn, dev_fraction=dev_fraction)
    vocabulary = Vocabulary.build([text for image in images for text in image.captions], min_count=1)
    write_records(made.records, images, vocabulary, shard_images=8, max_words=max_words)
    labelled = [LabelledImage(i.path, i.name, number % 4, i.split) for number, i in enumerate(images)]
    write_class_records(made.classes, labelled, CLASSES, shard_images=8)
    keras.utils.set_random_seed(2)
    encoder = build_encoder(ENCODER)
    made.encoder.mkdir()
    save_checkpoint(made.encoder / BEST, named_variables(encoder, "encoder"), {"encoder": asdict(ENCODER)})
    photos = sorted(drawn.glob("*.jpg"))
    cache_maps(root / "maps", encoder, photos)
    cache_answers(root / "answers", lite2, photos)
    preset = small()
    preset = replace(preset, decoder=replace(preset.decoder, embedding_units=16, units=24, dropout=0.0))
    assert train_task(made.captioner, DecoderTask(made.encoder, made.records, preset, TRAINING, one_device()), RUN)
    data = ["--records", str(made.records), "--encoder", str(made.encoder)]
    decoder = ["captioner", *data, "--units", "24", "--embedding-units", "16", "--epochs", "3", "--devices", "cpu"]
    trained = [*data, "--captioner", str(made.captioner), "--epochs", "3", "--devices", "cpu", "--batch-size", "4"]
    top = ["--encoder", str(made.encoder), "--maps", str(root / "maps"), "--answers", str(root / "answers")]
    few = ["--photos", str(drawn), "--batch-size", "8"]
    made.commands.update(
        {
            "classifier": ["classifier", "--records", str(made.classes), *TINY, "--epochs", "3", "--batch-size", "4"],
            "captioner": [*decoder, "--batch-size", "8"],
            "together": [*decoder, "--together", "--batch-size", "4"],
            "self-critical": ["self-critical", *trained],
            "finetune": ["finetune", *trained],
            "finetune-maps": ["finetune", *trained, "--maps", str(root / "maps")],
            "distill-top": ["distill-top", *few, *top, "--teacher", str(lite2), "--epochs", "4"],
        }
    )
    made.commands["classifier"] += ["--devices", "cpu"]
    return made
