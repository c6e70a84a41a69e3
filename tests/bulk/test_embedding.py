"""The embeddings in shards are what CLIP says of each picture and each of its captions."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unclip import Pipeline
from unclip.bulk.embedding import (
    Embedded,
    Embedding,
    ends_of,
    finish,
    has_captions,
    opened,
    uncaptioned,
)
from unclip.bulk.shards import Shards, complete, here
from unclip.data import source_at
from unclip.data._picture import read_cropped
from unclip.data.webdataset import write_shard
from unclip.errors import DataError, UsageError
from unclip.media import from_arrays
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import Rng
from unclip.stages import Stage
from unclip.stages.model import Model

CAPTIONS = {
    "a": ["a red car"],
    "b": ["the fox", "two blue apples"],
    "c": ["a dog under the moon"],
    "e": ["a red apple"],
}


@pytest.fixture(scope="module")
def pipe(make_stage: Callable[[str], Stage], tokenizer: Tokenizer) -> Pipeline:
    return Pipeline(Model(tokenizer, {"clip": make_stage("clip")}, "tiny", "1234"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four pictures, and one that is cut off."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for name, captions in CAPTIONS.items():
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text("\n".join(captions))
    (folder / "d.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "d.txt").write_text("gone")
    return folder


def work_of(
    pipe: Pipeline, data: Path, open_it: Callable[..., Any] = opened, **changes: Any
) -> Embedding:
    read = partial(open_it, data, {})
    source, size = read((8, 8)), changes.get("shard_size", 2)
    values = {"shard_size": 2, "batch": 3, "number": "float32", **changes}
    ends = ends_of(source, size, changes.get("captions", True))
    return Embedding(
        read, str(data), source.count, ends, lambda: pipe, pipe.name, pipe.hash, **values
    )


def run(work: Embedding, folder: Path) -> Embedded:
    shards = Shards(work, folder)
    complete(shards, here)
    return finish(shards, work)


def arrays(folder: Path, kind: str) -> Any:
    files = sorted((folder / kind).glob("*.npy"))
    return np.concatenate([np.load(file) for file in files])


def test_each_caption_has_a_row_as_clip_sees_it(
    pipe: Pipeline, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = run(work_of(pipe, pictures, encodings=True), out)
    assert (found.rows, found.pictures, len(found.skipped)) == (5, 4, 1)
    clip, rows = pipe.model.clip("testing", "vision"), []
    for name, captions in CAPTIONS.items():
        picture = read_cropped(pictures / f"{name}.png", (8, 8))
        z_i = clip.embed_images(from_arrays([picture]))[0]
        for text in captions:
            read = clip.sample(pipe.read([text]), Rng([0]))
            assert read.text_embed is not None and read.text_encodings is not None
            rows.append((text, z_i, read.text_embed[0], read.text_encodings[0]))
    for at, kind in enumerate(("img_emb", "text_emb", "text_encodings"), start=1):
        wanted = torch.stack([row[at] for row in rows]).numpy()
        np.testing.assert_allclose(arrays(out, kind), wanted, atol=1e-5)
    lines = [
        json.loads(line)
        for file in sorted((out / "metadata").glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    assert [line["caption"] for line in lines] == [row[0] for row in rows]
    assert [line["key"] for line in lines] == ["a.png", "b.png", "b.png", "c.png", "e.png"]


def test_pictures_that_cannot_be_read_are_named(
    pipe: Pipeline, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "f.png").touch()
    (pictures / "f.txt").write_text("empty")
    found = run(work_of(pipe, pictures), tmp_path / "out")
    assert [line.split(":")[0] for line in found.skipped] == ["d.png", "f.png"]
    assert (tmp_path / "out" / "skipped.txt").read_text().splitlines() == list(found.skipped)
    values = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (values["complete"], values["pictures"], values["skipped"]) == (True, 4, 2)


def test_not_one_good_picture_is_an_error(pipe: Pipeline, pictures: Path, tmp_path: Path) -> None:
    for name in CAPTIONS:
        (pictures / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"not one picture could be embedded: a\.png: "):
        run(work_of(pipe, pictures), tmp_path / "out")


def files_of(folder: Path) -> dict[str, bytes]:
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def test_a_run_that_was_stopped_gives_the_same_bytes(
    pipe: Pipeline, pictures: Path, tmp_path: Path
) -> None:
    work = work_of(pipe, pictures)
    run(work, tmp_path / "whole")
    shards = Shards(work, tmp_path / "stopped")

    def stops(shards: Shards, numbers: Any, tell: Any) -> None:
        here(shards, numbers[1:], tell)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        complete(shards, stops)
    before = {file: file.stat().st_mtime_ns for file in shards.folder.rglob("*.npy")}
    run(work, shards.folder)
    assert before and all(file.stat().st_mtime_ns == at for file, at in before.items())
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


def test_pictures_that_came_between_are_embedded_too(
    pipe: Pipeline, pictures: Path, tmp_path: Path
) -> None:
    run(work_of(pipe, pictures), tmp_path / "out")
    (pictures / "b2.png").write_bytes((pictures / "b.png").read_bytes())
    (pictures / "b2.txt").write_text("new")
    again = work_of(pipe, pictures)
    assert Shards(again, tmp_path / "out").missing() == [1, 2], "the first is as it was"
    assert run(again, tmp_path / "out") == run(again, tmp_path / "new")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "new")


def test_clip_retrievals_layout_has_tables(pipe: Pipeline, pictures: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    run(work_of(pipe, pictures, layout="clip-retrieval", number="float16"), tmp_path / "out")
    table = parquet.read_table(tmp_path / "out" / "metadata" / "metadata_0.parquet").to_pydict()
    assert table["caption"] == ["a red car", "the fox", "two blue apples"]
    assert table["image_path"] == ["a.png", "b.png", "b.png"]
    assert arrays(tmp_path / "out", "img_emb").dtype == np.float16


@pytest.mark.parametrize("layout", ["unclip", "clip-retrieval"])
def test_a_source_reads_every_row(
    layout: str, pipe: Pipeline, pictures: Path, tmp_path: Path
) -> None:
    run(work_of(pipe, pictures, layout=layout), tmp_path / "out")
    source: Any = source_at(tmp_path / "out", (1, 1))
    samples = [source.sample(position) for position in range(5)]
    assert sorted(one["caption"] for one in samples) == sorted(chain(*CAPTIONS.values()))
    assert source.about == {"model": "tiny", "model_hash": "1234"}


def test_tars_are_embedded_as_their_files_are(
    pipe: Pipeline, pictures: Path, tmp_path: Path
) -> None:
    read = {name: (pictures / f"{name}.png").read_bytes() for name in CAPTIONS}
    write_shard(
        tmp_path / "tars" / "00000.tar",
        ((n, {"png": data, "txt": "\n".join(CAPTIONS[n]).encode()}) for n, data in read.items()),
    )
    run(work_of(pipe, tmp_path / "tars"), tmp_path / "of-tars")
    run(work_of(pipe, pictures), tmp_path / "of-files")
    for kind in ("img_emb", "text_emb"):
        tars, files = (arrays(tmp_path / one, kind) for one in ("of-tars", "of-files"))
        np.testing.assert_allclose(tars, files, atol=1e-6)


def test_what_cannot_be_embedded_is_said(
    pipe: Pipeline, pictures: Path, make_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    run(work_of(pipe, pictures), tmp_path / "out")
    with pytest.raises(DataError, match="holds no picture files: it is read as 'embeddings'"):
        opened(tmp_path / "out", {}, (8, 8))
    blind = Pipeline(Model(pipe.tokenizer, {"prior": make_stage("prior")}, "blind", "1"))
    with pytest.raises(UsageError, match="model 'blind' has no CLIP, which embedding pictures"):
        run(work_of(blind, pictures), tmp_path / "other")


def embeds_of(pipe: Pipeline, files: list[Path]) -> Any:
    clip = pipe.model.clip("testing", "vision")
    return clip.embed_images(from_arrays([read_cropped(file, (8, 8)) for file in files])).numpy()


@pytest.mark.parametrize("layout", ["unclip", "clip-retrieval"])
def test_pictures_without_captions_are_embedded_alone(
    layout: str, pipe: Pipeline, pictures: Path, tmp_path: Path
) -> None:
    if layout == "clip-retrieval":
        pytest.importorskip("pyarrow")
    for text in pictures.glob("*.txt"):
        text.unlink()
    source, out = opened(pictures, {}, (8, 8)), tmp_path / "out"
    assert not has_captions(source)
    found = run(work_of(pipe, pictures, captions=False, layout=layout), out)
    assert (found.rows, found.pictures, len(found.skipped)) == (4, 4, 1)
    assert found.skipped[0].startswith("d.png: ")
    wanted = embeds_of(pipe, [pictures / f"{name}.png" for name in CAPTIONS])
    np.testing.assert_allclose(arrays(out, "img_emb"), wanted, atol=1e-5)
    assert not (out / "text_emb").exists()
    read = source_at(out, (8, 8))
    assert read.summary()["captions"] == "no"
    samples = [next(iter(read.shard(n, 4))) for n in range(4)]
    assert {tuple(sample) for sample in samples} == {("image_embed",)}
    assert not read.vocabulary().counts


def test_all_pictures_are_embedded_where_some_have_captions(
    pipe: Pipeline, pictures: Path, tmp_path: Path
) -> None:
    for name in ("a", "c"):
        (pictures / f"{name}.txt").unlink()
    (pictures / "a-masklabel.png").write_bytes((pictures / "a.png").read_bytes())
    assert has_captions(opened(pictures, {}, (8, 8)))
    alone = partial(work_of, pipe, pictures, uncaptioned, captions=False)
    assert run(alone(), tmp_path / "out").pictures == 4
    wanted = embeds_of(pipe, [pictures / f"{name}.png" for name in CAPTIONS])
    np.testing.assert_allclose(arrays(tmp_path / "out", "img_emb"), wanted, atol=1e-5)
    with pytest.raises(UsageError, match="was begun with format unclip without captions"):
        run(work_of(pipe, pictures), tmp_path / "out")


def test_captions_that_cannot_be_read_are_expected(pictures: Path, tmp_path: Path) -> None:
    """They are not taken for none: each is then left out and named."""
    tars = tmp_path / "tars"
    tars.mkdir()
    picture = (pictures / "a.png").read_bytes()
    write_shard(tars / "0.tar", [(name, {"png": picture, "txt": b"\xff\xfe\xff"}) for name in "ab"])
    assert has_captions(opened(tars, {}, (8, 8)))
    write_shard(tars / "0.tar", [(name, {"png": picture, "txt": b" "}) for name in "ab"])
    assert not has_captions(opened(tars, {}, (8, 8)))


def test_tars_without_captions_are_embedded(pipe: Pipeline, pictures: Path, tmp_path: Path) -> None:
    tars, files = tmp_path / "tars", [pictures / f"{name}.png" for name in CAPTIONS]
    tars.mkdir()
    write_shard(tars / "0.tar", [(one.stem, {"png": one.read_bytes()}) for one in files])
    assert not has_captions(opened(tars, {}, (8, 8)))
    out = tmp_path / "out"
    assert run(work_of(pipe, tars, captions=False), out).pictures == 4
    np.testing.assert_allclose(arrays(out, "img_emb"), embeds_of(pipe, files), atol=1e-5)
