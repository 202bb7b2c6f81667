"""WebDataset's shards, as img2dataset writes them too: tar files in which a photo and its captions share a name."""

import contextlib
import itertools
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.image import SUFFIXES
from training.data.forms.form import Entry, Form, Reading, files_in
from training.data.forms.sentences import CAPTION_NAMES
from training.data.forms.splits import split_of_file
from training.data.forms.text import parse

EXPECTS = "00000.tar with 000000000.jpg and 000000000.txt or .json in it"

_CAPTIONS = (*CAPTION_NAMES, "json")
"""Suffixes of files with captions, the likeliest first."""

FIRST_MEMBERS = 20
"""Files of a tar that are looked at to know what it is."""

CAPTION_BYTES = 1 << 20
"""Most bytes of a member that holds captions."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file within an uncompressed tar.

    Attributes:
        archive: The tar.
        offset: Where its bytes begin.
        size: Their number.
    """

    archive: Path
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """Returns the file's bytes.

        Raises:
            OSError: The tar cannot be read, or has become shorter.
        """
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise OSError(f"expected {self.size} bytes at {self.offset} of {self.archive}, found {len(data)}")
        return data


def _sign(path: Path, _reading: Reading) -> str | None:
    for file in files_in(path, "*.tar", "*/*.tar"):
        # In a directory, a tar may as well be the photos of captions that lie beside it.
        if _is_tar(file) and (path.is_file() or _has_sample(file)):
            made = " (made by img2dataset)" if any(file.parent.glob("*_stats.json")) else ""
            return f"{file.name} is a tar{made}"
    return None


def _is_tar(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(262)[257:] == b"ustar"


def _has_sample(file: Path) -> bool:
    """Returns whether captions are among the first files of a tar, called like a photo among them."""
    with contextlib.suppress(tarfile.TarError, OSError), tarfile.open(file, "r:") as tar:
        names = [member.name for member in itertools.islice(tar, FIRST_MEMBERS)]
        photos = {name.rpartition(".")[0] for name in names if Path(name).suffix.lower() in SUFFIXES}
        texts = {name.rpartition(".")[0] for name in names if Path(name).suffix[1:].lower() in _CAPTIONS}
        return not photos.isdisjoint(texts)
    return False


def _read(path: Path, reading: Reading) -> Iterator[Entry]:
    for file in files_in(path, "*.tar", "*/*.tar"):
        yield from _entries(file, split_of_file(file, path), reading)


def _entries(file: Path, split: str | None, reading: Reading) -> Iterator[Entry]:
    """Yields the samples of a tar; files of one sample follow each other."""
    sample: dict[str, Member] = {}
    before = ""
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                key = f"{folder}{slash}{stem}"
                if key != before:
                    yield from _sample(file, before, sample, split, reading)
                    sample = {}
                    before = key
                if member.isreg() and not name.startswith("."):
                    sample[suffix.lower()] = Member(file, member.offset_data, member.size)
    except (tarfile.TarError, OSError, EOFError) as error:
        reading.report.leave_out_record(
            f"{file}, after {before!r}", "a damaged tar; the rest of it is lost", str(error)
        )
    yield from _sample(file, before, sample, split, reading)


def _sample(file: Path, key: str, sample: dict[str, Member], split: str | None, reading: Reading) -> Iterator[Entry]:
    where = f"{file}, {key}"
    photo = next((suffix for suffix in sample if f".{suffix.rpartition('.')[2]}" in SUFFIXES), None)
    if not sample:
        return
    if photo is None:
        reading.report.leave_out_record(where, "no photo with this name", ", ".join(sample))
        return
    member = sample[photo]
    if member.offset + member.size > file.stat().st_size:
        reading.report.leave_out_record(where, "a damaged tar; the rest of it is lost", f"{key}.{photo}")
        return
    try:
        captions = _captions(sample)
    except (OSError, ValueError) as error:
        reading.report.leave_out_record(where, "no text", str(error))
        return
    yield Entry(f"{key}.{photo}", captions, where, split, (file,), member)


def _captions(sample: dict[str, Member]) -> object:
    """Returns the captions of a sample: a line each, or what its JSON has."""
    for suffix in _CAPTIONS:
        if suffix in sample:
            member = sample[suffix]
            if member.size > CAPTION_BYTES:
                raise ValueError(f"expected captions of at most {CAPTION_BYTES} bytes, found {member.size}")
            text = member.read_bytes().decode()
            return parse(text) if suffix == "json" else [line for line in text.splitlines() if line.strip()] or ""
    return []


WEBDATASET = Form(name="webdataset", title="WebDataset's shards", expects=EXPECTS, sign=_sign, read=_read)
