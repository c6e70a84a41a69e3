"""docs/coming-from.md, line by line: what its right columns show works as it stands."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

import unclip as package
from unclip import loading

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
CODE = re.compile(r"`((?:unclip |pipe|sd\.)[^`]+)`")


def rows() -> list[tuple[str, str]]:
    """(what it was called there, the cell with what it is here) of every table."""
    text = re.sub(r"<!--.*?-->", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if line[:1] == "|"]
    cells = [[one.strip() for one in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert all(len(row) == 2 for row in cells)
    return [(there, here) for there, here in cells if here not in ("here", "---")]


SHOWN = list(
    dict.fromkeys(code.replace(r"\|", "|") for _, cell in rows() for code in CODE.findall(cell))
)


@pytest.fixture
def here(
    model: Path, wide: Path, tmp_path: Path, unclip: Any, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The current folder, with a picture of the small model's, a mask and texts."""
    monkeypatch.setattr(loading, "BUNDLED", str(model))
    monkeypatch.setattr(loading, "bundled_models", lambda: {"tiny": model})
    monkeypatch.setenv("UNCLIP_CONFIG", str(tmp_path / "config.toml"))
    fox = loading.load(model, "cpu").generate("a fox", seed=1)[0]
    shutil.copy(drawn(fox, tmp_path), "fox.png")
    mask = Image.new("L", fox.size)
    mask.paste(255, (4, 4, 12, 12))
    mask.save("mask.png")
    write_words(model)
    Path("sd").symlink_to(wide)
    theirs = PngInfo()
    theirs.add_text("parameters", "a fox\nSteps: 3, Sampler: Euler a, CFG scale: 2, Seed: 7")
    fox.save("theirs.png", pnginfo=theirs)
    return Path()


@pytest.fixture(scope="module")
def wide(
    make_stage: Any, save_model: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model that draws latents, at any size."""
    folder = tmp_path_factory.mktemp("wide") / "sd"
    sampling = {"steps": 2, "guidance_scale": 2.0}
    stages = {name: make_stage(name) for name in ("clip", "prior")}
    stages["decoder"] = make_stage("latent_decoder", sampling=sampling)
    save_model(folder, "sd", tokenizer, stages)
    return folder


def write_words(model: Path) -> None:
    """A LoRA and an embedding of the small model, wildcards, and a file of prompts."""
    nets = {name: stage.net for name, stage in loading.load(model, "cpu").stages.items()}
    name = "text.embed.weight"
    width = {stage: len(nets[stage].state_dict()[name][0]) for stage in ("clip", "decoder")}
    save_file({stage: torch.ones(1, size) for stage, size in width.items()}, "toy.safetensors")
    rows, size = nets["decoder"].state_dict()[name].shape
    lora = {f"{name}.lora_down": torch.ones(1, size), f"{name}.lora_up": torch.ones(rows, 1)}
    save_file(lora, "ink.safetensors", {"format": "unclip.lora", "stage": "decoder"})
    Path("words").mkdir()
    Path("words/animals.txt").write_text("fox\ncat\n")
    Path("prompts.txt").write_text("a fox\na car\n")


def drawn(picture: Image.Image, folder: Path) -> Path:
    from unclip.media import save

    save(picture, folder / "fox.png")
    return folder / "fox.png"


def test_every_row_shows_something() -> None:
    assert len(rows()) > 40
    for there, cell in rows():
        assert CODE.search(cell), there
    assert sum(code.startswith("unclip ") for code in SHOWN) > 20


@pytest.mark.parametrize("code", [one for one in SHOWN if not one.startswith("unclip ")])
def test_python(code: str, here: Path, model: Path, wide: Path) -> None:
    names: dict[str, Any] = {"unclip": package, "torch": torch, "folder": model}
    names |= {"pipe": pipeline(model), "sd": pipeline(wide)}
    exec(smaller(code), names)


def smaller(code: str) -> str:
    """The same with a size that the small model draws at once."""
    code = code.replace("768x512", "24x16").replace("512x512", "24x24")
    return code.replace("height=512, width=768", "height=16, width=24")


@cache
def pipeline(model: Path) -> package.Pipeline:
    return package.load(model, "cpu")


@pytest.mark.parametrize("code", [one for one in SHOWN if one.startswith("unclip ")])
def test_commands(code: str, here: Path, unclip: Callable[..., Any]) -> None:
    done = unclip(*shlex.split(smaller(code))[1:])
    assert done.code == 0, done.err
