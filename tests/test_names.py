"""Names given in Python: one that does not exist is an error that tells those that do, never another one's doing."""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import model
import server
import training
from model.bundle import DEFAULT_BUNDLE, load_bundle
from model.captioner import Captioner
from model.engines.choice import Machine, choose_engine
from model.engines.tensorflow import TensorFlowEngine
from model.errors import ConfigError, LibraryError
from model.library.request import Request
from model.scripts import gaps, join
from server.logs import configure_logs
from training.data.language import DEFAULT_LANGUAGE, find_language, tokenizer_of
from training.data.photo_cache import fill
from training.provenance import read_runs, recorded
from training.scoring.captions import caption_scores, choose_tokenizer

BARE = Machine(has_gpu=False, cpu_flags=frozenset())
WORDS = ["a", "dog"]
TEXTS = {"a.jpg": "a dog"}


def _chosen(engine: Any, precision: Any) -> None:
    choose_engine(engine, precision, has_lite_files=True, machine=BARE)


CASES: dict[str, tuple[Callable[[Path, Any], object], str]] = {
    "Captioner.load engine": (
        lambda _, name: Captioner.load(DEFAULT_BUNDLE, engine=name),
        "engine: expected auto, litert or tensorflow",
    ),
    "Captioner.load precision": (
        lambda _, name: Captioner.load(DEFAULT_BUNDLE, precision=name),
        "precision: expected float32, bfloat16 or float16",
    ),
    "choose_engine engine": (lambda _, name: _chosen(name, "float32"), "engine: expected auto, litert or tensorflow"),
    "choose_engine precision": (
        lambda _, name: _chosen("litert", name),
        "precision: expected float32, bfloat16 or float16",
    ),
    "TensorFlowEngine.of precision": (
        lambda _, name: TensorFlowEngine.of(load_bundle(DEFAULT_BUNDLE), name),
        "precision: expected float32, bfloat16 or float16",
    ),
    "gaps segmentation": (lambda _, name: gaps(WORDS, name), "segmentation: expected spaces or icu"),
    "join segmentation": (lambda _, name: join(WORDS, name), "segmentation: expected spaces or icu"),
    "tokenizer_of segmentation": (lambda _, name: tokenizer_of(name), "segmentation: expected spaces or icu"),
    "find_language segmentation": (
        lambda _, name: find_language(["a dog"], segmentation=name),
        "segmentation: expected spaces or icu",
    ),
    "fill views": (
        lambda path, name: fill(path / "cache", "a network", {}, lambda _images: {}, [], (name,)),
        "view: expected whole or mirrored",
    ),
    "read_runs part": (read_runs, "part: expected encoder or captioner"),
    "recorded part": (
        lambda path, name: recorded(path / "run", ["one"], part=name).__enter__(),
        "part: expected encoder or captioner",
    ),
    "configure_logs log_format": (
        lambda _, name: configure_logs(name),
        "log_format: expected auto, json or text",
    ),
    "choose_tokenizer wanted": (
        lambda _, name: choose_tokenizer(name, DEFAULT_LANGUAGE),
        "tokenizer: expected ptb or showtell",
    ),
    "caption_scores tokenizer": (
        lambda _, name: caption_scores({"a.jpg": ["a dog"]}, TEXTS, tokenizer=name),
        "tokenizer: expected ptb or showtell",
    ),
}
"""A call with a name by its function and parameter, and what the error begins with."""

ELSEWHERE = {
    "PhotoCache.read view": "a view that is not there is a DataError",
    "cache_maps views": "handed to `fill`",
    "encode_maps views": "handed to `PhotoCache.read`",
    "greedy_captions segmentation": "handed to `join`",
    "language_of segmentation": "compared with that of the records",
    "stage part": "handed to `read_runs`",
    "shape_of kind": "read from JSON, whose names msgspec checks",
}
"""Functions that take names and check them elsewhere."""


@pytest.mark.parametrize("case", CASES)
def test_an_unknown_name_is_an_error_that_tells_the_known_ones(tmp_path: Path, case: str) -> None:
    call, expected = CASES[case]
    with pytest.raises(ConfigError) as error:
        call(tmp_path, "cpu")
    assert str(error.value) == f"{expected}, received 'cpu'"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_of_file_to_write_is_an_error() -> None:
    expected = "--write: expected some of json, txt, xmp, csv, jsonl, parquet, received 'yaml'"
    with pytest.raises(LibraryError, match=expected):
        Request(photos=("photos",), write=("txt", "yaml"), max_pixels=1)


def test_every_public_function_that_takes_such_a_name_is_in_the_table() -> None:
    found = {name for package in (model, server, training) for name in _taking_names(package.__path__, package)}
    known = {case for case in CASES if not case.endswith((" wanted", " tokenizer"))}
    assert found == known | ELSEWHERE.keys()


def _taking_names(path: Any, package: Any) -> Iterator[str]:
    for entry in pkgutil.walk_packages(path, f"{package.__name__}."):
        if "on_ray" not in entry.name:  # Ray is an extra
            for name, function in _functions(importlib.import_module(entry.name)):
                hints = inspect.get_annotations(function)
                yield from (f"{name} {key}" for key, hint in hints.items() if key != "return" and _names(hint))


def _functions(module: Any) -> Iterator[tuple[str, Any]]:
    """Yields the public functions and methods that a module defines."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            for key, member in vars(value).items():
                function = getattr(member, "__func__", member)
                if inspect.isfunction(function) and not key.startswith("_"):
                    yield f"{name}.{key}", function


def _names(hint: Any) -> bool:
    """Returns whether a type is of a few names, or holds such a type."""
    return typing.get_origin(hint) is Literal or any(map(_names, typing.get_args(hint)))
