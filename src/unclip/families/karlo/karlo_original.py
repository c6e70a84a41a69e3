"""Karlo as its makers published it (kakaobrain/karlo): a folder of checkpoints.

prior      state_dict: model.*                                  prior-ckpt-step=*.ckpt
decoder    state_dict: model.*                                  decoder-ckpt-step=*.ckpt
upsampler  state_dict: model_first_steps.*, model_last_step.*   improved-sr-ckpt-step=*.ckpt
CLIP       OpenAI's archive                                     ViT-L-14.pt
stats      (mean, deviation) of z_i, number by number           ViT-L-14_stats.th

Which file is which, its content says. Settings that files do not hold are the published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...checkpoints.archive import LazyTensor, Tensors, open_pickle, tensors_of
from ...checkpoints.companions import folder_tokenizer, open_clip_part
from ...checkpoints.format import GIVE_CLIP, Format, Options, Plan, needs_clip
from ...checkpoints.keymap import KeyMap, Take, lone, same, under
from ...checkpoints.part import Part
from ...checkpoints.settings import shapes_of
from ...errors import CheckpointError
from ...nn.prior import PriorConfig
from ...nn.tokenizer import CLIP_PAD, Tokenizer
from ...nn.unet import UNetConfig
from ...stages.decoder import DecoderConfig
from ...stages.prior import PriorStageConfig
from ..adm._names import HEAD, adm_table, count_of, transformer_table, unet_size
from ..adm.guided_unet import ClipTextConfig, GuidedUNetConfig
from ..clip.clip import clip_tokenizer
from ..clip.huggingface import merged
from ..clip.openai import is_openai
from .karlo import DECODER, LICENCE, PRIOR, UPSAMPLER, interleaved, upsampler_config

SIDE, LARGE = 64, 256
"""Sides of the decoder's and the upsampler's pictures."""
CLIP = "ViT-L/14"
FIRST, LAST = "model_first_steps.", "model_last_step."
MARKS = {
    "prior": "model.prd_emb",
    "decoder": "model.clip_tok_proj.weight",
    "upsampler": f"{FIRST}time_embed.0.weight",
}
"""A name that one of the checkpoints alone has."""
ENDINGS = (".ckpt", ".pt", ".pth", ".th")
"""Of files that must be sound: a missing prior is no fault, a damaged one is."""
ADVICE = {
    "vision": GIVE_CLIP,
    "text": GIVE_CLIP,
    "prior": "lay its prior's checkpoint (prior-ckpt-step=*.ckpt) and ViT-L-14_stats.th beside it",
}


def look(folder: Path) -> dict[str, Path]:
    """Which file of a folder is what, by their content; no weights are read.

    Raises:
        CheckpointError: two files are the same thing; one that should be a checkpoint is damaged,
            or wants to run code.
    """
    files: dict[str, Path] = {}
    for file in _inside(folder):
        try:
            name = _what(file)
        except CheckpointError:
            if file.suffix in ENDINGS:
                raise
            continue
        if name in files:
            raise CheckpointError(f"{files[name]} and {file} are both Karlo's {name}; keep one")
        if name:
            files[name] = file
    return files


def _inside(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file())


def _what(file: Path) -> str:
    """`prior`, `decoder`, `upsampler`, `stats`, `clip` or nothing. Raises CheckpointError."""
    data = open_pickle(file)
    if isinstance(data, (tuple, list)):
        return "stats" if _is_pair(data) else ""
    if not isinstance(data, Mapping):
        return ""
    weights = data.get("state_dict")
    if isinstance(weights, Mapping):
        return next((name for name, mark in MARKS.items() if mark in weights), "")
    return "clip" if is_openai(data) else ""  # type: ignore[arg-type]


def _is_checkpoint(file: Path) -> bool:
    try:
        return _what(file) in MARKS
    except CheckpointError:
        return False


def _is_pair(data: Any) -> bool:
    return (
        len(data) == 2
        and all(isinstance(one, LazyTensor) and len(one.shape) == 1 for one in data)
        and data[0].shape == data[1].shape
    )


class KarloOriginal(Format):
    """Folders of Karlo's own checkpoints."""

    name = "karlo-original"

    def matches(self, path: Path) -> bool:
        """By the names in the checkpoints."""
        return path.is_dir() and any(map(_is_checkpoint, _inside(path)))

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`. Prior and upsampler may be missing: it then varies, or draws small."""
        files = look(path)
        if "decoder" not in files:
            raise CheckpointError(f"{path} has no decoder among its checkpoints")
        clip = options.clip or files.get("clip")
        if clip is None:
            raise needs_clip(CLIP, "every picture")
        decoder = decoder_part(partial(_weights, files["decoder"]), str(files["decoder"]))
        width = decoder.config.network.embed_dim  # type: ignore[attr-defined]
        parts = {"clip": open_clip_part(clip, width, width, normalize=False, null="text")}
        if "prior" in files:
            parts["prior"] = prior_part(partial(_with_stats, path, files), str(files["prior"]))
        parts["decoder"] = decoder
        if "upsampler" in files:
            file = files["upsampler"]
            parts["upsampler"] = upsampler_part(partial(_weights, file), str(file))
        return Plan(
            name=path.name,
            family=self.name,
            where=path,
            parts=parts,
            read_tokenizer=lambda: _tokenizer(options),
            licence=LICENCE,
            notes=tuple(f"it has no {name}" for name in MARKS if name not in files),
            advice=ADVICE,
        )


def _tokenizer(options: Options) -> Tokenizer:
    own = folder_tokenizer(options.tokenizer) if options.tokenizer else clip_tokenizer()
    return own.padded_with(CLIP_PAD)


def _weights(file: Path) -> Tensors:
    return tensors_of(open_pickle(file)["state_dict"], str(file))


def _with_stats(folder: Path, files: Mapping[str, Path]) -> Tensors:
    """The prior's weights, and what `stats` says of z_i as `mean` and `std`."""
    if "stats" not in files:
        raise CheckpointError(
            f"{folder} has a prior, but not the mean and deviation of its embeddings "
            "(ViT-L-14_stats.th)"
        )
    mean, std = open_pickle(files["stats"])
    stats = tensors_of({"mean": mean, "std": std}, str(files["stats"]))
    return merged(_weights(files["prior"]), stats)


def prior_part(weights: Callable[[], Tensors], where: str) -> Part:
    """The prior, with the stats as `mean` and `std`. Raises CheckpointError."""
    network = _prior_config(weights().under("model."), where)
    sampling = PRIOR.merge({"threshold": "clamp", "limit": 10.0})
    config = PriorStageConfig(network=network, sampling=sampling, candidates=1)
    table = under("", "model", prior_table(network))
    return Part(config, weights, table | {"mean": Take(("mean",)), "std": Take(("std",))})


def _prior_config(tensors: Tensors, where: str) -> PriorConfig:
    with shapes_of(f"{where} is not Karlo's prior"):
        _, places, width = tensors.shape("positional_embedding")
        return PriorConfig(
            width=width,
            depth=count_of(tensors, "transformer.resblocks.{}.ln_1.weight", 0),
            heads=width // HEAD,
            embed_dim=tensors.shape("out_proj.weight")[0],
            text_width=tensors.shape("text_enc_proj.weight")[1],
            context=places - 4,
            padding="masked",
            whiten=True,
        )


def prior_table(config: PriorConfig) -> KeyMap:
    """Names of the prior, the stats left out."""
    table = same("text_in", "text_enc_proj") | same("text_embed_in", "text_emb_proj")
    table |= same("image_embed_in", "clip_img_proj") | same("out", "out_proj")
    table |= same("time.fc1", "time_embed.0") | same("time.fc2", "time_embed.2")
    table |= {"query": lone("prd_emb", 2), "positions": lone("positional_embedding", 1)}
    table |= same("norm", "final_ln")
    table |= transformer_table(config)
    return table


def decoder_part(weights: Callable[[], Tensors], where: str) -> Part:
    """The decoder. Raises CheckpointError."""
    tensors = weights().under("model.")
    with shapes_of(f"{where} is not Karlo's decoder"):
        width, embed = tensors.shape("text_seq_proj.0.weight")
        network = GuidedUNetConfig(
            **unet_size(tensors, SIDE),
            embed_dim=embed,
            unit_embed=False,
            image_tokens=tensors.shape("clip_tok_proj.weight")[0] // width,
            context_dim=width,
            clip_text=ClipTextConfig(embed_dim=embed, width=embed),
        )
    config = DecoderConfig(network=network, sampling=DECODER.merge({"threshold": "clamp"}))
    return Part(config, weights, under("", "model", decoder_table(network)))


def decoder_table(config: UNetConfig) -> KeyMap:
    """Names of the decoder."""
    heads = same("text_vector", "text_feat_proj") | same("image_vector", "clip_emb")
    heads |= same("text_context", "text_seq_proj.0") | same("text_norm", "text_seq_proj.1")
    heads["null_image"] = Take(("cf_param",))
    for leaf in ("weight", "bias"):
        source = f"clip_tok_proj.{leaf}"
        heads[f"image_context.{leaf}"] = interleaved(source, config.image_tokens)
    return adm_table(config) | heads


def upsampler_part(weights: Callable[[], Tensors], where: str) -> Part:
    """Both upsampling networks as one stage. Raises CheckpointError."""
    tensors = weights()
    with shapes_of(f"{where} is not Karlo's upsampler"):
        size, other = (unet_size(tensors.under(one), LARGE) for one in (FIRST, LAST))
        if size != other:
            raise CheckpointError(f"{where}: its two networks are of different sizes")
        size["in_channels"] //= 2  # the small picture comes beside the noisy one
        network = GuidedUNetConfig(**size, low_res=True, low_res_level=False)
    config = upsampler_config(network, SIDE, UPSAMPLER.merge({"threshold": "clamp"}))
    trunk = upsampler_table(network)
    table = under("net", FIRST[:-1], trunk) | under("last", LAST[:-1], trunk)
    return Part(config, weights, table)


def upsampler_table(config: UNetConfig) -> KeyMap:
    """Names of one of the upsampler's networks: no attention stands between its middle blocks."""
    return {
        name: replace(
            take,
            sources=tuple(s.replace("middle_block.2.", "middle_block.1.") for s in take.sources),
        )
        for name, take in adm_table(config).items()
    }


FORMAT = KarloOriginal()
