from __future__ import annotations

import io
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from unclip.data.parquet import Parquet
from unclip.errors import DataError, UsageError


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, number, number)).save(file, "JPEG", quality=95)
    return file.getvalue()


def write(folder: Path, name: str = "a.parquet", rows: int = 2, **columns: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), folder / name, row_group_size=rows)
    return folder


def open_table(path: Path, **settings: Any) -> Parquet:
    return Parquet(Parquet.Config.parse({"path": str(path), **settings}), (8, 8))


def test_bytes_paths_and_both(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.jpg").write_bytes(jpeg(200))
    for number, cells in enumerate(
        ([jpeg(200)], ["sub/x.jpg"], [{"bytes": jpeg(200), "path": "nowhere.jpg"}])
    ):
        write(tmp_path, f"{number}.parquet", image=cells, text=["grey"])
        sample = open_table(tmp_path / f"{number}.parquet").sample(0)
        assert abs(sample["image"].astype(int) - 200).max() < 4
        assert sample["caption"] == "grey"


def test_every_row_comes_once_an_epoch(tmp_path: Path) -> None:
    said = [f"row {number}" for number in range(7)]
    write(tmp_path, jpg=[jpeg(20 * number) for number in range(7)], caption=said)
    source = open_table(tmp_path)
    samples = list(islice(source, 7))
    assert sorted(sample["caption"] for sample in samples) == said
    for sample in samples:
        shade = 20 * int(sample["caption"].split()[1])
        assert abs(sample["image"].astype(int) - shade).max() < 4
    assert source.summary() | {"kind": 0} == {"kind": 0, "files": 1, "samples": 7, "row groups": 4}


def test_columns_are_chosen(tmp_path: Path) -> None:
    write(tmp_path, image=[b""], photo=[jpeg(9)], text=["no"], alt=[["one", " ", None, "two"]])
    source = open_table(tmp_path, picture_column="photo", caption_column="alt")
    assert set(source.captions(40)) == {"one", "two"}
    assert source.sample(0)["image"].max() < 15
    with pytest.raises(DataError, match=r"caption_column: no column 'txet' \(did you mean 'text'"):
        open_table(tmp_path, caption_column="txet")
    write(tmp_path, label=[1])
    with pytest.raises(DataError, match=r"none of image, .* is a column; the columns are label"):
        open_table(tmp_path)


@pytest.mark.parametrize(
    ("image", "text", "message"),
    [
        (None, "a", "row 0 of row group 0 has no picture"),
        (b"no", "a", "row 0 of row group 0: it is not a picture"),
        (b"", "a", "row 0 of row group 0: it is empty"),
        (jpeg(1), "", "row 0 of row group 0 has no caption"),
        (jpeg(1), None, "row 0 of row group 0 has no caption"),
    ],
)
def test_a_faulty_row_is_named(image: Any, text: Any, message: str, tmp_path: Path) -> None:
    cells = pyarrow.array([image], pyarrow.binary()), pyarrow.array([text], pyarrow.string())
    write(tmp_path, image=cells[0], text=cells[1])
    with pytest.raises(DataError, match=message):
        open_table(tmp_path).sample(0)


def test_a_path_stays_in_the_folder(tmp_path: Path) -> None:
    write(tmp_path, image=["../../etc/passwd"], text=["a"])
    with pytest.raises(DataError, match="leads out of its folder"):
        open_table(tmp_path).sample(0)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no parquet files at"):
        open_table(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet"):
        open_table(tmp_path)


def test_a_row_group_that_is_damaged_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, rows=1, image=[jpeg(n) for n in range(9)], text=[f"row {n}" for n in range(9)])
    file = tmp_path / "a.parquet"
    known = parquet.ParquetFile(file).metadata.row_group(4).column(1)
    start = known.dictionary_page_offset or known.data_page_offset
    data = bytearray(file.read_bytes())
    data[start : start + known.total_compressed_size] = b"\xff" * known.total_compressed_size
    file.write_bytes(data)
    samples = list(islice(open_table(tmp_path), 9))
    faults = {line for sample in samples for line in sample.get("skipped", ())}
    assert len(samples) == 9 and len(faults) == 1
    assert f"cannot read {file}" in faults.pop()
    assert "row 4" not in {sample["caption"] for sample in samples}


def test_a_missing_library_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, image=[b""], text=["a"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'unclip\[parquet\]'"):
        open_table(tmp_path)
