from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unclip.data.coco import Coco
from unclip.errors import DataError


def annotate(folder: Path, split: str, images: Any, annotations: Any) -> Path:
    file = folder / "annotations" / f"captions_{split}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return file


def save(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (6, 4), (number, 0, 0)).save(folder / name)


def open_coco(path: Path, **settings: Any) -> Coco:
    return Coco(Coco.Config.parse({"path": str(path), **settings}), (4, 4))


IMAGES = [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b.jpg"}]
SAID = [{"image_id": image, "caption": text} for image, text in ((3, " two\ncats "), (3, "cats"))]


@pytest.mark.parametrize("where", ["train2017", "images/train2017", "images", "."])
def test_pictures_are_found_where_people_put_them(where: str, tmp_path: Path) -> None:
    save(tmp_path / where, "a.jpg", "b.jpg")
    annotate(tmp_path, "train2017", IMAGES, SAID)
    source = open_coco(tmp_path)
    assert [pair[1] for pair in source.pairs] == [("two cats", "cats")]
    assert source.pairs[0][0].samefile(tmp_path / where / "b.jpg")
    assert set(source.captions(40)) == {"two cats", "cats"}
    assert source.summary()["pictures"] == 1 and source.summary()["captions"] == 2
    assert source.notes() == [f"{source.file}: 1 picture has no caption"]


def test_train_is_the_first_split_and_another_can_be_named(tmp_path: Path) -> None:
    save(tmp_path / "val2017", "a.jpg", "b.jpg")
    save(tmp_path / "elsewhere", "a.jpg", "b.jpg")
    annotate(tmp_path, "train2017", IMAGES, SAID)
    annotate(tmp_path, "val2017", IMAGES, [{"image_id": 7, "caption": "a dog"}])
    assert list(open_coco(tmp_path, split="val2017").captions(1)) == ["a dog"]
    source = open_coco(tmp_path, pictures=str(tmp_path / "elsewhere"))
    assert set(source.captions(40)) == {"two cats", "cats"}
    with pytest.raises(DataError, match=r"no split 'val2014': train2017, val2017"):
        open_coco(tmp_path, split="val2014")
    with pytest.raises(DataError, match=r"no pictures such as b\.jpg in .*set data\.pictures"):
        open_coco(tmp_path)


def test_a_picture_that_is_missing_is_skipped(tmp_path: Path) -> None:
    save(tmp_path / "train2017", "a.jpg")
    annotate(tmp_path, "train2017", IMAGES, [*SAID, {"image_id": 7, "caption": "a dog"}])
    samples = list(islice(open_coco(tmp_path), 10))
    assert {sample["caption"] for sample in samples} == {"a dog"}
    faults = {line for sample in samples for line in sample.get("skipped", ())}
    assert faults == {f"cannot read {tmp_path / 'train2017' / 'b.jpg'}: No such file or directory"}


@pytest.mark.parametrize(
    ("images", "annotations", "message"),
    [
        ({}, [], "has no list 'images'"),
        (IMAGES, None, "has no list 'annotations'"),
        ([{"id": 1}], SAID, r"images\[0\] needs 'id' and 'file_name'"),
        (IMAGES, [{"image_id": "3", "caption": "a"}], r"annotations\[0\] needs"),
        ([{"id": 3, "file_name": "../b.jpg"}], SAID, "leads out of its folder"),
        (IMAGES, [], "has no captions"),
    ],
)
def test_a_fault_of_the_file_is_named(
    images: Any, annotations: Any, message: str, tmp_path: Path
) -> None:
    annotate(tmp_path, "train2017", images, annotations)
    with pytest.raises(DataError, match=rf"captions_train2017\.json.*{message}"):
        open_coco(tmp_path)


def test_a_folder_without_captions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no COCO captions at .*annotations/captions_\*\.json"):
        open_coco(tmp_path)
