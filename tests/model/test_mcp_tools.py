"""`showtell-mcp`, asked by the client of the protocol's own SDK over standard input and output."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from model.bundle import DEFAULT_BUNDLE
from model.captioner import Captioner
from model.formats.known import FORMATS_IN_WORDS
from model.image import read_image
from model.mcp_tools import CLASSES, PhotoTools, main

mcp = pytest.importorskip("mcp", reason="the MCP SDK is not installed")

ROOT = Path(__file__).parent.parent.parent


def asked(question: Callable[[Any], Awaitable[Any]], *flags: str | Path) -> Any:
    """Returns what a question finds out with a client of a new `showtell-mcp`."""
    command = ["-m", "model.mcp_tools", *map(str, flags)]
    parameters = mcp.StdioServerParameters(command=sys.executable, args=command, cwd=ROOT, env=dict(os.environ))

    async def ask() -> Any:
        async with mcp.Client(mcp.stdio_client(parameters)) as client:
            return await question(client)

    return asyncio.run(asyncio.wait_for(ask(), 120))


@pytest.fixture
def photo(tmp_path: Path, drawing: Image.Image) -> Path:
    path = tmp_path / "a photo.jpg"
    drawing.save(path)
    return path


def test_a_client_finds_two_tools_with_a_path_each_before_a_bundle_is_loaded(tmp_path: Path) -> None:
    listed = asked(lambda client: client.list_tools(), "--bundle", tmp_path / "none").tools
    assert [tool.name for tool in listed] == ["caption_image", "classify_image"]
    for tool in listed:
        assert tool.input_schema["required"] == ["path"]
        assert tool.annotations.read_only_hint
        assert "image file on this machine" in tool.description


def test_a_photo_is_captioned_and_classified_as_by_the_captioner_itself(photo: Path) -> None:
    async def question(client: Any) -> Any:
        # At once, as assistants do: the captioner has one caller at a time.
        names = ("caption_image", "classify_image", "caption_image")
        return await asyncio.gather(*(client.call_tool(name, {"path": str(photo)}) for name in names))

    captioned, classified, again = asked(question)
    pixels = read_image(photo.read_bytes()).pixels
    (expected,) = Captioner.load(DEFAULT_BUNDLE).predict(pixels[None], classes=CLASSES)
    assert not captioned.is_error
    assert captioned.content[0].text == again.content[0].text == expected.captions[0].text
    assert classified.structured_content["result"] == [
        {"label": item.label.replace("_", " "), "probability": pytest.approx(item.probability, abs=1e-4)}
        for item in expected.classes
    ]


def test_every_error_is_told_in_words_and_the_next_photo_is_captioned(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "broken.jpg").write_bytes(photo.read_bytes()[:-200])
    os.mkfifo(tmp_path / "pipe.jpg")
    expected = {
        str(tmp_path / "missing.jpg"): "No such file",
        str(tmp_path): "expected a file, received a folder or a device",
        str(tmp_path / "pipe.jpg"): "expected a file, received a folder or a device",
        "/dev/zero": "expected a file, received a folder or a device",
        str(tmp_path / "notes.txt"): f"expected a {FORMATS_IN_WORDS} image",
        str(tmp_path / "broken.jpg"): "expected a whole JPEG file",
        "https://example.org/photo.jpg": "image file on this machine",
        "~nobody-of-this-name/photo.jpg": "image file on this machine",
        "a\0b.jpg": "image file on this machine",
        "x" * 5000: "image file on this machine",
        "": "image file on this machine",
    }

    async def question(client: Any) -> Any:
        found = {path: await client.call_tool("caption_image", {"path": path}) for path in expected}
        return found, await client.call_tool("caption_image", {}), await client.call_tool(
            "caption_image", {"path": str(photo)}
        )  # fmt: skip

    found, without_path, last = asked(question)
    for path, text in expected.items():
        assert found[path].is_error, path
        assert text in found[path].content[0].text
    assert without_path.is_error
    assert "path" in without_path.content[0].text
    assert not last.is_error


def test_a_damaged_bundle_is_told_with_the_first_photo(photo: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "copy"))
    (copy / "vocabulary.txt").write_text("other words\n")
    answer = asked(lambda client: client.call_tool("classify_image", {"path": str(photo)}), "--bundle", copy)
    assert answer.is_error
    assert "vocabulary.txt: expected" in answer.content[0].text


def test_without_the_sdk_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    result = CliRunner().invoke(main, [])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "pip install 'show-and-tell-server[mcp]'" in result.output


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "large.tif"
    with file.open("wb") as sparse:
        sparse.truncate(2**40)
    with pytest.raises(Exception, match="expected at most 268435456 bytes, received 1099511627776"):
        PhotoTools(DEFAULT_BUNDLE, "auto").caption_image(str(file))
