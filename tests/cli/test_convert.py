"""`unclip convert`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unclip.checkpoints.native import read_manifest, verify
from unclip.cli.convert import _bytes

RunCli = Callable[..., Any]
FILE = "weights.safetensors"


def test_to_our_own_folder(unclip: RunCli, model: Path, tmp_path: Path) -> None:
    done = unclip("convert", model, tmp_path / "new", "--dtype", "bfloat16")
    assert (done.code, done.err) == (0, "")
    assert f"{tmp_path / 'new'}: tiny (unclip), " in done.out
    assert verify(tmp_path / "new") == []
    loaded = load_file(tmp_path / "new" / "prior" / "weights.safetensors")
    assert {value.dtype for value in loaded.values()} == {torch.bfloat16}
    assert "Converted from model (unclip)" in (tmp_path / "new" / "README.md").read_text()
    assert unclip("models", "show", tmp_path / "new").code == 0


def test_a_picture_of_the_converted_model(unclip: RunCli, model: Path, tmp_path: Path) -> None:
    assert unclip("convert", model, tmp_path / "new").code == 0
    for folder, file in ((model, "a.png"), (tmp_path / "new", "b.png")):
        done = unclip("generate", "a fox", "--model", folder, "--seed", 1, "-o", file)
        assert done.code == 0, done.err
    from PIL import Image

    with Image.open("a.png") as a, Image.open("b.png") as b:
        assert a.tobytes() == b.tobytes()


def test_each_stage_has_its_own_number_format(unclip: RunCli, model: Path, tmp_path: Path) -> None:
    formats = ("--dtype", "decoder=int8", "--dtype", "float32", "--dtype", "prior=keep")
    assert unclip("convert", model, tmp_path / "new", *formats).code == 0
    found = {
        stage: {value.dtype for value in load_file(tmp_path / "new" / stage / FILE).values()}
        for stage in ("clip", "prior", "decoder")
    }
    assert found == {
        "clip": {torch.float32},
        "prior": {torch.float16},
        "decoder": {torch.int8, torch.bfloat16, torch.float16},
    }
    shown = unclip("models", "inspect", tmp_path / "new")
    assert shown.code == 0
    assert any({"decoder", "int8"} <= set(line.split()) for line in shown.out.splitlines())
    drawn = unclip("generate", "a fox", "--model", tmp_path / "new", "-o", "a.png")
    assert (drawn.code, Path("a.png").is_file()) == (0, True)


def test_a_model_of_the_hub_is_called_by_its_name(
    unclip: RunCli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.hub.fetch", lambda *args, **kwargs: model)
    assert unclip("convert", "hub:me/fine-model@v1", tmp_path / "new").code == 0
    assert read_manifest(tmp_path / "new").name == "fine-model"
    card = (tmp_path / "new" / "README.md").read_text()
    assert "Converted from hub:me/fine-model@v1 (unclip)" in card


def test_the_variant_is_the_one_that_is_fetched(
    unclip: RunCli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def fetch(*args: Any, variant: str | None = None, **kwargs: Any) -> Path:
        asked.append(variant)
        return model

    monkeypatch.setattr("unclip.hub.fetch", fetch)
    unclip("convert", "hub:me/fine-model", tmp_path / "new", "--variant", "fp16")
    assert asked == ["fp16"]


def test_small_shards(unclip: RunCli, model: Path, tmp_path: Path) -> None:
    assert unclip("convert", model, tmp_path / "new", "--shard-size", "50kB").code == 0
    files = read_manifest(tmp_path / "new").files
    assert any(name.startswith("decoder/weights-00002-of-") for name in files)


def test_what_is_there_is_not_lost(unclip: RunCli, model: Path, tmp_path: Path) -> None:
    assert unclip("convert", model, tmp_path / "new").code == 0
    unclip("convert", model, tmp_path / "new").fails(1, "is a model already", "--force")
    assert unclip("convert", model, tmp_path / "new", "--force", "--dtype", "float32").code == 0
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "will.txt").write_text("x")
    unclip("convert", model, tmp_path / "papers", "--force").fails(1, "no model")
    unclip("convert", model, model, "--force").fails(2, "itself")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--dtype", "float8"), ("--dtype", "float16")),
        (("--dtype", "decoder=float8"), ("--dtype", "got 'decoder=float8'")),
        (("--dtype", "turbo=int8"), ("turbo", "its stages: ", "decoder")),
        (("--dtype", "int8", "--to", "diffusers"), ("diffusers", "float16")),
        (("--dtype", "prior=float16", "--to", "diffusers"), ("--to diffusers", "one --dtype")),
        (("--to", "native2"), ("--to", "native")),
        (("--to", "diffusers"), ("--to diffusers", "tokenizer")),
        (("--shard-size", "lots"), ("--shard-size", "2GB")),
        (("--clip", "nowhere"), ("nowhere",)),
    ],
)
def test_wrong_options(
    options: tuple[str, ...], parts: tuple[str, ...], unclip: RunCli, model: Path, tmp_path: Path
) -> None:
    unclip("convert", model, tmp_path / "new", *options).fails(2, *parts)
    assert not (tmp_path / "new").exists()


def test_a_model_that_is_not_there(unclip: RunCli, tmp_path: Path) -> None:
    unclip("convert", "nowhere", tmp_path / "new").fails(2, "nowhere")


@pytest.mark.parametrize(
    ("text", "count"),
    [("2GB", 2 * 10**9), ("512MiB", 2**29), ("1.5g", 1.5 * 10**9), ("70 kB", 70_000), ("9", 9)],
)
def test_sizes(text: str, count: float) -> None:
    assert _bytes(text) == count
