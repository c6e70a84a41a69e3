"""What folders of the diffusers library have in common: their files, and how networks are named.

No adapter by itself: Karlo's and Kandinsky's are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoints._state_dicts import open_weights
from ..checkpoints._variants import weights_file
from ..checkpoints.archive import Tensors
from ..checkpoints.format import Part, need, read_json
from ..checkpoints.keymap import KeyMap, Take, joined, same
from ..diffusion.parameterization import Parameterization
from ..errors import CheckpointError
from ..nn.prior import PriorConfig
from ..nn.unet import UNetConfig
from ..stages.prior import PriorStageConfig
from ..stages.stage import Sampling


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
    """The weights of one component. Raises CheckpointError.

    Args:
        folder: the component's.
        variant: see `weights_file`.
    """
    return open_weights(weights_file(folder, variant=variant))


def unet_config(values: Mapping[str, Any], file: Path, **more: Any) -> UNetConfig:
    """A U-Net of residual blocks that up- and downsample, with or without attention.

    Args:
        values: of `UNet2DConditionModel` or `UNet2DModel`.
        file: for an error's text.
        more: of our configuration, beside the sizes.

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
    return UNetConfig(
        image_size=side,
        in_channels=values.get("in_channels", 3),
        out_channels=values["out_channels"],
        channels=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        depth=values["layers_per_block"],
        attention=tuple(side >> level for level in _attending(values, file)),
        head_dim=values.get("attention_head_dim") or 8,
        scale_shift=values.get("resnet_time_scale_shift", "default") == "scale_shift",
        **more,
    )


def _attending(values: Mapping[str, Any], file: Path) -> list[int]:
    """The levels with attention, of blocks whose other half mirrors them."""
    down, up = values["down_block_types"], values["up_block_types"]
    known = {"ResnetDownsampleBlock2D": False, "SimpleCrossAttnDownBlock2D": True}
    for one in down:
        if one not in known:
            raise CheckpointError(f"{file}: down_block_types: {one} is not read")
    attends = [known[one] for one in down]
    mirror = ["SimpleCrossAttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in attends[::-1]]
    middle = values.get("mid_block_type") == "UNetMidBlock2DSimpleCrossAttn"
    if list(up) != mirror or middle != attends[-1]:
        raise CheckpointError(f"{file}: up_block_types and mid_block_type do not mirror the others")
    return [level for level, a in enumerate(attends) if a]


def unet_table(config: UNetConfig, prefix: str = "") -> KeyMap:
    """The trunk: all of a U-Net but what is made of its condition."""
    table = same("time.fc1", f"{prefix}time_embedding.linear_1")
    table |= same("time.fc2", f"{prefix}time_embedding.linear_2")
    table |= same("conv_in", f"{prefix}conv_in")
    table |= same("norm_out", f"{prefix}conv_norm_out") | same("conv_out", f"{prefix}conv_out")
    levels, place = len(config.multipliers), 0
    for level in range(levels):
        if level:
            table |= _block(f"down.{place}", f"{prefix}down_blocks.{level - 1}", "downsamplers.0")
            place += 1
        for layer in range(config.depth):
            there = f"{prefix}down_blocks.{level}"
            table |= _layer(config, f"down.{place}", there, level, layer, layer > 0)
            place += 1
    deepest = levels - 1
    middle = f"{prefix}mid_block"
    table |= _layer(config, "middle.0", middle, deepest, 0, True)
    table |= _block("middle.1", middle, "resnets.1")
    return table | _up(config, prefix)


def _up(config: UNetConfig, prefix: str) -> KeyMap:
    table: KeyMap = {}
    levels, place = len(config.multipliers), 0
    for block in range(levels):
        level, there = levels - 1 - block, f"{prefix}up_blocks.{block}"
        for layer in range(config.depth + 1):
            table |= _layer(config, f"up.{place}", there, level, layer, False)
            place += 1
        if level:
            table |= _block(f"up.{place}", there, "upsamplers.0")
            place += 1
    return table


def _layer(
    config: UNetConfig, ours: str, block: str, level: int, layer: int, alike: bool
) -> KeyMap:
    """A residual block and its attention. `alike`: as many channels come in as go out."""
    width = config.multipliers[level] * config.channels
    before = config.multipliers[max(level - 1, 0)] * config.channels
    down = block.rpartition(".")[0].endswith("down_blocks")
    has_skip = not alike and (not down or before != width)
    table = _block(ours, block, f"resnets.{layer}", has_skip)
    if config.image_size >> level in config.attention:
        table |= _attention(config, f"{ours}.attention", f"{block}.attentions.{layer}")
    return table


def _block(ours: str, block: str, name: str, has_skip: bool = False) -> KeyMap:
    there = f"{block}.{name}"
    table: KeyMap = {}
    for leaf in ("norm1", "conv1", "norm2", "conv2"):
        table |= same(f"{ours}.block.{leaf}", f"{there}.{leaf}")
    table |= same(f"{ours}.block.emb", f"{there}.time_emb_proj")
    return table | (same(f"{ours}.block.skip", f"{there}.conv_shortcut") if has_skip else {})


def _attention(config: UNetConfig, ours: str, there: str) -> KeyMap:
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
    for index in range(config.depth):
        ours, there = f"transformer.blocks.{index}", f"transformer_blocks.{index}"
        table |= same(f"{ours}.norm1", f"{there}.norm1") | same(f"{ours}.norm2", f"{there}.norm3")
        table |= joined(f"{ours}.attention.qkv", [f"{there}.attn1.to_{one}" for one in "qkv"])
        table |= same(f"{ours}.attention.proj", f"{there}.attn1.to_out.0")
        table |= same(f"{ours}.mlp.0", f"{there}.ff.net.0.proj")
        table |= same(f"{ours}.mlp.2", f"{there}.ff.net.2")
    return table


def lone(name: str, axes: int) -> Take:
    """A tensor that has `axes` leading axes of size 1 there."""

    def there(value: Tensor) -> Tensor:
        return value.reshape(value.shape[axes:])

    def back(value: Tensor) -> Tensor:
        return value.reshape((1,) * axes + value.shape)

    return Take((name,), there, back)


def unclip_sampling(folder: Path, defaults: Sampling, predicts: str, variance: str) -> Sampling:
    """The defaults with what an `UnCLIPScheduler` says of clipping. Raises CheckpointError.

    Args:
        folder: the scheduler's.
        defaults: steps, guidance and sampler.
        predicts: the `prediction_type` that the network must have.
        variance: the `variance_type` that it must have.
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
