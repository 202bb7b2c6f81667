"""`showtell-mcp`: offers the captioner to assistants as tools, by the Model Context Protocol on standard input."""

import stat
import threading
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.bundle import DEFAULT_BUNDLE
from model.engines.choice import ENGINES, EngineName
from model.errors import CaptionerError, ImageError
from model.formats.known import FORMATS_IN_WORDS
from model.image import read_image
from model.library.photos import MAX_FILE_BYTES

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from model.captioner import Captioner, Prediction

CLASSES = 5
"""Number of classes in an answer."""

_CAPTION = (
    "Describes a photo in one plain sentence, by a small network on this machine that was trained on everyday "
    "scenes: it is often right about the scene and often wrong about details, and reads no text."
)
_CLASSIFY = (
    f"Names what is in a photo: the {CLASSES} most probable of ImageNet's classes, each with its probability from 0 to "
    "1, most probable first."
)
_PATH = f"path: an image file on this machine ({FORMATS_IN_WORDS}), absolute or beginning with ~."


@dataclass(frozen=True, slots=True)
class SeenClass:
    """One class of a photo: its label, and its probability in [0, 1]."""

    label: str
    probability: float


class PhotoTools:
    """The tools, as plain functions of a path. The captioner is loaded when the first of them is called.

    Args:
        bundle: Directory of the bundle.
        engine: Runs the model.
    """

    def __init__(self, bundle: Path, engine: EngineName) -> None:
        self._bundle = bundle
        self._engine = engine
        self._lock = threading.Lock()

    def caption_image(self, path: str) -> str:
        """Returns the best caption of a photo.

        Raises:
            CaptionerError: The file cannot be read as a photo, or the bundle cannot be loaded.
        """
        return self._predict(path, classes=0).captions[0].text

    def classify_image(self, path: str) -> list[SeenClass]:
        """Returns the most probable classes of a photo.

        Raises:
            CaptionerError: As `caption_image`.
        """
        found = self._predict(path, classes=CLASSES).classes
        return [SeenClass(item.label.replace("_", " "), round(item.probability, 4)) for item in found]

    def _predict(self, path: str, classes: int) -> "Prediction":
        pixels = read_image(_read_file(path)).pixels
        # Tools are called in several threads, but a captioner allows one caller at a time.
        with self._lock:
            return self._captioner.predict(pixels[None], classes=classes)[0]

    @cached_property
    def _captioner(self) -> "Captioner":
        # Imported here: the engine takes seconds to load, and a client lists tools without it.
        from model.captioner import Captioner

        return Captioner.load(self._bundle, engine=self._engine)


def mcp_server(tools: PhotoTools) -> "MCPServer":
    """Returns an MCP server with the tools. Their errors reach the client as text."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ToolAnnotations

    offered = MCPServer("show-and-tell", version=version("show-and-tell-server"), log_level="WARNING")
    reads_only = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    @offered.tool(description=f"{_CAPTION} {_PATH}", annotations=reads_only)
    def caption_image(path: str) -> str:
        try:
            return tools.caption_image(path)
        except CaptionerError as error:
            raise ToolError(str(error)) from error

    @offered.tool(description=f"{_CLASSIFY} {_PATH}", annotations=reads_only)
    def classify_image(path: str) -> list[SeenClass]:
        try:
            return tools.classify_image(path)
        except CaptionerError as error:
            raise ToolError(str(error)) from error

    return offered


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    default=DEFAULT_BUNDLE,
    help="Bundle to use. Default: the one that comes with the project.",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="Engine that runs the model; auto takes the fastest on this machine.",
)
def main(bundle: Path, engine: EngineName) -> None:
    """Serves the tools caption_image(path) and classify_image(path) to an MCP client.

    The client starts this command and speaks with it over standard input and output. Its configuration:

    \b
      {"mcpServers": {"show-and-tell": {"command": "showtell-mcp"}}}
    """  # noqa: D301 - \b tells click not to wrap
    try:
        offered = mcp_server(PhotoTools(bundle, engine))
    except ModuleNotFoundError as error:
        needed = "expected the MCP SDK, found none; install it with: pip install 'show-and-tell-server[mcp]'"
        raise click.ClickException(needed) from error
    offered.run("stdio")


def _read_file(path: str) -> bytes:
    """Returns the bytes of an image file; a device or a pipe, which may never end, is refused."""
    advice = "give the path of an image file on this machine"
    try:
        file = Path(path).expanduser()
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{path[:200]}: expected a file, received a folder or a device; {advice}")
        if found.st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"{path[:200]}: expected at most {MAX_FILE_BYTES} bytes, received {found.st_size}; make it smaller"
            )
        return file.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError(f"{path[:200]}: expected a file that can be read, received: {reason}; {advice}") from error


if __name__ == "__main__":
    main()
