"""Write Karlo-shaped diffusers folders of any size with random weights."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from unclip.checkpoints.format import Options, open_model
from unclip.checkpoints.keymap import KeyMap
from unclip.checkpoints.part import Part
from unclip.families.clip import clip


@dataclass(frozen=True)
class Size:
    """Sizes of the networks; the defaults are the published ones."""

    prior_depth: int = 20
    prior_heads: int = 32
    decoder: Sequence[int] = (320, 640, 960, 1280)
    context: int = 1536
    upsampler: Sequence[int] = (320, 640, 960, 1280)
    depth: int = 3


MEDIUM = Size(6, 8, (96, 192, 288, 384), 384, (64, 128, 192, 256))
"""The size for `benchmarks/peers.py`."""

FILES = {"text_encoder": "model.safetensors", "image_encoder": "model.safetensors"}


def write(folder: Path, size: Size, dtype: torch.dtype) -> int:
    """Write a text-to-image folder; returns its number of parameters."""
    configs = _configs(size)
    for name, values in configs.items():
        (folder / name).mkdir(parents=True)
        kind = "scheduler_config" if name.endswith("_scheduler") else "config"
        (folder / name / f"{kind}.json").write_text(json.dumps(values, indent=1))
    _write_tokenizer(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps(_index(), indent=1))
    plan = open_model(folder, Options())
    count = 0
    for name, part in plan.parts.items():
        prefixes = {
            "clip": {"": "text_encoder"},
            "prior": {"": "prior"},
            "decoder": {"text_proj.": "text_proj", "": "decoder"},
            "upsampler": {"first.": "super_res_first", "last.": "super_res_last"},
        }[name]
        for component, tensors in _by_component(part, prefixes, dtype).items():
            file = FILES.get(component, "diffusion_pytorch_model.safetensors")
            save_file(tensors, folder / component / file, {"format": "pt"})
            count += sum(value.numel() for value in tensors.values())
    return count


def _configs(size: Size) -> dict[str, dict[str, Any]]:
    trunk: dict[str, Any] = {
        "layers_per_block": size.depth,
        "act_fn": "silu",
        "norm_num_groups": 32,
        "norm_eps": 1e-5,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
    }
    down, up = "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"
    levels = len(size.decoder)
    upsampler = {
        "_class_name": "UNet2DModel",
        **trunk,
        "sample_size": 256,
        "in_channels": 6,
        "out_channels": 3,
        "block_out_channels": list(size.upsampler),
        "down_block_types": [down] * levels,
        "up_block_types": [up] * levels,
        "add_attention": False,
    }
    decoder = {
        "_class_name": "UNet2DConditionModel",
        **trunk,
        "sample_size": 64,
        "in_channels": 3,
        "out_channels": 6,
        "block_out_channels": list(size.decoder),
        "down_block_types": [down, *["SimpleCrossAttnDownBlock2D"] * (levels - 1)],
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": [*["SimpleCrossAttnUpBlock2D"] * (levels - 1), up],
        "cross_attention_dim": size.context,
        # Karlo has 64; this is the nearest that divides the medium widths
        "attention_head_dim": 64 if size.decoder[0] % 64 == 0 else 48,
        "class_embed_type": "identity",
        "resnet_time_scale_shift": "scale_shift",
    }
    prior = {
        "_class_name": "PriorTransformer",
        "num_attention_heads": size.prior_heads,
        "attention_head_dim": 64,
        "num_layers": size.prior_depth,
        "embedding_dim": 768,
        "num_embeddings": 77,
        "additional_embeddings": 4,
    }
    text = {
        "architectures": ["CLIPTextModelWithProjection"],
        "model_type": "clip_text_model",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
        "vocab_size": 49408,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "eos_token_id": 49407,
        "bos_token_id": 49406,
    }
    heads = {
        "_class_name": "UnCLIPTextProjModel",
        "clip_extra_context_tokens": 4,
        "clip_embeddings_dim": 768,
        "time_embed_dim": 4 * size.decoder[0],
        "cross_attention_dim": size.context,
    }
    return {
        "text_encoder": text,
        "prior": prior,
        "text_proj": heads,
        "decoder": decoder,
        "super_res_first": upsampler,
        "super_res_last": upsampler,
        "prior_scheduler": _scheduler("sample", "fixed_small_log", 5.0),
        "decoder_scheduler": _scheduler("epsilon", "learned_range", 1.0),
        "super_res_scheduler": _scheduler("epsilon", "fixed_small_log", 1.0),
    }


def _scheduler(predicts: str, variance: str, limit: float) -> dict[str, Any]:
    return {
        "_class_name": "UnCLIPScheduler",
        "num_train_timesteps": 1000,
        "prediction_type": predicts,
        "variance_type": variance,
        "clip_sample": True,
        "clip_sample_range": limit,
    }


def _index() -> dict[str, Any]:
    scheduler = ["diffusers", "UnCLIPScheduler"]
    return {
        "_class_name": "UnCLIPPipeline",
        "_diffusers_version": "0.33.1",
        "prior": ["diffusers", "PriorTransformer"],
        "decoder": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "text_proj": ["unclip", "UnCLIPTextProjModel"],
        "super_res_first": ["diffusers", "UNet2DModel"],
        "super_res_last": ["diffusers", "UNet2DModel"],
        "prior_scheduler": scheduler,
        "decoder_scheduler": scheduler,
        "super_res_scheduler": scheduler,
    }


def _write_tokenizer(folder: Path) -> None:
    """CLIP's vocabulary and merges, from the copy in the package."""
    packed = Path(clip.__file__).with_name("clip_bpe.txt.gz").read_bytes()
    merges = gzip.decompress(packed).decode().splitlines()
    vocab = json.loads(clip.clip_tokenizer().to_json())["model"]["vocab"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "!"}
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**config, **special, "unk_token": "<|endoftext|>"})
    )


def _by_component(
    part: Part, prefixes: Mapping[str, str], dtype: torch.dtype
) -> dict[str, dict[str, Tensor]]:
    """Random tensors with foreign names, by folder."""
    table = part.table
    assert table is not None
    shapes = _shapes(part, table)
    made: dict[str, dict[str, Tensor]] = {}
    noise = torch.randn(1 << 22)
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        prefix = max((p for p in prefixes if name.startswith(p)), key=len)
        value = _value(name, shape, noise.roll(7919 * number)).to(dtype)
        made.setdefault(prefixes[prefix], {})[name.removeprefix(prefix)] = value
    return made


def _shapes(part: Part, table: KeyMap) -> dict[str, tuple[int, ...]]:
    """Foreign names and shapes, derived from ours."""
    shapes = {}
    wanted = part.build().net.state_dict()
    for name, take in table.items():
        value = wanted[name]
        value = take.to_theirs(value) if take.to_theirs else value
        for source in take.sources:
            rows = value.shape[:1] if len(take.sources) == 1 else (len(value) // len(take.sources),)
            shapes[source] = (*rows, *value.shape[1:])
    return shapes


def _value(name: str, shape: tuple[int, ...], noise: Tensor) -> Tensor:
    """Random weights that keep the scale of the signal."""
    if "clip_std" in name or (name.endswith("weight") and "norm" in name):
        return torch.ones(shape)
    if len(shape) < 2:
        return torch.zeros(shape)
    count = math.prod(shape)
    flat = noise.repeat(count // len(noise) + 1)[:count]
    return flat.view(shape) / math.prod(shape[1:]) ** 0.5
