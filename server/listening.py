"""Opens the sockets that the server listens on: TCP of one or of both families, or a Unix socket."""

import contextlib
import socket
import stat
from pathlib import Path

from model.errors import ConfigError
from server.settings import ServerSettings

UNIX = "unix:"
"""Prefix of a host that is the path of a Unix socket."""

_BACKLOG = 2048


def listen(settings: ServerSettings) -> tuple[socket.socket, socket.socket | None]:
    """Returns the bound sockets for requests and, if there is an admin port, for probes.

    They are bound here because gunicorn would try five times before it reports a port in use.

    Raises:
        ConfigError: An address cannot be bound.
    """
    host = settings.host
    if not host.startswith(UNIX):
        admin = _tcp(host, settings.admin_port) if settings.admin_port else None
        return _tcp(host, settings.port), admin
    if settings.admin_port:
        raise ConfigError(
            f"admin_port: expected 0 with a Unix socket, received {settings.admin_port}; probes and metrics are on the "
            "socket, or choose an address with --host"
        )
    return _unix(Path(host.removeprefix(UNIX))), None


def invitation(settings: ServerSettings, listener: socket.socket) -> str:
    """Returns where the server listens, in words: an address for a browser on this machine, or a Unix socket's path."""
    host = settings.host
    if host.startswith(UNIX):
        return f"listening on {host}"
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"open http://{name}:{listener.getsockname()[1]}{settings.root_path.rstrip('/')}/"


def _tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        # Python's message already names the address.
        raise _taken(error, "choose with --host, --port and --admin-port") from error


def _unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        _remove_left_behind(path)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _taken(error, f"{path} must be a new file in a directory that is there, or choose with --host") from error
    return listener


def _taken(error: OSError, advice: str) -> ConfigError:
    return ConfigError(f"expected a free address to listen on, received {error.strerror or error}; {advice}")


def _remove_left_behind(path: Path) -> None:
    """Removes a Unix socket that a killed server has left behind; one that still accepts connections stays."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(ConnectionRefusedError):
        client.settimeout(1)
        client.connect(str(path))
        return
    path.unlink()
