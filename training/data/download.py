"""Downloads that continue after an interruption."""

import hashlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import requests

from model.atomic import flush
from model.errors import DataError
from training.data.archives import check_space
from training.progress import note, progress

ATTEMPTS = 5
"""Tries in a row without a new byte before a download gives up."""

CHUNK_BYTES = 1 << 16
ALGORITHMS = ("sha256", "md5")
AGAIN = "call the command again to continue from here"


class _DroppedError(Exception):
    """A failed try after which another one may succeed."""


def download(
    url: str, path: Path, *, checksum: str | None, timeout_seconds: float = 60.0, backoff_seconds: float = 1.0
) -> None:
    """Downloads a file, which appears under its name only when it is whole; continues an interrupted download.

    What has arrived is kept in `<name>.partial`, with `<name>.partial.json` noting which version of the file it is.

    Args:
        url: An http or https address.
        path: The file to write; its directory is made if missing. A file that is there with the right checksum, or
            any when there is no checksum, is kept and nothing is fetched; a wrong one is replaced.
        checksum: `sha256:…` or `md5:…` in hexadecimal; None verifies the announced length alone.
        timeout_seconds: Longest silence of the server, in seconds.
        backoff_seconds: Pause after a first failure, doubled with each further one in a row, in seconds.

    Raises:
        DataError: The server cannot be reached or does not have the file, the disk is full, or the checksum is wrong.
    """
    if checksum is not None and checksum.partition(":")[0] not in ALGORITHMS:
        raise DataError(f"checksum: expected one of {', '.join(ALGORITHMS)} in front of a colon, received {checksum!r}")
    transfer = _Transfer(url, path.with_name(f"{path.name}.partial"), checksum is not None, timeout_seconds)
    try:
        if path.exists() and (checksum is None or _digest(path, checksum) == checksum.lower()):
            note(f"{path} is already there")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _persist(transfer, backoff_seconds)
        _put_in_place(transfer, path, checksum)
    except requests.RequestException as error:
        raise DataError(f"{url}: expected an http address that answers, received: {error}") from error
    except OSError as error:
        raise DataError(
            f"{path}: expected to write it, received: {error}; free the disk or choose another directory, then {AGAIN}"
        ) from error


def _persist(transfer: "_Transfer", backoff_seconds: float) -> None:
    """Receives the whole file; tries again as long as a try brings new bytes."""
    failures = 0
    while True:
        before = transfer.received_bytes()
        try:
            transfer.receive()
        except _DroppedError as error:
            failures = 1 if transfer.received_bytes() > before else failures + 1
            if failures == ATTEMPTS:
                raise DataError(
                    f"{transfer.url}: expected the whole file, received {transfer.received_bytes()} bytes "
                    f"before {ATTEMPTS} tries brought nothing new ({error}); check the network, then {AGAIN}"
                ) from error
            note(f"{transfer.url}: {error}; trying again")
            time.sleep(backoff_seconds * 2 ** (failures - 1))
        else:
            return


def _put_in_place(transfer: "_Transfer", path: Path, checksum: str | None) -> None:
    if checksum is not None:
        received = _digest(transfer.partial, checksum)
        if received != checksum.lower():
            transfer.forget()
            raise DataError(
                f"{transfer.url}: expected a file with the checksum {checksum}, received {received}; removed it. Call "
                "the command again; if this happens again, the file has changed: check the address"
            )
    flush(transfer.partial)
    transfer.partial.replace(path)
    flush(path.parent)
    transfer.forget()


def _digest(path: Path, checksum: str) -> str:
    algorithm = checksum.partition(":")[0]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


@dataclass(frozen=True, slots=True)
class _Transfer:
    """The transfer of one file into `partial`, with the version of the remote file that it began with."""

    url: str
    partial: Path
    verified: bool
    timeout_seconds: float

    @property
    def _about(self) -> Path:
        return self.partial.with_name(f"{self.partial.name}.json")

    def received_bytes(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def forget(self) -> None:
        self.partial.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def receive(self) -> None:
        """Requests the missing bytes, once."""
        validator = self._validator()
        if validator is None:
            self.forget()
        done = self.received_bytes()
        headers = {"Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
            if validator:
                headers["If-Range"] = validator
        try:
            with requests.get(self.url, headers=headers, stream=True, timeout=self.timeout_seconds) as response:
                self._take(response, done)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise _DroppedError(f"the connection failed: {error}") from error

    def _validator(self) -> str | None:
        """Returns the value of `If-Range`, empty for none; None if the partial file cannot be continued."""
        try:
            about = json.loads(self._about.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(about, dict) or about.get("url") != self.url:
            return None
        validator = about.get("validator")
        # Without a validator, only the checksum shows whether two parts are of one file.
        return str(validator) if validator else ("" if self.verified else None)

    def _take(self, response: requests.Response, done: int) -> None:
        status = response.status_code
        if status == requests.codes.requested_range_not_satisfiable and done:
            if response.headers.get("Content-Range", "").strip() == f"bytes */{done}":
                return
            self._start_over("the server's file is shorter than what was received")
        if status >= 500 or status in (requests.codes.request_timeout, requests.codes.too_many_requests):
            raise _DroppedError(f"the server answered {status} {response.reason}")
        if status == requests.codes.partial_content:
            self._store(response, "ab", self._total_of_part(response, done))
        elif status == requests.codes.ok:
            self._begin(response)
            length = response.headers.get("Content-Length", "")
            self._store(response, "wb", int(length) if length.isdecimal() else None)
        else:
            raise DataError(
                f"{self.url}: expected the file, received {status} {response.reason}; check the address, "
                f"or fetch the file elsewhere and put it at {self.partial.with_suffix('')}"
            )

    def _begin(self, response: requests.Response) -> None:
        # Emptied before the note is written: after a kill in between, old bytes must not pass for the new version.
        self.partial.write_bytes(b"")
        about = {"url": self.url, "validator": _validator_of(response)}
        self._about.write_text(json.dumps(about), encoding="utf-8")

    def _total_of_part(self, response: requests.Response, done: int) -> int | None:
        part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if part is None or int(part[1]) != done:
            self._start_over(f"the server sent another part than the one from byte {done} on")
        # With If-Range a server need not repeat the date; it answers 200 when the file has changed.
        if _validator_of(response) not in (None, self._validator()):
            self._start_over("the server's file has changed")
        return None if part[2] == "*" else int(part[2])

    def _start_over(self, reason: str) -> NoReturn:
        self.forget()
        raise _DroppedError(f"{reason}; starting over")

    def _store(self, response: requests.Response, mode: str, total: int | None) -> None:
        done = self.received_bytes()
        check_space(self.partial.parent, (total or 0) - done, self.url)
        nothing: tuple[bytes, ...] = ()  # The bar is moved by hand: one item is a byte, not a chunk.
        bar = progress(nothing, self.partial.stem, total=total, initial=done, unit="B")
        bar.unit_scale = True
        with self.partial.open(mode) as file, bar:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and self.received_bytes() != total:
            raise _DroppedError(f"expected {total} bytes, received {self.received_bytes()}")


def _validator_of(response: requests.Response) -> str | None:
    """Returns a strong ETag or the date of the last change; a weak ETag does not promise equal bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")
