"""The server that downloads are tested against."""

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.training.data.shelf import BODY, Handler, Shelf


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    shelf = Shelf(files={"/file": BODY})
    with ThreadingHTTPServer(("127.0.0.1", 0), type("OurHandler", (Handler,), {"shelf": shelf})) as server:
        shelf.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield shelf
        shelf.over.set()
        server.shutdown()
        thread.join()
