"""Karlo's own checkpoints: the published size by names and shapes, and what may be wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.checkpoints.archive import Tensors, tensors_of
from unclip.checkpoints.format import FORMATS, Options, open_model
from unclip.checkpoints.part import Part
from unclip.errors import CheckpointError, UsageError
from unclip.families.adm._names import unet_size
from unclip.families.karlo import karlo
from unclip.families.karlo.karlo_original import (
    decoder_part,
    look,
    prior_part,
    upsampler_part,
)
from unclip.nn.layers import parameter_count

FIXTURES = Path(__file__).parents[2] / "parity" / "fixtures"
TINY: dict[str, Any] = json.loads((FIXTURES / "karlo_original.json").read_text())["shapes"]
PUBLISHED = json.loads(
    gzip.decompress((FIXTURES / "karlo_original_published.json.gz").read_bytes())
)
DIFFUSERS = json.loads(gzip.decompress((FIXTURES / "karlo_published.json.gz").read_bytes()))
Maker = Callable[[Callable[[], Tensors], str], Part]


def empty(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def held(make: Maker, shapes: Mapping[str, list[int]]) -> tuple[Part, int]:
    """Hold a network against the makers' own names and shapes; our number of parameters."""
    tensors = tensors_of(empty(shapes), "it")
    part = make(lambda: tensors, "it")
    net = part.build().net
    part.check(net, "it")
    return part, parameter_count(net) + sum(buffer.numel() for buffer in net.buffers())


def test_every_published_name_has_its_place() -> None:
    stats = {"mean": [768], "std": [768]}
    assert held(prior_part, {**PUBLISHED["prior"], **stats})[1] == 1_022_030_080
    assert held(decoder_part, PUBLISHED["decoder"])[1] == 885_439_686 + 7_878_400
    assert held(upsampler_part, PUBLISHED["upsampler"])[1] == 2 * 691_579_523


def test_shapes_alone_say_what_diffusers_says_in_words(tmp_path: Path) -> None:
    for name, one in DIFFUSERS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(one["config"]))
    values = {"_class_name": "UnCLIPScheduler", "clip_sample_range": 1.0}
    for name in ("decoder_scheduler", "super_res_scheduler"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scheduler_config.json").write_text(json.dumps(values))
    decoder, _ = held(decoder_part, PUBLISHED["decoder"])
    assert decoder.config == karlo.decoder_part(tmp_path).config
    upsampler: Any = held(upsampler_part, PUBLISHED["upsampler"])[0].config
    theirs: Any = karlo.upsampler_part(tmp_path).config
    heads = {"head_dim": theirs.network.head_dim}  # of attention, which it has none
    network = upsampler.network.model_copy(update=heads)
    assert upsampler.model_copy(update={"network": network}) == theirs


def test_a_network_of_one_level_is_no_karlo() -> None:
    shapes = {name: one for name, one in TINY["decoder"].items() if ".1.in_layers" not in name}
    tensors = tensors_of(empty(shapes), "it").under("model.")
    broken = Tensors({k: tensors[k] for k in tensors if ".2.in_layers" not in k})
    with pytest.raises(LookupError):
        unet_size(broken, 64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All five files under names of their own, every number 0."""
    for number, name in enumerate(("decoder", "upsampler", "prior")):
        zeros = {key: torch.zeros(shape) for key, shape in TINY[name].items()}
        torch.save({"state_dict": zeros, "global_step": 3}, tmp_path / f"{number}.bin")
    torch.save((torch.zeros(64), torch.ones(64)), tmp_path / "numbers")
    names = {"visual.conv1.weight": (64, 3, 8, 8), "visual.positional_embedding": (5, 64)}
    names |= {"token_embedding.weight": (9, 64), "text_projection": (64, 64)}
    names |= {"positional_embedding": (77, 64)}
    clip = {key: torch.zeros(shape) for key, shape in names.items()}
    torch.save(clip, tmp_path / "seer.pt")
    (tmp_path / "README.md").write_text("Karlo\n")
    return tmp_path


def test_files_are_known_by_their_content(folder: Path) -> None:
    assert {name: file.name for name, file in look(folder).items()} == {
        "decoder": "0.bin",
        "upsampler": "1.bin",
        "prior": "2.bin",
        "stats": "numbers",
        "clip": "seer.pt",
    }
    matching = [name for name in FORMATS.names() if FORMATS[name].matches(folder)]
    assert matching == ["karlo_original"]
    plan = open_model(folder)
    assert list(plan.parts) == ["clip", "prior", "decoder", "upsampler"]
    assert "RAIL-M" in plan.licence and plan.notes == ()
    tokens = plan.read_tokenizer().encode(["a fox"])[0][0].tolist()
    assert tokens[:5] == [49406, 320, 3240, 49407, 0]  # padded with "!", as Karlo was trained


def test_without_a_prior_it_still_varies_pictures(folder: Path) -> None:
    (folder / "2.bin").unlink()
    (folder / "numbers").unlink()
    plan = open_model(folder)
    assert list(plan.parts) == ["clip", "decoder", "upsampler"]
    assert plan.notes == ("it has no prior",)


@pytest.mark.parametrize(
    ("gone", "error", "said"),
    [
        ("0.bin", CheckpointError, "has no decoder among its checkpoints"),
        ("numbers", CheckpointError, r"not the mean and deviation .* \(ViT-L-14_stats\.th\)"),
        ("seer.pt", UsageError, r"needs CLIP ViT-L/14, .* --clip"),
    ],
)
def test_what_is_missing_is_named(
    gone: str, error: type[Exception], said: str, folder: Path
) -> None:
    (folder / gone).unlink()
    with pytest.raises(error, match=said):
        open_model(folder)


def test_a_damaged_checkpoint_is_not_taken_for_a_missing_one(folder: Path) -> None:
    prior = folder / "prior.ckpt"
    (folder / "2.bin").rename(prior)
    assert "prior" in open_model(folder).parts
    prior.write_bytes(prior.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"prior\.ckpt is damaged or truncated"):
        open_model(folder)
    torch.save({"state_dict": {"model.prd_emb": torch.zeros(1)}, "do": print}, prior)
    with pytest.raises(CheckpointError, match=r"prior\.ckpt .*print"):
        open_model(folder)


def test_two_of_a_kind_are_named(folder: Path) -> None:
    (folder / "copy.ckpt").write_bytes((folder / "2.bin").read_bytes())
    with pytest.raises(CheckpointError, match=r"2\.bin and .*copy\.ckpt are both Karlo's prior"):
        open_model(folder)


def test_a_clip_of_another_width_is_named(folder: Path) -> None:
    clip = torch.load(folder / "seer.pt", weights_only=True)
    torch.save({**clip, "text_projection": torch.zeros(64, 32)}, folder / "seer.pt")
    with pytest.raises(UsageError, match=r"embeddings of 32 numbers; the model works with 64"):
        open_model(folder, Options())


@pytest.mark.parametrize(
    ("name", "make", "gone"),
    [
        ("prior", prior_part, "model.out_proj.weight"),
        ("decoder", decoder_part, "model.text_seq_proj.0.weight"),
        ("upsampler", upsampler_part, "model_last_step.time_embed.0.weight"),
    ],
)
def test_a_torn_network_is_named(name: str, make: Maker, gone: str) -> None:
    shapes = {key: shape for key, shape in TINY[name].items() if key != gone}
    tensors = tensors_of(empty(shapes), "it")
    with pytest.raises(CheckpointError, match=f"it is not Karlo's {name}"):
        make(lambda: tensors, "it")


def test_a_key_too_many_is_named() -> None:
    shapes = {**TINY["prior"], "mean": [64], "std": [64], "model.padding_embedding": [10, 128]}
    tensors = tensors_of(empty(shapes), "it")
    part = prior_part(lambda: tensors, "it")
    with pytest.raises(CheckpointError, match=r"1 not used: model\.padding_embedding"):
        part.check(part.build().net, "it")


def test_networks_of_two_sizes_are_named() -> None:
    shapes = {key: list(shape) for key, shape in TINY["upsampler"].items()}
    shapes["model_last_step.time_embed.0.weight"] = [256, 64]
    tensors = tensors_of(empty(shapes), "it")
    with pytest.raises(CheckpointError, match="two networks are of different sizes"):
        upsampler_part(lambda: tensors, "it")
