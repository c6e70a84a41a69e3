"""`unclip embed`: from pictures to a folder of embeddings alone, from which a prior trains."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unclip.bulk import embedding
from unclip.data.webdataset import write_shard

Run = Callable[..., Any]


def test_a_prior_trains_from_the_embeddings_alone(unclip: Run, dataset: Path, model: Path) -> None:
    embedded = ["--out", "embedded", "--model", model, "--encodings", "--shard-size", 3]
    done = unclip("embed", dataset, *embedded, "--json")
    told = json.loads(done.out)
    assert (told["pictures"], told["rows"], told["skipped"], told["shards"]) == (4, 4, 0, 2)
    shutil.rmtree(dataset)
    train = "train={steps=3, batch_size=4, warmup=1, workers=0, precision='float32'}"
    recipe = [
        "data={source='embeddings', path='embedded'}",
        f"tokenizer={{model='{model}', context=8, vocab_size=300}}",
        f"stages={{clip={{from='{model}'}}, prior={{from='{model}', {train}}}}}",
    ]
    sets = [word for one in recipe for word in ("--set", one)]
    trained = unclip("train", "tiny", "--out", "run", "--device", "cpu", *sets)
    assert trained.code == 0, trained.err
    made = json.loads(Path("run/model/model.json").read_text())
    assert list(made["stages"]) == ["clip", "prior"]


def test_a_damaged_picture_is_left_out_and_named(unclip: Run, dataset: Path, model: Path) -> None:
    (dataset / "red.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = unclip("embed", dataset, "--out", "embedded", "--model", model)
    assert done.code == 0 and "3 pictures, 3 rows" in done.out
    assert "warning: skipped: red.png: " in done.err
    assert Path("embedded/skipped.txt").read_text().startswith("red.png: ")


def test_the_same_command_again_has_nothing_to_do(unclip: Run, dataset: Path, model: Path) -> None:
    for made in (2, 0):
        told = unclip(
            "embed", dataset, "--out", "out", "--model", model, "--shard-size", 2, "--json"
        )
        assert json.loads(told.out)["made"] == made
    other = unclip("embed", dataset, "--out", "out", "--model", model, "--shard-size", 3)
    other.fails(2, "out was begun with shard_size 2, and now it is 3")


def test_pictures_without_captions_are_embedded_alone(
    unclip: Run, dataset: Path, model: Path
) -> None:
    for text in dataset.glob("*.txt"):
        text.unlink()
    done = unclip("embed", dataset, "--out", "embedded", "--model", model)
    assert done.code == 0 and "4 pictures, 4 rows" in done.out
    assert "has no captions: pictures alone are embedded, and no texts" in done.err
    assert not Path("embedded/text_emb").exists()
    refused = unclip("embed", dataset, "--out", "other", "--model", model, "--encodings")
    refused.fails(2, "--encodings are of captions: ")


def test_few_captions_are_embedded_where_they_are_asked_for(
    unclip: Run, dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "LOOKED_AT", 1)
    first, *texts = sorted(dataset.glob("*.txt"))
    tar = [(t.stem, {"png": t.with_suffix(".png").read_bytes()}) for t in (first, *texts)]
    tar[-1][1]["txt"] = b"a fox"
    Path("tars").mkdir()
    write_shard(Path("tars/0.tar"), tar)
    done = unclip("embed", "tars", "--out", "alone", "--model", model)
    assert done.code == 0 and not Path("alone/text_emb").exists()
    looked = "tars has a caption for none of 1 pictures looked at, of 4: pictures alone"
    assert looked in done.err and "if others have some, give --captions" in done.err
    told = unclip("embed", "tars", "--out", "few", "--model", model, "--captions", "--json")
    assert json.loads(told.out)["rows"] == 1 and Path("few/text_emb").is_dir()
    both = unclip("embed", "tars", "--out", "o", "--model", model, "--captions", "--no-captions")
    both.fails(2, "give --captions or --no-captions, not both")


def test_captions_are_left_out_where_they_are_not_asked_for(
    unclip: Run, dataset: Path, model: Path
) -> None:
    next(dataset.glob("*.txt")).unlink()
    done = unclip("embed", dataset, "--out", "all", "--model", model, "--no-captions", "--json")
    assert json.loads(done.out)["pictures"] == 4 and "warning" not in done.err
    assert not Path("all/text_emb").exists()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["nowhere", "--out", "o"], 2, "there is no nowhere: give a folder of pictures"),
        (["PICTURES", "--out", "o", "--format", "npy"], 2, "unknown format 'npy'"),
        (["PICTURES", "--out", "o", "--number", "int8"], 2, "unknown number format 'int8'"),
        (["PICTURES", "--out", "o", "--batch-size", "0"], 2, "--batch-size must be at least 1"),
        (
            ["PICTURES", "--out", "o", "--format", "clip-retrieval", "--encodings"],
            2,
            "--encodings are of --format unclip",
        ),
        (["PICTURES", "--out", "o", "--ray-gpus", "-1"], 2, "--ray-gpus must be at least 0"),
        (["PICTURES", "--out", "PICTURES"], 1, "holds something else: choose another --out"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], code: int, text: str, unclip: Run, dataset: Path, model: Path
) -> None:
    told = [str(dataset) if word == "PICTURES" else word for word in words]
    unclip("embed", *told, "--model", model).fails(code, text)
