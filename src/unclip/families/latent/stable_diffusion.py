"""Stable Diffusion v1 and v2, and Stable unCLIP 2.1, as folders of the diffusers library.

Stable unCLIP comes as image-to-image (an image encoder, no prior) and as text-to-image, whose
prior is Karlo's. All else is the same: a text encoder, a U-Net with transformer blocks, an
autoencoder. The safety checker and the feature extractor's resizing have no place here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...checkpoints.archive import Tensors
from ...checkpoints.companions import completed, folder_tokenizer
from ...checkpoints.format import TEXT_ALONE, Format, Options, Plan
from ...checkpoints.keymap import KeyMap, flattened, joined, lone, repeated, same, under
from ...checkpoints.part import Part
from ...checkpoints.settings import need
from ...errors import CheckpointError
from .._diffusers import (
    attending,
    parameterization,
    pipeline_class,
    prior_part,
    settings,
    trunk_table,
    weights,
)
from .._schedulers import SCHEDULER, sampler_notes, sampling_of, schedule_of, unfollowed
from ..clip.huggingface import (
    BUFFERS,
    hf_clip_part,
    hf_text_config,
    hf_text_table,
    merged,
    prefixed,
)
from ..karlo.karlo import PRIOR
from ._autoencoder_names import autoencoder_config, autoencoder_table, autoencoder_tensors
from ._unet import LatentUNetConfig
from .latent_decoder import DecoderSampling, LatentDecoderConfig

PLAIN = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
)
UNCLIP = ("StableUnCLIPPipeline", "StableUnCLIPImg2ImgPipeline")
OTHERS = ("StableDiffusionDepth2ImgPipeline",)
"""Relatives whose U-Net sees what is not known here: to be refused by what they have."""

TEXT_TO_IMAGE = DecoderSampling(steps=50, guidance_scale=7.5)
EMBED_TO_IMAGE = DecoderSampling(steps=20, guidance_scale=10.0)

WHOLE_CLIP = "give a whole CLIP, as wide as the model's, with --clip (clip= in Python)"
ADVICE = {
    "clip": WHOLE_CLIP,
    "text": WHOLE_CLIP,
    "vision": WHOLE_CLIP,
    "prior": "take a folder with one (StableUnCLIPPipeline, whose prior is Karlo's), or give a "
    "whole CLIP with --clip (clip= in Python) and draw with --prior none",
}

LICENCES = {
    False: "CreativeML Open RAIL-M (Stable Diffusion v1's weights)",
    True: "CreativeML Open RAIL++-M (Stable Diffusion v2's weights)",
}
"""By whether it is v2's, as Stable unCLIP is. A fine-tuned model may have its own."""

UNET_DEFAULTS: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "attention_head_dim": 8,
}
"""Of UNet2DConditionModel: its files may leave out what does not differ."""

UNET_READ: dict[str, Any] = {
    "in_channels": (4, 9),
    "act_fn": "silu",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "center_input_sample": False,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "only_cross_attention": False,
    "dual_cross_attention": False,
    "num_attention_heads": None,
    "encoder_hid_dim_type": None,
    "class_embed_type": (None, "projection"),
    "addition_embed_type": None,
    "num_class_embeds": None,
    "resnet_time_scale_shift": "default",
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": (1, 1.0),
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "time_cond_proj_dim": None,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "attention_type": "default",
}
"""What its settings must say, where they say anything."""


class StableDiffusion(Format):
    """Folders whose model_index.json names one of its pipelines."""

    name = "stable_diffusion"

    def matches(self, path: Path) -> bool:
        """By the pipeline's class."""
        return path.is_dir() and pipeline_class(path) in (*PLAIN, *UNCLIP, *OTHERS)

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`."""
        is_unclip = (path / "image_normalizer").is_dir()
        parts = _clip_and_prior(path, options) if is_unclip else {}
        priors = [path / "prior_scheduler"] if "prior" in parts else []
        parts["decoder"] = decoder_part(path, options)
        config = parts["decoder"].config
        assert isinstance(config, LatentDecoderConfig)
        return Plan(
            name=path.name,
            family=self.name,
            where=path,
            parts=parts,
            read_tokenizer=lambda: folder_tokenizer(_tokenizer(path, options)),
            licence=LICENCES[config.network.text.width == 1024 or config.network.embed_dim > 0],
            notes=(*sampler_notes(path / "scheduler"), *unfollowed(*priors)),
            advice=ADVICE if is_unclip else TEXT_ALONE,
        )


def _clip_and_prior(path: Path, options: Options) -> dict[str, Part]:
    """What makes Stable unCLIP's z_i: of a picture, or of a text."""
    text, vision = path / "prior_text_encoder", path / "image_encoder"
    clip = hf_clip_part(
        text if text.is_dir() else None,
        vision if vision.is_dir() else None,
        normalize=False,
        null="text",
        processor=path / "feature_extractor" if vision.is_dir() else None,
        variant=options.variant,
    )
    parts = {"clip": completed(clip, options.clip)}
    if (path / "prior").is_dir():
        scheduler = path / "prior_scheduler"
        parts["prior"] = prior_part(path / "prior", scheduler, PRIOR, options.variant)
    return parts


def _tokenizer(path: Path, options: Options) -> Path:
    return options.tokenizer or path / "tokenizer"


def decoder_part(path: Path, options: Options) -> Part:
    """U-Net, text encoder and autoencoder as one stage. Raises CheckpointError."""
    values, text = settings(path / "unet"), settings(path / "text_encoder")
    scheduler, tokenizer = path / "scheduler", folder_tokenizer(_tokenizer(path, options))
    network = unet_config(
        values,
        path / "unet" / "config.json",
        text=hf_text_config(text, path / "text_encoder" / "config.json"),
        pad_id=tokenizer.pad,
        empty=(tokenizer.start, tokenizer.end),
    )
    defaults = EMBED_TO_IMAGE if network.embed_dim else TEXT_TO_IMAGE
    config = LatentDecoderConfig(
        network=network,
        autoencoder=autoencoder_config(settings(path / "vae"), path / "vae" / "config.json"),
        schedule=schedule_of(scheduler),
        parameterization=parameterization(_predicts(scheduler)),
        sampling=sampling_of(scheduler, defaults),
        **_noising(path, network),
    )

    names = ["unet", "text_encoder", *(["image_normalizer"] if network.embed_dim else [])]
    variant = options.variant

    def tensors() -> Tensors:
        parts = {name: weights(path / name, variant) for name in names}
        parts["text_encoder"] = prefixed(parts["text_encoder"], "text_model")
        parts["vae"] = autoencoder_tensors(path / "vae", variant)
        return merged(*(tensors.behind(f"{name}.") for name, tensors in parts.items()))

    return Part(config, tensors, decoder_table(config), BUFFERS)


def _predicts(scheduler: Path) -> str:
    values = settings(scheduler, SCHEDULER)
    need(values, scheduler / SCHEDULER, prediction_type=("epsilon", "v_prediction", "sample"))
    return str(values.get("prediction_type", "epsilon"))


def _noising(path: Path, network: LatentUNetConfig) -> dict[str, Any]:
    """By what schedule z_i is noised; nothing where the network does not see it."""
    if not network.embed_dim:
        return {}
    width = settings(path / "image_normalizer").get("embedding_dim", 768)
    if width != network.embed_dim:
        raise CheckpointError(
            f"{path}: the U-Net looks at embeddings of {network.embed_dim} numbers, "
            f"image_normalizer knows {width}"
        )
    return {"image_schedule": schedule_of(path / "image_noising_scheduler")}


def unet_config(values: Mapping[str, Any], file: Path, **more: Any) -> LatentUNetConfig:
    """What a `UNet2DConditionModel` with transformer blocks describes, and `more` of our settings.

    Raises:
        CheckpointError: a setting has a value that is not read.
    """
    need(values, file, **UNET_READ)
    values = {**UNET_DEFAULTS, **values}
    _check_text(values, more["text"].width, file)
    heads, levels = values["attention_head_dim"], len(values["block_out_channels"])
    projected = values.get("class_embed_type") == "projection"
    return LatentUNetConfig(
        image_size=values["sample_size"],
        inpaint=values["in_channels"] == 9,  # latents, a mask, and a picture's latents
        out_channels=values["out_channels"],
        channels=tuple(values["block_out_channels"]),
        depth=values["layers_per_block"],
        attention=attending(
            values,
            file,
            ("DownBlock2D", "CrossAttnDownBlock2D"),
            ("UpBlock2D", "CrossAttnUpBlock2D"),
        ),
        # diffusers calls "head_dim" what is the number of heads, and keeps to it
        heads=(heads,) * levels if isinstance(heads, int) else tuple(heads),
        layers=values["transformer_layers_per_block"],
        groups=values["norm_num_groups"],
        eps=values["norm_eps"],
        embed_dim=values["projection_class_embeddings_input_dim"] // 2 if projected else 0,
        **more,
    )


def _check_text(values: Mapping[str, Any], width: int, file: Path) -> None:
    """Raise CheckpointError unless U-Net and text encoder belong together, and sizes are plain."""
    if values["cross_attention_dim"] != width:
        raise CheckpointError(
            f"{file}: cross_attention_dim is {values['cross_attention_dim']}, "
            f"but text_encoder is {width} wide"
        )
    for key in ("layers_per_block", "transformer_layers_per_block", "sample_size"):
        if not isinstance(values.get(key), int):
            raise CheckpointError(f"{file}: {key} is {values.get(key)!r}; only one number is read")


# names --------------------------------------------------------------------------------------------


def decoder_table(config: LatentDecoderConfig) -> KeyMap:
    """Names of all components, each behind its folder's."""
    network = config.network
    table = under("unet", "unet", unet_table(network))
    table |= hf_text_table(network.text.depth, "unet.text", "text_encoder.text_model")
    table |= under("autoencoder", "vae", autoencoder_table(config.autoencoder))
    if network.embed_dim:
        for leaf in ("mean", "std"):
            table[f"unet.image.{leaf}"] = lone(f"image_normalizer.{leaf}", 1)
    return table


def unet_table(config: LatentUNetConfig) -> KeyMap:
    """Names of a `UNet2DConditionModel` with transformer blocks."""

    table = trunk_table(
        config,
        partial(transformer_table, config.layers),
        lambda ours, theirs: same(f"{ours}.conv", f"{theirs}.conv"),
    )
    if config.embed_dim:
        table |= same("image.fc1", "class_embedding.linear_1")
        table |= same("image.fc2", "class_embedding.linear_2")
    return table


def transformer_table(layers: int, ours: str, theirs: str) -> KeyMap:
    """Names of a `SpatialTransformer`."""
    table = same(f"{ours}.norm", f"{theirs}.norm")
    table |= flattened(f"{ours}.proj_in", f"{theirs}.proj_in")
    table |= flattened(f"{ours}.proj_out", f"{theirs}.proj_out")
    block = _transformer_block()
    return table | repeated(layers, f"{ours}.blocks", f"{theirs}.transformer_blocks", block)


def _transformer_block() -> KeyMap:
    return {
        **same("norm1", "norm1"),
        **joined("qkv", [f"attn1.to_{one}" for one in "qkv"], "weight"),
        **same("proj1", "attn1.to_out.0"),
        **same("norm2", "norm2"),
        **same("q", "attn2.to_q", "weight"),
        **joined("kv", [f"attn2.to_{one}" for one in "kv"], "weight"),
        **same("proj2", "attn2.to_out.0"),
        **same("norm3", "norm3"),
        **same("mlp.fc1", "ff.net.0.proj"),
        **same("mlp.fc2", "ff.net.2"),
    }


FORMAT = StableDiffusion()
