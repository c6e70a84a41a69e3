"""Karlo at its published size, by names and shapes alone, and what is wrong with a folder."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unclip.checkpoints.archive import tensors_of
from unclip.checkpoints.format import Options, open_model
from unclip.checkpoints.part import Part
from unclip.errors import CheckpointError
from unclip.families._diffusers import prior_part
from unclip.families.karlo.karlo import PRIOR, decoder_part, upsampler_part
from unclip.nn.layers import parameter_count

FILE = Path(__file__).parents[2] / "parity" / "fixtures" / "karlo_published.json.gz"
PUBLISHED: dict[str, Any] = json.loads(gzip.decompress(FILE.read_bytes()))
CONFIGS = {name: one["config"] for name, one in PUBLISHED.items()}
SCHEDULERS = {
    "prior_scheduler": ("sample", "fixed_small_log", 5.0),
    "decoder_scheduler": ("epsilon", "learned_range", 1.0),
    "super_res_scheduler": ("epsilon", "fixed_small_log", 1.0),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The published settings; no weights."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "UnCLIPPipeline"}')
    for name, values in CONFIGS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(values))
    for name, (predicts, variance, limit) in SCHEDULERS.items():
        (tmp_path / name).mkdir()
        values = {
            "_class_name": "UnCLIPScheduler",
            "prediction_type": predicts,
            "variance_type": variance,
            "clip_sample_range": limit,
        }
        (tmp_path / name / "scheduler_config.json").write_text(json.dumps(values))
    return tmp_path


def held(part: Part, **components: str) -> int:
    """Hold the network against the peer's own names and shapes; our number of parameters.

    Args:
        components: component -> prefix of its names.
    """
    shapes = {
        f"{prefix}{name}": torch.empty(shape, device="meta")
        for component, prefix in components.items()
        for name, shape in PUBLISHED[component]["shapes"].items()
    }
    net = part.build().net
    replace(part, tensors=lambda: tensors_of(shapes, "it")).check(net, "it")
    return parameter_count(net) + sum(buffer.numel() for buffer in net.buffers())


def test_every_published_name_has_its_place(folder: Path) -> None:
    prior = prior_part(folder / "prior", folder / "prior_scheduler", PRIOR)
    assert held(prior, prior="") == 1_022_030_080
    assert held(decoder_part(folder), decoder="", text_proj="text_proj.") == 885_439_686 + 7_878_400
    upsampler = upsampler_part(folder)
    both = held(upsampler, super_res_first="first.", super_res_last="last.")
    assert both == 2 * 691_579_523


def test_published_defaults(folder: Path) -> None:
    decoder = decoder_part(folder).config.sampling  # type: ignore[attr-defined]
    assert (decoder.sampler, decoder.steps, decoder.guidance_scale) == ("ddpm", 25, 8.0)
    assert (decoder.threshold, decoder.limit, decoder.spacing) == ("clamp", 1.0, "uniform")
    prior = prior_part(folder / "prior", folder / "prior_scheduler", PRIOR).config
    assert prior.sampling.limit == 5.0  # type: ignore[attr-defined]
    assert upsampler_part(folder).config.enlarge == "bicubic"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("component", "change", "message"),
    [
        ("decoder", {"act_fn": "gelu"}, r"decoder/config\.json: act_fn is 'gelu'; only 'silu'"),
        ("decoder", {"up_block_types": ["ResnetUpsampleBlock2D"] * 4}, "do not mirror"),
        ("decoder", {"block_out_channels": [320, 600, 960, 1280]}, "no multiples of the first"),
        ("decoder", {"class_embed_type": "timestep"}, "class_embed_type is 'timestep'"),
        ("text_proj", {"cross_attention_dim": 9}, "is 9 wide"),
        ("super_res_last", {"layers_per_block": 2}, "of different sizes"),
    ],
)
def test_settings_that_are_not_read_are_named(
    component: str, change: dict[str, Any], message: str, folder: Path
) -> None:
    file = folder / component / "config.json"
    file.write_text(json.dumps({**CONFIGS[component], **change}))
    with pytest.raises(CheckpointError, match=message):
        (upsampler_part if component.startswith("super") else decoder_part)(folder)


def test_a_missing_component_is_named(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"text_encoder"):
        open_model(folder, Options())
    with pytest.raises(CheckpointError, match=r"decoder has no weights"):
        decoder_part(folder).tensors()


def test_the_tokens_of_an_embedding_are_told_apart() -> None:
    """diffusers reads (B, D·4) as D rows of 4; we as 4 rows of D."""
    from unclip.families.karlo.karlo import interleaved

    take = interleaved("x", 4)
    theirs = torch.arange(12.0)
    assert take.to_ours is not None and take.to_theirs is not None
    ours = take.to_ours(theirs)
    assert torch.equal(ours.view(4, 3), theirs.view(3, 4).T)
    assert torch.equal(take.to_theirs(ours), theirs)
