"""The page below a path, behind a real nginx that speaks with the server over a Unix socket, in a real browser."""

import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import wait_until
from tests.static.conftest import captions, cards, choose, picture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed (Debian's nginx-light will do)"),
]

ROOT = Path(__file__).parents[2]
CONFIGURATION = """
daemon off; pid {place}/pid; error_log {place}/error.log; events {{}}
http {{
    access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; include /etc/nginx/mime.types;
    fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    server {{
        listen 127.0.0.1:{port};
        location /kept/ {{ proxy_pass http://unix:{place}/socket; }}
        location /kept {{ proxy_pass http://unix:{place}/socket; }}
        location /taken/ {{ proxy_pass http://unix:{place}/socket:/; proxy_set_header X-Forwarded-Prefix /taken; }}
    }}
}}
"""


def accepts(port: int) -> bool:
    """Returns whether someone takes connections at a port."""
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture
def proxy(toy_bundle: Path, tmp_path: Path) -> Iterator[str]:
    """Yields the URL of an nginx with a server below two paths, one that it takes off and one that it does not."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "nginx.conf").write_text(CONFIGURATION.format(place=tmp_path, port=port))
    flags = ["--host", f"unix:{tmp_path}/socket", "--root-path", "/kept", "--forwarded-prefix", "trust"]
    command = [sys.executable, "-m", "server.cli", "--bundle", str(toy_bundle), "--drain-seconds", "0", *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Ready: listening on unix:")
        # As the same user, who may open the socket.
        nginx = subprocess.Popen(["nginx", "-g", "user root;", "-c", tmp_path / "nginx.conf"])
        try:
            wait_until(lambda: accepts(port) or nginx.poll() is not None)
            yield f"http://127.0.0.1:{port}"
        finally:
            nginx.terminate()
            nginx.wait(30)
            process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("address", ["/kept/", "/kept", "/taken/"])
def test_a_photo_is_captioned_by_the_page_below_a_path(visit: Callable[[str], Page], proxy: str, address: str) -> None:
    page = visit(proxy + address)
    below = f"{proxy}/{address.strip('/')}/"
    assert page.url == below
    choose(page, picture())
    expect(captions(page)).to_have_count(3)
    cards(page).get_by_role("button", name="curl").click()
    expect(page.get_by_role("status")).to_contain_text("Copied.")
    page.context.grant_permissions(["clipboard-read"], origin=proxy)
    assert shlex.split(page.evaluate("navigator.clipboard.readText()"))[3].startswith(f"{below}v1/predict?")

    page.get_by_role("link", name="The API").click()
    assert page.url == f"{below}docs"
    assert page.request.get(f"{below}openapi.json").json()["servers"][0]["url"] == below.removeprefix(proxy)[:-1]
    page.get_by_role("link", name="The demo page").click()
    assert page.url == below
