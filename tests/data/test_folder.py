from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unclip.data import source_at
from unclip.data.folder import Folder
from unclip.errors import DataError
from unclip.media import _formats


def save(path: Path, colour: str | tuple[int, ...] = "red", size: tuple[int, int] = (8, 8)) -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def make(path: Path, size: int = 16, seed: int = 0) -> Folder:
    return Folder(Folder.Config(path=path, seed=seed), (size, size))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(10):
        save(tmp_path / f"{number}.png", (number * 20, 0, 0))
        (tmp_path / f"{number}.txt").write_text(f"picture {number}\n")
    return tmp_path


def test_every_picture_once_an_epoch_in_another_order(pictures: Path) -> None:
    source = make(pictures)
    words = list(source.captions(30))
    epochs = [words[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(epoch) == [f"picture {n}" for n in range(10)] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert words == list(make(pictures).captions(30))
    assert words != list(make(pictures, seed=1).captions(30))


def test_picture_and_caption_belong_together(pictures: Path) -> None:
    source = make(pictures)
    for position in range(20):
        sample = source.sample(position)
        number = int(sample["caption"].split()[1])
        assert (sample["image"] == [number * 20, 0, 0]).all()


def test_the_middle_is_kept(tmp_path: Path) -> None:
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 20:40] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a")
    assert (make(tmp_path, 10).sample(0)["image"] == 255).all()


def test_resizing_averages(tmp_path: Path) -> None:
    """A fine checkerboard becomes even gray, not a coarser checkerboard."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(np.stack([board] * 3, -1)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a")
    assert np.abs(make(tmp_path, 8).sample(0)["image"].astype(int) - 127).max() < 12


def test_a_turned_photograph_is_turned_back(tmp_path: Path) -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8] = 255  # white above black
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right when shown
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=95)
    (tmp_path / "a.txt").write_text("a")
    image = make(tmp_path, 16).sample(0)["image"]
    assert image[:, 12:].min() > 200
    assert image[:, :4].max() < 50


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "I;16", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    white = {"L": 255, "P": 255, "RGBA": (9, 9, 9, 0), "LA": (9, 0), "I;16": 65535, "1": 1}
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image = Image.new(mode, (8, 8), white.get(mode, (0, 0, 0, 0)))
    if mode == "P":
        image.putpalette([255] * 768)
    image.save(path)
    (tmp_path / "a.txt").write_text("white, or nothing on white")
    assert make(tmp_path, 4).sample(0)["image"].min() > 250


def test_several_captions_take_turns(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("one\n\n  two  \nthree\n")
    assert set(make(tmp_path).captions(60)) == {"one", "two", "three"}


@pytest.mark.parametrize("name", ["captions.csv", "metadata.csv"])
def test_csv(tmp_path: Path, name: str) -> None:
    save(tmp_path / "a.png")
    (tmp_path / name).write_text('file_name,text\na.png,"a fox, sleeping"\na.png,a fox\n')
    assert set(make(tmp_path).captions(40)) == {"a fox, sleeping", "a fox"}


@pytest.mark.parametrize("name", ["captions.jsonl", "metadata.jsonl"])
def test_jsonl(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    save(tmp_path / "sub" / "a.webp")
    row = {"file_name": "sub/a.webp", "text": "a fox"}
    (tmp_path / name).write_text(json.dumps(row) + "\n\n")
    assert list(make(tmp_path).captions(1)) == ["a fox"]


def test_pictures_in_subfolders_and_without_captions(pictures: Path) -> None:
    (pictures / "sub").mkdir()
    save(pictures / "sub" / "x.JPG")
    (pictures / "sub" / "x.txt").write_text("upper case")
    save(pictures / "uncaptioned.png")
    assert len(make(pictures).pairs) == 11


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "file_name,caption\na.png,a\n",
            "line 1: .*'file_name' and .*'text'; .* file_name, caption",
        ),
        ("file_name,text\nb.png,a\n", r"line 2: no picture .*b\.png"),
        ("file_name,text\na.png,\n", "has no captions"),
    ],
)
def test_faulty_tables(tmp_path: Path, content: str, message: str) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "captions.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        make(tmp_path)


def test_faulty_json_lines(tmp_path: Path) -> None:
    (tmp_path / "captions.jsonl").write_text('{"file_name": \n')
    with pytest.raises(DataError, match="line 1 is not JSON"):
        make(tmp_path)
    (tmp_path / "captions.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match="line 1: 'file_name' and 'text'"):
        make(tmp_path)


def test_missing_empty_and_captionless_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no dataset folder at .*nowhere"):
        make(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no pictures \(looked for \.png"):
        make(tmp_path)
    save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"no captions \(looked for a\.txt .*captions\.csv"):
        make(tmp_path)


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    (tmp_path / "bad.txt").write_text("a")
    with pytest.raises(DataError, match=r"bad\.png"):
        make(tmp_path).sample(0)


def test_a_truncated_picture_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "cut.txt").write_text("a")
    with pytest.raises(DataError, match=r"cut\.png"):
        make(tmp_path).sample(0)


def test_a_bomb_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", size=(40, 40))
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(_formats, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match=r"a\.png: 40x40 pixels are more than the limit"):
        make(tmp_path).sample(0)


def test_summary_of_a_folder(pictures: Path) -> None:
    assert source_at(pictures, (8, 8)).summary() == {
        "kind": "folder of pictures",
        "pictures": 10,
        "captions": 10,
        "without caption": 0,
        "without picture": 0,
        "different words": 11,
        "formats": {".png": 10},
    }
