"""Stable Diffusion v1 and v2 in one file, as CompVis and Stability AI saved them.

Files:     `.safetensors` or `.ckpt` with the names of the original code
           (`model.diffusion_model.`, `first_stage_model.`, `cond_stage_model.`)

v1 has the text encoder of transformers' CLIP, v2 that of open_clip. The inpainting models of both
have a U-Net of 9 channels. Averaged weights that lie beside the others are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checkpoints._state_dicts import open_weights
from ...checkpoints.archive import Tensors, contents
from ...checkpoints.companions import folder_tokenizer
from ...checkpoints.format import TEXT_ALONE, Format, Options, Plan
from ...checkpoints.keymap import KeyMap, under
from ...checkpoints.part import Part
from ...checkpoints.settings import shapes_of
from ...diffusion.parameterization import Parameterization
from ...errors import CheckpointError
from ...nn.text import TextConfig
from ...nn.tokenizer import CLIP_END, Tokenizer
from ..adm._names import count_of
from ..clip.clip import clip_tokenizer
from ..clip.huggingface import hf_text_table, sized
from ..clip.openai import openai_text_table
from ._autoencoder import AutoencoderConfig
from ._compvis_names import autoencoder_size, autoencoder_table, unet_size, unet_table
from ._unet import LatentUNetConfig
from .latent_decoder import LatentDecoderConfig
from .stable_diffusion import LICENCES

UNET, VAE = "model.diffusion_model", "first_stage_model"
CLIP_TEXT, OPEN_CLIP_TEXT = "cond_stage_model.transformer.text_model", "cond_stage_model.model"
OLD_CLIP_TEXT = "cond_stage_model.transformer.embeddings."
"""What transformers of 2022 called it."""

SIGN = f"{UNET}.out.2.weight"
XL = "conditioner.embedders."
"""Beginning of names that Stable Diffusion XL's files have."""

IGNORED = (
    r"model_ema\..*",
    r"first_stage_model\.loss\..*",
    r"cond_stage_model\.transformer\.text_model\.embeddings\.position_ids",
    r"cond_stage_model\.(model\.|transformer\.)?(text_projection(\.weight)?|logit_scale)",
    r"cond_stage_model\.model\.attn_mask",
    r"betas|alphas_cumprod(_prev)?|logvar|lvlb_weights|scale_factor|v_pred",
    r"(sqrt|log|posterior)_\w+",
    r"denoiser\..*",
)
"""Averaged weights, tables of the schedule, and what only training uses."""

OTHER_INPUTS = {
    5: "that of a model that sees depth (stable-diffusion-2-depth)",
    7: "that of an upscaler (stable-diffusion-x4-upscaler)",
    8: "InstructPix2Pix's",
}
"""Channels that a relative's U-Net takes in."""

SCALE = 0.18215
HEADS, HEAD = 8, 64
"""v1 has 8 heads a level, v2 heads of this width."""
EPS_SIDE, V_SIDE = 64, 96
"""Sides of latents: 512 pixels, and 768 with v-prediction."""

V_BIAS = 0.09
"""Deviation of a bias above which a v2 predicts v: so ComfyUI tells the published ones apart."""
V_SIGN = f"{UNET}.output_blocks.11.1.transformer_blocks.0.norm1.bias"
EPS_STEP = 875_000
"""`global_step` of the published v2 that predicts eps, as diffusers knows it."""


class SingleFile(Format):
    """One file with the names of the original code."""

    name = "stable_diffusion-single-file"
    dialects = ("eps", "v")

    def matches(self, path: Path) -> bool:
        """By names of tensors."""
        if not path.is_file():
            return False
        try:
            names = open_weights(path)
        except CheckpointError:
            return False
        return SIGN in names and not any(name.startswith(XL) for name in names)

    def open(self, path: Path, options: Options) -> Plan:
        """See `Format`."""
        tensors = _opened(path)
        channels = _inputs(path, tensors)
        is_v2 = f"{OPEN_CLIP_TEXT}.positional_embedding" in tensors
        tokenizer = _tokenizer(options, is_v2)
        predicts, why = options.dialect or "", ""
        if not predicts:
            predicts, why = _predicts(path, tensors, is_v2 and channels == 4)
        config = decoder_config(path, tensors, tokenizer, predicts, inpaint=channels == 9)
        last = rf"{OPEN_CLIP_TEXT}\.transformer\.resblocks\.{config.network.text.depth}\..*"
        ignored = (*IGNORED, last) if is_v2 else IGNORED
        notes = [why] if why else []
        if any(name.startswith("model_ema.") for name in tensors):
            notes.append("holds averaged (EMA) weights too, which are not taken")
        return Plan(
            name=path.stem,
            family=self.name,
            where=path,
            parts={"decoder": Part(config, lambda: _opened(path), decoder_table(config), ignored)},
            read_tokenizer=lambda: tokenizer,
            licence=LICENCES[is_v2],
            notes=tuple(notes),
            advice=TEXT_ALONE,
        )


def _opened(path: Path) -> Tensors:
    """The file, by the names of today."""
    tensors = open_weights(path)
    if not any(name.startswith(OLD_CLIP_TEXT) for name in tensors):
        return tensors
    old = OLD_CLIP_TEXT.removesuffix("embeddings.")
    return tensors.renamed(
        lambda name: f"{CLIP_TEXT}.{name.removeprefix(old)}" if name.startswith(old) else name
    )


def _tokenizer(options: Options, is_v2: bool) -> Tokenizer:
    """CLIP's own, which pads with its end in v1 and with "!" in v2."""
    if options.tokenizer is not None:
        return folder_tokenizer(options.tokenizer)
    return clip_tokenizer().padded_with("!" if is_v2 else CLIP_END)


def _predicts(path: Path, tensors: Tensors, may_be_v: bool) -> tuple[str, str]:
    """What the network predicts, eps or v, and what to say of how that was found."""
    if "v_pred" in tensors or not may_be_v:
        return ("v" if "v_pred" in tensors else "eps"), ""
    found = "v"
    if V_SIGN in tensors:
        found = "v" if float(tensors[V_SIGN].float().std(correction=0)) > V_BIAS else "eps"
    data = contents(path)
    if isinstance(data, Mapping) and data.get("global_step") == EPS_STEP:
        found = "eps"
    other = "eps" if found == "v" else "v"
    return found, f"read as a network that predicts {found}; if it is not, give --dialect {other}"


def decoder_config(
    path: Path, tensors: Tensors, tokenizer: Tokenizer, predicts: str, inpaint: bool
) -> LatentDecoderConfig:
    """What the shapes say of the whole. Raises CheckpointError."""
    unet, vae = tensors.under(f"{UNET}."), tensors.under(f"{VAE}.")
    with shapes_of(f"{path} is not a whole Stable Diffusion"):
        size, text = unet_size(unet), _text_size(tensors)
        autoencoder = sized(AutoencoderConfig, path, **autoencoder_size(vae), scale=SCALE)
    is_v2 = text["activation"] == "gelu"
    heads = tuple(width // HEAD if is_v2 else HEADS for width in size["channels"])
    network = sized(
        LatentUNetConfig,
        path,
        **size,
        inpaint=inpaint,
        heads=heads,
        image_size=V_SIDE if is_v2 and predicts == "v" else EPS_SIDE,
        text=sized(TextConfig, path, **text, learned_padding=False),
        pad_id=tokenizer.pad,
        empty=(tokenizer.start, tokenizer.end),
    )
    kind = Parameterization.parse({"kind": predicts})
    config = LatentDecoderConfig(network=network, autoencoder=autoencoder, parameterization=kind)
    published = {} if is_v2 else {"sampler": "pndm"}
    return config.model_copy(update={"sampling": config.sampling.merge(published)})


def _inputs(path: Path, tensors: Tensors) -> int:
    """How many channels the U-Net takes in: 4, or 9 where it inpaints.

    Raises:
        CheckpointError: a part is missing, or the U-Net is told more than a text.
    """
    if any(name.startswith(f"{UNET}.label_emb.") for name in tensors):
        raise CheckpointError(
            f"{path} is a single file of Stable unCLIP or of an upscaler, which are not read: take "
            "Stable unCLIP's folder in the layout of diffusers"
        )
    if "ztsnr" in tensors:
        raise CheckpointError(f"{path} is trained to zero SNR (ztsnr), which is not read")
    for part, what in ((VAE, "autoencoder (VAE)"), ("cond_stage_model", "text encoder")):
        if not any(name.startswith(f"{part}.") for name in tensors):
            raise CheckpointError(
                f"{path} holds no {what} ({part}.*): take a file that has all three parts"
            )
    with shapes_of(f"{path} is not a whole Stable Diffusion"):
        channels = tensors.shape(f"{UNET}.input_blocks.0.0.weight")[1]
    if channels not in (4, 9):
        raise CheckpointError(
            f"{path}: the U-Net takes in {channels} channels, "
            f"{OTHER_INPUTS.get(channels, 'not known here')}; only those of 4 (text to image) and "
            "9 (inpainting) are read"
        )
    return channels


def _text_size(tensors: Tensors) -> dict[str, Any]:
    """What the shapes of the text encoder say, as settings of `TextConfig`.

    Raises:
        LookupError: it is not whole.
    """
    if f"{OPEN_CLIP_TEXT}.positional_embedding" in tensors:
        text, activation = tensors.under(f"{OPEN_CLIP_TEXT}."), "gelu"
        context, width = text.shape("positional_embedding")
        words, hidden = "token_embedding", "transformer.resblocks.{}.mlp.c_fc.weight"
        unused = 1  # v2 reads what the last block but one puts out
    else:
        text, activation = tensors.under(f"{CLIP_TEXT}."), "quick_gelu"
        context, width = text.shape("embeddings.position_embedding.weight")
        words, hidden = "embeddings.token_embedding", "encoder.layers.{}.mlp.fc1.weight"
        unused = 0
    return {
        "width": width,
        "depth": count_of(text, hidden, 0) - unused,
        "heads": width // HEAD,
        "mlp_width": text.shape(hidden.format(0))[0],
        "activation": activation,
        "vocab_size": text.shape(f"{words}.weight")[0],
        "context": context,
    }


def decoder_table(config: LatentDecoderConfig) -> KeyMap:
    """Names of all parts."""
    text = config.network.text
    table = under("unet", UNET, unet_table(config.network))
    table |= under("autoencoder", VAE, autoencoder_table(config.autoencoder))
    if text.activation == "gelu":
        return table | under("unet.text", OPEN_CLIP_TEXT, openai_text_table(text.depth))
    return table | hf_text_table(text.depth, "unet.text", CLIP_TEXT)


FORMAT = SingleFile()
