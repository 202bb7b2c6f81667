"""The token files of Flickr8k and Flickr30k, and their lists of the splits.

Source:
    Hodosh, Young & Hockenmaier 2013, JAIR 47; Young et al. 2014, TACL 2.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from training.data.forms.form import Entry, Form, Reading, files_in, one_of
from training.data.forms.splits import Lists

EXPECTS = "Flickr8k.token.txt or results_20130124.token: lines of name.jpg#0<TAB>caption"

_LINE = re.compile(r"(?P<photo>[^\t]*\S)#\d+\t(?P<caption>.*)")
_PATTERNS = ("*.token.txt", "*.token", "*/*.token.txt", "*/*.token")


def _files(path: Path) -> list[Path]:
    """Returns the token files, without those of word stems beside them."""
    return [file for file in files_in(path, *_PATTERNS) if path.is_file() or "lemma" not in file.name.lower()]


def _sign(path: Path, reading: Reading) -> str | None:
    for file in _files(path):
        first = next((line for line in reading.text(file).split("\n") if line.strip()), "")
        if path.is_dir() or _LINE.fullmatch(first.rstrip("\r")):
            return f"{file.name} has lines of name#number<TAB>caption"
    return None


def _read(path: Path, reading: Reading) -> Iterator[Entry]:
    file = one_of(path, _files(path))
    lists = Lists(file.parent)
    for number, line in enumerate(reading.text(file).split("\n"), start=1):
        where = f"{file}, line {number}"
        match = _LINE.fullmatch(line.rstrip("\r"))
        split = lists.split(match["photo"]) if match and lists else None
        if match is None:
            if line.strip():
                reading.report.leave_out_record(where, "expected name.jpg#0<TAB>caption", line)
        elif lists and split is None:
            reading.report.leave_out_record(where, "in no list of a split", match["photo"])
        else:
            yield Entry(match["photo"], match["caption"], where, split)
    for listed, name in lists.unused():
        reading.report.leave_out_record(listed, "listed without captions", name)


FLICKR = Form(name="flickr8k", title="Flickr's token file", expects=EXPECTS, sign=_sign, read=_read)
