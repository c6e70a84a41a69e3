"""Karlo (kakaobrain/karlo-v1-alpha): DALL·E 2's chain as a folder of the diffusers library.

Text-to-image folders and image-variation folders. The second has an image encoder and no prior.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ...checkpoints.archive import Tensors
from ...checkpoints.companions import completed, folder_tokenizer
from ...checkpoints.format import GIVE_CLIP, Format, Options, Plan
from ...checkpoints.keymap import KeyMap, Take, lone, same, under
from ...checkpoints.part import Part
from ...checkpoints.settings import need
from ...errors import CheckpointError
from ...stages.decoder import DecoderConfig
from ...stages.sampling import Sampling
from ...stages.upsampler import Corruption, UpsamplerConfig, UpsamplerSampling
from .._diffusers import (
    pipeline_class,
    prior_part,
    settings,
    unclip_sampling,
    unet_config,
    unet_table,
    weights,
)
from .._schedulers import unfollowed
from ..adm.guided_unet import ClipTextConfig, GuidedUNetConfig
from ..clip.huggingface import hf_clip_part, merged

ADVICE = {
    "text": GIVE_CLIP,
    "vision": f"{GIVE_CLIP}: ViT-L/14",
    "prior": "take Karlo's text-to-image folder (karlo-v1-alpha), which has one",
}
LICENCE = "CreativeML Open RAIL-M (Karlo's weights)"
PIPELINES = ("UnCLIPPipeline", "UnCLIPImageVariationPipeline")
SCHEDULERS = ("prior_scheduler", "decoder_scheduler", "super_res_scheduler")
PRIOR = Sampling(sampler="ddpm", steps=25, guidance_scale=4.0)
DECODER = Sampling(sampler="ddpm", steps=25, guidance_scale=8.0)
UPSAMPLER = UpsamplerSampling(sampler="ddpm", steps=7)


class Karlo(Format):
    """Folders whose model_index.json names an unCLIP pipeline."""

    name = "karlo"

    def matches(self, path: Path) -> bool:
        """By the pipeline's class."""
        return path.is_dir() and pipeline_class(path) in PIPELINES

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`."""
        inside = {one.name for one in path.iterdir() if one.is_dir()}
        encoder = path / "image_encoder"
        clip = hf_clip_part(
            path / "text_encoder",
            encoder if encoder.is_dir() else None,
            normalize=False,
            null="text",
            processor=path / "feature_extractor" if encoder.is_dir() else None,
            variant=options.variant,
        )
        parts = {"clip": completed(clip, options.clip)}
        prior, scheduler = path / "prior", path / "prior_scheduler"
        if prior.is_dir():
            parts["prior"] = prior_part(prior, scheduler, PRIOR, options.variant)
        parts["decoder"] = decoder_part(path, options.variant)
        parts["upsampler"] = upsampler_part(path, options.variant)
        return Plan(
            name=path.name,
            family=self.name,
            where=path,
            parts=parts,
            read_tokenizer=lambda: folder_tokenizer(options.tokenizer or path / "tokenizer"),
            licence=LICENCE,
            notes=tuple(unfollowed(*(path / name for name in SCHEDULERS if name in inside))),
            advice=ADVICE,
        )


def decoder_part(path: Path, variant: str | None = None) -> Part:
    """The decoder with its text_proj. Raises CheckpointError."""
    folder, heads = path / "decoder", path / "text_proj"
    values, proj, file = settings(folder), settings(heads), folder / "config.json"
    need(values, file, class_embed_type="identity", encoder_hid_dim_type=None)
    width, size = proj["cross_attention_dim"], proj["clip_embeddings_dim"]
    if width != values["cross_attention_dim"]:
        raise CheckpointError(f"{heads} is {width} wide, {folder} {values['cross_attention_dim']}")
    network = unet_config(
        values,
        file,
        embed_dim=size,
        unit_embed=False,
        image_tokens=proj["clip_extra_context_tokens"],
        context_dim=width,
        clip_text=ClipTextConfig(embed_dim=size, width=size),
    )
    scheduler = path / "decoder_scheduler"
    config = DecoderConfig(
        network=network,
        sampling=unclip_sampling(scheduler, DECODER, "epsilon", "learned_range"),
    )

    def tensors() -> Tensors:
        both = weights(folder, variant), weights(heads, variant).behind("text_proj.")
        return merged(*both)

    return Part(config, tensors, decoder_table(network))


def decoder_table(config: GuidedUNetConfig) -> KeyMap:
    """Names of the decoder, those of text_proj behind that prefix."""
    heads = same("text_vector", "embedding_proj")
    heads |= same("text_context", "encoder_hidden_states_proj")
    heads |= same("text_norm", "text_encoder_hidden_states_norm")
    heads |= same("image_vector", "clip_image_embeddings_project_to_time_embeddings")
    heads["null_image"] = lone("learned_classifier_free_guidance_embeddings", 0)
    tokens = config.image_tokens
    for leaf in ("weight", "bias"):
        source = f"clip_extra_context_tokens_proj.{leaf}"
        heads[f"image_context.{leaf}"] = interleaved(source, tokens)
    return unet_table(config) | under("", "text_proj", heads)


def interleaved(source: str, tokens: int) -> Take:
    """Rows that go through the tokens first there, and through each token's numbers first here."""

    def to_ours(value: Tensor) -> Tensor:
        return value.reshape(-1, tokens, *value.shape[1:]).transpose(0, 1).flatten(0, 1)

    def to_theirs(value: Tensor) -> Tensor:
        return value.reshape(tokens, -1, *value.shape[1:]).transpose(0, 1).flatten(0, 1)

    return Take((source,), to_ours, to_theirs)


def upsampler_part(path: Path, variant: str | None = None) -> Part:
    """Both upsampling networks as one stage. Raises CheckpointError."""
    first, last = path / "super_res_first", path / "super_res_last"
    values, file = settings(first), first / "config.json"
    if _sizes(values) != _sizes(settings(last)):
        raise CheckpointError(f"{first} and {last} are of different sizes")
    need(values, file, add_attention=False, class_embed_type=None)
    channels = values["in_channels"] // 2
    network = unet_config(
        {**values, "in_channels": channels}, file, low_res=True, low_res_level=False
    )
    scheduler, small = path / "super_res_scheduler", settings(path / "decoder")["sample_size"]
    sampling = unclip_sampling(scheduler, UPSAMPLER, "epsilon", "fixed_small_log")

    def tensors() -> Tensors:
        both = weights(first, variant).behind("first."), weights(last, variant).behind("last.")
        return merged(*both)

    trunk = unet_table(network)
    table = under("net", "first", trunk) | under("last", "last", trunk)
    return Part(upsampler_config(network, small, sampling), tensors, table)


def upsampler_config(
    network: GuidedUNetConfig, low_res_size: int, sampling: Sampling
) -> UpsamplerConfig:
    """Of two networks of one size, the second for the last step alone."""
    return UpsamplerConfig(
        network=network,
        low_res_size=low_res_size,
        enlarge="bicubic",
        last_network=True,
        corruption=Corruption(noise=0.0),
        sampling=sampling,
    )


def _sizes(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith("_")}


FORMAT = Karlo()
