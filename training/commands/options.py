"""What every command shares: how options look, how errors are told, and the command line itself."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from model.errors import CaptionerError
from training.config import RunConfig
from training.provenance import recorded

if TYPE_CHECKING:
    from training.loop.replicas import Replicas

EXISTING = click.Path(exists=True, path_type=Path)
ANY = click.Path(path_type=Path)
option = partial(click.option, show_default=True)


def reported(function: Callable[..., Any]) -> Callable[..., Any]:
    """Prints an error of the project or of the disk, or that a package is missing, as one line and exits with 1."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (CaptionerError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"expected what training needs, found the package {error.name} not installed; install all of it with "
                "`pip install '.[training]'` in the project's directory"
            ) from error

    return run


def command_line() -> list[str]:
    """Returns the words that were typed."""
    return ["showtell-train", *sys.argv[1:]]


C = TypeVar("C")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def chosen(config: C, options: Mapping[str, Any]) -> C:
    """Returns a configuration with those of its fields replaced that were given on the command line."""
    known = {field.name for field in fields(config)}  # type: ignore[arg-type]
    given = {name: value for name, value in options.items() if name in known and value is not None}
    return replace(config, **given)  # type: ignore[type-var]


def train(
    out: Path,
    options: Mapping[str, Any],
    replicas: "Replicas",
    task: Callable[[], Any],
    run: Callable[[Path, Any, RunConfig], bool],
) -> None:
    """Runs a training command: an estimate, or the training itself from its last checkpoint.

    Args:
        out: Run directory.
        options: The command's options, those of `run_options` among them.
        replicas: Who computes; the chief alone writes.
        task: Makes what is trained.
        run: Trains it.
    """
    from training.loop.estimate import estimate
    from training.loop.run import restart

    given = [options.get(name) for name in ("encoder", "captioner_run", "records")]
    if out.resolve() in [path.resolve() for path in given if path is not None]:
        raise click.UsageError(f"--out: expected a directory of its own, received an input of the run, {out}")
    if options["estimate"]:
        click.echo(estimate(task()))
        return
    before = options.get("captioner_run")
    with recorded(out, command_line(), after=before) if replicas.chief else nullcontext():
        trained = task()  # before anything of an earlier run is removed
        with replicas.chief_first():
            if not options["resume"] and replicas.chief:
                restart(out)
        run(out, trained, chosen(RunConfig(), options))


def imagenet_file(text: str, replicas: "Replicas") -> Path:
    """Returns the official VGG-19 file: the path given, or that of a download for the word `download`."""
    if text != "download":
        return Path(text)
    from training.data.download import download
    from training.encoder.imagenet import IMAGENET_VGG19

    path = Path("runs") / "vgg19_weights_tf_dim_ordering_tf_kernels.h5"
    with replicas.chief_first():
        download(IMAGENET_VGG19.url, path, checksum=IMAGENET_VGG19.checksum)
    return path


def read_weights(texts: Sequence[str]) -> dict[str, float]:
    """Reads weights of sources given as NAME=NUMBER."""
    weights = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            equals = ""
        if not (name and equals and weights[name] >= 0):
            raise click.BadParameter(f"expected NAME=NUMBER, at least 0, received {text!r}", param_hint="--weight")
    return weights


def _all(*decorators: Decorator) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


device_options = _all(
    option("--devices", default="auto", help="auto, cpu, cpu:N (N logical devices), gpu or gpu:0,1; a replica each."),
    option("--precision", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32", help="Arithmetic."),
    option("--xla", is_flag=True, help="Compile forward and backward pass with XLA."),
    option(
        "--memory-limit-mb", type=click.IntRange(1), help="Most memory taken on each GPU; grows as needed if not given."
    ),
    option("--soft-placement/--no-soft-placement", default=True, help="Run elsewhere what a device lacks."),
    option("--log-placement", is_flag=True, help="Log the device of every operation."),
    option("--worker-timeout-seconds", type=click.IntRange(1), default=120, help="Wait for the workers of TF_CONFIG."),
)
"""Options of `DeviceConfig`."""

run_options = _all(
    option("--checkpoint-steps", type=click.IntRange(1), default=500, help="Steps between two checkpoints."),
    option(
        "--checkpoint-minutes",
        type=click.FloatRange(0, min_open=True),
        default=10.0,
        help="Write one after this long anyway.",
    ),
    option("--keep", type=click.IntRange(1), default=3, help="Checkpoints kept, beside the best."),
    option("--summary-steps", type=click.IntRange(1), default=20, help="Steps between two lines of figures."),
    option(
        "--histogram-steps",
        type=click.IntRange(0),
        default=500,
        help="Steps between two histograms of gradients and variables; 0 for none.",
    ),
    option("--resume/--restart", default=True, help="Go on from the last checkpoint in --out, or begin anew."),
    option("--estimate", is_flag=True, help="Print parameters, memory and time an epoch, and train nothing."),
)
"""Options of `RunConfig`, and what to do with an earlier run."""

optimizer_options = _all(
    option("--optimizer", "name", type=click.Choice(["adam", "sgd"]), help="Algorithm; the preset's where not given."),
    option("--learning-rate", type=float, help="Highest learning rate."),
    option(
        "--schedule",
        type=click.Choice(["cosine", "exponential", "constant"]),
        help="cosine has a warm-up; exponential is a staircase.",
    ),
    option("--warmup", type=click.FloatRange(0, 1, max_open=True), help="Share of the steps in which cosine rises."),
    option("--decay-steps", type=click.IntRange(1), help="Steps on each stair of exponential."),
    option("--decay-rate", type=click.FloatRange(0, 1, min_open=True), help="Factor from stair to stair."),
    option("--momentum", type=click.FloatRange(0, 1, max_open=True), help="Momentum of sgd."),
    option("--weight-decay", type=click.FloatRange(0), help="Weight decay of kernels."),
    option(
        "--average", type=click.FloatRange(0, 1, max_open=True), help="Decay of the average of weights; 0 for none."
    ),
    option("--clip-norm", type=click.FloatRange(0), help="Largest norm of a gradient; 0 for no limit."),
)
"""Options of `OptimizerConfig`; those not given are the preset's."""

pipeline_options = _all(
    option("--batch-size", type=click.IntRange(1), help="Records a step, over all replicas."),
    option("--threads", type=click.IntRange(1), help="Batches decoded at once."),
    option("--shuffle-buffer", type=click.IntRange(1), help="Records among which the next one is drawn."),
    option("--prefetch", type=click.IntRange(1), help="Batches kept ready."),
    option("--flip/--no-flip", default=None, help="Mirror half of the images."),
    option(
        "--smallest-crop",
        type=click.FloatRange(0, 1, min_open=True),
        help="Least share of the area in a random crop; 1 for none.",
    ),
    option("--service", help="tf.data service with one worker that reads and decodes, grpc://host:port."),
)
"""Options of `PipelineConfig`; those not given are the preset's."""
