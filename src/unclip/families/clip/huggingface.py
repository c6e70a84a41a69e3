"""CLIP as transformers saves it: a `CLIPModel`, or one of its towers with its projection."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch

from ...checkpoints._state_dicts import open_weights
from ...checkpoints._variants import weights_file
from ...checkpoints.archive import Tensors
from ...checkpoints.keymap import KeyMap, Take, joined, repeated, same, under
from ...checkpoints.part import Part
from ...checkpoints.settings import need, read_json
from ...config import Config
from ...errors import CheckpointError, UsageError
from ...nn.clip import ClipConfig, VisionConfig
from ...nn.text import TextConfig
from ...stages.clip import ClipStageConfig

Triple = tuple[float, float, float]


class Pixels(NamedTuple):
    """Mean and deviation of pixels in [0, 1] that an image encoder was trained with."""

    mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    std: Triple = (0.26862954, 0.26130258, 0.27577711)


CLIP_PIXELS = Pixels()
BUFFERS = (r".*position_ids", r"(.*\.)?attn_mask")
"""What some files hold beside weights: counters and the causal mask."""

TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "projection_dim": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
}
"""Of transformers' CLIPTextConfig: its files may leave out what does not differ."""

VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
}
"""Of transformers' CLIPVisionConfig."""

HF_TEXT = ("CLIPTextModelWithProjection",)
HF_VISION = ("CLIPVisionModelWithProjection",)
HF_WHOLE = ("CLIPModel",)


def hf_text_config(config: Mapping[str, Any], file: Path) -> TextConfig:
    """What a CLIPTextConfig describes. Raises CheckpointError for a variant that is not read."""
    values = {**TEXT_DEFAULTS, **config}
    return sized(
        TextConfig,
        file,
        **_hf_transformer(values, file),
        vocab_size=values["vocab_size"],
        context=values["max_position_embeddings"],
        learned_padding=False,
    )


def hf_vision_config(
    config: Mapping[str, Any], file: Path, pixels: Pixels = CLIP_PIXELS
) -> VisionConfig:
    """What a CLIPVisionConfig describes. Raises CheckpointError for a variant that is not read."""
    values = {**VISION_DEFAULTS, **config}
    need(values, file, num_channels=3)
    return sized(
        VisionConfig,
        file,
        **_hf_transformer(values, file),
        image_size=values["image_size"],
        patch_size=values["patch_size"],
        mean=pixels.mean,
        std=pixels.std,
    )


C = TypeVar("C", bound=Config)


def sized(kind: type[C], file: Path, **values: Any) -> C:
    """A configuration of ours, made of what a file says. Raises CheckpointError."""
    try:
        return kind.parse(values)
    except UsageError as error:
        raise CheckpointError(f"{file}: {error}") from None


def _hf_transformer(values: Mapping[str, Any], file: Path) -> dict[str, Any]:
    need(values, file, hidden_act=("quick_gelu", "gelu"), layer_norm_eps=1e-5)
    return {
        "width": values["hidden_size"],
        "depth": values["num_hidden_layers"],
        "heads": values["num_attention_heads"],
        "mlp_width": values["intermediate_size"],
        "activation": values["hidden_act"],
    }


def hf_text_table(depth: int, ours: str = "text", theirs: str = "text_model") -> KeyMap:
    """The text encoder, `CLIPTextModel`: what comes before its projection."""
    table: KeyMap = {
        "positions": Take(("embeddings.position_embedding.weight",)),
        **same("embed", "embeddings.token_embedding", "weight"),
        **_hf_blocks(depth),
        **same("norm", "final_layer_norm"),
    }
    return under(ours, theirs, table)


def hf_vision_table(depth: int, ours: str = "vision", theirs: str = "vision_model") -> KeyMap:
    """The image encoder, `CLIPVisionModel`: what comes before its projection."""
    table: KeyMap = {
        "positions": Take(("embeddings.position_embedding.weight",)),
        "class_token": Take(("embeddings.class_embedding",)),
        **same("patch", "embeddings.patch_embedding", "weight"),
        **same("norm_in", "pre_layrnorm"),
        **_hf_blocks(depth),
        **same("norm_out", "post_layernorm"),
    }
    return under(ours, theirs, table)


def _hf_blocks(depth: int) -> KeyMap:
    block = {
        **same("norm1", "layer_norm1"),
        **joined("attention.qkv", [f"self_attn.{name}_proj" for name in "qkv"]),
        **same("attention.proj", "self_attn.out_proj"),
        **same("norm2", "layer_norm2"),
        **same("mlp.0", "mlp.fc1"),
        **same("mlp.2", "mlp.fc2"),
    }
    return repeated(depth, "transformer.blocks", "encoder.layers", block)


def hf_table(config: ClipConfig) -> KeyMap:
    """All of a `CLIPModel`, or of a tower with its projection."""
    table: KeyMap = {}
    if config.text:
        table |= hf_text_table(config.text.depth)
        table |= same("text_proj", "text_projection", "weight")
    if config.vision:
        table |= hf_vision_table(config.vision.depth)
        table |= same("vision.proj", "visual_projection", "weight")
    if config.text and config.vision:
        table["log_scale"] = Take(("logit_scale",), lambda scale: scale.reshape(()))
    return table


def hf_clip_part(
    text: Path | None = None,
    vision: Path | None = None,
    *,
    normalize: bool = True,
    null: Literal["learned", "text"] = "learned",
    null_image: bool = False,
    processor: Path | None = None,
    variant: str | None = None,
) -> Part:
    """A CLIP whose towers lie in folders of their own, as diffusers' pipelines have them.

    Args:
        text: folder of a `CLIPTextModelWithProjection`, if there is one.
        vision: folder of a `CLIPVisionModelWithProjection`, if there is one.
        normalize: whether the model wants embeddings of unit norm.
        null: see `ClipStageConfig`.
        null_image: see `ClipStageConfig`.
        processor: folder with the preprocessor_config.json, where `vision` has none.
        variant: see `weights_file`.

    Raises:
        CheckpointError: a folder is incomplete or not what it should be; the towers' embeddings
            are of different widths.
    """
    text_file, vision_file = (folder and folder / "config.json" for folder in (text, vision))
    texts = read_json(text_file) if text_file else {}
    visions = read_json(vision_file) if vision_file else {}
    pixels = hf_pixels(processor or vision)
    widths = {_projection(values) for values in (texts, visions) if values}
    if len(widths) != 1:
        raise CheckpointError(f"{text} and {vision} do not belong together: {sorted(widths)} wide")
    network = sized(
        ClipConfig,
        text_file or vision_file or Path(),
        embed_dim=widths.pop(),
        text=hf_text_config(texts, text_file) if text_file else None,
        vision=hf_vision_config(visions, vision_file, pixels) if vision_file else None,
        normalize=normalize,
    )
    config = ClipStageConfig(network=network, null=null, null_image=null_image)

    def tensors() -> Tensors:
        both = [
            prefixed(open_weights(weights_file(folder, variant=variant)), tower)
            for folder, tower in ((text, "text_model"), (vision, "vision_model"))
            if folder
        ]
        # two towers alone do not say how sharply their embeddings were compared: as CLIP at its end
        sharp = torch.tensor(math.log(100.0), dtype=torch.float32, device="cpu")
        return merged(*both, Tensors({"logit_scale": sharp} if len(both) == 2 else {}))

    return Part(config, tensors, hf_table(network), BUFFERS)


def _projection(values: Mapping[str, Any]) -> int:
    return values.get("projection_dim", 512)  # type: ignore[no-any-return]


def prefixed(tensors: Tensors, tower: str) -> Tensors:
    """A tower's tensors under the names of transformers 4.

    Version 5 has no `text_model.` before the names of a `CLIPTextModel` that is saved by hand.
    """
    if "embeddings.position_embedding.weight" not in tensors:
        return tensors
    projection = "_projection.weight"
    return tensors.renamed(lambda n: n if n.endswith(projection) else f"{tower}.{n}")


def hf_part(folder: Path, variant: str | None = None) -> Part:
    """A folder that holds a CLIP of its own: both towers, or one. Raises CheckpointError."""
    kind = hf_class(read_json(folder / "config.json"))
    if kind in HF_TEXT:
        return hf_clip_part(text=folder, variant=variant)
    if kind in HF_VISION:
        return hf_clip_part(vision=folder, variant=variant)
    return hf_whole_part(folder, lambda: open_weights(weights_file(folder, variant=variant)))


def hf_whole_part(folder: Path, tensors: Callable[[], Tensors]) -> Part:
    """A `CLIPModel`, whose settings lie in `folder`. Raises CheckpointError."""
    file = folder / "config.json"
    values = read_json(file)
    vision = _nested(values, "vision", VISION_DEFAULTS)
    network = sized(
        ClipConfig,
        file,
        embed_dim=_projection(values),
        text=hf_text_config(_nested(values, "text", TEXT_DEFAULTS), file),
        vision=hf_vision_config(vision, file, hf_pixels(folder)),
    )
    return Part(ClipStageConfig(network=network), tensors, hf_table(network), BUFFERS)


def _nested(values: Mapping[str, Any], tower: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A tower's settings; the older `..._config_dict`, filled up, wins where both are there."""
    merged_values = {**defaults, **(values.get(f"{tower}_config") or {})}
    older = values.get(f"{tower}_config_dict")
    return {**merged_values, **defaults, **older} if older is not None else merged_values


def hf_class(values: Mapping[str, Any]) -> str:
    """The class that a config.json was saved from, or an empty text if it is none of CLIP's."""
    names = values.get("architectures")
    if isinstance(names, list) and names:
        known = (*HF_WHOLE, *HF_TEXT, *HF_VISION)
        return str(names[0]) if names[0] in known else ""
    kinds = {"clip": HF_WHOLE, "clip_text_model": HF_TEXT, "clip_vision_model": HF_VISION}
    return kinds.get(str(values.get("model_type")), ("",))[0]


def hf_pixels(folder: Path | None) -> Pixels:
    """What preprocessor_config.json of a folder says, else CLIP's own."""
    file = folder / "preprocessor_config.json" if folder else None
    if file is None or not file.is_file():
        return CLIP_PIXELS
    values = read_json(file)
    return pixels_of(values, "image_mean", "image_std", file)


def pixels_of(values: Mapping[str, Any], mean: str, std: str, file: Path) -> Pixels:
    """Mean and deviation out of a JSON object."""
    given = (values.get(mean, CLIP_PIXELS.mean), values.get(std, CLIP_PIXELS.std))
    try:
        (r, g, b), (x, y, z) = ([float(number) for number in one] for one in given)
    except (TypeError, ValueError):
        raise CheckpointError(f"{file}: {mean} and {std} are not three numbers each") from None
    return Pixels((r, g, b), (x, y, z))


def merged(*several: Tensors) -> Tensors:
    """Tensors of several files as one set, whose names do not overlap."""
    entries: dict[str, Any] = {}
    for tensors in several:
        twice = sorted(set(entries) & set(tensors))
        if twice:
            raise CheckpointError(f"'{twice[0]}' stands twice, once in {tensors.where(twice[0])}")
        entries |= tensors._entries
    return Tensors(entries, ", ".join(t._where for t in several if t._where))
