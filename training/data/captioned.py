"""Readers of photos with captions; no framework."""

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import DataError
from model.image import SUFFIXES


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """A photo with all its captions.

    Attributes:
        path: The image file.
        name: Its name within the collection, unique there.
        captions: Its sentences, at least one.
        split: `train` or `dev`.
    """

    path: Path
    name: str
    captions: tuple[str, ...]
    split: str

    def read_bytes(self) -> bytes:
        """Returns the image file's bytes.

        Raises:
            OSError: The file cannot be read.
        """
        return self.path.read_bytes()


def find_photos(folders: Sequence[Path], exclude: frozenset[str] = frozenset()) -> list[Path]:
    """Lists the photos below the folders, sorted within each; a folder named twice counts twice.

    Args:
        folders: Directories, searched recursively.
        exclude: File names to leave out, so that photos kept for scoring are not trained on.

    Returns:
        Paths of files with a photo's suffix.

    Raises:
        DataError: A folder is missing, or there is no photo in any.
    """
    photos: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: expected a directory of photos, found none; check the path")
        photos += sorted(
            p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and p.name not in exclude
        )
    if not photos:
        raise DataError(
            f"expected photos ({', '.join(sorted(SUFFIXES))}) below {', '.join(map(str, folders))}, found none"
        )
    return photos


def read_flickr8k(root: Path) -> list[CaptionedImage]:
    """Reads Flickr8k's token file and its train and dev lists; the test list is never read.

    Args:
        root: Directory with `Flickr8k.token.txt`, `Flickr_8k.trainImages.txt`, `Flickr_8k.devImages.txt` and the
            photos in `images`, `Flicker8k_Dataset` or `Flickr8k_Dataset`.

    Returns:
        The photos of both splits.

    Raises:
        DataError: A file is missing or malformed.

    Source:
        Hodosh, Young & Hockenmaier 2013, JAIR 47.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    token_file = root / "Flickr8k.token.txt"
    for number, line in enumerate(read_lines(token_file), start=1):
        key, tab, text = line.partition("\t")
        if not tab or "#" not in key:
            raise DataError(f"{token_file}:{number}: expected name.jpg#0<TAB>caption, received {line[:60]!r}")
        captions[key.rpartition("#")[0]].append(text)
    names = ("images", "Flicker8k_Dataset", "Flickr8k_Dataset")
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        raise DataError(f"{root}: expected the photos in one of {', '.join(names)}, found none")
    found = []
    for split in ("train", "dev"):
        for name in read_lines(root / f"Flickr_8k.{split}Images.txt"):
            if name not in captions:
                raise DataError(f"{token_file}: expected captions of {name} (listed for {split}), found none")
            found.append(CaptionedImage(folder / name, name, tuple(captions[name]), split))
    return found


def read_coco(root: Path) -> list[CaptionedImage]:
    """Reads COCO captions: `annotations/captions_train*.json` for train and `captions_val*.json` for dev.

    Args:
        root: Directory with `annotations` and image folders named like the annotation files (`train2017`, …).

    Returns:
        The photos of both splits.

    Raises:
        DataError: A file is missing or malformed.

    Source:
        Chen et al. 2015 (arXiv:1504.00325).
    """
    found = []
    for split, prefix in (("train", "captions_train"), ("dev", "captions_val")):
        file = next(iter(sorted((root / "annotations").glob(f"{prefix}*.json"))), None)
        if file is None:
            raise DataError(f"{root}: expected annotations/{prefix}2017.json, found none; check the path")
        folder = root / file.stem.removeprefix("captions_")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            names = {image["id"]: image["file_name"] for image in content["images"]}
            captions: dict[str, list[str]] = defaultdict(list)
            for entry in content["annotations"]:
                captions[names[entry["image_id"]]].append(str(entry["caption"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file}: expected COCO's caption annotations, received something else ({error!r})"
            ) from error
        found += [
            CaptionedImage(folder / name, f"{folder.name}/{name}", tuple(texts), split)
            for name, texts in sorted(captions.items())
        ]
    return found


def read_csv(path: Path, *, dev_fraction: float = 0.1) -> list[CaptionedImage]:
    """Reads a table with the columns `image` and `caption`, and `split` (`train` or `dev`) where there is one.

    Args:
        path: A `.csv` with a header or a `.jsonl` with an object a line; image paths are relative to it.
        dev_fraction: Share of the images put in dev when there is no `split`, chosen by a hash of the name.

    Returns:
        The photos, in order of their first appearance.

    Raises:
        DataError: A column is missing, or one image is in both splits.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    splits: dict[str, str] = {}
    for number, row in enumerate(_rows(path), start=1):
        if not row.get("image") or not row.get("caption"):
            raise DataError(f"{path}, row {number}: expected the columns image and caption, received {sorted(row)}")
        name = str(row["image"])
        split = str(row.get("split") or split_of(name, dev_fraction))
        if split not in ("train", "dev") or splits.setdefault(name, split) != split:
            raise DataError(f"{path}, row {number}: expected one split, train or dev, for {name}, received {split!r}")
        captions[name].append(str(row["caption"]))
    return [CaptionedImage(path.parent / name, name, tuple(texts), splits[name]) for name, texts in captions.items()]


def read_tsv(root: Path, *, dev_fraction: float = 0.1) -> list[CaptionedImage]:
    """Reads a folder with `captions.tsv`, a line `name<TAB>caption` for each caption, and the photos in `images`.

    Args:
        root: The folder. Where it holds `dev.txt`, a photo name a line, those are dev and all others train.
        dev_fraction: Share of the images put in dev where there is no `dev.txt`, chosen by a hash of the name.

    Returns:
        The photos, in order of their first appearance.

    Raises:
        DataError: A file is missing or malformed, or `dev.txt` names a photo without captions.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(read_lines(root / "captions.tsv"), start=1):
        name, tab, text = line.partition("\t")
        if not tab or not text.strip():
            raise DataError(f"{root / 'captions.tsv'}:{number}: expected name<TAB>caption, received {line[:60]!r}")
        captions[name].append(text.strip())
    listed = set(read_lines(root / "dev.txt")) if (root / "dev.txt").exists() else None
    if listed is not None and not listed <= captions.keys():
        raise DataError(
            f"{root / 'dev.txt'}: expected names with captions, found {min(listed - captions.keys())}; remove it"
        )

    def split(name: str) -> str:
        if listed is None:
            return split_of(name, dev_fraction)
        return "dev" if name in listed else "train"

    return [CaptionedImage(root / "images" / name, name, tuple(texts), split(name)) for name, texts in captions.items()]


def read_folder(root: Path, *, dev_fraction: float = 0.1) -> list[CaptionedImage]:
    """Reads a folder in which `name.txt`, a caption a line, lies beside the photo `name.jpg`.

    Args:
        root: The folder, searched recursively.
        dev_fraction: Share of the images put in dev, chosen by a hash of the name.

    Returns:
        The photos that have captions.

    Raises:
        DataError: No photo has a caption file.
    """
    found = []
    for photo in find_photos([root]):
        text = photo.with_suffix(".txt")
        if text.is_file():
            name = str(photo.relative_to(root))
            found.append(CaptionedImage(photo, name, tuple(read_lines(text)), split_of(name, dev_fraction)))
    found = [image for image in found if image.captions]
    if not found:
        raise DataError(f"{root}: expected name.txt with a caption a line beside name.jpg, found none")
    return found


def split_of(name: str, dev_fraction: float) -> str:
    """Returns `train` or `dev` by a hash of the name, so that more photos later do not move those already assigned.

    Args:
        name: Name of an image within its collection.
        dev_fraction: Share of the names put in dev, 0 to 1.
    """
    draw = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return "dev" if draw < dev_fraction else "train"


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a UTF-8 text file that are not blank, stripped.

    Raises:
        DataError: The file is missing or not UTF-8.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a UTF-8 text file: {error}") from error


def _rows(path: Path) -> list[dict[str, object]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                return [dict(json.loads(line)) for line in file if line.strip()]
            # Surplus fields come under an empty name.
            rows: list[dict[str, object]] = [dict(row) for row in csv.DictReader(file, restkey="")]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: expected a UTF-8 .csv with a header, or a JSON object a line: {error}") from error
    surplus = next((number for number, row in enumerate(rows, start=1) if "" in row), None)
    if surplus is not None:
        raise DataError(
            f"{path}, row {surplus}: expected as many fields as the header; put captions with commas in quotes"
        )
    return rows
