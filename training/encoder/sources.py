"""Loading an encoder from where it was made: a training run, a bundle, or the ImageNet file."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import keras
import safetensors

from model.attribution import CLASS_LAYERS
from model.bundle import WEIGHTS, load_bundle
from model.config import FEATURES, EncoderConfig, parse_encoder
from model.encoder import build_encoder
from model.errors import ConfigError, DataError
from model.manifest import sha256_of
from model.weights import assign_weights
from training.encoder.imagenet import load_imagenet
from training.loop.checkpoint import BEST, load_checkpoint, named_variables, read_progress
from training.loop.directory import DISTILLED
from training.progress import note


class TrainedEncoder(NamedTuple):
    """A trained encoder and where it came from.

    Attributes:
        network: The encoder, with its batch norm.
        config: Its architecture.
        file: The file that its weights came from.
    """

    network: keras.Model
    config: EncoderConfig
    file: Path


@contextmanager
def full_precision() -> Iterator[None]:
    """Builds networks in float32 inside the block, so that features do not depend on the run's arithmetic."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def encoder_file(path: Path) -> Path:
    """Returns the file that holds the encoder's weights.

    Args:
        path: A run directory of `distill`, `classifier` or `finetune`, a bundle, or the official Keras VGG-19
            file (`.h5`).

    Raises:
        DataError: There is no trained encoder.
    """
    if path.suffix == ".h5" and path.is_file():
        return path
    found = next((path / name for name in (BEST, DISTILLED, WEIGHTS) if (path / name).is_file()), None)
    if found is None:
        raise DataError(
            f"{path}: expected a trained encoder ({BEST} or {DISTILLED}), found none; run `showtell-train distill` or "
            "`classifier` first, or give a bundle or the Keras VGG-19 file"
        )
    return found


def features_key(path: Path) -> str:
    """Returns a SHA-256, in hexadecimal, that is the same for encoders of the same origin and the same features.

    Of a checkpoint whose features do not pass the class layers, those layers do not count: they may be trained again
    without making a decoder useless.

    Args:
        path: See `encoder_file`.

    Raises:
        DataError: There is no trained encoder, or its file is damaged.
    """
    file = encoder_file(path)
    place = read_progress(file) if file.name == BEST else {}
    if "encoder" not in place or FEATURES[parse_encoder(place["encoder"]).features][1]:
        return sha256_of(file)
    digest = hashlib.sha256(json.dumps(place["encoder"], sort_keys=True).encode())
    with safetensors.safe_open(file, framework="numpy") as tensors:
        for name in sorted(tensors.keys()):
            part, layer = name.split("/")[:2]
            if part == "encoder" and layer not in CLASS_LAYERS:
                digest.update(name.encode())
                digest.update(tensors.get_tensor(name).tobytes())
    return digest.hexdigest()


def load_encoder(path: Path) -> TrainedEncoder:
    """Loads a trained encoder.

    Args:
        path: See `encoder_file`.

    Returns:
        The encoder.

    Raises:
        DataError: There is none, or its file is damaged.
    """
    file = encoder_file(path)
    if file.suffix == ".h5":
        config = EncoderConfig()
        network = build_encoder(config)
        load_imagenet(file, network)
    elif file.name == DISTILLED:
        network, config = load_student(path)
    elif file.name == WEIGHTS:
        bundle = load_bundle(path)
        config = bundle.config.encoder
        network = build_encoder(config)
        assign_weights(network, bundle.weights, "encoder")
    else:
        place = read_progress(file)
        if "encoder" not in place:
            raise DataError(f"{file}: expected an encoder's checkpoint, received a decoder's; give the encoder's run")
        config = parse_encoder(place["encoder"])
        network = build_encoder(config)
        load_checkpoint(file, named_variables(network, "encoder"))
    return TrainedEncoder(network, config, file)


def load_student(directory: Path) -> tuple[keras.Model, EncoderConfig]:
    """Loads the encoder of a distillation run as it is now; prints a note if the run is unfinished.

    Args:
        directory: The run directory.

    Returns:
        The encoder, with its batch norm, and its configuration.

    Raises:
        DataError: There is no checkpoint, or it is damaged.
    """
    checkpoint = directory / DISTILLED
    if not checkpoint.exists():
        raise DataError(
            f"{directory}: expected a distilled encoder ({DISTILLED}), found none; run `showtell-train distill`"
        )
    place = read_progress(checkpoint)
    try:
        config = parse_encoder(place["encoder"])
    except (KeyError, ConfigError) as error:
        raise DataError(
            f"{checkpoint}: expected a checkpoint of `distill`, received another; give its directory"
        ) from error
    if place["step"] < place.get("total", 0):
        note(f"{directory}: the encoder is unfinished, {place['step']} of {place['total']} steps")
    student = build_encoder(config)
    load_checkpoint(checkpoint, named_variables(student, "encoder"))
    return student, config
