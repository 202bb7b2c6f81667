from collections import Counter
from pathlib import Path

import pytest

from model.bundle import ClassName
from model.errors import DataError
from training.data.labelled import LabelledImages, read_image_folder, read_tiny_imagenet
from training.data.records import read_record_classes, write_class_records


def folders(root: Path, *photos: str) -> Path:
    """Makes files with a photo's name; readers of folders do not open them."""
    for photo in photos:
        (root / photo).parent.mkdir(parents=True, exist_ok=True)
        (root / photo).write_bytes(b"")
    return root


def tiny_imagenet(root: Path) -> Path:
    folders(
        root, "val/images/val_0.JPEG", "val/images/val_1.JPEG",
        *(f"train/{name}/images/{name}_{index}.JPEG" for name in ("n07", "n02") for index in range(3)),
    )  # fmt: skip
    (root / "train" / "n02" / "n02_boxes.txt").write_text("n02_0.JPEG\t0\t0\t62\t62\n")
    (root / "wnids.txt").write_text("n07\nn02\n")
    (root / "words.txt").write_text("n01\tentity\nn02\tdog, domestic dog\nn07\tpizza, pizza pie\n")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn07\t0\t0\t1\t1\n")
    return root


def split_of(found: LabelledImages, split: str) -> dict[str, int]:
    return {image.name: image.label for image in found.images if image.split == split}


def test_tiny_imagenet_keeps_its_splits_and_the_order_of_its_classes(tmp_path: Path) -> None:
    found = read_tiny_imagenet(tiny_imagenet(tmp_path))
    assert found.classes == (ClassName("n07", "pizza"), ClassName("n02", "dog"))
    assert split_of(found, "dev") == {"val/images/val_0.JPEG": 1, "val/images/val_1.JPEG": 0}
    expected = {
        f"train/{n}/images/{n}_{index}.JPEG": label for label, n in enumerate(("n07", "n02")) for index in (0, 1, 2)
    }
    assert split_of(found, "train") == expected
    assert all(image.path == tmp_path / image.name for image in found.images)


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("wnids.txt", "n07\nn02\nn99\n", "words.txt: expected n99"),
        ("wnids.txt", "n07\nn07\n", "wnids.txt: expected every id once"),
        ("words.txt", "n07\tpizza\n", "words.txt: expected n02"),
        (
            "val/val_annotations.txt",
            "val_0.JPEG\tn02\nval_1.JPEG\n",
            r"val_annotations.txt:2: .* received 'val_1.JPEG'",
        ),
        ("val/val_annotations.txt", "val_0.JPEG\tn99\t0\t0\t1\t1\n", "val_annotations.txt:1: .*n99"),
    ],
)
def test_tiny_imagenet_names_what_is_wrong(tmp_path: Path, file: str, content: str, named: str) -> None:
    root = tiny_imagenet(tmp_path)
    (root / file).write_text(content)
    with pytest.raises(DataError, match=named):
        read_tiny_imagenet(root)


def test_tiny_imagenet_without_the_photos_of_a_class_names_it(tmp_path: Path) -> None:
    for photo in (tiny_imagenet(tmp_path) / "train" / "n02" / "images").iterdir():
        photo.unlink()
    with pytest.raises(DataError, match=r"train/n02, found none"):
        read_tiny_imagenet(tmp_path)


@pytest.mark.parametrize("dev", ["val", "dev"])
def test_an_image_folder_with_splits_keeps_them_and_leaves_its_test_images_alone(tmp_path: Path, dev: str) -> None:
    folders(tmp_path, "train/dog/a.jpg", "train/cat/deep/b.JPEG", f"{dev}/cat/c.png", "test/cow/d.jpg")
    found = read_image_folder(tmp_path, dev_fraction=0.9)
    assert found.classes == (ClassName("cat", "cat"), ClassName("dog", "dog"))
    assert split_of(found, "train") == {"train/dog/a.jpg": 1, "train/cat/deep/b.JPEG": 0}
    assert split_of(found, "dev") == {f"{dev}/cat/c.png": 0}


@pytest.mark.parametrize("top", ["", "train/"])
def test_an_image_folder_without_dev_is_split_by_hash_that_stays_when_photos_come(tmp_path: Path, top: str) -> None:
    folders(tmp_path, *(f"{top}{name}/{index}.jpg" for name in ("cat", "dog") for index in range(30)))
    before = read_image_folder(tmp_path, dev_fraction=0.3)
    assert Counter(image.split for image in before.images).keys() == {"train", "dev"}
    folders(tmp_path, f"{top}cat/new.jpg", f"{top}.cache/x.jpg")
    after = {image.name: image.split for image in read_image_folder(tmp_path, dev_fraction=0.3).images}
    assert {image.name: image.split for image in before.images}.items() < after.items()


def test_images_come_mixed_and_in_the_same_order_every_time(tmp_path: Path) -> None:
    folders(tmp_path, *(f"{name}/{index}.jpg" for name in ("cat", "dog") for index in range(30)))
    found = read_image_folder(tmp_path)
    assert found == read_image_folder(tmp_path)
    assert {image.label for image in found.images[:15]} == {0, 1}


@pytest.mark.parametrize(
    ("photos", "named"),
    [
        ((), "expected a sub-folder of photos for each class"),
        (("loose.jpg",), "expected a sub-folder of photos for each class"),
        (("cat/a.jpg", "dog/notes.txt"), "dog, found none"),
        (("train/cat/a.jpg", "val/cat/b.jpg", "dev/cat/c.jpg"), "found both"),
        (("train/cat/a.jpg", "val/cow/b.jpg"), "val/cow: expected a class that is in"),
    ],
)
def test_an_image_folder_names_what_is_wrong(tmp_path: Path, photos: tuple[str, ...], named: str) -> None:
    with pytest.raises(DataError, match=named):
        read_image_folder(folders(tmp_path, *photos))


def test_a_class_name_in_any_script_survives_the_records(drawn: Path, tmp_path: Path) -> None:
    for index, name in enumerate(("čáp", "犬")):
        folders(tmp_path / "source", f"{name}/a.jpg")
        (tmp_path / "source" / name / "a.jpg").write_bytes((drawn / f"photo-0{index}.jpg").read_bytes())
    found = read_image_folder(tmp_path / "source", dev_fraction=0.0)
    write_class_records(tmp_path / "records", found.images, found.classes)
    assert read_record_classes(tmp_path / "records") == found.classes
