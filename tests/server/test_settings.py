"""Settings from the environment and from flags, and the command that uses them before it serves."""

import dataclasses
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from model.errors import ConfigError
from server.cli import main
from server.setting_values import flag_of, variable_of
from server.settings import ServerSettings


def test_nothing_given_means_the_documented_defaults() -> None:
    settings = ServerSettings.from_strings({}, {})
    assert settings == ServerSettings()
    assert (settings.host, settings.port, settings.threads) == ("127.0.0.1", 8000, 96)
    assert (settings.max_body_bytes, settings.max_pixels, settings.max_images) == (10 * 1024**2, 50_000_000, 16)
    assert settings.deadline_seconds == 10
    assert settings.threads >= settings.max_waiting + settings.max_batch + 16, "some are left to refuse and to probe"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("host", "::1", "::1"),
        ("port", "0", 0),
        ("bundle", "some/where", Path("some/where")),
        ("max_body_bytes", "2048", 2048),
        ("max_pixels", "1000000", 1_000_000),
        ("max_images", "1", 1),
        ("engine", "tensorflow", "tensorflow"),
        ("precision", "bfloat16", "bfloat16"),
        ("max_waiting", "3", 3),
        ("max_batch", "4", 4),
        ("max_wait_seconds", "0.01", 0.01),
        ("deadline_seconds", "2.5", 2.5),
        ("threads", "8", 8),
        ("host", "unix:/run/showtell.sock", "unix:/run/showtell.sock"),
        ("keepalive_seconds", "5", 5.0),
        ("root_path", "/a/b-c", "/a/b-c"),
        ("forwarded_prefix", "trust", "trust"),
        ("protocols", "openai, none", ("openai", "none")),
    ],
)
def test_a_variable_sets_a_setting_and_a_flag_wins_over_it(name: str, text: str, value: object) -> None:
    assert getattr(ServerSettings.from_strings({variable_of(name): text}, {name: None}), name) == value
    assert getattr(ServerSettings.from_strings({variable_of(name): "nonsense"}, {name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("host", " ", "an address, or unix: and a path"),
        ("host", "unix:", "an address, or unix: and a path"),
        ("keepalive_seconds", "0", "a number from 1 to 3600"),
        ("root_path", "caption", "/ or a path such as /caption, without a slash at its end"),
        ("root_path", "/caption/", "/ or a path such as /caption, without a slash at its end"),
        ("root_path", "/a//b", "/ or a path such as /caption, without a slash at its end"),
        ("root_path", "/a/..", "/ or a path such as /caption, without a slash at its end"),
        ("forwarded_prefix", "yes", "ignore, trust"),
        ("port", "65536", "a whole number from 0 to 65535"),
        ("port", "http", "a whole number from 0 to 65535"),
        ("port", "80.5", "a whole number from 0 to 65535"),
        ("bundle", "", "some text"),
        ("max_images", "0", "a whole number from 1 to 256"),
        ("deadline_seconds", "nan", "a number from 0.05 to 3600"),
        ("deadline_seconds", "inf", "a number from 0.05 to 3600"),
        ("threads", "1", "a whole number from 2 to 1000"),
        ("engine", "torch", "auto, litert, tensorflow"),
        ("precision", "int4", "float32, bfloat16, float16"),
        ("max_wait_seconds", "2", "a number from 0 to 1"),
        ("protocols", "grpc", "some of openai, ollama, max, open-inference, tf-serving, none"),
        ("protocols", "", "some of openai, ollama, max, open-inference, tf-serving, none"),
    ],
)
def test_a_bad_value_names_its_variable_or_flag_with_range_and_value(name: str, text: str, expected: str) -> None:
    for environment, flags, source in (
        ({variable_of(name): text}, {}, variable_of(name)),
        ({}, {name: text}, flag_of(name)),
    ):
        with pytest.raises(ConfigError) as caught:
            ServerSettings.from_strings(environment, flags)
        message = str(caught.value)
        assert message.startswith(f"{source}: expected {expected}, received ")
        assert text in message


def test_a_bad_value_in_code_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="max_pixels: expected"):
        ServerSettings(max_pixels=0)


def test_help_shows_every_setting_with_its_variable() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "Examples:" in result.output
    for item in dataclasses.fields(ServerSettings):
        assert flag_of(item.name) in result.output
        assert variable_of(item.name) in result.output


def test_a_missing_bundle_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--bundle", str(tmp_path / "none"), "--port", "0"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1


def test_a_damaged_bundle_is_one_clear_line(toy_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "damaged"
    copy.mkdir()
    for file in toy_bundle.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "vocabulary.txt").write_text("other words\n")
    result = CliRunner().invoke(main, ["--bundle", str(copy), "--port", "0"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "vocabulary.txt" in result.output


def test_a_port_in_use_is_one_clear_line_at_once(toy_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["--bundle", str(toy_bundle), "--port", port])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "in use" in result.output
    assert port in result.output
