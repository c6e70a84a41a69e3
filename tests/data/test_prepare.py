"""Shards of any source: what they hold, the same bytes every time, and going on after a stop."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unclip.data import Item, source_at
from unclip.data.prepare import PrepareSettings, make, prepare, shrunk
from unclip.errors import DataError, OutputError, UsageError
from unclip.media import read_image
from unclip.plain import read_json

SMALL = PrepareSettings(size=16, shard_size=3)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight pictures, of which one is damaged."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a &amp; b  {number}\nnumber {number}\n")
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:200])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted(folder.iterdir())}


def samples(folder: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for tar in sorted(folder.glob("*.tar")):
        with tarfile.open(tar) as opened:
            for member in opened:
                key, _, suffix = member.name.partition(".")
                file = opened.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[suffix] = file.read()
    return found


def test_what_is_in_the_shards(photos: Path, tmp_path: Path) -> None:
    done = prepare(source_at(photos, (8, 8)), tmp_path / "out", SMALL)
    assert (done.samples, done.shards, done.kept) == (7, 3, 0)
    assert [one.name for one in done.skipped] == ["4.png"]
    assert "4.png: cannot read" in (tmp_path / "out" / "skipped.txt").read_text()
    made = samples(tmp_path / "out")
    assert list(made) == [f"{number:09d}" for number in range(8) if number != 4]
    for key, files in made.items():
        told = json.loads(files["json"])
        picture = Image.open(io.BytesIO(files["jpg"]))
        assert picture.size == (told["width"], told["height"])
        assert min(picture.size) == 16 and picture.mode == "RGB"
        assert told["original_height"] == 20 + int(key) and told["name"] == f"{int(key)}.png"
        assert told["captions"] == [f"a & b {int(key)}", f"number {int(key)}"]
        assert files["txt"].decode() == "\n".join(told["captions"])
        assert told["sha256"] == hashlib.sha256(files["jpg"]).hexdigest()


def test_the_index_has_the_hash_of_every_shard(photos: Path, tmp_path: Path) -> None:
    prepare(source_at(photos, (8, 8)), tmp_path / "out", SMALL)
    index = read_json(tmp_path / "out" / "index.json")
    assert index["complete"] and (index["samples"], index["skipped"]) == (7, 1)
    assert [shard["samples"] for shard in index["shards"]] == [3, 2, 2]
    for shard in index["shards"]:
        data = (tmp_path / "out" / shard["file"]).read_bytes()
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
        assert shard["bytes"] == len(data)


def test_the_same_bytes_whatever_the_number_of_processes(photos: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        prepare(source_at(photos, (8, 8)), tmp_path / f"out{workers}", SMALL, workers)
        time.sleep(0.01)
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")


@pytest.mark.parametrize("after", [1, 3, 5, 8])
def test_a_stopped_run_goes_on(after: int, photos: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done >= after:
            raise Stopped

    prepare(source_at(photos, (8, 8)), tmp_path / "whole", SMALL)
    with pytest.raises(Stopped):
        prepare(source_at(photos, (8, 8)), tmp_path / "out", SMALL, on_progress=stop)
    (tmp_path / "out" / ".00002.tar.0a1b2c3d.part").write_bytes(b"half")  # of a killed process
    done = prepare(source_at(photos, (8, 8)), tmp_path / "out", SMALL)
    assert done.kept == (after - 1) // 3 and done.samples == 7
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    again = prepare(source_at(photos, (8, 8)), tmp_path / "out", SMALL)
    assert again.kept == 3 and contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_has_changed_is_made_anew(photos: Path, tmp_path: Path) -> None:
    prepare(source_at(photos, (8, 8)), tmp_path / "out", SMALL)
    Image.new("RGB", (30, 30), "lime").save(photos / "4.png")
    for number in (6, 7):
        (photos / f"{number}.png").unlink()
    done = prepare(source_at(photos, (8, 8)), tmp_path / "out", SMALL)
    assert (done.samples, done.shards, done.kept, done.skipped) == (6, 2, 1, [])
    prepare(source_at(photos, (8, 8)), tmp_path / "whole", SMALL)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_settings_and_others_folders_are_refused(photos: Path, tmp_path: Path) -> None:
    prepare(source_at(photos, (8, 8)), tmp_path / "out", SMALL)
    with pytest.raises(UsageError, match=r"made with --shard-size 3, not 4.*another --out"):
        prepare(source_at(photos, (8, 8)), tmp_path / "out", PrepareSettings(size=16, shard_size=4))
    with pytest.raises(OutputError, match="no prepared data"):
        prepare(source_at(photos, (8, 8)), photos, SMALL)
    with pytest.raises(DataError, match="makes its pictures"):
        from unclip.data.shapes import Shapes, ShapesConfig

        prepare(Shapes(ShapesConfig(), (8, 8)), tmp_path / "other", SMALL)


def test_where_nothing_can_be_used_that_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(DataError, match=r"not one picture.*skipped\.txt"):
        prepare(source_at(tmp_path, (8, 8)), tmp_path / "out", SMALL)


@pytest.mark.parametrize(
    ("size", "wanted"), [((40, 20), (32, 16)), ((20, 60), (16, 48)), ((15, 90), (15, 90))]
)
def test_no_picture_is_enlarged(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert shrunk(Image.new("RGB", size), 16).size == wanted
    assert shrunk(Image.new("RGB", size), None).size == size


@pytest.mark.parametrize("picture", ["png", "webp", "jpeg"])
def test_colours_of_any_mode_become_srgb(picture: str) -> None:
    stream = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(stream, format="tiff")
    settings = PrepareSettings(picture=picture)  # type: ignore[arg-type]
    made = make(settings, Item("a.tif", stream, ("red",)))
    (pixels,) = [data for suffix, data in made.files.items() if suffix not in ("txt", "json")]
    found = np.asarray(Image.open(io.BytesIO(pixels)).convert("RGB")).astype(int)
    assert np.abs(found - [255, 0, 0]).max() <= 3


def test_captions_that_say_nothing_are_left_out() -> None:
    made = make(SMALL, Item("a.png", io.BytesIO(), (" ", "&nbsp;", "\u200b")))
    assert made.skipped is not None and made.skipped.why == "it has no caption"


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unclip", "data", "prepare", str(photos), "--size", "16"]
    command += ["--shard-size", "2", "--workers", "1", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=os.environ)
    for number in range(8):
        running = subprocess.Popen([*command, str(tmp_path / "out")], env=os.environ)
        time.sleep(0.25 + 0.05 * number)
        running.send_signal(signal.SIGKILL)
        running.wait()
    subprocess.run([*command, str(tmp_path / "out")], check=True, env=os.environ)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_was_made_is_data_to_train_on(photos: Path, tmp_path: Path) -> None:
    """Every picture, with its captions, comes back once an epoch; and it can be prepared again."""
    prepare(source_at(photos, (8, 8)), tmp_path / "out", PrepareSettings(picture="png"))
    source = source_at(tmp_path / "out", (20, 40))
    assert type(source).__name__ == "WebDataset" and source.count == 7
    before = {item.captions: item for item in source_at(photos, (8, 8)).items()}
    for item in source.items():
        number = int(item.captions[1].split()[1])
        assert item.captions == (f"a & b {number}", f"number {number}")
        stored = before[f"a &amp; b  {number}", f"number {number}"]
        assert np.array_equal(read_image(item.picture), read_image(stored.picture))
    prepare(source, tmp_path / "again", SMALL)
    prepare(source_at(photos, (8, 8)), tmp_path / "once", SMALL)
    again, once = samples(tmp_path / "again"), samples(tmp_path / "once")
    assert [one["jpg"] for one in again.values()] == [one["jpg"] for one in once.values()]
