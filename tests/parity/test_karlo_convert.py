"""Karlo written as our own folder and as a folder of diffusers' again: nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import unclip
from unclip.checkpoints.convert import convert, write_as
from unclip.checkpoints.format import open_model
from unclip.errors import UsageError

HERE = Path(__file__).parent
NETWORKS = ("prior", "text_proj", "decoder", "super_res_first", "super_res_last")
ENCODERS = ("text_encoder", "image_encoder")
SCHEDULERS = ("prior_scheduler", "decoder_scheduler", "super_res_scheduler")
PROMPT = "a red fox"
STEPS = {"steps": 2, "prior_steps": 2, "upsampler_steps": 2}
BOOKKEEPING = {"_use_default_values", "_class_name", "_diffusers_version", "architectures"}
SAID_BY_NO_FILE = {"_attn_implementation_autoset", "transformers_version", "torch_dtype"}


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("karlo")


@pytest.fixture(scope="module")
def folder(
    peer: Any, alphabet: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The peer's model with its prior and its image encoder."""
    path = tmp_path_factory.mktemp("convert") / "karlo"
    path.mkdir()
    (path / "model_index.json").write_text('{"_class_name": "UnCLIPPipeline"}')
    (path / "LICENSE.txt").write_text("CreativeML Open RAIL-M, the whole text of it\n")
    for name in NETWORKS:
        peer.write(path, name, "diffusion_pytorch_model.safetensors")
    for name in ENCODERS:
        peer.write(path, name, "model.safetensors")
    for name in SCHEDULERS:
        (path / name).mkdir()
        values = {**peer.said["configs"][name], "_class_name": "UnCLIPScheduler"}
        (path / name / "scheduler_config.json").write_text(json.dumps(values))
    alphabet(path / "tokenizer")
    return path


@pytest.fixture(scope="module")
def native(folder: Path) -> Path:
    convert(open_model(folder), folder.parent / "native")
    return folder.parent / "native"


@pytest.fixture(scope="module")
def back(native: Path) -> Path:
    """Through our own folder to diffusers' again."""
    write_as("diffusers", open_model(native), native.parent / "back")
    return native.parent / "back"


def picture(path: Path) -> Tensor:
    pipe = unclip.load(path, "cpu", torch.float32)
    return pipe.sample(pipe.read([PROMPT]), [3], settings=STEPS)


def test_the_picture_stays_the_same_to_the_bit(folder: Path, native: Path, back: Path) -> None:
    drawn = picture(folder)
    assert drawn.std() > 0.1
    assert torch.equal(picture(native), drawn)
    assert torch.equal(picture(back), drawn)


def test_our_folder_says_what_the_adapter_says(folder: Path, native: Path) -> None:
    before, after = open_model(folder).parts, open_model(native).parts
    assert {name: part.config for name, part in before.items()} == {
        name: part.config for name, part in after.items()
    }
    assert open_model(native).licence == open_model(folder).licence != ""
    assert "RAIL-M" in (native / "README.md").read_text()
    assert (native / "LICENSE.txt").read_text() == (folder / "LICENSE.txt").read_text()


@pytest.mark.parametrize("name", [*NETWORKS, *ENCODERS])
def test_every_tensor_comes_back(name: str, peer: Any, back: Path) -> None:
    (file,) = (back / name).glob("*.safetensors")
    stem = "model" if name in ENCODERS else "diffusion_pytorch_model"
    assert file.name == f"{stem}.safetensors"
    found, original = load_file(file), peer.weights(name)
    assert set(found) == set(original)
    assert all(torch.equal(found[key], value) for key, value in original.items())


@pytest.mark.parametrize("name", [*NETWORKS, *ENCODERS, *SCHEDULERS])
def test_every_setting_comes_back(name: str, peer: Any, back: Path) -> None:
    """With what diffusers and transformers themselves take where a file says nothing."""
    defaults = json.loads((HERE / "fixtures" / "karlo_defaults.json").read_text())[name]
    file = "scheduler_config.json" if name in SCHEDULERS else "config.json"
    ours = json.loads((back / name / file).read_text())
    left = BOOKKEEPING | SAID_BY_NO_FILE
    read = {key: value for key, value in {**defaults, **ours}.items() if key not in left}
    original = {key: v for key, v in peer.said["configs"][name].items() if key not in left}
    assert json.loads(json.dumps(read)) == original


def test_the_tokenizer_comes_back(folder: Path, back: Path) -> None:
    for file in ("vocab.json", "merges.txt"):
        read = [(path / "tokenizer" / file).read_text() for path in (folder, back)]
        if file.endswith("json"):
            assert json.loads(read[0]) == json.loads(read[1])
        else:
            assert read[0] == read[1]
    values = json.loads((back / "tokenizer" / "tokenizer_config.json").read_text())
    assert (values["pad_token"], values["model_max_length"]) == ("!", 77)


def test_the_index_names_what_is_there(back: Path) -> None:
    index = json.loads((back / "model_index.json").read_text())
    assert index.pop("_class_name") == "UnCLIPPipeline"
    assert index.pop("_diffusers_version") == "0.33.1"
    assert set(index) == {path.name for path in back.iterdir() if path.is_dir()}
    assert index["text_proj"] == ["unclip", "UnCLIPTextProjModel"]


def test_without_a_prior_it_is_the_other_pipeline(folder: Path, tmp_path: Path) -> None:
    plan = open_model(folder)
    object.__setattr__(plan, "parts", {n: p for n, p in plan.parts.items() if n != "prior"})
    assert write_as("diffusers", plan, tmp_path / "out") == "UnCLIPImageVariationPipeline"
    assert not (tmp_path / "out" / "prior").exists()


@pytest.mark.parametrize(
    ("stage", "section", "change", "said"),
    [
        ("decoder", "network", {"norm_embed": True}, "its decoder has network.norm_embed = True"),
        ("clip", "network", {"normalize": True}, "its clip has network.normalize = True"),
        ("upsampler", "", {"enlarge": "nearest"}, "its upsampler has enlarge = nearest"),
        ("prior", "sampling", {"threshold": "dynamic"}, "its prior has sampling.threshold"),
        ("decoder", "schedule", {"steps": 500}, "its decoder has schedule.steps = 500"),
    ],
)
def test_what_diffusers_cannot_hold_is_refused(
    stage: str, section: str, change: dict[str, Any], said: str, native: Path, tmp_path: Path
) -> None:
    plan = open_model(native)
    part = plan.parts[stage]
    inner = getattr(part.config, section).model_copy(update=change) if section else None
    config = part.config.model_copy(update={section: inner} if section else change)
    object.__setattr__(part, "config", config)
    with pytest.raises(UsageError, match=said):
        write_as("diffusers", plan, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_asked_for_by_name(native: Path, tmp_path: Path) -> None:
    write_as("diffusers", open_model(native), tmp_path / "out", torch.bfloat16)
    for file in (tmp_path / "out").rglob("*.safetensors"):
        assert {value.dtype for value in load_file(file).values()} == {torch.bfloat16}


def test_a_file_that_does_not_fit_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    import shutil

    from unclip.errors import CheckpointError

    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    file = broken / "text_proj" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["extra.weight"] = weights.pop("embedding_proj.weight")
    save_file(weights, file)
    for write in (convert, partial(write_as, "diffusers")):
        with pytest.raises(CheckpointError, match=r"missing: text_proj.embedding_proj.weight"):
            write(open_model(broken), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]
