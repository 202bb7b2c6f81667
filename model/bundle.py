"""The bundle: the one artifact that training writes and that the command line and the server restore.

A directory of plain files, nothing executable. Reading needs neither Keras nor TensorFlow.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np

from model.atomic import atomic_directory
from model.blocks import BLOCKS
from model.config import IMAGE_PIXELS, CaptionerConfig, DecoderConfig, EncoderConfig
from model.errors import BundleError, ConfigError, VocabularyError
from model.familiarity import FAMILIARITY, Familiarity
from model.manifest import MANIFEST, verify_manifest, write_manifest
from model.tensors import Int8Kernel, Weights, read_tensors, write_tensors
from model.vocabulary import Vocabulary

DEFAULT_BUNDLE = Path(__file__).parent / "bundles" / "default"
"""The bundle that comes with the project."""

CONFIG = "config.json"
VOCABULARY = "vocabulary.txt"
CLASSES = "classes.json"
WEIGHTS = "weights.safetensors"
LITE_ENCODER = "encoder.tflite"
LITE_DECODER = "decoder.tflite"
REQUIRED = frozenset({CONFIG, VOCABULARY, CLASSES, WEIGHTS})
LITE_FILES = frozenset({LITE_ENCODER, LITE_DECODER})
"""Files of the CPU engine: both are there or neither."""


class ClassName(NamedTuple):
    """One class of the encoder: an id, such as WordNet's, and a label for people."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that a captioner is restored from.

    Attributes:
        config: Architecture, search defaults, provenance, scores.
        vocabulary: Words of the decoder, V of them.
        classes: Names of the encoder's classes, C of them, in output order.
        weights: Tensors by `encoder/layer/variable` and `decoder/layer/variable`, float16 or float32.
    """

    config: CaptionerConfig
    vocabulary: Vocabulary
    classes: tuple[ClassName, ...]
    weights: Weights


class BundleInfo(NamedTuple):
    """The description of a verified bundle: everything but its weights.

    Attributes:
        config: As in `Bundle`.
        vocabulary: As in `Bundle`.
        classes: As in `Bundle`.
        has_lite_files: Whether the files of the CPU engine are among its files, verified.
        familiarity: Tells photos unlike those of training; None if the bundle cannot.
    """

    config: CaptionerConfig
    vocabulary: Vocabulary
    classes: tuple[ClassName, ...]
    has_lite_files: bool
    familiarity: Familiarity | None

    @classmethod
    def from_bundle(cls, path: Path) -> Self:
        """Checks that a bundle is complete and undamaged without loading its weights.

        Args:
            path: The bundle's directory.

        Returns:
            Its description.

        Raises:
            BundleError: A file is missing, has another size or hash than the manifest says, or the parts disagree.
        """
        names = verify_manifest(path, REQUIRED)
        if len(names & LITE_FILES) == 1:
            raise BundleError(f"{path}: expected both {LITE_ENCODER} and {LITE_DECODER} or neither; export it again")
        config, vocabulary, classes = _read_texts(path)
        _check_agreement(config, len(vocabulary), len(classes), str(path))
        units = config.encoder.feature_units
        familiarity = Familiarity.read(path / FAMILIARITY, units) if FAMILIARITY in names else None
        return cls(config, vocabulary, classes, bool(names & LITE_FILES), familiarity)


def save_bundle(
    path: Path, bundle: Bundle, lite_files: Mapping[str, bytes] = MappingProxyType({}),
    kernels: Mapping[str, Int8Kernel] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Writes a bundle atomically: it appears whole, or what was there before stays.

    Args:
        path: Directory to create or replace.
        bundle: What to write; weights are stored with the dtype they have.
        lite_files: Contents of the CPU engine's two files by name; empty for a bundle without them.
        kernels: Those of the weights that are int8 numbers in these files; see `model.tensors`.

    Raises:
        BundleError: The parts do not agree with each other, or `path` holds something that is not a bundle.
    """
    if path.exists() and not _is_replaceable(path):
        raise BundleError(f"{path}: expected a bundle or nothing to replace, found something else; choose another path")
    _check_agreement(bundle.config, len(bundle.vocabulary), len(bundle.classes), "the bundle to save")
    _check_weights(weight_shapes(bundle.config), bundle.weights, "the bundle to save")
    with atomic_directory(path) as directory:
        (directory / CONFIG).write_text(bundle.config.to_json())
        bundle.vocabulary.save(directory / VOCABULARY)
        write_classes(directory / CLASSES, bundle.classes)
        write_tensors(directory / WEIGHTS, bundle.weights, kernels, lite_files)
        for name, content in lite_files.items():
            (directory / name).write_bytes(content)
        for file in directory.iterdir():
            file.chmod(0o644)
        write_manifest(directory)


def load_bundle(path: Path, info: BundleInfo | None = None) -> Bundle:
    """Reads and verifies a bundle: hashes, names, shapes and types of all tensors, and that every number is finite.

    Args:
        path: The bundle's directory.
        info: Result of `BundleInfo.from_bundle` a moment ago, so that no file is hashed twice; None to verify now.

    Returns:
        The bundle, with its weights in memory.

    Raises:
        BundleError: A part is missing, damaged or does not fit the others; the message says which, and what to do.
    """
    config, vocabulary, classes, has_lite_files, _ = BundleInfo.from_bundle(path) if info is None else info
    shapes = weight_shapes(config)
    weights = read_tensors(path / WEIGHTS, shapes, LITE_FILES if has_lite_files else ())
    _check_weights(shapes, weights, str(path / WEIGHTS))
    return Bundle(config, vocabulary, classes, weights)


def load_weights(path: Path, config: CaptionerConfig, is_wanted: Callable[[str], bool]) -> Weights:
    """Reads some of the tensors of a bundle whose manifest was verified, as `load_bundle` reads all.

    Args:
        path: The bundle's directory.
        config: The bundle's.
        is_wanted: Returns whether the tensor of a name is read.

    Returns:
        Those tensors, by their names.

    Raises:
        BundleError: One is missing, damaged or of another shape than `config` says.
    """
    shapes = {name: shape for name, shape in weight_shapes(config).items() if is_wanted(name)}
    weights = read_tensors(path / WEIGHTS, shapes, LITE_FILES, is_wanted)
    _check_weights(shapes, weights, str(path / WEIGHTS))
    return weights


def weight_shapes(config: CaptionerConfig) -> dict[str, tuple[int, ...]]:
    """Returns the name and shape of every tensor that a bundle of this configuration holds."""
    encoder = {f"encoder/{name}": shape for name, shape in _encoder_shapes(config.encoder)}
    decoder = {
        f"decoder/{name}": shape for name, shape in _decoder_shapes(config.decoder, config.encoder.feature_units)
    }
    return encoder | decoder


def _encoder_shapes(config: EncoderConfig) -> Iterable[tuple[str, tuple[int, ...]]]:
    inputs = 3
    side = IMAGE_PIXELS // config.input_pooling
    for block, width in zip(BLOCKS, config.widths, strict=True):
        channels = block.scaled(width)
        for index in range(1, block.convolutions + 1):
            yield f"{block.name}_conv{index}/kernel", (3, 3, inputs, channels)
            yield f"{block.name}_conv{index}/bias", (channels,)
            inputs = channels
        side //= 2
    inputs *= side * side if config.pooling == "flatten" else 1
    for name, units in (("fc1", config.fc_units), ("fc2", config.fc_units), ("predictions", config.classes)):
        yield f"{name}/kernel", (inputs, units)
        yield f"{name}/bias", (units,)
        inputs = units


def _decoder_shapes(config: DecoderConfig, feature_units: int) -> Iterable[tuple[str, tuple[int, ...]]]:
    inputs = config.input_units
    units = config.units
    embedding = config.embedding_units
    yield "embedding/embeddings", (config.vocabulary_size, embedding)
    if config.project_features:
        yield "projection/kernel", (feature_units, embedding)
        yield "projection/bias", (embedding,)
    for index in range(1, config.layers + 1):
        yield f"gru_{index}/kernel", (inputs, 3 * units)
        yield f"gru_{index}/recurrent_kernel", (units, 3 * units)
        yield f"gru_{index}/bias", (2, 3 * units)
        inputs = units
    if config.tied_embeddings:
        yield "bottleneck/kernel", (units, embedding)
        yield "bottleneck/bias", (embedding,)
    else:
        yield "output/kernel", (units, config.vocabulary_size)
    yield "output/bias", (config.vocabulary_size,)


def _is_replaceable(path: Path) -> bool:
    """Returns whether a directory is empty or holds a bundle and nothing else; `manifest.json` alone is no bundle."""
    if not path.is_dir():
        return False
    names = {file.name for file in path.iterdir()}
    return not names or (MANIFEST in names and names <= REQUIRED | LITE_FILES | {MANIFEST})


def _read_texts(path: Path) -> tuple[CaptionerConfig, Vocabulary, tuple[ClassName, ...]]:
    try:
        config = CaptionerConfig.from_json((path / CONFIG).read_text(encoding="utf-8"))
        vocabulary = Vocabulary.load(path / VOCABULARY)
        return config, vocabulary, read_classes(path / CLASSES)
    except UnicodeDecodeError as error:
        raise BundleError(f"{path / CONFIG}: expected UTF-8 text, received other bytes; export it again") from error
    except (ConfigError, VocabularyError) as error:
        raise BundleError(f"{path}: {error}") from error


def write_classes(path: Path, classes: Iterable[ClassName]) -> None:
    """Writes the ids and labels of classes, in output order."""
    entries = [{"id": name.id, "label": name.label} for name in classes]
    path.write_text(json.dumps(entries, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


def read_classes(path: Path) -> tuple[ClassName, ...]:
    """Reads class names from `[{"id": …, "label": …}, …]` or Keras's `{"0": ["n01440764", "tench"], …}`.

    Raises:
        BundleError: The file has neither form.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(entries, dict):
            entries = [entries[str(index)] for index in range(len(entries))]
        return tuple(_class_name(entry) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(
            f'{path}: expected a list of {{"id", "label"}} in output order, received something else'
        ) from error


def _class_name(entry: object) -> ClassName:
    match entry:
        case [str(identifier), str(label)] | {"id": str(identifier), "label": str(label)}:
            return ClassName(identifier, label)
        case _:
            raise ValueError("neither a pair nor an object of id and label")


def _check_agreement(config: CaptionerConfig, words: int, classes: int, where: str) -> None:
    if words != config.decoder.vocabulary_size:
        raise BundleError(
            f"{where}: expected {config.decoder.vocabulary_size} words as {CONFIG} says, found {words} in {VOCABULARY}"
        )
    if classes != config.encoder.classes:
        raise BundleError(
            f"{where}: expected {config.encoder.classes} classes as {CONFIG} says, found {classes} in {CLASSES}"
        )
    if config.encoder.batch_norm or config.encoder.residual:
        raise BundleError(f"{where}: expected an encoder with batch norm and residual branches folded; export it again")


def _check_weights(expected: Mapping[str, tuple[int, ...]], weights: Weights, where: str) -> None:
    for name in sorted(expected.keys() ^ weights.keys()):
        problem = "found none" if name in expected else "which this architecture lacks"
        raise BundleError(f"{where}: expected the tensors of {CONFIG}; {name}: {problem}; export the bundle again")
    for name, shape in expected.items():
        value = weights[name]
        if value.shape != shape:
            raise BundleError(f"{where}: {name}: expected shape {shape}, found {value.shape}; export the bundle again")
        if value.dtype not in (np.float16, np.float32):
            raise BundleError(f"{where}: {name}: expected float16 or float32, found {value.dtype}; convert it")
        if not np.isfinite(value).all():
            raise BundleError(f"{where}: {name}: expected finite numbers, found NaN or infinity; export it again")
