"""A model of Karlo's shape as a folder of the diffusers library: what its JSON files say.

What is written is read back with Karlo's own adapter and held against the model: whatever the
folder cannot say, and the model needs, refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...checkpoints.convert import Component
from ...checkpoints.format import Options, Plan
from ...checkpoints.keymap import KeyMap, under
from ...checkpoints.settings import leaves
from ...config import Config
from ...errors import CheckpointError, UsageError
from ...files import write_json, write_text
from ...nn.clip import ClipConfig
from ...nn.tokenizer import CLIP_END, CLIP_START, Tokenizer
from ...nn.transformer import TransformerConfig
from ...nn.unet import UNetConfig
from ...stages.clip import ClipStageConfig
from ...stages.decoder import DecoderConfig
from ...stages.prior import PriorStageConfig
from ...stages.sampling import Sampling
from ...stages.upsampler import UpsamplerConfig
from .._diffusers import prior_table, unet_table
from ..adm.guided_unet import guided
from ..clip.huggingface import hf_table
from . import karlo

VERSION = "0.33.1"
"""The last diffusers that loads these pipelines."""
KINDS = {
    "clip": ClipStageConfig,
    "prior": PriorStageConfig,
    "decoder": DecoderConfig,
    "upsampler": UpsamplerConfig,
}
CLASSES = {
    "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
    "image_encoder": ("transformers", "CLIPVisionModelWithProjection"),
    "feature_extractor": ("transformers", "CLIPImageProcessor"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "prior": ("diffusers", "PriorTransformer"),
    "prior_scheduler": ("diffusers", "UnCLIPScheduler"),
    "text_proj": ("unclip", "UnCLIPTextProjModel"),
    "decoder": ("diffusers", "UNet2DConditionModel"),
    "decoder_scheduler": ("diffusers", "UnCLIPScheduler"),
    "super_res_first": ("diffusers", "UNet2DModel"),
    "super_res_last": ("diffusers", "UNet2DModel"),
    "super_res_scheduler": ("diffusers", "UnCLIPScheduler"),
}
WEIGHTS = "diffusion_pytorch_model"
"""Of diffusers' networks."""
OF_SAMPLING = ("threshold", "limit")
"""What a scheduler says of sampling; the rest is the pipelines' own."""
OF_TRAINING = frozenset(
    {"objective", "drop_text", "drop_image", "mask_share", "crop", "corruption", "dropout"}
)


class Diffusers:
    """Folders that diffusers 0.33.1 loads."""

    def name(self, plan: Plan) -> str:
        """The pipeline's class; one with everything serves the other too."""
        return "UnCLIPPipeline" if "prior" in plan.parts else "UnCLIPImageVariationPipeline"

    def write_settings(self, plan: Plan, folder: Path) -> list[Component]:
        """See `Writer`."""
        clip, prior, decoder, upsampler = _stages(plan)
        tokenizer = plan.read_tokenizer()
        _tokenizer(tokenizer, folder / "tokenizer")
        components = [*_clip(clip.network, tokenizer, folder)]
        components += _prior(prior, folder) if prior else []
        components += [*_decoder(decoder, folder), *_upsampler(upsampler, folder)]
        present = {name: list(names) for name, names in CLASSES.items() if (folder / name).is_dir()}
        head = {"_class_name": self.name(plan), "_diffusers_version": VERSION}
        write_json(folder / "model_index.json", head | dict(sorted(present.items())))
        _read_back(plan, folder)
        return components


def _stages(
    plan: Plan,
) -> tuple[ClipStageConfig, PriorStageConfig | None, DecoderConfig, UpsamplerConfig]:
    configs: dict[str, Any] = {name: part.config for name, part in plan.parts.items()}
    wanted = {name: one for name, one in KINDS.items() if name != "prior" or name in configs}
    fits = set(configs) == set(wanted) and all(
        type(configs[name]) is kind for name, kind in wanted.items()
    )
    if not fits:
        found = ", ".join(f"{name} ({config.kind})" for name, config in configs.items())
        raise _refusal(plan, f"its stages are {found}, not clip, prior, decoder and upsampler")
    decoder, upsampler = _whole(configs["decoder"]), _whole(configs["upsampler"])
    return configs["clip"], configs.get("prior"), decoder, upsampler


def _whole(config: Any) -> Any:
    """A stage's configuration with what its network's leaves out, where it is the usual U-Net."""
    if not isinstance(config, DecoderConfig | UpsamplerConfig):
        return config
    return config.model_copy(update={"network": guided(config.network)})


def _refusal(plan: Plan, why: str) -> UsageError:
    return UsageError(f"{plan.where} is not of Karlo's shape, which --to diffusers needs: {why}")


def _read_back(plan: Plan, folder: Path) -> None:
    """Hold what the folder says against the model. Raises UsageError."""
    try:
        read = karlo.FORMAT.open(folder, Options()).parts
    except CheckpointError as error:
        raise _refusal(plan, str(error).replace(f"{folder}/", "")) from None
    for name, part in plan.parts.items():
        mine, theirs = _essence(_whole(part.config)), _essence(read[name].config)
        for key, value in mine.items():
            if theirs.get(key) != value:
                raise _refusal(plan, f"its {name} has {key} = {value}; only {theirs.get(key)} fits")


def _essence(config: Config) -> dict[str, Any]:
    """All that bears on what a model draws, but for sampling settings that pipelines have."""
    found = {tuple(key.split(".")): value for key, value in leaves(config.dump())}
    return {
        ".".join(keys): value
        for keys, value in found.items()
        if not OF_TRAINING.intersection(keys) and (keys[0] != "sampling" or keys[1] in OF_SAMPLING)
    }


def _clip(network: ClipConfig, tokenizer: Tokenizer, folder: Path) -> Iterator[Component]:
    for tower, component in (("text", "text_encoder"), ("vision", "image_encoder")):
        config: Any = getattr(network, tower)
        if config is None:
            continue
        values = {**_tower(config), "projection_dim": network.embed_dim}
        if tower == "text":
            values |= {
                "vocab_size": config.vocab_size,
                "max_position_embeddings": config.context,
                "bos_token_id": tokenizer.start,
                "eos_token_id": tokenizer.end,
            }
        else:
            values |= {"image_size": config.image_size, "patch_size": config.patch_size}
            _feature_extractor(config, folder / "feature_extractor")
        head = {"architectures": [CLASSES[component][1]], "model_type": f"clip_{tower}_model"}
        write_json(folder / component / "config.json", head | values)
        alone = network.model_copy(update={"text": None, "vision": None, tower: config})
        yield Component(component, "clip", hf_table(alone), "model")


def _tower(config: TransformerConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width or 4 * config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "hidden_act": config.activation,
        "layer_norm_eps": 1e-5,
    }


def _feature_extractor(config: Any, folder: Path) -> None:
    values = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": config.image_size},
        "crop_size": {"height": config.image_size, "width": config.image_size},
        "image_mean": list(config.mean),
        "image_std": list(config.std),
    }
    write_json(folder / "preprocessor_config.json", values)


def _tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """CLIP's two files, out of the library's one."""
    whole = json.loads(tokenizer.to_json())
    vocab, merges = whole["model"]["vocab"], whole["model"]["merges"]
    if CLIP_START not in vocab or CLIP_END not in vocab:
        raise UsageError("--to diffusers needs CLIP's own tokenizer, which this model has not")
    write_text(folder / "vocab.json", json.dumps(vocab, ensure_ascii=False))
    lines = [one if isinstance(one, str) else " ".join(one) for one in merges]
    write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *lines]) + "\n")
    pad = next(word for word, number in vocab.items() if number == tokenizer.pad)
    words = {
        "bos_token": CLIP_START,
        "eos_token": CLIP_END,
        "unk_token": CLIP_END,
        "pad_token": pad,
    }
    write_json(folder / "special_tokens_map.json", words)
    head = {"tokenizer_class": "CLIPTokenizer", "model_max_length": tokenizer.context}
    write_json(folder / "tokenizer_config.json", head | words)


def _prior(config: PriorStageConfig, folder: Path) -> Iterator[Component]:
    network = config.network
    values = {
        "num_attention_heads": network.heads,
        "attention_head_dim": network.width // network.heads,
        "num_layers": network.depth,
        "embedding_dim": network.embed_dim,
        "num_embeddings": network.context,
        "additional_embeddings": 4,
    }
    _component(folder, "prior", values)
    _scheduler(folder, "prior_scheduler", config.sampling, "sample", "fixed_small_log")
    yield Component("prior", "prior", prior_table(network), WEIGHTS)


def _decoder(config: DecoderConfig, folder: Path) -> Iterator[Component]:
    network = config.network
    width, embed = network.context_width, network.embed_dim
    values = {
        **_unet(network, network.in_channels),
        "cross_attention_dim": width,
        "class_embed_type": "identity",
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    }
    heads = {
        "clip_extra_context_tokens": network.image_tokens,
        "clip_embeddings_dim": embed,
        "time_embed_dim": 4 * network.channels,
        "cross_attention_dim": width,
    }
    _component(folder, "decoder", values)
    _component(folder, "text_proj", heads)
    _scheduler(folder, "decoder_scheduler", config.sampling, "epsilon", "learned_range")
    table = karlo.decoder_table(guided(network))
    yield Component("decoder", "decoder", _but(table, "text_proj."), WEIGHTS)
    yield Component("text_proj", "decoder", _only(table, "text_proj."), WEIGHTS)


def _but(table: KeyMap, prefix: str) -> KeyMap:
    return {n: take for n, take in table.items() if not take.sources[0].startswith(prefix)}


def _only(table: KeyMap, prefix: str) -> KeyMap:
    """Those whose foreign names begin with `prefix`, without it."""
    return {
        name: replace(take, sources=tuple(one.removeprefix(prefix) for one in take.sources))
        for name, take in table.items()
        if take.sources[0].startswith(prefix)
    }


def _upsampler(config: UpsamplerConfig, folder: Path) -> Iterator[Component]:
    network = config.network
    values = _unet(network, 2 * network.in_channels) | {"add_attention": False}
    _scheduler(folder, "super_res_scheduler", config.sampling, "epsilon", "fixed_small_log")
    for component, ours in (("super_res_first", "net"), ("super_res_last", "last")):
        _component(folder, component, values)
        yield Component(component, "upsampler", under(ours, "", unet_table(network)), WEIGHTS)


def _unet(network: UNetConfig, in_channels: int) -> dict[str, Any]:
    sides = [network.image_size >> level for level in range(len(network.multipliers))]
    attends = [side in network.attention for side in sides]
    kinds = {False: "Resnet{}sampleBlock2D", True: "SimpleCrossAttn{}Block2D"}
    return {
        "sample_size": network.image_size,
        "in_channels": in_channels,
        "out_channels": network.out_channels,
        "block_out_channels": [m * network.channels for m in network.multipliers],
        "layers_per_block": network.depth,
        "down_block_types": [kinds[one].format("Down") for one in attends],
        "up_block_types": [kinds[one].format("Up") for one in reversed(attends)],
        "attention_head_dim": network.head_dim,
        "resnet_time_scale_shift": "scale_shift" if network.scale_shift else "default",
        "act_fn": "silu",
    }


def _component(folder: Path, name: str, values: dict[str, Any]) -> None:
    head = {"_class_name": CLASSES[name][1], "_diffusers_version": VERSION}
    write_json(folder / name / "config.json", head | values)


def _scheduler(folder: Path, name: str, sampling: Sampling, predicts: str, variance: str) -> None:
    values = {
        "_class_name": CLASSES[name][1],
        "_diffusers_version": VERSION,
        "num_train_timesteps": 1000,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": predicts,
        "variance_type": variance,
        "clip_sample": sampling.threshold == "clamp",
        "clip_sample_range": sampling.limit,
    }
    write_json(folder / name / "scheduler_config.json", values)


WRITER = Diffusers()
