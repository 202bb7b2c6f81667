"""Small data sets in the exact forms of the well-known ones; what stands for photos differs by its bytes."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any


def photos(folder: Path, *names: str) -> Path:
    """Writes files with the suffix of a photo, each with other bytes, and returns their folder."""
    for name in names:
        raw(folder / name, b"photo " + os.fsencode(folder / name))
    return folder


def raw(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def text(path: Path, *lines: str, end: str = "\n") -> Path:
    return raw(path, "".join(f"{line}{end}" for line in lines).encode())


def written(path: Path, value: Any) -> Path:
    return text(path, json.dumps(value))


def karpathy_flickr8k(root: Path) -> Path:
    photos(root / "Images", "a.jpg", "b.jpg", "c.jpg")
    images = [
        {
            "sentids": [2 * index, 2 * index + 1],
            "imgid": index,
            "sentences": [
                {"tokens": text.lower().split(), "raw": text, "imgid": index, "sentid": 2 * index + n}
                for n, text in enumerate((f"A {name} .", f"Another {name} ."))
            ],
            "split": split,
            "filename": f"{name}.jpg",
        }
        for index, (name, split) in enumerate((("a", "train"), ("b", "val"), ("c", "test")))
    ]
    return written(root / "dataset_flickr8k.json", {"images": images, "dataset": "flickr8k"})


def karpathy_coco(root: Path) -> Path:
    images = []
    for index, (year, split) in enumerate((("train2014", "train"), ("val2014", "restval"), ("val2014", "val"))):
        name = f"COCO_{year}_{index:012}.jpg"
        photos(root / year, name)
        raw = {"tokens": ["a", "man"], "raw": f"A man {index}.", "imgid": index, "sentid": index}
        images.append(
            {
                "filepath": year, "sentids": [index], "filename": name, "imgid": index, "split": split,
                "sentences": [raw], "cocoid": index,
            }
        )  # fmt: skip
    written(root / "dataset_coco.json", {"images": images, "dataset": "coco"})
    return root


def coco_file(root: Path, split: str, year: int, number: int) -> dict[str, Any]:
    """Returns annotations as COCO's own, of one photo with two captions."""
    name = f"COCO_{split}{year}_{number:012}.jpg" if year == 2014 else f"{number:012}.jpg"
    photos(root / f"{split}{year}", name)
    return {
        "info": {"description": f"COCO {year} Dataset", "version": "1.0", "year": year},
        "licenses": [{"url": "http://creativecommons.org/licenses/by-nc-sa/2.0/", "id": 1, "name": "a licence"}],
        "images": [{"license": 1, "file_name": name, "height": 9, "width": 9, "id": number, "flickr_url": "http://x"}],
        "annotations": [
            {"image_id": number, "id": number * 10 + n, "caption": f"A {split} photo {n}."} for n in range(2)
        ],
    }


def coco(root: Path, *years: int, photo_folder: str = "", annotations: str = "annotations") -> Path:
    for year in years:
        for number, split in enumerate(("train", "val"), start=1):
            content = coco_file(root / photo_folder, split, year, number)
            written(root / annotations / f"captions_{split}{year}.json", content)
    return root


def flickr8k(root: Path) -> Path:
    photos(root / "Flicker8k_Dataset", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    lines = [f"{name}.jpg#{n}\tA {name} number {n} ." for name in "abcd" for n in range(2)]
    text(root / "Flickr8k.token.txt", *lines)
    text(root / "Flickr8k.lemma.token.txt", *lines)
    for split, name in (("train", "a"), ("dev", "b"), ("test", "c")):
        text(root / f"Flickr_8k.{split}Images.txt", f"{name}.jpg")
    return root


def flickr30k(root: Path) -> Path:
    photos(root / "flickr30k-images", "1000092795.jpg")
    lines = (f"1000092795.jpg#{n}\tTwo young guys with shaggy hair {n} ." for n in range(2))
    return text(root / "results_20130124.token", *lines)


def kaggle_flickr30k(root: Path) -> Path:
    photos(root / "flickr30k_images", "1000092795.jpg", "2199200615.jpg")
    text(
        root / "results.csv",
        "image_name| comment_number| comment",
        "1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .",
        '1000092795.jpg| 1| " Two young , White males are outside .',
        # As in the original: one line lacks a delimiter.
        "2199200615.jpg| 4   A dog runs across the grass .",
        "2199200615.jpg| 0| A dog runs .",
    )
    return root


def kaggle_flickr8k(root: Path) -> Path:
    photos(root / "Images", "a.jpg", "b.jpg")
    text(root / "captions.txt", "image,caption", 'a.jpg,"A dog , running ."', "a.jpg,A dog .", "b.jpg,A cat .")
    return root


def json_lines(root: Path) -> Path:
    photos(root, "a.jpg", "b.jpg", "c.jpg")
    rows = (
        {"image": "a.jpg", "caption": "a dog"}, {"image": "b.jpg", "captions": ["a cat", "two cats"], "split": "val"},
        {"file_name": "c.jpg", "text": "a bus\u2028in the rain"},
    )  # fmt: skip
    return text(root / "captions.jsonl", *(json.dumps(row, ensure_ascii=False) for row in rows))


def json_array(root: Path) -> Path:
    photos(root / "photos", "a.jpg", "b.jpg")
    rows = [
        {"image": "photos/a.jpg", "caption": ["a dog", "a black dog"]},
        {"image": "photos/b.jpg", "caption": "a cat"},
    ]
    return written(root / "annotations.json", rows)


def house(root: Path) -> Path:
    photos(root / "images", "a.jpg", "b.jpg")
    text(root / "captions.tsv", "a.jpg\ta dog", 'a.jpg\t"The" dog', "b.jpg\ta cat")
    text(root / "dev.txt", "b.jpg")
    return root


def sidecar(root: Path) -> Path:
    photos(root, "train/a.jpg", "val/b.png", "c.jpg")
    text(root / "train" / "a.txt", "a dog", "", "a black dog", end="\r\n")
    text(root / "val" / "b.txt", "a cat")
    return root


def img2dataset_files(root: Path) -> Path:
    photos(root, "00000/000000000.jpg", "00000/000000003.jpg")
    for key, caption in (("000000000", "a dog"), ("000000003", "")):
        text(root / "00000" / f"{key}.txt", caption, end="")
        written(
            root / "00000" / f"{key}.json", {"url": "http://x", "caption": caption, "key": key, "status": "success"}
        )
    written(root / "00000_stats.json", {"count": 4, "successes": 2, "failed_to_download": 2, "status_dict": {}})
    (root / "00000.parquet").write_bytes(b"PAR1 what was downloaded")
    return root


def tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def img2dataset_shards(root: Path) -> Path:
    metadata = {"url": "http://x", "caption": "a dog", "key": "000000000", "status": "success", "error_message": None}
    tar(root / "00000.tar", {
        "000000000.jpg": b"photo one", "000000000.txt": b"a dog", "000000000.json": json.dumps(metadata).encode(),
        "000000001.jpg": b"photo two", "000000001.json": json.dumps(metadata | {"caption": "a cat"}).encode(),
    })  # fmt: skip
    tar(root / "00001.tar", {"000010000.jpg": b"photo three", "000010000.txt": b""})
    written(root / "00000_stats.json", {"count": 2, "successes": 2})
    (root / "00000.parquet").write_bytes(b"PAR1 what was downloaded")
    return root


def webdataset(root: Path) -> Path:
    for split, number in (("train", 1), ("val", 2), ("test", 3)):
        files = {f"sample{number}.png": b"photo %d" % number, f"sample{number}.txt": b"a dog\na black dog"}
        tar(root / f"flickr-{split}-000000.tar", files)
    return root


def huggingface(root: Path) -> Path:
    for split, name in (("train", "a"), ("validation", "b"), ("test", "c")):
        photos(root / split, f"{name}.jpg")
        text(root / split / "metadata.jsonl", json.dumps({"file_name": f"{name}.jpg", "text": f"a {split} photo"}))
    return root


def huggingface_csv(root: Path) -> Path:
    photos(root / "data", "a.jpg")
    text(root / "data" / "metadata.csv", "file_name,split,caption_0,caption_1", "a.jpg,train,a dog,a black dog")
    return root
