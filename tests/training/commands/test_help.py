"""What the help of each command says, and which flags do not go together."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from training.cli import main


def commands(group: click.Group = main, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yields every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


ALL = dict(commands())


def helped(*words: str) -> str:
    """Returns a help's text on one line."""
    # As wide as any of its texts, because click wraps at hyphens too.
    result = CliRunner().invoke(main, [*words, "--help"], terminal_width=10_000)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_number_choice_and_switch_has_its_default_in_the_help(words: tuple[str, ...]) -> None:
    command = ALL[words]
    context = click.Context(command, info_name=words[-1])
    lacking = []
    for option in command.params:
        record = option.get_help_record(context)
        is_value = isinstance(option.type, click.types.IntParamType | click.types.FloatParamType | click.Choice)
        is_pair = isinstance(option, click.Option) and bool(option.secondary_opts)
        if record is None or option.required or option.multiple or not (is_value or is_pair):
            continue
        if "default" not in record[1].lower():
            lacking.append(record)
    assert lacking == []


@pytest.mark.parametrize("words", [(), ("prepare",)])
def test_the_list_of_commands_has_their_first_sentences_whole(words: tuple[str, ...]) -> None:
    told = helped(*words)
    assert "..." not in told.partition("Commands:")[2]
    group = main
    for word in words:
        (group,) = [command for name, command in group.commands.items() if name == word]  # type: ignore[assignment]
    for name, command in group.commands.items():
        assert f"{name} {command.get_short_help_str(1000)}" in told


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_a_preset_is_mentioned_where_there_is_one(words: tuple[str, ...]) -> None:
    assert ("preset" in helped(*words)) == any(option.name == "preset" for option in ALL[words].params)


def test_defaults_that_a_preset_changes_are_shown_with_its_name() -> None:
    told = helped("captioner")
    assert "[default: 128; original, paper: 32; x>=1]" in told
    assert "[default: image-once; vgg19: image-every-step]" in told
    assert "[default: auto; original: cpu:4]" in told
    assert "its default is 32; original, paper: 5." in told
    assert "[default: flip; original, paper: no-flip]" in helped("classifier")
    assert "[default: adam; paper: sgd]" in helped("classifier")


def test_the_exit_statuses_are_told() -> None:
    assert "130 after such a stop" in helped()


NEEDED = ("--records", ".", "--encoder", ".", "--out", "run")
TRAINED = (*NEEDED, "--captioner", ".")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("captioner", *NEEDED, "--momentum", "0.5"), "--momentum: expected --optimizer sgd with it"),
        (("captioner", *NEEDED, "--preset", "paper", "--warmup", "0.1"), "--warmup: expected --schedule cosine"),
        (("captioner", *NEEDED, "--decay-steps", "5"), "--decay-steps: expected --schedule exponential"),
        (("captioner", *NEEDED, "--negative-samples", "5"), "--negative-samples: expected --loss sampled"),
        (("captioner", *NEEDED, "--together", "--weight", "a=1"), "--weight: expected no --together"),
        (("captioner", *NEEDED, "--together", "--start-from", "."), "--start-from: expected no --together"),
        (("captioner", *NEEDED, "--together", "--maps", "."), "--maps: expected no --together"),
        (("self-critical", *TRAINED, "--decay-rate", "0.5"), "--decay-rate: expected --schedule exponential"),
        (("finetune", *TRAINED, "--maps", ".", "--smallest-crop", "0.5"), "--smallest-crop: expected no --maps"),
        (("finetune", *TRAINED, "--class-weight", "0.5"), "--class-weight: expected --answers"),
        (
            ("classifier", "--records", ".", "--out", "run", "--imagenet", "file.h5"),
            "--imagenet: expected --preset paper with it, which alone has the network and the input of that file",
        ),
    ],
)
def test_a_flag_that_would_change_nothing_is_refused(words: tuple[str, ...], told: str) -> None:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 2
    assert told in result.output
