"""Names of splits, and lists of the photos in them."""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from training.data.captioned import read_lines

NAMED: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""What others call the three splits. `restval` is COCO's rest that Karpathy's split trains on."""

_WORD = re.compile(r"[a-z]+")
_LIST = re.compile(r"(?:flickr_?(?:8|30)k[._])?(train|val|dev|test)(?:images)?\.txt", re.IGNORECASE)


def split_in(text: str) -> str | None:
    """Returns the split that a file's or folder's name has in it, as in `captions_val2017`; None without one."""
    return next((NAMED[word] for word in _WORD.findall(text.lower()) if word in NAMED), None)


def split_of_file(file: Path, root: Path) -> str | None:
    """Returns the split that a file's name has in it, or else a folder's between it and the root; None without one.

    Args:
        file: A file of captions.
        root: The source, which may be the file; how its own folders are called means nothing.
    """
    folders = file.relative_to(root).parts[:-1] if file != root else ()
    return next(filter(None, map(split_in, (file.stem, *reversed(folders)))), None)


class Lists:
    """The lists of a data set: `Flickr_8k.trainImages.txt`, `dev.txt` and so on, a photo a line.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Path] = {}
        self._names: dict[str, str] = {}
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = _LIST.fullmatch(file.name)
            if match and file.is_file():
                split = NAMED[match[1].lower()]
                self._files[split] = file
                self._names |= dict.fromkeys(map(posixpath.normpath, read_lines(file)), split)
        self._seen: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._files)

    def split(self, name: str) -> str | None:
        """Returns a photo's split; None where it is in no list.

        Without a list of train, all that is in no list is train.
        """
        name = posixpath.normpath(name.strip())
        for written in (name, PurePosixPath(name).stem):
            if written in self._names:
                self._seen.add(written)
                return self._names[written]
        return None if "train" in self._files else "train"

    def unused(self) -> list[tuple[str, str]]:
        """Returns the file of a list and a name in it, for each that nobody has asked for."""
        return [(str(self._files[split]), name) for name, split in self._names.items() if name not in self._seen]
