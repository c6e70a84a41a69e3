"""CLIP under the names that OpenAI gave its weights, and open_clip after it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ...checkpoints._state_dicts import open_weights
from ...checkpoints.archive import Tensors
from ...checkpoints.keymap import KeyMap, Take, repeated, same, under
from ...checkpoints.part import Part
from ...checkpoints.settings import need, read_json, shapes_of
from ...errors import CheckpointError
from ...nn.clip import ClipConfig, VisionConfig
from ...nn.text import TextConfig
from ...stages.clip import ClipStageConfig
from .huggingface import BUFFERS, CLIP_PIXELS, pixels_of, sized

OPEN_CLIP = "open_clip_config.json"
OPEN_CLIP_STEMS = ("open_clip_model", "open_clip_pytorch_model")
OPENAI_IGNORED = (*BUFFERS, "input_resolution", "context_length", "vocab_size")
"""Three numbers that stand among the weights."""
OPENAI_HEAD = 64
"""Width of a head in OpenAI's transformers."""
OPENAI_WIDTHS = (768, 1024)
"""Of OpenAI's image encoders; others of these names are open_clip's, whose heads differ."""


def openai_table(config: ClipConfig, text: str = "") -> KeyMap:
    """The names of OpenAI's `CLIP` and open_clip's; `text` is "text" in its CustomTextCLIP."""
    assert config.text and config.vision
    tower: KeyMap = {
        "text_proj.weight": Take(("text_projection",), torch.t, torch.t),
        **under("text", "", openai_text_table(config.text.depth)),
    }
    vision: KeyMap = {
        "positions": Take(("positional_embedding",)),
        "class_token": Take(("class_embedding",)),
        "proj.weight": Take(("proj",), torch.t, torch.t),
        **same("patch", "conv1", "weight"),
        **same("norm_in", "ln_pre"),
        **_openai_blocks(config.vision.depth),
        **same("norm_out", "ln_post"),
    }
    scale = Take(("logit_scale",), lambda value: value.reshape(()), lambda value: value)
    return {"log_scale": scale, **under("", text, tower), **under("vision", "visual", vision)}


def openai_text_table(depth: int) -> KeyMap:
    """The text encoder: what comes before its projection."""
    return {
        "positions": Take(("positional_embedding",)),
        **same("embed", "token_embedding", "weight"),
        **_openai_blocks(depth),
        **same("norm", "ln_final"),
    }


def _openai_blocks(depth: int) -> KeyMap:
    block = {
        **same("norm1", "ln_1"),
        "attention.qkv.weight": Take(("attn.in_proj_weight",)),
        "attention.qkv.bias": Take(("attn.in_proj_bias",)),
        **same("attention.proj", "attn.out_proj"),
        **same("norm2", "ln_2"),
        **same("mlp.0", "mlp.c_fc"),
        **same("mlp.2", "mlp.c_proj"),
    }
    return repeated(depth, "transformer.blocks", "transformer.resblocks", block)


def is_openai(tensors: Tensors) -> bool:
    """Whether these are the names of OpenAI's CLIP, of whatever image encoder."""
    return "visual.conv1.weight" in tensors and "token_embedding.weight" in tensors


def openai_config(tensors: Tensors, where: Path) -> ClipConfig:
    """What the shapes of OpenAI's tensors say. Raises CheckpointError for a ResNet."""
    if "visual.layer1.0.conv1.weight" in tensors:
        raise CheckpointError(
            f"{where} is a CLIP whose image encoder is a ResNet; only those with a ViT are read"
        )
    with shapes_of(f"{where} is not a whole CLIP"):
        width, _, patch, _ = tensors.shape("visual.conv1.weight")
        places = tensors.shape("visual.positional_embedding")[0] - 1
        context, text_width = tensors.shape("positional_embedding")
        vocab = tensors.shape("token_embedding.weight")[0]
        embed = tensors.shape("text_projection")[1]
    _check_heads(width, where)
    vision = VisionConfig(
        **_openai_size(tensors, width, "visual."),
        image_size=patch * math.isqrt(places),
        patch_size=patch,
        mean=CLIP_PIXELS.mean,
        std=CLIP_PIXELS.std,
    )
    sizes = _openai_size(tensors, text_width, "")
    text = TextConfig(**sizes, vocab_size=vocab, context=context, learned_padding=False)
    return ClipConfig(embed_dim=embed, vision=vision, text=text)


def _check_heads(width: int, where: Path) -> None:
    if width > max(OPENAI_WIDTHS) or width % OPENAI_HEAD:
        raise CheckpointError(
            f"{where} is {width} wide, which none of OpenAI's CLIPs is: "
            f"open_clip's models need their {OPEN_CLIP} beside them"
        )


def _openai_size(tensors: Tensors, width: int, prefix: str) -> dict[str, Any]:
    blocks = re.compile(re.escape(prefix) + r"transformer\.resblocks\.(\d+)\.ln_1\.weight")
    hidden = f"{prefix}transformer.resblocks.0.mlp.c_fc.weight"
    return {
        "width": width,
        "depth": sum(1 for key in tensors if blocks.fullmatch(key)),
        "heads": width // OPENAI_HEAD,
        "mlp_width": tensors.shape(hidden)[0] if hidden in tensors else 0,
        "activation": "quick_gelu",
    }


def openai_part(file: Path) -> Part:
    tensors = open_weights(file)
    network = openai_config(tensors, file)
    config = ClipStageConfig(network=network)
    return Part(config, lambda: open_weights(file), openai_table(network), OPENAI_IGNORED)


def open_clip_config(values: Mapping[str, Any], file: Path) -> ClipConfig:
    """What an open_clip_config.json describes. Raises CheckpointError for what is not read."""
    model = values.get("model_cfg", values)
    if not isinstance(model, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= set(model):
        raise CheckpointError(f"{file} lacks model_cfg with embed_dim, vision_cfg and text_cfg")
    quick = model.get("quick_gelu", False)
    see, read = _plain_tower(model["vision_cfg"], file), _plain_tower(model["text_cfg"], file)
    need(model, file, init_logit_bias=None, multimodal_cfg=None)
    try:
        width = see.get("width", 768)
        heads = width // see.get("head_width", 64)
        sizes = _open_clip_size(see, 768, heads, quick), _open_clip_size(read, 512, 8, quick)
        side = _one_side(see.get("image_size", 224), file)
    except (TypeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{file}: a size is impossible: {error}") from None
    vision = sized(
        VisionConfig,
        file,
        **sizes[0],
        image_size=side,
        patch_size=see.get("patch_size", 16),
        **pixels_of(values.get("preprocess_cfg") or {}, "mean", "std", file)._asdict(),
    )
    text = sized(
        TextConfig,
        file,
        **sizes[1],
        vocab_size=read.get("vocab_size", 49408),
        context=read.get("context_length", 77),
        learned_padding=False,
    )
    return sized(ClipConfig, file, embed_dim=model["embed_dim"], vision=vision, text=text)


PLAIN: dict[str, Any] = {
    "ls_init_value": None,
    "attentional_pool": False,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "final_ln_after_pool": False,
    "pool_type": ("tok", "argmax"),
    "act_kwargs": None,
    "norm_kwargs": None,
    "block_type": (None, "default"),
    **dict.fromkeys(("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner"), False),
    **dict.fromkeys(("scale_attn", "scale_fc", "embed_cls", "no_causal_mask", "proj_bias"), False),
    **dict.fromkeys(("timm_model_name", "hf_model_name", "hf_tokenizer_name"), None),
    "proj_type": "linear",
}
"""What open_clip's settings must say, where they say anything, to be CLIP's own architecture."""


def _plain_tower(values: Any, file: Path) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise CheckpointError(f"{file}: vision_cfg and text_cfg are not objects")
    need(values, file, **PLAIN)
    if not isinstance(values.get("layers", 12), int):
        raise CheckpointError(f"{file}: the image encoder is a ResNet; only a ViT is read")
    return values


def _open_clip_size(
    values: Mapping[str, Any], width: int, heads: int, quick: Any
) -> dict[str, Any]:
    width = values.get("width", width)
    return {
        "width": width,
        "depth": values.get("layers", 12),
        "heads": values.get("heads", heads),
        "mlp_width": int(width * values.get("mlp_ratio", 4.0)),
        "activation": "quick_gelu" if quick else "gelu",
    }


def _one_side(size: Any, file: Path) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise CheckpointError(f"{file}: image_size {size} is not a square")
    return int(sides.pop())


def open_clip_layout_part(file: Path, tensors: Callable[[], Tensors]) -> Part:
    """A CLIP of open_clip's, whose settings are in `file`. Raises CheckpointError."""
    network = open_clip_config(read_json(file), file)
    prefix = "text" if "text.token_embedding.weight" in tensors() else ""
    return Part(ClipStageConfig(network=network), tensors, openai_table(network, prefix), BUFFERS)
