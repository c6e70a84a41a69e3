"""Tars by place: what the webdataset library reads in a row, and what is damaged."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import webdataset
from PIL import Image

from unclip.data import source_at
from unclip.data.folder import Folder
from unclip.data.source import TRIES
from unclip.data.webdataset import WebDataset, index_of, write_index, write_shard
from unclip.errors import DataError, UsageError

PICTURES = frozenset({"png", "jpg"})


def png(number: int, size: tuple[int, int] = (4, 4)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def pairs(numbers: Any) -> Iterator[tuple[str, dict[str, bytes]]]:
    """As img2dataset writes them."""
    for number in numbers:
        about = json.dumps({"caption": f"picture {number}", "key": f"{number:09}"}).encode()
        yield f"{number:09}", {"png": png(number), "txt": b"text %d" % number, "json": about}


def open_tars(path: Path | str, **settings: Any) -> WebDataset:
    return WebDataset(WebDataset.Config.parse({"path": str(path), **settings}), (4, 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        write_shard(tmp_path / f"{number:05}.tar", pairs(range(10 * number, 10 * number + 10)))
    return tmp_path


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the library
def test_the_library_reads_what_is_written_and_the_index_agrees(folder: Path) -> None:
    tar = folder / "00001.tar"
    theirs = list(webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False))
    index = index_of(tar, PICTURES, "txt")
    assert list(index.keys) == [one["__key__"] for one in theirs] and not index.fault
    data = tar.read_bytes()
    for one, (offset, size, text_offset, text_size) in zip(theirs, index.spans, strict=True):
        assert data[offset : offset + size] == one["png"]
        assert data[text_offset : text_offset + text_size] == one["txt"]


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_shard(tmp_path / "a.tar", pairs(range(3)))
    again = write_shard(tmp_path / "b.tar", pairs(range(3)))
    assert first.samples == 3 and first.sha256 == again.sha256
    assert first.sha256 != write_shard(tmp_path / "c.tar", pairs(range(1, 4))).sha256


def test_a_shard_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[str, dict[str, bytes]]]:
        yield from pairs(range(2))
        raise KeyError("stop")

    with pytest.raises(KeyError):
        write_shard(tmp_path / "a.tar", broken())
    with pytest.raises(ValueError, match=r"'a\.b' is no key"):
        write_shard(tmp_path / "a.tar", [("a.b", {"txt": b""})])
    assert not list(tmp_path.iterdir())


def test_picture_and_caption_belong_together_and_all_come(folder: Path) -> None:
    source = open_tars(folder, shuffle_window=2)
    epoch = list(islice(source, 40))
    numbers = [int(sample["caption"].split()[1]) for sample in epoch]
    assert sorted(numbers) == list(range(40)) != numbers
    assert all((s["image"] == [n, 0, 0]).all() for s, n in zip(epoch, numbers, strict=True))
    assert len({number // 10 for number in numbers[:20]}) == 2  # two tars of four


def test_a_pattern_names_tars(folder: Path) -> None:
    assert open_tars(folder / "{00001..00002}.tar").order.total == 20
    assert open_tars(folder / "00003.tar").order.total == 10
    with pytest.raises(DataError, match=r"no tar .*00004\.tar"):
        open_tars(folder / "{00003..00005}.tar")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="has no tars"):
        open_tars(folder / "empty")


def test_what_img2dataset_writes_beside_the_tars_does_not_hide_them(folder: Path) -> None:
    """Tables of what was downloaded; and its other layout is a folder of pictures."""
    (folder / "00000.parquet").write_bytes(b"")
    assert isinstance(source_at(folder, (4, 4)), WebDataset)
    files = folder / "files"
    (files / "00000").mkdir(parents=True)
    (files / "00000.parquet").write_bytes(b"")
    (files / "00000" / "000000000.jpg").write_bytes(png(1))
    (files / "00000" / "000000000.txt").write_text("one")
    assert isinstance(source_at(files, (4, 4)), Folder)


def test_captions_of_json(folder: Path) -> None:
    source = open_tars(folder, caption_column="json.caption")
    assert set(source.captions(40)) == {f"picture {number}" for number in range(40)}
    with pytest.raises(DataError, match="is empty"):
        open_tars(folder, caption_column="json.alt").sample(0)
    with pytest.raises(DataError, match="has no cls"):
        open_tars(folder, caption_column="cls").sample(0)


@pytest.mark.parametrize("by", ["index", "stats"])
def test_tars_whose_samples_are_counted_are_not_read_at_the_start(
    by: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "index":
        shards = [write_shard(tar, pairs(range(10))) for tar in sorted(folder.glob("*.tar"))]
        write_index(folder, shards)
    else:
        for tar in folder.glob("*.tar"):
            about = {"count": 12, "successes": 10, "failed_to_download": 2}
            tar.with_name(f"{tar.stem}_stats.json").write_text(json.dumps(about))
    read: list[str] = []

    def counting(tar: Path, **options: Any) -> Any:
        read.append(tar.name)
        return index_of(tar, **options)

    monkeypatch.setattr("unclip.data.webdataset.index_of", counting)
    source = open_tars(folder, shuffle_window=1)
    assert source.order.total == 40 and not read
    list(islice(source, 10))
    assert len(read) == 1


def test_a_tar_that_is_cut_off_gives_what_is_left_and_is_named(folder: Path) -> None:
    tar = folder / "00002.tar"
    index = index_of(tar, PICTURES, "txt")
    tar.write_bytes(tar.read_bytes()[: index.spans[6][0] + 20])  # in the seventh picture
    source = open_tars(tar)
    # 7, of which the last has no picture any more, and the fault itself
    assert source.order.total == 8
    (note,) = source.notes()
    assert note.startswith(f"{tar} is damaged after 19 files: it is cut off")
    samples = list(islice(source, 8))
    faults = {line for sample in samples for line in sample.get("skipped", ())}
    assert faults == {note, f"{tar}: 000000026 has no txt"}
    assert {int(one["caption"].split()[1]) for one in samples} <= set(range(20, 26))


def test_samples_that_a_count_promises_and_a_tar_lacks_are_skipped(folder: Path) -> None:
    shards = [write_shard(tar, pairs(range(10))) for tar in sorted(folder.glob("*.tar"))]
    write_index(folder, shards)
    for name, data in (("00000.tar", b"no tar"), ("00001.tar", b"")):
        (folder / name).write_bytes(data)
    (folder / "00002.tar").unlink()
    (folder / "00002.tar").symlink_to("gone")
    source = open_tars(folder, shuffle_window=4)
    samples = list(islice(source, 40))
    faults = [line for sample in samples for line in sample.get("skipped", ())]
    assert len(samples) == 40 and len(faults) >= 30
    for name in ("00000", "00001", "00002"):
        assert any(f"{name}.tar is damaged after 0 files" in fault for fault in faults)


def test_a_damaged_header_is_not_taken_for_the_end(folder: Path) -> None:
    tar = folder / "00000.tar"
    data = bytearray(tar.read_bytes())
    with tarfile.open(tar) as opened:
        middle = opened.getmembers()[15].offset
    data[middle : middle + 512] = b"\xff" * 512
    tar.write_bytes(data)
    index = index_of(tar, PICTURES, "txt")
    assert len(index.keys) == 5
    assert f"what is at byte {middle} is not the beginning of a file" in index.fault


def test_what_others_would_unpickle_is_not_touched(tmp_path: Path) -> None:
    bomb = b"cos\nsystem\n(S'touch pwned'\ntR."
    sample = {"png": png(1), "txt": b"one", "pyd": bomb, "pickle": bomb, "pth": bomb}
    write_shard(tmp_path / "a.tar", [("a", sample)])
    assert open_tars(tmp_path).sample(0)["caption"] == "one"
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"png": b"", "txt": b"a"}, "a.tar: one: it is empty"),
        ({"png": b"no picture", "txt": b"a"}, "a.tar: one: it is not a picture"),
        ({"png": png(3)[:50], "txt": b"a"}, "a.tar: one: this PNG is damaged"),
        ({"png": png(3), "txt": b"  \n"}, "a.tar: one is empty"),
        ({"png": png(3), "txt": b"\xff"}, "a.tar: one: .*not UTF-8"),
        ({"png": png(3)}, "a.tar: one has no txt"),
        ({"txt": b"a"}, "a.tar: one has no picture"),
    ],
)
def test_a_faulty_sample_is_named(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [("one", files)])
    source = open_tars(tmp_path)
    with pytest.raises(DataError, match=message):
        source.sample(0)
    with pytest.raises(DataError, match=rf"{TRIES} samples in a row cannot be made.*{message}"):
        next(iter(source))


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    bomb = bytearray(png(1))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    write_shard(tmp_path / "a.tar", [("one", {"png": bytes(bomb), "txt": b"a"})])
    with pytest.raises(DataError, match=r"one: .*(60000x60000|damaged)"):
        open_tars(tmp_path).sample(0)


def test_a_giant_file_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "a.tar", [("one", {"png": png(1, (90, 90)), "txt": b"a"})])
    monkeypatch.setattr("unclip.data.webdataset.MAX_BYTES", 100)
    with pytest.raises(DataError, match=r"a\.tar: one: its picture has more than"):
        open_tars(tmp_path).sample(0)


def test_a_missing_library_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(tmp_path / "a.tar", pairs(range(1)))
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(UsageError, match=r"pip install 'unclip\[train\]'"):
        open_tars(tmp_path)


def test_a_faulty_index_is_named(folder: Path) -> None:
    (folder / "index.json").write_text('{"shards": [{"file": "00000.tar"}]}')
    with pytest.raises(DataError, match=r"index\.json.* is damaged"):
        open_tars(folder)
