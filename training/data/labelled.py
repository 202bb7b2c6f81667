"""Readers of images with one class each; no framework."""

import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.bundle import ClassName
from model.errors import DataError
from training.data.captioned import find_photos, read_lines, split_of
from training.data.mnist import CLASSES, read_arrays

UNKNOWN = -1
"""Class of a photo whose class is not known."""

_WORDNET_ID = re.compile(r"n\d{8}(?!\d)")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image with its class.

    Attributes:
        path: The image file, or the file of the array that it is a row of.
        name: Its name within the collection, unique there.
        label: Index of its class, in output order.
        split: `train` or `dev`.
        pixels: Its grey values where it is a row of an array. Shape (H, W), uint8.
    """

    path: Path
    name: str
    label: int
    split: str
    pixels: npt.NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    def read_bytes(self) -> bytes:
        """Returns the image file's bytes; pixels of an array become a PNG.

        Raises:
            OSError: The file cannot be read.
        """
        if self.pixels is None:
            return self.path.read_bytes()
        file = io.BytesIO()
        Image.fromarray(self.pixels).save(file, "PNG")
        return file.getvalue()


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """The images and classes of a data set.

    Attributes:
        images: The images of both splits, mixed by a hash of their names so that every shard holds many classes.
        classes: Id and label of each class, C of them, in output order.
    """

    images: tuple[LabelledImage, ...]
    classes: tuple[ClassName, ...]


def read_tiny_imagenet(root: Path) -> LabelledImages:
    """Reads Tiny ImageNet; its labelled validation images are the split dev, its unlabelled test images are not read.

    Args:
        root: Directory with `wnids.txt`, `words.txt`, `train/<id>/images` and `val/val_annotations.txt`, `val/images`.

    Returns:
        The images of both splits. Classes are in the order of `wnids.txt`, each called by its first synonym.

    Raises:
        DataError: A file is missing or malformed, or a class has no photo.

    Source:
        Le & Yang 2015, "Tiny ImageNet Visual Recognition Challenge", CS 231N.
    """
    ids = read_lines(root / "wnids.txt")
    labels = {identifier: label for label, identifier in enumerate(ids)}
    if len(labels) < len(ids):
        raise DataError(f"{root / 'wnids.txt'}: expected every id once, received one twice; copy the file again")
    words = dict(line.partition("\t")[::2] for line in read_lines(root / "words.txt"))
    for identifier in ids:
        if not words.get(identifier):
            raise DataError(f"{root / 'words.txt'}: expected {identifier}<TAB>its names, found no such line")
    images = [
        LabelledImage(path, path.relative_to(root).as_posix(), labels[identifier], "train")
        for identifier in ids
        for path in find_photos([root / "train" / identifier])
    ]
    annotations = root / "val" / "val_annotations.txt"
    for number, line in enumerate(read_lines(annotations), start=1):
        name, identifier = [*line.split("\t"), ""][:2]
        if identifier not in labels:
            raise DataError(
                f"{annotations}:{number}: expected name.JPEG<TAB>an id of wnids.txt, received {line[:60]!r}"
            )
        images.append(LabelledImage(root / "val" / "images" / name, f"val/images/{name}", labels[identifier], "dev"))
    return LabelledImages(_mixed(images), tuple(ClassName(i, words[i].split(",")[0].strip()) for i in ids))


def read_image_folder(root: Path, *, dev_fraction: float = 0.1) -> LabelledImages:
    """Reads a folder with a sub-folder of photos for each class, as Imagenette and torchvision's `ImageFolder` have it.

    Args:
        root: Directory with `train/<class>/…` and `val/<class>/…` or `dev/<class>/…`; or with `<class>/…` itself. A
            `test` folder beside `train` is never read. Photos may lie deeper inside their class.
        dev_fraction: Share of the images put in dev where there is neither `val` nor `dev`, chosen by a hash of the
            name.

    Returns:
        The images of both splits. Classes are in the order of the sub-folders' names, which are both id and label.

    Raises:
        DataError: There is no class or one without photos, both `val` and `dev`, or a class that `train` lacks.
    """
    train = root / "train" if _classes_in(root / "train") else root
    given = [root / name for name in ("val", "dev") if (root / name).is_dir()] if train != root else []
    if len(given) > 1:
        raise DataError(f"{root}: expected one of val and dev beside train, found both; remove or merge one")
    classes = _classes_in(train)
    if not classes:
        raise DataError(f"{root}: expected a sub-folder of photos for each class, found none; check the path")
    labels = {name: label for label, name in enumerate(classes)}
    images = []
    for folder in (train, *given):
        for name in _classes_in(folder):
            if name not in labels:
                raise DataError(f"{folder / name}: expected a class that is in {train} too, found no such folder there")
            for path in find_photos([folder / name]):
                relative = path.relative_to(root).as_posix()
                split = ("train" if folder == train else "dev") if given else split_of(relative, dev_fraction)
                images.append(LabelledImage(path, relative, labels[name], split))
    return LabelledImages(_mixed(images), tuple(ClassName(name, name) for name in classes))


def read_mnist(root: Path) -> LabelledImages:
    """Reads MNIST's handwritten digits; its test images are the split dev.

    Args:
        root: Directory with `x_train.npy`, `y_train.npy`, `x_test.npy`, `y_test.npy`; or with `mnist.npz` as Keras
            has it; or with the idx files `train-images-idx3-ubyte`, …, also spelled `train-images.idx3-ubyte` and
            also as `.gz`.

    Returns:
        The images of both splits; the arrays stay on disk where they are `.npy`.

    Raises:
        DataError: A file is missing, damaged, or of another shape or type.

    Source:
        LeCun, Bottou, Bengio & Haffner 1998, Proceedings of the IEEE 86(11).
    """
    images = []
    for name, split in (("train", "train"), ("test", "dev")):
        arrays = read_arrays(root, name)
        images += [
            LabelledImage(arrays.path, f"{name}/{row:05}", int(label), split, pixels)
            for row, (pixels, label) in enumerate(zip(arrays.images, arrays.labels, strict=True))
        ]
    return LabelledImages(_mixed(images), CLASSES)


def _classes_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _mixed(images: Iterable[LabelledImage]) -> tuple[LabelledImage, ...]:
    """Sorts by a hash of the name: the same order every time, with the classes mixed."""
    return tuple(sorted(images, key=lambda image: hashlib.sha256(image.name.encode()).digest()))


def class_of(path: Path, classes: Mapping[str, int]) -> int:
    """Returns the class that a photo's name or one of its folders names by its WordNet id, or `UNKNOWN`."""
    for part in reversed(path.parts):
        found = _WORDNET_ID.match(part)
        if found and found[0] in classes:
            return classes[found[0]]
    return UNKNOWN
