"""What all commands share: flags, error messages, and the frame of a training run."""

import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import Field, fields, replace
from functools import partial, wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from model.bundle import read_classes
from model.engines.quiet import quiet_import, quiet_tensorflow
from model.errors import CaptionerError
from training.config import DeviceConfig, OptimizerConfig, PipelineConfig, RunConfig
from training.fields import choices_of
from training.presets import DEVICES
from training.provenance import recorded

if TYPE_CHECKING:
    from training.loop.replicas import Replicas
    from training.loop.task import Task

EXISTING = click.Path(exists=True, path_type=Path)
ANY = click.Path(path_type=Path)


class Flag(click.Option):
    """A flag with a default in words, which its help shows as they are."""

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Returns what stands in brackets behind the help's text."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        return extra


option = partial(click.option, cls=Flag, show_default=True)


classes_option = option(
    "--classes",
    type=EXISTING,
    help="Keras's imagenet_class_index.json: photos whose name or folder begins with a WordNet id have that class.",
)


def known_classes(path: Path | None) -> dict[str, int]:
    """Returns the class of each WordNet id in a file of `--classes`; none where there is no file."""
    return {} if path is None else {name.id: label for label, name in enumerate(read_classes(path))}


STOPPED = 130
"""Exit status after Ctrl-C or SIGTERM where work is left, so that a script stops too: that of a shell after Ctrl-C."""


def reported(function: Callable[..., Any]) -> Callable[..., Any]:
    """Prints errors of the project, the disk and missing packages as one line each, and exits with status 1.

    After Ctrl-C the status is `STOPPED`, wherever it came.
    """

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        quiet_tensorflow()
        try:
            with quiet_import(), suppress(ModuleNotFoundError):
                importlib.import_module("tensorflow")  # now, so that it says nothing
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            sys.exit(STOPPED)
        except (CaptionerError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"expected the packages of training, found {error.name} not installed; install them with "
                "`pip install '.[training]'` in the project's directory"
            ) from error

    return run


def command_line() -> list[str]:
    """Returns the words that were typed."""
    return ["showtell-train", *sys.argv[1:]]


C = TypeVar("C")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def chosen(config: C, options: Mapping[str, Any]) -> C:
    """Returns a configuration whose fields are replaced by the options that were given."""
    known = {field.name for field in fields(config)}  # type: ignore[arg-type]
    given = {name: value for name, value in options.items() if name in known and value is not None}
    return replace(config, **given)  # type: ignore[type-var]


def train(
    out: Path,
    options: Mapping[str, Any],
    replicas: "Replicas",
    task: Callable[[], "Task"],
) -> None:
    """Runs a training command: an estimate, or the training itself from its last checkpoint.

    Exits with `STOPPED` where training was stopped before its end.

    Args:
        out: Run directory.
        options: The command's options, including those of `run_flags`.
        replicas: The devices that compute; only the chief writes.
        task: Makes what is trained.
    """
    from training.loop.directory import restart
    from training.loop.estimate import estimate
    from training.loop.run import train_task

    check_out(out, *(options.get(name) for name in ("encoder", "captioner_run", "records")))
    if options["estimate"]:
        click.echo(estimate(task()))
        return
    before = options.get("captioner_run")
    with recorded(out, command_line(), before, "captioner") if replicas.chief else nullcontext():
        trained = task()  # before an earlier run is removed, because it may raise an error
        with replicas.chief_first():
            if not options["resume"] and replicas.chief:
                restart(out)
        complete = train_task(out, trained, chosen(RunConfig(), options))
    sys.exit(0 if complete else STOPPED)


def check_out(out: Path, *inputs: Path | None) -> None:
    """Checks that a run does not write where it reads.

    Raises:
        UsageError: It would.
    """
    if out.resolve() in [path.resolve() for path in inputs if path is not None]:
        raise click.UsageError(f"--out: expected a directory of its own, received an input of the run, {out}")


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


Defaults = Mapping[str, Any]
"""A configuration by the name of its preset, the usual one first."""


def told_defaults(defaults: Defaults, name: str, *, yes: str = "", no: str = "") -> str:
    """Returns a field's default in each preset: the usual one, and others with the names of their presets.

    Args:
        defaults: The configurations.
        name: Name of the field.
        yes: Word for true.
        no: Word for false.
    """
    found = {preset: getattr(config, name) for preset, config in defaults.items()}
    words = {preset: (yes if value else no) if isinstance(value, bool) else value for preset, value in found.items()}
    usual = next(iter(words.values()))
    others: dict[Any, list[str]] = {}
    for preset, value in words.items():
        if value != usual:
            others.setdefault(value, []).append(preset)
    told = [f"{', '.join(presets)}: {value}" for value, presets in others.items()]
    return "; ".join([str(usual) if usual != "" else "none", *told])


def flags(
    config: type, *names: str, defaults: Defaults | None = None, about: Mapping[str, str] = MappingProxyType({})
) -> Decorator:
    """Makes a flag for each field of a configuration that `training.fields.setting` declared.

    Args:
        config: The configuration's class.
        names: Its fields; all if none is named.
        defaults: Configurations whose values are the defaults, where they are not those of the class. They are shown,
            and the option is None where the flag is not given.
        about: Help texts in place of those of the fields.
    """
    known = {field.name: field for field in fields(config) if "about" in field.metadata}
    made = [_flag(known[name], about.get(name), defaults) for name in names or known]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(made):
            function = decorator(function)
        return function

    return decorate


def _flag(field: Field[Any], about: str | None, defaults: Defaults | None) -> Decorator:
    words = (field.metadata["flag"] or field.name).replace("_", "-")
    text = about or field.metadata["about"]
    if field.type is bool and field.default is False and defaults is None:
        return option(f"--{words}", field.name, is_flag=True, help=text)
    spelled = f"--{words}/--no-{words}" if field.type is bool else f"--{words}"
    make = partial(option, spelled, field.name, type=None if field.type is bool else _type_of(field), help=text)
    if defaults is None:
        return make(default=field.default)
    return make(default=None, show_default=told_defaults(defaults, field.name, yes=words, no=f"no-{words}"))


def _type_of(field: Field[Any]) -> Any:
    choices = choices_of(field)
    allowed = field.metadata["allowed"]
    if choices:
        return click.Choice(choices)
    if allowed is None:
        return str
    high = None if math.isinf(allowed.high) else allowed.high
    if field.type is float:
        return click.FloatRange(allowed.low, high, min_open=allowed.low_open, max_open=allowed.high_open)
    return click.IntRange(allowed.low + 1 if allowed.low_open else allowed.low, high)


device_flags = flags(DeviceConfig)


def preset_device_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of `DeviceConfig` to a command with presets, which choose the devices where none are given."""
    others = [field.name for field in fields(DeviceConfig) if field.name != "devices"]
    return flags(DeviceConfig, "devices", defaults=DEVICES)(flags(DeviceConfig, *others)(function))


optimizer_flags = partial(flags, OptimizerConfig)
PIPELINE = ("batch_size", "threads", "shuffle_buffer", "prefetch", "flip", "smallest_crop", "service")
pipeline_flags = partial(flags, PipelineConfig, *PIPELINE)


def again_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--restart` and `--estimate`."""
    estimate = option("--estimate", is_flag=True, help="Print parameters, memory and time per epoch without training.")
    resume = option(
        "--resume/--restart", default=True, help="Continue from the last checkpoint in --out, or start over."
    )
    return resume(estimate(function))


def keras_run_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of `RunConfig` that a distillation heeds and those of `again_flags`."""
    return flags(RunConfig, "checkpoint_steps", "checkpoint_minutes", "summary_steps")(again_flags(function))


def run_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of `RunConfig` and those of `again_flags`."""
    return flags(RunConfig)(again_flags(function))
