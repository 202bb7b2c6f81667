"""Public data sets and their download."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from model.errors import DataError
from training.data.archives import unpack
from training.data.download import download
from training.progress import note


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of a public data set.

    Attributes:
        url: Where it is.
        checksum: `sha256:…` or `md5:…` in hexadecimal; None verifies the announced length alone.
        gives: Files and folders that it adds to the data set. If all are there, it is not fetched.
        instead: Other names that a reader accepts for them. If one is there, it is not fetched.
        archive: Whether it is unpacked and then removed; otherwise it is the one file that it gives.
        top: Folder inside the archive whose content is unpacked; empty for all.
    """

    url: str
    checksum: str | None
    gives: tuple[str, ...]
    instead: tuple[str, ...] = ()
    archive: bool = True
    top: str = ""


_COCO = "http://images.cocodataset.org"
_FLICKR8K = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"

SOURCES: Mapping[str, tuple[Source, ...]] = MappingProxyType(
    {
        "tiny-imagenet": (
            Source(
                url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                checksum="md5:90528d7ca1a48142e341f4ef8d21d0de",
                gives=("train", "val", "wnids.txt", "words.txt"),
                top="tiny-imagenet-200",
            ),
        ),
        "coco": (
            Source(
                url=f"{_COCO}/annotations/annotations_trainval2017.zip",
                checksum="md5:f4bbac642086de4f52a3fdda2de5fa2c",
                gives=("annotations",),
            ),
            Source(
                url=f"{_COCO}/zips/val2017.zip", checksum="md5:442b8da7639aecaf257c1dceb8ba8c80", gives=("val2017",)
            ),
            Source(
                url=f"{_COCO}/zips/train2017.zip", checksum="md5:cced6f7f71b7629ddf16f17bbcfab6b2", gives=("train2017",)
            ),
        ),
        "flickr8k": (
            Source(
                url=f"{_FLICKR8K}/Flickr8k_text.zip",
                checksum="md5:bf6c1abcb8e4a833b7f922104de18627",
                gives=("Flickr8k.token.txt", "Flickr_8k.trainImages.txt", "Flickr_8k.devImages.txt"),
            ),
            Source(
                url=f"{_FLICKR8K}/Flickr8k_Dataset.zip",
                checksum="md5:f18a1e2920de5bd84dae7cf08ec78978",
                gives=("Flicker8k_Dataset",),
                instead=("images", "Flickr8k_Dataset"),
            ),
        ),
        "mnist": (
            Source(
                url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                checksum="sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
                gives=("mnist.npz",),
                archive=False,
            ),
        ),
    }
)
"""Data sets by the name that the command line takes.

Flickr8k's own page is gone; these are copies, where still public. Addresses and checksums are those of ContinualAI's
Avalanche (Tiny ImageNet), PaddleDetection (COCO), the R package torchvision (Flickr8k) and Keras (MNIST).
"""


def fetch(name: str, directory: Path, *, sources: Mapping[str, tuple[Source, ...]] = SOURCES) -> None:
    """Downloads and unpacks the missing files of a data set; a further call continues after an interruption.

    Args:
        name: A key of `sources`.
        directory: Where the readers of `training.data.captioned` find it; made if missing.
        sources: The known data sets by name.

    Raises:
        DataError: The name is unknown, or a file could not be fetched or unpacked.
    """
    if name not in sources:
        raise DataError(f"expected a data set among {', '.join(sources)}, received {name!r}")
    for source in sources[name]:
        if not source.archive:
            download(source.url, directory / source.gives[0], checksum=source.checksum)
        elif _is_there(source, directory):
            note(f"{directory}: {', '.join(source.gives)} already there")
        else:
            archive = directory / source.url.rpartition("/")[2]
            download(source.url, archive, checksum=source.checksum)
            unpack(archive, directory, top=source.top)
            if not _is_there(source, directory):
                raise DataError(
                    f"{archive}: expected it to hold {', '.join(source.gives)}, found something else; "
                    "the data set has changed: unpack it by hand"
                )
            archive.unlink()


def _is_there(source: Source, directory: Path) -> bool:
    return all((directory / entry).exists() for entry in source.gives) or any(
        (directory / entry).exists() for entry in source.instead
    )
