"""Kandinsky 2.2: two folders of the diffusers library, a prior's and a decoder's.

Read are a folder that holds both, each in a folder of its own; the combined pipeline's folder,
whose prior's components are called `prior_...`; either one alone; and a decoder's with the
prior's named as its CLIP. Kandinsky 2.1 is known, and refused: it reads its text twice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...checkpoints.archive import Tensors
from ...checkpoints.companions import folder_tokenizer
from ...checkpoints.format import Format, Options, Plan
from ...checkpoints.keymap import KeyMap, same, under
from ...checkpoints.part import Part
from ...checkpoints.settings import need
from ...errors import CheckpointError
from ...nn.tokenizer import Tokenizer
from ...nn.unet import UNetConfig
from ...stages.sampling import Sampling
from .._diffusers import pipeline_class, prior_part, settings, unet_config, unet_table, weights
from .._schedulers import SCHEDULER, sampler_notes, sampling_of, schedule_of, unfollowed
from ..adm.guided_unet import GuidedUNetConfig
from ..clip.clip import clip_tokenizer
from ..clip.huggingface import hf_clip_part, merged
from ._autoencoder_names import autoencoder_config, autoencoder_table, autoencoder_tensors
from .latent_unclip import LatentUnclipConfig

PRIOR = ("KandinskyV22PriorPipeline", "KandinskyV22PriorEmb2EmbPipeline")
DECODER = (
    "KandinskyV22Pipeline",
    "KandinskyV22Img2ImgPipeline",
    "KandinskyV22InpaintPipeline",
    "KandinskyV22ControlnetPipeline",
)
COMBINED = (
    "KandinskyV22CombinedPipeline",
    "KandinskyV22Img2ImgCombinedPipeline",
    "KandinskyV22InpaintCombinedPipeline",
)
OLDER = (
    "KandinskyPipeline",
    "KandinskyImg2ImgPipeline",
    "KandinskyInpaintPipeline",
    "KandinskyPriorPipeline",
    "KandinskyCombinedPipeline",
)
"""Kandinsky 2.1's."""

GIVE_PRIOR = "give its prior's folder (kandinsky-2-2-prior) with --clip (clip= in Python)"
ADVICE = {
    "clip": GIVE_PRIOR,
    "prior": GIVE_PRIOR,
    "decoder": "give the folder that holds it and its decoder's (kandinsky-2-2-decoder) as the "
    "model, or the decoder's as the model and this one with --clip",
}
LICENCE = "Apache 2.0 (Kandinsky's weights)"
IMAGE_TOKENS = 32
"""What diffusers makes of z_i; no file says it."""

PRIOR_SAMPLING = Sampling(sampler="ddpm", steps=25, guidance_scale=4.0)
DECODER_SAMPLING = Sampling(steps=100, guidance_scale=4.0)


class Kandinsky(Format):
    """Folders whose model_index.json names one of its pipelines, or that hold such folders."""

    name = "kandinsky"

    def matches(self, path: Path) -> bool:
        """By the pipelines' classes."""
        known = {*PRIOR, *DECODER, *COMBINED, *OLDER}
        return path.is_dir() and any(kind in known for _, kind in _folders(path))

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`."""
        prior, decoder, prefix = _places(path, options)
        parts: dict[str, Part] = {}
        read: Callable[[], Tokenizer] = clip_tokenizer
        if prior is not None:
            parts |= prior_parts(prior, prefix, options.variant)
            tokenizer = options.tokenizer or prior / f"{prefix}tokenizer"
            read = lambda: folder_tokenizer(tokenizer)  # noqa: E731 - one of two ways
        notes = tuple(unfollowed(prior / f"{prefix}scheduler")) if prior else ()
        if decoder is not None:
            parts["decoder"] = decoder_part(decoder, options.variant)
            notes += sampler_notes(decoder / "scheduler")
        if prior is None:
            notes += ("without its prior: give that one's folder with --clip to draw from a text",)
        return Plan(
            name=path.name,
            family=self.name,
            where=path,
            parts=parts,
            read_tokenizer=read,
            licence=LICENCE,
            notes=notes,
            advice=ADVICE,
        )


def _folders(path: Path) -> list[tuple[Path, str]]:
    """The pipelines at `path`, or in the folders that it holds, with their classes."""
    if (path / "model_index.json").is_file():
        return [(path, pipeline_class(path))]
    inside = sorted(one for one in path.iterdir() if (one / "model_index.json").is_file())
    return [(one, kind) for one in inside if (kind := _class(one))]


def _class(folder: Path) -> str:
    """A neighbour's class; what is damaged there is not this format's to say."""
    try:
        return pipeline_class(folder)
    except CheckpointError:
        return ""


def _places(path: Path, options: Options) -> tuple[Path | None, Path | None, str]:
    """The prior's folder, the decoder's, and what the prior's components' names begin with.

    Raises:
        CheckpointError: it is Kandinsky 2.1, or two of a kind lie side by side.
    """
    found = _folders(path)
    if options.clip is not None and options.clip.is_dir():
        found += [one for one in _folders(options.clip) if one[1] in PRIOR]
    for folder, kind in found:
        if kind in OLDER:
            raise CheckpointError(
                f"{folder} is Kandinsky 2.1, whose text encoder, MultilingualCLIP (XLM-R), is not "
                "read; Kandinsky 2.2 is (kandinsky-2-2-prior and kandinsky-2-2-decoder)"
            )
        if kind in COMBINED:
            return folder, folder, "prior_"
    priors, decoders = ([f for f, kind in found if kind in kinds] for kinds in (PRIOR, DECODER))
    for several in (priors, decoders):
        if len(several) > 1:
            raise CheckpointError(f"{several[0]} and {several[1]} are two of a kind: name one")
    return next(iter(priors), None), next(iter(decoders), None), ""


def prior_parts(folder: Path, prefix: str = "", variant: str | None = None) -> dict[str, Part]:
    """CLIP and the prior, whose components' names have a `prefix`. Raises CheckpointError."""

    def place(name: str) -> Path:
        return folder / f"{prefix}{name}"

    clip = hf_clip_part(
        place("text_encoder"),
        place("image_encoder"),
        normalize=False,
        null="text",
        null_image=True,
        processor=place("image_processor"),
        variant=variant,
    )
    prior = prior_part(place("prior"), place("scheduler"), PRIOR_SAMPLING, variant)
    return {"clip": clip, "prior": prior}


def decoder_part(folder: Path, variant: str | None = None) -> Part:
    """U-Net and MoVQ as one stage. Raises CheckpointError."""
    values, file = settings(folder / "unet"), folder / "unet" / "config.json"
    network = decoder_config(values, file)
    scheduler = folder / "scheduler"
    said = settings(scheduler, SCHEDULER)
    need(said, scheduler / SCHEDULER, prediction_type="epsilon")
    sampling = sampling_of(scheduler, DECODER_SAMPLING)
    if sampling.sampler == "ddpm" and said.get("variance_type") != "learned_range":
        # what the network has learnt of the variance is left unused: DDIM with all its noise
        sampling = sampling.merge({"sampler": "ddim", "eta": 1.0})
    config = LatentUnclipConfig(
        network=network,
        autoencoder=autoencoder_config(settings(folder / "movq"), folder / "movq" / "config.json"),
        schedule=schedule_of(scheduler),
        sampling=sampling,
    )

    def tensors() -> Tensors:
        movq = autoencoder_tensors(folder / "movq", variant)
        return merged(weights(folder / "unet", variant).behind("unet."), movq.behind("movq."))

    return Part(config, tensors, decoder_table(config))


def decoder_config(values: dict[str, object], file: Path) -> GuidedUNetConfig:
    """The U-Net, told of z_i alone. Raises CheckpointError."""
    need(
        values,
        file,
        in_channels=4,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        class_embed_type=None,
    )
    return unet_config(
        values,
        file,
        embed_dim=values["encoder_hid_dim"],
        unit_embed=False,
        null_embed=False,
        norm_embed=True,
        image_tokens=IMAGE_TOKENS,
        context_dim=values["cross_attention_dim"],
    )


def decoder_table(config: LatentUnclipConfig) -> KeyMap:
    """Names of both, each behind its folder's."""
    table = under("unet", "unet", unet_names(config.network))
    return table | under("autoencoder", "movq", autoencoder_table(config.autoencoder))


def unet_names(config: UNetConfig) -> KeyMap:
    """Names of the U-Net, what is made of z_i included."""
    table = unet_table(config)
    table |= same("image_vector", "add_embedding.image_proj")
    table |= same("image_vector_norm", "add_embedding.image_norm")
    table |= same("image_context", "encoder_hid_proj.image_embeds")
    return table | same("image_context_norm", "encoder_hid_proj.norm")


FORMAT = Kandinsky()
