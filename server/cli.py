"""`showtell-serve`: checks settings, bundle and address, then serves."""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from model.engines.choice import choose_engine
from model.errors import BundleError, ConfigError
from server.access import read_keys
from server.connections import within_open_files
from server.listening import invitation, listen
from server.loading import VerifiedBundle
from server.logs import configure_logs
from server.replicas import check_replicas
from server.setting_values import accepted, default_of, flag_of, variable_of
from server.settings import ServerSettings
from server.wsgi import GunicornServer

F = TypeVar("F", bound=Callable[..., Any])


def _setting_options(command: F) -> F:
    """Adds one option per setting: the table in server/settings.py is the only one."""
    for item in reversed(dataclasses.fields(ServerSettings)):
        if item.metadata["secret"]:
            continue
        notes = f"[{accepted(item)}; default {default_of(item)}; environment {variable_of(item.name)}]"
        kind = "NUMBER" if item.type in (int, float) else "TEXT"
        command = click.option(flag_of(item.name), metavar=kind, help=f"{item.metadata['about']}  {notes}")(command)
    return command


@click.command(context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
@_setting_options
def main(**flags: str | None) -> None:
    """Serves image captions over HTTP, with a demo page at /.

    \b
    Examples:
      showtell-serve
      showtell-serve --port 8123 --bundle my-bundle
      showtell-serve --engine tensorflow --precision bfloat16
      SHOWTELL_HOST=0.0.0.0 showtell-serve
      showtell-serve --host unix:/run/showtell/socket --root-path /caption
      curl -F image=@photo.jpg http://127.0.0.1:8000/v1/predict
    """  # noqa: D301 - \b tells click not to wrap
    try:
        settings = ServerSettings.from_strings(os.environ, flags)
        configure_logs(settings.log_format)
        # Read once: a later worker must not depend on what has become of the file.
        settings = dataclasses.replace(settings, api_key=read_keys(settings), api_key_file=None)
        verified = VerifiedBundle.at(settings.bundle)
        engine = choose_engine(settings.engine, settings.precision, has_lite_files=verified.info.has_lite_files)
        check_replicas(engine, settings.replicas)
        settings = within_open_files(settings)
        listener, admin = listen(settings)
    except (ConfigError, BundleError) as error:
        raise click.ClickException(str(error)) from error
    ready = f"Ready: {invitation(settings, listener)} (Ctrl-C stops)"
    GunicornServer(settings, listener, lambda: _say(ready), admin, verified).run()


def _say(text: str) -> None:
    """Writes a line to standard output; a full or closed one is ignored, now and at exit."""
    with contextlib.suppress(OSError):
        os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    main()
