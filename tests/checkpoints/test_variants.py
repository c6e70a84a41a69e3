"""Which weights are meant where a folder has several."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import unclip
from unclip.checkpoints._variants import variants, weights_file
from unclip.checkpoints.format import Options, open_model
from unclip.errors import CheckpointError, UsageError

FIXTURES = Path(__file__).parents[1] / "parity" / "fixtures"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CLIP's settings, without weights."""
    shutil.copy(FIXTURES / "clip_hf.json", tmp_path / "config.json")
    return tmp_path


def scaled(folder: Path, name: str, scale: float) -> None:
    """The CLIP's weights with another temperature."""
    state = load_file(FIXTURES / "clip_hf.safetensors")
    save_file({**state, "logit_scale": torch.tensor(scale)}, folder / name)


def scale(folder: Path, variant: str | None = None) -> float:
    part = open_model(folder, Options(variant=variant)).parts["clip"]
    return float(part.tensors()["logit_scale"])


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("model.safetensors", ""),
        ("model.fp16.safetensors", "fp16"),
        ("model.non_ema.safetensors", "non_ema"),
        ("pytorch_model.ema.bin", "ema"),
        ("diffusion_pytorch_model.mine.safetensors", "mine"),
        ("model.safetensors.index.json", ""),
        ("model.safetensors.index.fp16.json", "fp16"),
        ("model.safetensors.fp16.index.json", "fp16"),
        ("model.fp16.safetensors.index.json", "fp16"),
        ("diffusion_pytorch_model.safetensors.index.bf16.json", "bf16"),
        ("pytorch_model.bin.index.fp32.json", "fp32"),
    ],
)
def test_a_variant_is_found_wherever_it_stands_in_the_name(
    name: str, variant: str, tmp_path: Path
) -> None:
    (tmp_path / name).touch()
    assert variants(tmp_path) == {variant: tmp_path / name}
    assert weights_file(tmp_path).name == name


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "optimizer.bin", "model_ema.safetensors", "a.json"]
)
def test_other_files_are_none(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert variants(tmp_path) == {}
    with pytest.raises(CheckpointError, match="has no weights"):
        weights_file(tmp_path)


def test_the_one_that_is_asked_for_is_taken(folder: Path) -> None:
    for number, name in enumerate(("model", "model.ema", "model.fp16")):
        scaled(folder, f"{name}.safetensors", number)
    assert scale(folder) == 0
    assert scale(folder, "ema") == 1
    assert scale(folder, "fp16") == 2
    plans = [open_model(folder, Options(variant=one)) for one in (None, "ema", "fp16")]
    assert len({plan.digest for plan in plans}) == 3, "other weights are another model"
    with pytest.raises(UsageError, match=r"has no weights of variant 'non_ema'; it has: ema, fp16"):
        open_model(folder, Options(variant="non_ema"))


def test_a_sharded_set_under_any_name_of_its_index(folder: Path) -> None:
    state = load_file(FIXTURES / "clip_hf.safetensors")
    names = sorted(state)
    halves = {"model.fp16-00001-of-00002.safetensors": names[:9]}
    halves["model.fp16-00002-of-00002.safetensors"] = names[9:]
    for file, own in halves.items():
        save_file({name: state[name] for name in own}, folder / file)
    places = {name: file for file, own in halves.items() for name in own}
    for index in ("model.safetensors.fp16.index.json", "model.fp16.safetensors.index.json"):
        (folder / index).write_text(json.dumps({"weight_map": places}))
        assert open_model(folder).parts["clip"].tensors().keys() == state.keys()
        (folder / index).unlink()


def test_the_only_one_is_taken_and_said(folder: Path) -> None:
    scaled(folder, "model.ema.safetensors", 5)
    assert scale(folder) == 5
    (note,) = open_model(folder).notes
    assert note == "weights of variant ema are taken, as there are no plain ones"
    assert open_model(folder, Options(variant="ema")).notes == (), "it was asked for"
    scaled(folder, "model.non_ema.safetensors", 6)
    with pytest.raises(UsageError, match=r"several variants \(ema, non_ema\): name one with --var"):
        open_model(folder)
    assert scale(folder, "non_ema") == 6


def test_precisions_need_no_choice(folder: Path) -> None:
    """Of copies in several number formats the most precise is taken."""
    for number, name in enumerate(("fp16", "bf16", "fp32")):
        scaled(folder, f"model.{name}.safetensors", number)
    assert scale(folder) == 2


def test_a_component_without_the_variant_keeps_its_plain_weights(tmp_path: Path) -> None:
    """As Stable Diffusion's: `non_ema` of the U-Net alone."""
    for name in ("unet", "vae"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "diffusion_pytorch_model.safetensors").touch()
    (tmp_path / "unet" / "diffusion_pytorch_model.non_ema.safetensors").touch()
    found = [weights_file(tmp_path / name, variant="non_ema").name for name in ("unet", "vae")]
    assert found == [
        "diffusion_pytorch_model.non_ema.safetensors",
        "diffusion_pytorch_model.safetensors",
    ]


def test_a_model_without_variants_says_so(folder: Path) -> None:
    scaled(folder, "model.safetensors", 1)
    with pytest.raises(
        UsageError, match="no weights of variant 'fp16'; it has: only plain weights"
    ):
        unclip.load(folder, "cpu", variant="fp16")
