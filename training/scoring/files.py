"""Files of captions and of references, and which of their images are the same."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from model.atomic import atomic_file
from model.errors import DataError
from training.data.language import Language, checked_tag, find_language
from training.data.mixing import SEPARATOR
from training.scoring.rows import FORMS, read_coco_names, read_rows

_COCO_NAME = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})")
_SHOWN = 3


class References(NamedTuple):
    """Reference captions of images.

    Attributes:
        captions: Sentences by image.
        names: Other names of the images, such as COCO's file names of ids.
        told: The language that records have; None for files, which say nothing.
    """

    captions: dict[str, list[str]]
    names: Mapping[str, str]
    told: Language | None = None

    def language(self, tag: str | None = None) -> Language:
        """Returns the language of the captions: as records have it, or as it is found out.

        Args:
            tag: Which one it is; None where nobody says so.
        """
        if self.told is not None:
            return self.told if tag is None else self.told._replace(tag=checked_tag(tag))
        return find_language([text for texts in self.captions.values() for text in texts], tag=tag)

    def keys_of(self, captions: Mapping[str, str], path: Path) -> dict[str, str]:
        """Returns captions by the images of the references; those of other images keep their names.

        An image is the same if it has the same name or COCO id, whatever the directory.

        Args:
            captions: One caption by image.
            path: Where they are from, for messages.

        Raises:
            DataError: Two of them are of one image.
        """
        by_alias: dict[str, set[str]] = {}
        known = {key: key for key in self.captions}
        for name, key in (known | {name: key for name, key in self.names.items() if key in known}).items():
            for alias in _aliases(name):
                by_alias.setdefault(alias, set()).add(key)
        found: dict[str, str] = {}
        for image, caption in captions.items():
            same = next((keys for alias in _aliases(image) if len(keys := by_alias.get(alias, set())) == 1), {image})
            key = image if image in self.captions else min(same)
            if key in found:
                raise DataError(
                    f"{path}: expected one caption for each image, received two for {key}; keep one of them"
                )
            found[key] = caption
        return found


def read_captions(path: Path) -> dict[str, str]:
    """Reads a captions file: one caption by image.

    Args:
        path: JSON in the form of COCO's results, JSON lines, CSV, or what `showtell --json` prints, whose best caption
            is taken.

    Raises:
        DataError: The file is in none of these forms, or has several captions of one image.
    """
    found: dict[str, str] = {}
    for row in read_rows(path):
        if row.image in found:
            raise DataError(
                f"{row.place}: expected one caption for each image, received another one for {row.image}; "
                "references with several go to --references"
            )
        found[row.image] = row.captions[0]
    if not found:
        raise DataError(f"{path}: expected {FORMS}; found no caption")
    return found


def read_references(path: Path, split: str = "dev") -> References:
    """Reads the reference captions of images.

    Args:
        path: COCO's caption annotations, JSON lines or CSV with a row for each caption, or a directory of records.
        split: Which photos of records.

    Raises:
        DataError: The file is in none of these forms, or the records are incomplete.
    """
    if path.is_dir():
        from training.data.records import read_language
        from training.scoring.references import read_record_captions

        return References(read_record_captions(path, split), {}, read_language(path))
    captions: dict[str, list[str]] = {}
    for row in read_rows(path):
        captions.setdefault(row.image, []).extend(row.captions)
    if not captions:
        raise DataError(f"{path}: expected COCO's annotations, {FORMS}, or a directory of records; found no caption")
    return References(captions, read_coco_names(path))


def write_captions(path: Path, captions: Mapping[str, str]) -> None:
    """Writes one caption by image.

    Args:
        path: `.json` for the form of COCO's results, `.jsonl` for JSON lines, `.csv`; an older file is replaced. Ids
            are COCO's where all names are COCO's, else the names.
        captions: Captions by image.

    Raises:
        DataError: The suffix is none of these.
    """
    kind = path.suffix.lower()
    if kind not in (".json", ".jsonl", ".csv"):
        raise DataError(f"{path}: expected a name that ends in .json, .jsonl or .csv; choose one of them")
    with atomic_file(path) as file:
        if kind == ".json":
            file.write_text(json.dumps(_results(captions), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        elif kind == ".jsonl":
            lines = (
                json.dumps({"image": image, "caption": text}, ensure_ascii=False) for image, text in captions.items()
            )
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        else:
            with file.open("w", encoding="utf-8", newline="") as opened:
                csv.writer(opened).writerows([("image", "caption"), *captions.items()])


def matched(
    references: References, files: Mapping[str, Mapping[str, str]], *, common: bool
) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    """Brings references and captions to the same images.

    Args:
        references: Of all images.
        files: Captions by image, by the file's name.
        common: Whether images that are not in all of them are left out; else they are an error.

    Returns:
        references: By image.
        captions: By image, by the file's name; the same images in the same order.

    Raises:
        DataError: An image is in one and not in the other, or none is in all.
    """
    keyed = {name: references.keys_of(captions, Path(name)) for name, captions in files.items()}
    if not common:
        for name, captions in keyed.items():
            _check_images(name, list(references.captions), list(captions))
    images = [image for image in references.captions if all(image in captions for captions in keyed.values())]
    if not images:
        raise DataError(
            f"expected images that are in {', '.join(files)} and in the references, found none; "
            f"captions are of {_some(next(iter(files.values())))}, references of {_some(references.captions)}"
        )
    ours = {name: {image: found[image] for image in images} for name, found in keyed.items()}
    return {image: references.captions[image] for image in images}, ours


def _check_images(name: str, known: Sequence[str], found: Sequence[str]) -> None:
    others = sorted(set(found) - set(known))
    missing = sorted(set(known) - set(found))
    told = [f"{len(others)} captions are of images without references ({_some(others)})"] * bool(others)
    told += [f"{len(missing)} images with references have no caption ({_some(missing)})"] * bool(missing)
    if told:
        raise DataError(
            f"{name}: expected a caption for each of the {len(known)} images with references; {' and '.join(told)}; "
            "give --common to score only the images that all files have"
        )


def _some(images: Any) -> str:
    shown = list(images)[: _SHOWN + 1]
    return ", ".join([*shown[:_SHOWN], *["…"] * (len(shown) > _SHOWN)])


def _aliases(name: str) -> list[str]:
    """Returns the names under which the same image may be known: without source and directory, and COCO's id."""
    file = PurePosixPath(name.rpartition(SEPARATOR)[2]).name
    coco = _COCO_NAME.fullmatch(PurePosixPath(file).stem)
    return [name, file, *([str(int(coco[1]))] if coco else [])]


def _results(captions: Mapping[str, str]) -> list[dict[str, Any]]:
    ids: dict[str, int] = {}
    for image in captions:
        coco = _COCO_NAME.fullmatch(PurePosixPath(image).stem)
        if coco is not None:
            ids[image] = int(coco[1])
    has_all = len(set(ids.values())) == len(captions)
    return [{"image_id": ids[image] if has_all else image, "caption": text} for image, text in captions.items()]
