from __future__ import annotations

import gc
import io
import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from unclip.data.hf import HuggingFace
from unclip.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def open_data(path: Path | str, **settings: Any) -> HuggingFace:
    return HuggingFace(HuggingFace.Config.parse({"path": str(path), **settings}), (4, 4))


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def check(source: HuggingFace, count: int) -> None:
    samples = list(islice(source, count))
    numbers = [int(sample["caption"].split()[1]) for sample in samples]
    assert sorted(numbers) == list(range(count))
    assert all((s["image"] == [n, 0, 0]).all() for s, n in zip(samples, numbers, strict=True))


def test_a_saved_data_set(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": png(n), "path": None} for n in range(5)]}
    rows["text"] = [f"picture {n}" for n in range(5)]  # type: ignore[assignment]
    data = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    data.save_to_disk(str(tmp_path / "saved"))
    check(open_data(tmp_path / "saved"), 5)
    datasets.DatasetDict({"test": data}).save_to_disk(str(tmp_path / "splits"))
    check(open_data(tmp_path / "splits", split="test"), 5)
    with pytest.raises(DataError, match="has no split 'train': test"):
        open_data(tmp_path / "splits")


@pytest.fixture
def left_open() -> Iterator[None]:
    """What `datasets` leaves open is closed here, and not in whatever test comes later."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.usefixtures("left_open")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # datasets' own
def test_a_folder_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    lines = ["file_name,text"]
    for number in range(5):
        (folder / f"{number}.png").write_bytes(png(number))
        lines.append(f"{number}.png,picture {number}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    check(open_data(tmp_path), 5)


def test_a_folder_of_parquet_and_columns(tmp_path: Path) -> None:
    columns = {"p": [png(n) for n in range(5)], "c": [f"picture {n}" for n in range(5)]}
    table = pyarrow.table(columns)
    (tmp_path / "data").mkdir()
    parquet.write_table(table, tmp_path / "data" / "train-00000-of-00001.parquet")
    check(open_data(tmp_path, picture_column="p", caption_column="c"), 5)
    with pytest.raises(DataError, match=r"picture_column: none of image, .*columns are p, c"):
        open_data(tmp_path)


def test_a_picture_is_read_by_our_own_reader(tmp_path: Path) -> None:
    """`datasets` would open any format that Pillow knows."""
    data = datasets.Dataset.from_dict(
        {"image": [{"bytes": b"%!PS-Adobe-3.0 EPSF-3.0", "path": None}], "text": ["a"]}
    ).cast_column("image", datasets.Image())
    data.save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=r"row 0: format EPS is not supported"):
        open_data(tmp_path / "saved").sample(0)


def test_code_of_a_data_set_is_not_run(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.mkdir()
    (script / "script.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    with pytest.raises(DataError, match="cannot open the data set"):
        open_data(script)
    assert not (tmp_path / "pwned").exists()


def test_a_name_that_is_not_to_be_had_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^cannot open the data set nobody/nothing: .+$"):
        open_data("nobody/nothing")


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'unclip\[datasets\]'"):
        open_data("nobody/nothing")
