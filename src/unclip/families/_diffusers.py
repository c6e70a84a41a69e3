"""What folders of the diffusers library have in common: their files, and how networks are named.

No adapter by itself: Karlo's and Kandinsky's are made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..checkpoints._state_dicts import open_weights
from ..checkpoints._variants import weights_file
from ..checkpoints.archive import Tensors
from ..checkpoints.keymap import KeyMap, joined, lone, repeated, same
from ..checkpoints.part import Part
from ..checkpoints.settings import need, read_json
from ..diffusion.parameterization import Parameterization
from ..errors import CheckpointError
from ..nn.blocks import Place
from ..nn.prior import PriorConfig
from ..nn.unet import UNetConfig
from ..stages.prior import PriorStageConfig
from ..stages.sampling import Sampling
from .adm.guided_unet import GuidedUNetConfig


def model_index(path: Path) -> dict[str, Any]:
    """A pipeline's model_index.json; empty where there is none."""
    file = path / "model_index.json"
    return read_json(file) if file.is_file() else {}


def pipeline_class(path: Path) -> str:
    """The name of the class that a pipeline's folder is of, or nothing."""
    return str(model_index(path).get("_class_name", ""))


def settings(folder: Path, file: str = "config.json") -> dict[str, Any]:
    """The settings of one component. Raises CheckpointError."""
    return read_json(folder / file)


def weights(folder: Path, variant: str | None = None) -> Tensors:
    """The weights of one component, `variant` as for `weights_file`. Raises CheckpointError."""
    return open_weights(weights_file(folder, variant=variant))


def unet_config(values: Mapping[str, Any], file: Path, **more: Any) -> GuidedUNetConfig:
    """What a `UNet2DConditionModel` or `UNet2DModel` describes, and `more` of our settings.

    Its residual blocks up- and downsample, with or without attention.

    Raises:
        CheckpointError: a setting has a value that is not read.
    """
    need(
        values,
        file,
        act_fn="silu",
        norm_num_groups=32,
        norm_eps=1e-5,
        flip_sin_to_cos=True,
        freq_shift=0,
        mid_block_type=("UNetMidBlock2DSimpleCrossAttn", "UNetMidBlock2D"),
        resnet_time_scale_shift=("default", "scale_shift"),
        only_cross_attention=False,
        cross_attention_norm=None,
        center_input_sample=False,
    )
    widths, side = values["block_out_channels"], values["sample_size"]
    if any(width % widths[0] for width in widths):
        raise CheckpointError(f"{file}: block_out_channels {widths} are no multiples of the first")
    levels = attending(
        values,
        file,
        ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
    )
    middle = values.get("mid_block_type") == "UNetMidBlock2DSimpleCrossAttn"
    if middle != (len(widths) - 1 in levels):
        raise CheckpointError(f"{file}: mid_block_type does not mirror down_block_types")
    return GuidedUNetConfig(
        image_size=side,
        in_channels=values.get("in_channels", 3),
        out_channels=values["out_channels"],
        channels=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        depth=values["layers_per_block"],
        attention=tuple(side >> level for level in levels),
        head_dim=values.get("attention_head_dim") or 8,
        scale_shift=values.get("resnet_time_scale_shift", "default") == "scale_shift",
        **more,
    )


def attending(
    values: Mapping[str, Any], file: Path, down: tuple[str, str], up: tuple[str, str]
) -> tuple[int, ...]:
    """The levels with attention, which the way up must mirror. Raises CheckpointError.

    Args:
        values: settings with the classes of all blocks.
        file: for an error's text.
        down: the class of a block on the way down without attention, and with it.
        up: of a block on the way up.
    """
    kinds = values["down_block_types"]
    for one in kinds:
        if one not in down:
            raise CheckpointError(f"{file}: down_block_types: {one} is not read")
    attends = [one == down[1] for one in kinds]
    mirror = [up[one] for one in reversed(attends)]
    if list(values["up_block_types"]) != mirror or len(kinds) != len(values["block_out_channels"]):
        raise CheckpointError(f"{file}: up_block_types do not mirror down_block_types")
    return tuple(level for level, one in enumerate(attends) if one)


class Trunk(Protocol):
    """Settings of a U-Net of levels."""

    def places(self) -> Iterator[Place]: ...
    def attends(self, place: Place) -> bool: ...


Names = Callable[[str, str], KeyMap]
"""(our name, theirs) of a module -> the names of its tensors."""


def trunk_table(config: Trunk, attention: Names, resample: Names) -> KeyMap:
    """All of a U-Net but what is made of its condition; `resample` halves or doubles the side."""
    table = {
        **same("time.fc1", "time_embedding.linear_1"),
        **same("time.fc2", "time_embedding.linear_2"),
        **same("conv_in", "conv_in"),
        **same("norm_out", "conv_norm_out"),
        **same("conv_out", "conv_out"),
    }
    every = list(config.places())
    deepest = max(place.level for place in every)
    for place in every:
        block, layer = place_names(place, deepest)
        if place.resample:
            table |= resample(place.name, f"{block}.{layer}")
            continue
        table |= block_names(f"{place.name}.block", f"{block}.{layer}", place.cin != place.cout)
        if config.attends(place):
            theirs = f"{block}.attentions.{place.number}"
            table |= attention(f"{place.name}.attention", theirs)
    return table


def place_names(place: Place, deepest: int) -> tuple[str, str]:
    """A layer's block, and its own name there."""
    if place.name.startswith("middle"):
        return "mid_block", f"resnets.{place.number}"
    if place.resample == "down":
        return f"down_blocks.{place.level - 1}", "downsamplers.0"
    down = place.name.startswith("down")
    block = f"down_blocks.{place.level}" if down else f"up_blocks.{deepest - place.level}"
    return block, "upsamplers.0" if place.resample else f"resnets.{place.number}"


def block_names(ours: str, theirs: str, has_skip: bool = False) -> KeyMap:
    """Of a `ResnetBlock2D`."""
    table = same(f"{ours}.emb", f"{theirs}.time_emb_proj")
    for leaf in ("norm1", "conv1", "norm2", "conv2"):
        table |= same(f"{ours}.{leaf}", f"{theirs}.{leaf}")
    return table | (same(f"{ours}.skip", f"{theirs}.conv_shortcut") if has_skip else {})


def unet_table(config: UNetConfig) -> KeyMap:
    """The trunk of a U-Net whose blocks up- and downsample."""
    return trunk_table(
        config, _attention, lambda ours, theirs: block_names(f"{ours}.block", theirs)
    )


def _attention(ours: str, there: str) -> KeyMap:
    table = same(f"{ours}.norm", f"{there}.group_norm")
    table |= joined(f"{ours}.qkv", [f"{there}.to_{one}" for one in "qkv"])
    table |= same(f"{ours}.proj", f"{there}.to_out.0")
    return table | joined(f"{ours}.context", [f"{there}.add_{one}_proj" for one in "kv"])


def prior_part(
    folder: Path, scheduler: Path, sampling: Sampling, variant: str | None = None
) -> Part:
    """A `PriorTransformer`, as Karlo and Kandinsky have it. Raises CheckpointError."""
    values, file = settings(folder), folder / "config.json"
    need(
        values,
        file,
        added_emb_type="prd",
        additional_embeddings=4,
        time_embed_act_fn="silu",
        norm_in_type=None,
        embedding_proj_norm_type=None,
        encoder_hid_proj_type="linear",
        time_embed_dim=None,
        dropout=0.0,
    )
    width = values["num_attention_heads"] * values["attention_head_dim"]
    size = values["embedding_dim"]
    for key in ("embedding_proj_dim", "clip_embed_dim"):
        if values.get(key) not in (None, size):
            raise CheckpointError(f"{file}: {key} is {values[key]}, not embedding_dim {size}")
    network = PriorConfig(
        width=width,
        depth=values["num_layers"],
        heads=values["num_attention_heads"],
        embed_dim=size,
        text_width=size,
        context=values["num_embeddings"],
        padding="masked",
        whiten=True,
    )
    config = PriorStageConfig(
        network=network,
        sampling=unclip_sampling(scheduler, sampling, "sample", "fixed_small_log"),
        candidates=1,
    )
    return Part(config, lambda: weights(folder, variant), prior_table(network))


def prior_table(config: PriorConfig) -> KeyMap:
    """Names of a `PriorTransformer`."""
    table = same("text_in", "encoder_hidden_states_proj") | same("text_embed_in", "embedding_proj")
    table |= same("image_embed_in", "proj_in") | same("out", "proj_to_clip_embeddings")
    table |= same("time.fc1", "time_embedding.linear_1")
    table |= same("time.fc2", "time_embedding.linear_2") | same("norm", "norm_out")
    table |= {"query": lone("prd_embedding", 2), "positions": lone("positional_embedding", 1)}
    table |= {"mean": lone("clip_mean", 1), "std": lone("clip_std", 1)}
    block = {
        **same("norm1", "norm1"),
        **joined("attention.qkv", [f"attn1.to_{one}" for one in "qkv"]),
        **same("attention.proj", "attn1.to_out.0"),
        **same("norm2", "norm3"),
        **same("mlp.0", "ff.net.0.proj"),
        **same("mlp.2", "ff.net.2"),
    }
    return table | repeated(config.depth, "transformer.blocks", "transformer_blocks", block)


def unclip_sampling(folder: Path, defaults: Sampling, predicts: str, variance: str) -> Sampling:
    """The defaults with what an `UnCLIPScheduler` says of clipping.

    Raises:
        CheckpointError: `prediction_type` or `variance_type` are not those that the network has.
    """
    values, file = settings(folder, "scheduler_config.json"), folder / "scheduler_config.json"
    need(
        values,
        file,
        _class_name="UnCLIPScheduler",
        prediction_type=predicts,
        variance_type=variance,
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
    )
    if not values.get("clip_sample", True):
        return defaults
    return defaults.merge({"threshold": "clamp", "limit": values.get("clip_sample_range", 1.0)})


def parameterization(predicts: str, learned_variance: bool = False) -> Parameterization:
    """By diffusers' names: sample, epsilon, v_prediction."""
    kinds: dict[str, Any] = {"sample": "x0", "epsilon": "eps", "v_prediction": "v"}
    return Parameterization(kind=kinds[predicts], learned_variance=learned_variance)
