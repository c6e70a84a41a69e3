from __future__ import annotations

import json
import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from unclip.data.embeddings import Embeddings, write_about, write_array
from unclip.errors import DataError


def save(folder: Path, kind: str, number: str, values: Any) -> Path:
    (folder / kind).mkdir(parents=True, exist_ok=True)
    file = folder / kind / f"{kind}_{number}.npy"
    np.save(file, values)
    return file


def open_arrays(path: Path, **settings: Any) -> Embeddings:
    return Embeddings(Embeddings.Config.parse({"path": str(path), **settings}), (8, 8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As clip-retrieval writes them: row r of array a is a * 10 + r in every place."""
    for number, rows in (("0", 3), ("1", 2), ("10", 4)):
        base = int(number) * 10 + np.arange(rows, dtype=np.float16)[:, None]
        save(tmp_path, "img_emb", number, np.repeat(base, 4, 1))
        save(tmp_path, "text_emb", number, np.repeat(-base, 4, 1))
        said = [f"row {int(value)}" for value in base[:, 0]]
        table = pyarrow.table({"image_path": said, "caption": said})
        (tmp_path / "metadata").mkdir(exist_ok=True)
        parquet.write_table(table, tmp_path / "metadata" / f"metadata_{number}.parquet")
    return tmp_path


def test_rows_of_arrays_and_captions_belong_together(folder: Path) -> None:
    samples = list(islice(open_arrays(folder), 9))
    values = sorted(float(sample["image_embed"][0]) for sample in samples)
    assert values == [0, 1, 2, 10, 11, 100, 101, 102, 103]
    for sample in samples:
        assert sample.keys() == {"image_embed", "text_embed", "caption"}
        assert sample["image_embed"].dtype == sample["text_embed"].dtype == np.float32
        assert (sample["image_embed"] == -sample["text_embed"]).all()
        assert sample["caption"] == f"row {sample['image_embed'][0]:.0f}"


def test_arrays_are_mapped_and_not_read(folder: Path) -> None:
    source = open_arrays(folder)
    assert isinstance(source._arrays(("img_emb", "0")), np.memmap)
    assert len(pickle.dumps(source)) < 10_000


def test_embeddings_alone_have_no_captions(tmp_path: Path) -> None:
    save(tmp_path, "img_emb", "0", np.ones((2, 4), np.float32))
    source = open_arrays(tmp_path)
    assert source.sample(5).keys() == {"image_embed"}
    assert not list(source.captions(3)) and not source.vocabulary()
    assert source.summary()["captions"] == "no"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_of_captions_that_is_named_must_be_there(kind: str, tmp_path: Path) -> None:
    save(tmp_path, "img_emb", "0", np.ones((2, 4), np.float32))
    file = tmp_path / "metadata" / f"metadata_0.{kind}"
    file.parent.mkdir()
    if kind == "jsonl":
        file.write_text('{"words": "a fox"}\n{"words": "a cat"}\n')
    else:
        parquet.write_table(pyarrow.table({"words": ["a fox", "a cat"]}), file)
    assert not open_arrays(tmp_path).has_captions
    said = open_arrays(tmp_path, caption_column="words")
    assert {said.sample(n)["caption"] for n in range(2)} == {"a fox", "a cat"}
    with pytest.raises(DataError, match=r"metadata_0.*(?s:.)(text|column 'text'|caption)"):
        open_arrays(tmp_path, caption_column="text").sample(0)


def test_embeddings_of_another_model_are_refused(folder: Path) -> None:
    about = {"model": "emoji-cpu", "model_hash": "abc"}
    (folder / "embeddings.json").write_text(json.dumps(about))
    assert open_arrays(folder, model_hash="abc").summary()["model"] == "emoji-cpu"
    with pytest.raises(DataError, match=r"are of the model abc, and data\.model_hash is xyz"):
        open_arrays(folder, model_hash="xyz")


def test_a_row_that_is_not_finite_is_skipped(folder: Path) -> None:
    values = np.ones((3, 4), np.float32)
    values[1, 2] = np.nan
    file = save(folder, "img_emb", "0", values)
    faults = [line for one in islice(open_arrays(folder), 9) for line in one.get("skipped", ())]
    assert set(faults) == {f"{file}: row 1 is not finite"}


def test_an_array_of_objects_is_not_unpickled(folder: Path) -> None:
    file = folder / "img_emb" / "img_emb_0.npy"
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"cannot read .*img_emb_0\.npy: .*Python objects"):
        open_arrays(folder)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("text_emb", np.ones((2, 4)), "img_emb_0.npy has 3, text_emb_0.npy has 2"),
        ("img_emb", np.ones((3,)), "img_emb_0.npy must be an array of 2 axes"),
        ("img_emb", np.ones((3, 4), int), "img_emb_0.npy must be an array of 2 axes of floating"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    kind: str, values: Any, message: str, folder: Path
) -> None:
    save(folder, kind, "0", values)
    with pytest.raises(DataError) as caught:
        open_arrays(folder)
    assert message in str(caught.value)


def test_a_missing_array_and_an_empty_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "text_emb" / "text_emb_1.npy").unlink()
    with pytest.raises(DataError, match=r"cannot read .*text_emb_1\.npy: .*No such file"):
        open_arrays(folder)
    with pytest.raises(DataError, match=r"no embeddings at .*img_emb_0\.npy"):
        open_arrays(tmp_path / "nowhere")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"image_embed": (3, 4), "text_embed": (3, 4), "text_encodings": (3, 2, 5)}
    fields = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    said = [("one", "a \u2028 line"), ("two",), ("three",)]
    kinds = dict(zip(shapes, ("img_emb", "text_emb", "text_encodings"), strict=True))
    for name, values in fields.items():
        write_array(tmp_path, kinds[name], 7, values)
    (tmp_path / "metadata").mkdir()
    lines = [json.dumps({"caption": row}, ensure_ascii=False) + "\n" for row in said]
    (tmp_path / "metadata" / "metadata_7.jsonl").write_text("".join(lines), encoding="utf-8")
    write_about(tmp_path, "emoji-cpu", "abc")
    source = open_arrays(tmp_path, model_hash="abc")
    for position in range(12):
        _, row = source.order.place(position)
        sample = source.sample(position)
        assert sample["caption"] == said[row][0]  # which `text_embed` is of
        for name, values in fields.items():
            assert (sample[name] == values[row]).all()  # type: ignore[literal-required]
