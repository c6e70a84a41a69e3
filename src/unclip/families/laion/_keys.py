"""Where the tensors of our LAION networks stand in DALLE2-pytorch's state dicts."""

from __future__ import annotations

from torch import Tensor

from ...checkpoints.keymap import Change, KeyMap, Take, changed, lone, repeated, same, under
from ._layers import Dialect
from ._prior import LaionPriorConfig
from ._unet import LaionUNetConfig

PRIOR_IGNORED = (
    r"noise_scheduler\..*",  # the schedule's tables: the configuration says as much
    r"(betas|alphas_|sqrt_|log_one_|posterior_|p2_loss_)\w*",  # the same, where it was older
    r"clip\..*",  # the CLIP that was at hand in training
    r".*\.rotary_emb\..*",  # constants
    r".*\.beta",  # zeros beside the gains of version 0.15.4
)
DECODER_IGNORED = (r"noise_schedulers\..*", r"clip\..*", r"lowres_conds\..*", r"vaes\..*")


def prior_table(config: LaionPriorConfig) -> KeyMap:
    """Of a `DiffusionPrior`."""
    table = {
        "query": Take(("net.learned_query",)),
        "bias.weight": Take(
            ("net.causal_transformer.rel_pos_bias.relative_attention_bias.weight",)
        ),
    }
    if not config.masks:
        null = "net.null_text_encodings" if config.has_nulls else "net.null_text_embed"
        table["null_text"] = lone(null, 1)
    if config.has_nulls:
        table["null_text_embed"] = lone("net.null_text_embeds", 1)
        table["null_image_embed"] = lone("net.null_image_embed", 1)
    if config.text_tokens > 1:
        table |= same("text_embed_in", "net.to_text_embeds.0")
    if config.image_tokens > 1:
        table |= same("image_embed_in", "net.to_image_embeds.0")
    table |= _time(config)
    body = "net.causal_transformer"
    if config.norm_in:
        table |= _gain("norm_in", f"{body}.init_norm", config.dialect)
    table |= repeated(config.depth, "layers", f"{body}.layers", _layer(config))
    if config.norm_out:
        table |= _gain("norm_out", f"{body}.norm", config.dialect)
    if config.project_out:
        table |= same("proj", f"{body}.project_out", "weight")
    return table


def unet_table(config: LaionUNetConfig) -> KeyMap:
    """Of one `Unet`."""
    table = {
        **same("time.fc1", "to_time_hiddens.1"),
        **same("time.fc2", "to_time_cond.0"),
        **same("time_tokens", "to_time_tokens.0"),
        **same("norm_context", "norm_cond"),
        **same("norm_middle", "norm_mid_cond"),
        **_conditions(config),
        **_cross_embed("conv_in", "init_conv", len(config.first_kernels), alone="init_conv"),
        **under("last", "final_resnet_block", _block(config, widens=True)),
        **same("conv_out", "to_out"),
    }
    if config.down_first:
        table |= under("first", "init_resnet_block", _block(config))
    for name, theirs in (("middle1", "mid_block1"), ("middle2", "mid_block2")):
        table |= under(name, theirs, _block(config, cross=True))
    attention = _shared_attention(config.dialect)
    table |= under("middle_attention.attention", "mid_attn.fn.fn", attention)
    levels = len(config.multipliers)
    for level in range(levels):
        table |= under(f"down.{level}", f"downs.{level}", _down(config, level))
        up = levels - 1 - level
        table |= under(f"up.{up}", f"ups.{up}", _up(config, level))
    return table


def unet_ignored(config: LaionUNetConfig) -> tuple[str, ...]:
    """Nulls that every `Unet` has, of conditions that this one does not; zeros beside gains."""
    idle = [r".*\.beta"] if config.dialect == "0.15.4" else []
    idle += [] if config.embed_dim else ["null_image_embed"]
    idle += [] if config.embed_dim and config.image_in_time else ["null_image_hiddens"]
    idle += [] if config.text_width else ["null_text_embed"]
    return tuple(idle)


def _conditions(config: LaionUNetConfig) -> KeyMap:
    table: KeyMap = {}
    if config.embed_dim:
        table |= same("image_tokens", "image_to_tokens.0")
        table["null_image_tokens"] = lone("null_image_embed", 1)
    if config.embed_dim and config.image_in_time:
        table |= same("image_vector", "to_image_hiddens.0")
        table["null_image_vector"] = lone("null_image_hiddens", 1)
    if config.text_width:
        table |= same("text_in", "text_to_cond")
        table["null_text"] = lone("null_text_embed", 1)
    if config.low_res_noise:
        table |= same("low_res_time.fc1", "to_lowres_noise_cond.1")
        table |= same("low_res_time.fc2", "to_lowres_noise_cond.3")
    return table


def _time(config: LaionPriorConfig) -> KeyMap:
    if config.timesteps:
        return same("time.table", "net.to_time_embeds.0", "weight")
    net = "net.to_time_embeds.0.1.net"
    return {
        **same("time.fc1", f"{net}.0.0"),
        **same("time.fc2", f"{net}.1.0"),
        **same("time.out", f"{net}.2"),
    }


def _layer(config: LaionPriorConfig) -> KeyMap:
    table = {
        **under("attention", "0", _shared_attention(config.dialect)),
        **_gain("mlp.norm", "1.0", config.dialect),
        **same("mlp.fc1", "1.1", "weight"),
        **same("mlp.fc2", "1.5", "weight"),
    }
    return table | (_gain("mlp.norm_hidden", "1.3", config.dialect) if config.norm_hidden else {})


def _shared_attention(dialect: Dialect) -> KeyMap:
    """Of an `Attention` or a `CrossAttention`, which have the same names."""
    return {
        "null": Take(("null_kv",)),
        **_gain("norm", "norm", dialect),
        **same("q", "to_q", "weight"),
        **same("kv", "to_kv", "weight"),
        **same("proj", "to_out.0", "weight"),
        **_gain("norm_out", "to_out.1", dialect),
    }


def _linear_attention() -> KeyMap:
    """1×1 convolutions there, and norms with the axes of a picture."""
    return {
        **_pixelwise("norm.weight", "norm.g", 1),
        **_pixelwise("qkv.weight", "to_qkv.weight", 2),
        **_pixelwise("proj.weight", "to_out.0.weight", 2),
        **_pixelwise("norm_out.weight", "to_out.1.g", 1),
    }


def _block(config: LaionUNetConfig, cross: bool = False, widens: bool = False) -> KeyMap:
    """Of a `ResnetBlock`; `widens`: it takes in another number of channels than it gives."""
    table = {
        **same("emb", "time_mlp.1"),
        **same("first.conv", "block1.project"),
        **same("first.norm", "block1.norm"),
        **same("second.conv", "block2.project"),
        **same("second.norm", "block2.norm"),
    }
    if cross:
        place = "cross_attn" if config.dialect == "1.15.6" else "cross_attn.fn"
        table |= under("cross", place, _shared_attention(config.dialect))
    return table | (same("skip", "res_conv") if widens else {})


def _down(config: LaionUNetConfig, level: int) -> KeyMap:
    last = level == len(config.multipliers) - 1
    table = under("blocks.0", "1", _block(config))
    for index in range(config.depth[level]):
        table |= under(f"blocks.{index + 1}", f"2.{index}", _block(config, cross=level > 0))
    table |= _over_pixels(config, level, "3")
    if config.down_first:
        return table | _halving(config, "before", "0") | same("after", "4")
    return table | (same("after", "4") if last else _halving(config, "after", "4"))


def _up(config: LaionUNetConfig, level: int) -> KeyMap:
    table = under("blocks.0", "0", _block(config, cross=level > 0, widens=True))
    for index in range(config.depth[level]):
        block = _block(config, cross=level > 0, widens=True)
        table |= under(f"blocks.{index + 1}", f"1.{index}", block)
    table |= _over_pixels(config, level, "2")
    if level > 0 or config.down_first:
        place = {"shuffle": "3.net.0", "nearest": "3.1", "transpose": "3"}[config.upsample]
        table |= same("after.conv", place)
    return table


def _over_pixels(config: LaionUNetConfig, level: int, place: str) -> KeyMap:
    if config.attention[level]:
        return under("attention.attention", f"{place}.fn.fn", _shared_attention(config.dialect))
    if config.linear_attention:
        return under("attention.attention", f"{place}.fn", _linear_attention())
    return {}


def _halving(config: LaionUNetConfig, ours: str, theirs: str) -> KeyMap:
    """Version 1.15.6 folds 2×2 pixels and then has a convolution of one: one of 2×2 to us."""
    if config.down_kernels or config.dialect != "1.15.6":
        return _cross_embed(ours, theirs, len(config.halving), alone=theirs)
    conv = f"{ours}.convs.0"
    return {
        **changed(conv, f"{theirs}.1", _unfolded, _folded, "weight"),
        **same(conv, f"{theirs}.1", "bias"),
    }


def _cross_embed(ours: str, theirs: str, count: int, alone: str) -> KeyMap:
    """Convolutions of several sizes, or one that stands at `alone`."""
    if count == 1:
        return same(f"{ours}.convs.0", alone)
    table: KeyMap = {}
    for index in range(count):
        table |= same(f"{ours}.convs.{index}", f"{theirs}.convs.{index}")
    return table


def _gain(ours: str, theirs: str, dialect: Dialect) -> KeyMap:
    leaf = "gamma" if dialect == "0.15.4" else "g"
    return {f"{ours}.weight": Take((f"{theirs}.{leaf}",))}


def _pixelwise(ours: str, theirs: str, axes: int) -> KeyMap:
    """A vector (1, C, 1, 1) or a matrix (O, I, 1, 1) there."""
    if axes == 1:
        return {ours: Take((theirs,), lambda v: v[0, :, 0, 0], lambda v: v[None, :, None, None])}
    return {ours: Take((theirs,), lambda v: v[:, :, 0, 0], lambda v: v[:, :, None, None])}


def _unfolded(weight: Tensor) -> Tensor:
    """(O, 4·I, 1, 1) -> (O, I, 2, 2)."""
    return weight.view(len(weight), -1, 2, 2)


_folded: Change = lambda weight: weight.flatten(1)[:, :, None, None]  # noqa: E731
