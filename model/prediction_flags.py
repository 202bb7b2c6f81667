"""Flags of command lines for the captioner, and for what it predicts for each photo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from model.bundle import DEFAULT_BUNDLE
from model.config import MAX_BEAM_SIZE, MAX_CLASSES
from model.engines.choice import ENGINES
from model.image import MAX_PIXELS
from model.search_flags import search_flags

max_pixels_flag = click.option(
    "--max-pixels",
    type=click.IntRange(1, 2**31),
    default=MAX_PIXELS,
    show_default=True,
    help="Largest width times height of a photo.",
)


def prediction_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the flags for the bundle, the engine, how many captions and classes there are, and the search."""
    for flag in reversed(_FLAGS):
        function = flag(function)
    return function


_FLAGS = (
    click.option(
        "--bundle",
        type=click.Path(path_type=Path),
        default=DEFAULT_BUNDLE,
        help="Bundle to use. Default: the one that comes with the project.",
    ),
    click.option(
        "--captions", type=click.IntRange(1, MAX_BEAM_SIZE), default=1, show_default=True, help="Captions per photo."
    ),
    click.option(
        "--beam-size",
        type=click.IntRange(1, MAX_BEAM_SIZE),
        help="Hypotheses that the search keeps. Default: the bundle's, or --captions if that is more.",
    ),
    click.option(
        "--classes", type=click.IntRange(0, MAX_CLASSES), default=3, show_default=True, help="Classes per photo."
    ),
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default="auto",
        show_default=True,
        help="Engine that runs the model; auto takes the fastest on this machine.",
    ),
    search_flags("beam_size"),
)
