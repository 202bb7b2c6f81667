"""The stage `joint`: its networks loaded, trained and compared in a run directory."""

from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from model.atomic import atomic_file
from model.bundle import CONFIG, VOCABULARY
from model.config import CaptionerConfig
from model.errors import DataError
from model.presets import with_vocabulary_size
from training.config import RUN_DEFAULTS, RunConfig
from training.data.packed import TABLE, Packed, read_packed
from training.decoder.dev_scores import BATCH, DevScores
from training.decoder.earlier import decoder_file, go_on_from, new_decoder
from training.decoder.joint import JointNetwork, compile_joint
from training.decoder.joint_batches import JointBatches
from training.decoder.joint_config import JointConfig
from training.decoder.joint_rewards import RewardedNetwork
from training.encoder.lite2 import CLASSES, FEATURES, load_lite2, resized
from training.encoder.sources import encoder_file, load_encoder
from training.loop.checkpoint import named_variables
from training.loop.keras_run import KerasRun, Lesson, check_settings, optimizer_variables
from training.provenance import key_of

TYPICAL_PHOTOS = 2000
"""Photos from which the variance of features is computed."""


def joint(
    directory: Path, encoder_run: Path, captioner_run: Path, packed: Path, teacher_file: Path, config: JointConfig,
    *, precision: str = "float32", compare_steps: int = 500, run_config: RunConfig = RUN_DEFAULTS,
) -> bool:  # fmt: skip
    """Trains encoder, class layers and decoder at once in a run directory; goes on from its checkpoint.

    Args:
        directory: Run directory; `export` reads encoder and decoder from it.
        encoder_run: Where the encoder comes from; see `training.encoder.sources.encoder_file`.
        captioner_run: Run directory of a decoder that was trained on its features, or a bundle.
        packed: The photos; see `training.data.packed`.
        teacher_file: EfficientNet-Lite2's file.
        config: Options.
        precision: Arithmetic of encoder and teacher: `float32` or `bfloat16`.
        compare_steps: Steps between two comparisons on dev.
        run_config: Intervals of checkpoints and figures.

    Returns:
        Whether training is complete; False after a requested stop.

    Raises:
        DataError: These do not belong together, or the directory holds another run.
    """
    earlier = decoder_file(captioner_run)
    data = read_packed(packed)
    known = CaptionerConfig.from_json((captioner_run / CONFIG).read_text())
    captioner_config = with_vocabulary_size(
        replace(known, decoder=replace(known.decoder, dropout=config.dropout)), len(data.vocabulary)
    )
    settings = {
        "encoder": asdict(captioner_config.encoder),
        "decoder": asdict(captioner_config.decoder),
        "joint": asdict(config),
        "inputs": key_of(packed / TABLE, encoder_file(encoder_run), earlier, teacher_file),
        "precision": precision,
    }
    check_settings(directory, settings)
    if not len(data.rows("dev")) or not len(data.rows("train", captioned=True)):
        raise DataError(f"{packed}: expected captioned photos of train and dev, found none of one; pack other records")
    network = _loaded(encoder_run, captioner_run, captioner_config, teacher_file, config, precision, data)
    compile_joint(network, config)
    directory.mkdir(parents=True, exist_ok=True)
    with atomic_file(directory / CONFIG) as file:
        file.write_text(captioner_config.to_json())
    with atomic_file(directory / VOCABULARY) as file:
        data.vocabulary.save(file)
    lesson = Lesson(
        label="training all together",
        network=network,
        variables={
            **named_variables(network.encoder, "encoder"),
            **named_variables(network.decoder, "decoder"),
            **optimizer_variables(network),
        },
        batch=JointBatches(data, config, captioner_config.search.max_words).batch,
        total=config.steps,
        learning_rate=config.learning_rate,
        settings=settings,
        compare=DevScores(network.encoder, network.decoder, data, captioner_config).scores,
        best_figure="CIDEr",
    )
    return KerasRun(directory, lesson, run_config, compare_steps=compare_steps).train()


def _loaded(
    encoder_run: Path, captioner_run: Path, expected: CaptionerConfig, teacher_file: Path, config: JointConfig,
    precision: str, data: Packed,
) -> JointNetwork:  # fmt: skip
    """Loads the three networks.

    Raises:
        DataError: They do not fit.
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    encoder, found, _ = load_encoder(encoder_run)
    teacher = load_lite2(teacher_file)
    keras.config.set_dtype_policy("float32")
    if found != expected.encoder:
        raise DataError(f"{captioner_run}: expected a decoder of the encoder {found}, found one of {expected.encoder}")
    if (found.fc_units, found.classes) != (FEATURES, CLASSES):
        raise DataError(
            f"{encoder_run}: expected an encoder with fc_units={FEATURES} and classes={CLASSES} like its teacher, "
            f"found {found.fc_units} and {found.classes}; give one that `grow` has made"
        )
    rows = data.rows("train")
    few = data.pixels[rows[:: max(1, len(rows) // TYPICAL_PHOTOS)]]
    decoder = new_decoder(expected)
    go_on_from(captioner_run, decoder, expected, data.vocabulary, _features(encoder, few))
    variance = _features(teacher, np.stack([resized(image) for image in few])).var(axis=0)
    networks = (encoder, decoder, teacher, config, variance)
    return RewardedNetwork(*networks, data=data) if config.samples else JointNetwork(*networks)


def _features(network: keras.Model, photos: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Returns a network's features of photos, shape (P, D)."""
    parts = []
    for start in range(0, len(photos), BATCH):
        chosen = np.resize(photos[start : start + BATCH], (BATCH, *photos.shape[1:]))  # of one size: JAX compiles anew
        parts.append(np.asarray(network.predict_on_batch(chosen)["features"], np.float32))
    return np.concatenate(parts)[: len(photos)]
