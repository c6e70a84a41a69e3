"""What DALLE2-pytorch's configurations say, in our terms.

An option that is not named here is refused, but among those of a `Unet`, which itself leaves out of
account what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ValidationError

from ...checkpoints.archive import Tensors
from ...checkpoints.settings import need
from ...diffusion.parameterization import Parameterization
from ...diffusion.schedule import Cosine, Linear
from ...diffusion.space import Embedding
from ...errors import CheckpointError
from ...stages.sampling import Sampling
from ._blocks import Growth
from ._layers import Dialect
from ._prior import LaionPriorConfig
from ._unet import LaionUNetConfig
from .laion_decoder import LaionDecoderConfig
from .laion_prior import LaionPriorStageConfig
from .laion_upsampler import LaionUpsamplerConfig

GUIDANCE = 3.5
"""Of a decoder, as dalle2-laion's notebook draws; the library's own default is none."""

Values = Mapping[str, Any]
Threshold = Literal["none", "clamp", "dynamic"]

PRIOR_TRAINING = {
    "clip", "image_size", "image_channels", "loss_type", "training_clamp_l2norm",
    "cond_drop_prob", "text_cond_drop_prob", "image_cond_drop_prob", "clip_adapter_overrides",
}  # fmt: skip
DECODER_TRAINING = {
    "clip", "loss_type", "vb_loss_weight", "p2_loss_weight_gamma", "p2_loss_weight_k",
    "random_crop_sizes", "blur_prob", "blur_kernel_size", "lowres_downsample_first",
    "clip_adapter_overrides", "clip_denoised", "clip_x_start", "auto_normalize_img",
    "use_blur_for_lowres_cond", "blur_sigma",
    "predict_x_start_for_latent_diffusion",
}  # fmt: skip
"""Options that sampling knows nothing of."""


@contextmanager
def faults_named(file: Path) -> Iterator[None]:
    """A value of a wrong kind in the configuration of `file` is a CheckpointError that names it."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(key) for key in first["loc"])
        raise CheckpointError(f"{file}: {error.title} {name}: {first['msg']}") from None
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise CheckpointError(f"{file} is no configuration of DALLE2-pytorch: {error}") from None


def prior_config(values: Values, dialect: Dialect, file: Path) -> LaionPriorStageConfig:
    """What the `prior` of a training configuration describes. Raises CheckpointError."""
    rest = _Rest(values, PRIOR_TRAINING, file, "prior")
    net, width = rest.take("net", {}), rest.take("image_embed_dim", None)
    need(values, file, init_image_embed_l2norm=False)
    rest.take("init_image_embed_l2norm", False)
    network = prior_network(net, dialect, rest.take("condition_on_text_encodings", True), file)
    if width not in (None, network.width):
        raise CheckpointError(f"{file}: image_embed_dim is {width}, but net.dim {network.width}")
    steps, fewer = rest.take("timesteps", 1000), rest.take("sample_timesteps", None)
    x0, v = rest.take("predict_x_start", True), rest.take("predict_v", False)
    scale = rest.take("image_embed_scale", None)
    unit, last = rest.take("sampling_clamp_l2norm", False), "sampling_final_clamp_l2norm"
    space = Embedding(
        scale=scale / network.width**0.5 if scale else 1.0,
        normalize=bool(rest.take(last, False) and x0),
    )
    schedule = _schedule(rest.take("beta_schedule", "cosine"), steps, file)
    rest.done()
    return LaionPriorStageConfig(
        network=network,
        schedule=schedule,
        parameterization=Parameterization(kind="v" if v else "x0" if x0 else "eps"),
        space=space,
        sampling=_sampling(steps, fewer, 1.0, threshold="none" if x0 else "clamp"),
        unit=bool(unit and x0),
    )


def prior_network(net: Values, dialect: Dialect, text: bool, file: Path) -> LaionPriorConfig:
    """What the `net` of a prior describes. Raises CheckpointError."""
    rest = _Rest(net, {"attn_dropout", "ff_dropout"}, file, "prior.net")
    need(net, file, self_cond=False)
    rest.take("self_cond", False)
    usual = 77 if dialect == "0.15.4" else 256
    context = rest.take("max_text_len", usual)
    network = LaionPriorConfig(
        dialect=dialect,
        width=rest.take("dim"),
        depth=rest.take("depth"),
        heads=rest.take("heads", 8),
        head_dim=rest.take("dim_head", 64),
        mlp=rest.take("ff_mult", 4),
        context=usual if context is None else context,
        timesteps=rest.take("num_timesteps", None),
        text_tokens=rest.take("num_text_embeds", 1),
        time_tokens=rest.take("num_time_embeds", 1),
        image_tokens=rest.take("num_image_embeds", 1),
        read_text=text,
        norm_in=rest.take("norm_in", False),
        norm_out=rest.take("norm_out", True),
        project_out=rest.take("final_proj", True),
        norm_hidden=rest.take("normformer", False),
        rotary=rest.take("rotary_emb", True),
    )
    rest.done()
    return network


def prior_from_shapes(tensors: Tensors, dialect: Dialect) -> LaionPriorStageConfig:
    """What a prior without a configuration is: its names and shapes tell, the rest is as usual."""
    body, attention = "net.causal_transformer", "net.causal_transformer.layers.0.0"
    gain = "gamma" if dialect == "0.15.4" else "g"
    layers = {name.split(".")[3] for name in tensors if name.startswith(f"{body}.layers.")}
    width = tensors.shape("net.learned_query")[0]
    head_dim = tensors.shape(f"{attention}.null_kv")[1]
    time = "net.to_time_embeds.0.weight"
    null = "net.null_text_encodings" if dialect == "1.15.6" else "net.null_text_embed"
    timesteps = tensors.shape(time)[0] if time in tensors else None
    time_width = tensors.shape(time if timesteps else "net.to_time_embeds.0.1.net.2.weight")
    network = LaionPriorConfig(
        dialect=dialect,
        width=width,
        depth=len(layers),
        heads=tensors.shape(f"{attention}.to_q.weight")[0] // head_dim,
        head_dim=head_dim,
        mlp=tensors.shape(f"{body}.layers.0.1.5.weight")[1] / width,
        context=77 if dialect == "0.15.4" else tensors.shape(null)[1],
        timesteps=timesteps,
        text_tokens=_tokens(tensors, "net.to_text_embeds.0.weight", width),
        time_tokens=time_width[1 if timesteps else 0] // width,
        image_tokens=_tokens(tensors, "net.to_image_embeds.0.weight", width),
        norm_in=f"{body}.init_norm.{gain}" in tensors,
        norm_out=f"{body}.norm.{gain}" in tensors,
        project_out=f"{body}.project_out.weight" in tensors,
        norm_hidden=f"{body}.layers.0.1.3.{gain}" in tensors,
        rotary=any(".rotary_emb." in name for name in tensors),
    )
    betas = next((n for n in ("noise_scheduler.betas", "betas") if n in tensors), None)
    steps = tensors.shape(betas)[0] if betas else 1000
    return LaionPriorStageConfig(
        network=network, schedule=Cosine(steps=steps), sampling=_sampling(steps, None, 1.0)
    )


def _tokens(tensors: Tensors, name: str, width: int) -> int:
    return tensors.shape(name)[0] // width if name in tensors else 1


def decoder_configs(
    values: Values, dialect: Dialect, file: Path, blind: bool = False
) -> list[LaionDecoderConfig | LaionUpsamplerConfig]:
    """What the `decoder` of a training configuration describes, a stage for each U-Net.

    Args:
        values: the options.
        dialect: see `Dialect`.
        file: where they stand, for an error's text.
        blind: no U-Net looks at z_i or at a text, whatever the options say.

    Raises:
        CheckpointError: names the option that is not read.
    """
    rest = _Rest(values, DECODER_TRAINING, file, "decoder")
    need(values, file, unconditional=blind, learned_variance_constrain_frac=False, channels=3)
    for name in ("unconditional", "learned_variance_constrain_frac", "channels"):
        rest.take(name, None)
    if rest.take("vae", None):
        raise CheckpointError(f"{file}: decoder.vae is given; latent decoders are not read")
    unets = rest.take("unets")
    count = len(unets)
    sizes = rest.take("image_sizes", None) or [rest.take("image_size")]
    rest.take("image_size", None)
    if sorted(set(sizes)) != list(sizes) or len(sizes) != count:
        raise CheckpointError(f"{file}: {count} unets cannot draw pictures of sizes {list(sizes)}")
    if count > 1 and dialect == "0.15.4":
        raise CheckpointError(
            f"{file}: upsamplers of version {dialect} are not read, only a decoder"
        )
    common = _Common(rest, count, dialect, file)
    text = rest.take("condition_on_text_encodings", False)  # where older files say it
    rest.done()
    networks = []
    for index, (unet, size) in enumerate(zip(unets, sizes, strict=True)):
        told: dict[str, Any] = {"cond_on_text_encodings": bool(text and index == 0)}
        told |= {k: v for k, v in unet.items() if v is not None}
        told |= {"image_embed_dim": None, "cond_on_text_encodings": False} if blind else {}
        networks.append(_unet(told, index, size, common, file))
    later = range(1, count)
    upsamplers = [common.upsampler(networks[i], i, sizes[i - 1]) for i in later]
    return [common.decoder(networks[0]), *upsamplers]


class _Rest:
    """Options that are still to be accounted for."""

    def __init__(self, values: Values, known: set[str], file: Path, section: str) -> None:
        self.values = {name: value for name, value in values.items() if name not in known}
        self.file, self.section = file, section

    def take(self, name: str, *default: Any) -> Any:
        """The value of an option, its default where it is absent. Raises CheckpointError."""
        if name not in self.values and not default:
            raise CheckpointError(f"{self.file}: {self.section}.{name} is missing")
        return self.values.pop(name, *default)

    def done(self) -> None:
        """Raise CheckpointError where an option is left."""
        for name, value in self.values.items():
            raise CheckpointError(
                f"{self.file}: {self.section}.{name} is {value!r}; this option is not read"
            )


class _Common:
    """What the U-Nets of a decoder are told by the decoder, some of it an entry each."""

    def __init__(self, rest: _Rest, count: int, dialect: Dialect, file: Path) -> None:
        self.dialect, self.file = dialect, file
        self.steps = rest.take("timesteps", 1000)
        self.fewer = _each(rest.take("sample_timesteps", None), count)
        self.eta = rest.take("ddim_sampling_eta", 0.0 if dialect == "1.15.6" else 1.0)
        usual = ["cosine", *["cosine"] * max(count - 2, 0), *["linear"] * (count > 1)]
        self.schedules = _each(rest.take("beta_schedule", None) or usual, count)
        self.learned = _padded(rest.take("learned_variance", True), count)
        self.x0 = _each(rest.take("predict_x_start", False), count)
        self.v = _each(rest.take("predict_v", False), count)
        noise = rest.take("use_noise_for_lowres_cond", False)
        self.noise = [False, *_each(noise, count - 1)][-count:]
        self.level = rest.take("lowres_noise_sample_level", 0.2)
        drops = rest.take("image_cond_drop_prob", 0.1), rest.take("text_cond_drop_prob", 0.5)
        self.guidance = GUIDANCE if any(drops) else 1.0
        dynamic = rest.take("use_dynamic_thres", False)
        self.threshold: Threshold = "dynamic" if dynamic else "clamp"
        self.quantile = rest.take("dynamic_thres_percentile", 0.95)

    def decoder(self, network: LaionUNetConfig) -> LaionDecoderConfig:
        """Of the first U-Net."""
        return LaionDecoderConfig(
            network=network,
            schedule=_schedule(self.schedules[0], self.steps, self.file),
            parameterization=self._parameterization(0),
            sampling=self._sampling(0, self.guidance),
        )

    def upsampler(self, network: LaionUNetConfig, index: int, below: int) -> LaionUpsamplerConfig:
        """Of a later U-Net, which enlarges pictures with a side of `below`."""
        return LaionUpsamplerConfig(
            network=network,
            low_res_size=below,
            noise_level=self.level,
            schedule=_schedule(self.schedules[index], self.steps, self.file),
            parameterization=self._parameterization(index),
            sampling=self._sampling(index, 1.0),
        )

    def _parameterization(self, index: int) -> Parameterization:
        kind = "v" if self.v[index] else "x0" if self.x0[index] else "eps"
        return Parameterization(kind=kind, learned_variance=self.learned[index])

    def _sampling(self, index: int, guidance: float) -> Sampling:
        found = _sampling(self.steps, self.fewer[index], guidance, self.threshold, self.eta)
        return found.merge({"quantile": self.quantile}) if self.threshold == "dynamic" else found


def _unet(values: Values, index: int, size: int, common: _Common, file: Path) -> LaionUNetConfig:
    """What one entry of `unets` describes, told by the decoder where it stands."""
    need(
        values, file, self_cond=False, resnet_weight_standardization=False, channels=3,
        combine_upsample_fmaps=False, init_dim=(None, values.get("dim")),
    )  # fmt: skip
    for name in ("dim", "dim_mults"):
        if name not in values:
            raise CheckpointError(f"{file}: decoder.unets[{index}].{name} is missing")
    levels, width = len(values["dim_mults"]), values.get("cond_dim", values["dim"])
    embed = 0 if index else values.get("image_embed_dim", 0)
    if embed is None:  # of a U-Net that looks at none
        embed = 0
    elif index == 0 and embed in (0, width):
        raise CheckpointError(
            f"{file}: decoder.unets[0].image_embed_dim is {embed or None!r}: it has to be given, "
            "and to differ from cond_dim"
        )
    text = values.get("text_embed_dim", 0) if values.get("cond_on_text_encodings") else 0
    new = common.dialect == "1.15.6"
    cross = values.get("init_cross_embed", True)
    return LaionUNetConfig(
        dialect=common.dialect,
        image_size=size,
        out_channels=6 if common.learned[index] else 3,
        channels=values["dim"],
        multipliers=tuple(values["dim_mults"]),
        depth=_each(values.get("num_resnet_blocks", 2), levels),
        groups=_each(values.get("resnet_groups", 8), levels),
        attention=_each(values.get("self_attn", False), levels),
        linear_attention=values.get("sparse_attn", False),
        heads=values.get("attn_heads", 16),
        head_dim=values.get("attn_dim_head", 32),
        cosine=new and values.get("cosine_sim_self_attn", False),
        cosine_cross=new and values.get("cosine_sim_cross_attn", False),
        time_tokens=values.get("num_time_tokens", 2),
        embed_dim=embed,
        image_tokens=values.get("num_image_tokens", 4),
        image_in_time=values.get("add_image_embeds_to_time", True),
        text_width=text,
        context=values.get("max_text_len", 256),
        context_dim=width,
        low_res=index > 0,
        low_res_noise=common.noise[index],
        first_kernels=_kernels(values, cross),
        last_kernel=values.get("final_conv_kernel_size", 1),
        down_kernels=_down_kernels(values),
        down_first=values.get("memory_efficient", False),
        upsample=_growth(values, common.dialect),
        scale_skips=values.get("scale_skip_connection", False),
    )


def _kernels(values: Values, cross: bool) -> tuple[int, ...]:
    if cross:
        return tuple(sorted(values.get("init_cross_embed_kernel_sizes", (3, 7, 15))))
    return (values.get("init_conv_kernel_size", 7),)


def _growth(values: Values, dialect: Dialect) -> Growth:
    """How the picture is doubled; the option has another name before version 1.0."""
    if dialect == "0.15.4":
        return "nearest" if values.get("nearest_upsample", False) else "transpose"
    return "shuffle" if values.get("pixel_shuffle_upsample", True) else "nearest"


def _down_kernels(values: Values) -> tuple[int, ...]:
    if not values.get("cross_embed_downsample", False):
        return ()
    return tuple(sorted(values.get("cross_embed_downsample_kernel_sizes", (2, 4))))


def _each(value: Any, count: int) -> tuple[Any, ...]:
    """An entry for each of `count`, all alike where there is but one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,) * count


def _padded(value: Any, count: int) -> tuple[bool, ...]:
    """An entry for each of `count`, False for those that are not told."""
    told = _each(value, 1)
    return (*told, *(False,) * (count - len(told)))


def _schedule(name: str, steps: int, file: Path) -> Cosine | Linear:
    if name not in ("cosine", "linear"):
        raise CheckpointError(
            f"{file}: beta_schedule is {name!r}; only 'cosine' or 'linear' is read"
        )
    return Cosine(steps=steps) if name == "cosine" else Linear(steps=steps)


def _sampling(
    steps: int, fewer: int | None, guidance: float, threshold: Threshold = "none", eta: float = 1.0
) -> Sampling:
    """All timesteps of DDPM, or fewer of DDIM."""
    few = fewer is not None and fewer < steps
    return Sampling(
        sampler="ddim" if few else "ddpm",
        steps=cast(int, fewer) if few else steps,
        eta=eta if few else 1.0,
        guidance_scale=guidance,
        threshold=threshold,
    )
