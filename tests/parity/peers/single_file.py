"""Writes the fixtures of Stable Diffusion's single files, as `from_single_file` of diffusers 0.33.1
reads them: shaped as v1, as v2, and as v1's inpainting model.

    PYTHON_OF_PEERS tests/parity/peers/single_file.py OUTDIR

The names are those of CompVis' code. diffusers converts the file; recorded are all calls of its
networks in one run of each.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from _values import value
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from karlo import make_tokenizer
from safetensors.torch import save_file
from stable_diffusion import BETAS, Recorder, described, described_config, numbers
from transformers import CLIPTextConfig, CLIPTextModel

PROMPT, NEGATIVE = "a red Fox, 2 cats", "blue"
SIDE, STEPS = 8, 3
WIDTH, HIDDEN, DEPTH, TOKENS = 64, 96, 2, 514
CHANNELS, VAE = (64, 128), (32, 64)
Shapes = dict[str, tuple[int, ...]]


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    # the picture's latents are their mean here, not a draw
    DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mean
    for name, version, channels in (("1", 1, 4), ("2", 2, 4), ("inpaint", 1, 9)):
        write(out, f"single_file_{name}", version, channels)


def write(out: Path, name: str, version: int, channels: int) -> None:
    shapes = single_file(version, channels)
    tensors = {n: torch.from_numpy(value(n, shape)) for n, shape in shapes.items()}
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "model.safetensors")
        kind = StableDiffusionPipeline if channels == 4 else StableDiffusionInpaintPipeline
        settings(kind, version, channels).save_pretrained(Path(folder) / "settings")
        pipe = kind.from_single_file(
            str(Path(folder) / "model.safetensors"), config=str(Path(folder) / "settings"),
            local_files_only=True, safety_checker=None,
        )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    recorder = Recorder()
    recorder["noise"] = numbers(1, 4, SIDE, SIDE)
    more: dict[str, Any] = {}
    if channels == 9:
        recorder["image"] = numbers(1, 3, 2 * SIDE, 2 * SIDE, seed=8).clamp(-1, 1) / 2 + 0.5
        recorder["mask"] = torch.zeros(1, 1, 2 * SIDE, 2 * SIDE)
        recorder["mask"][..., 4:12, 6:] = 1.0  # whole latents
        more = {"image": recorder["image"], "mask_image": recorder["mask"], "strength": 1.0}
    with recorder.of(pipe):
        picture = pipe(
            PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=7.5,
            latents=recorder["noise"], output_type="np", **more,
        ).images  # fmt: skip
    recorder["picture"] = torch.from_numpy(picture)
    image = numbers(1, 3, 2 * SIDE, 2 * SIDE, seed=8)
    recorder["vae/image"], recorder["vae/mean"] = image, pipe.vae.encode(image).latent_dist.mean
    odd = numbers(1, channels, 7, 5, seed=9)  # sides that do not halve
    words = recorder["run/text_encoder/0/hidden"]
    recorder["odd/x"], recorder["odd/out"] = odd, pipe.unet(odd, 500, words).sample
    networks = {"unet": pipe.unet, "vae": pipe.vae, "text_encoder": pipe.text_encoder}
    configs = described(networks)["configs"] | {"scheduler": described_config(pipe.scheduler)}
    said = {"prompt": PROMPT, "negative": NEGATIVE, "pad": pad(version)}
    parts = ("model.diffusion_model", "first_stage_model", "cond_stage_model")
    said |= {"configs": configs, "shapes": {one: inside(one, shapes) for one in parts}}
    recorder.save(out, name, said)


def pad(version: int) -> str:
    return "<|endoftext|>" if version == 1 else "!"


def settings(kind: Any, version: int, channels: int) -> Any:
    """A pipeline of whose folder the configurations count, not the weights."""
    heads = 8 if version == 1 else tuple(width // 64 for width in CHANNELS)
    unet = UNet2DConditionModel(
        sample_size=SIDE, in_channels=channels, block_out_channels=CHANNELS, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=WIDTH,
        attention_head_dim=heads, use_linear_projection=version == 2,
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=DEPTH, vocab_size=TOKENS,
            num_attention_heads=1, eos_token_id=513, bos_token_id=512,
            hidden_act="quick_gelu" if version == 1 else "gelu", projection_dim=WIDTH,
        )
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=VAE, layers_per_block=1, sample_size=2 * SIDE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    tokenizer = make_tokenizer()
    tokenizer.pad_token = pad(version)
    kinds = {1: "epsilon", 2: "v_prediction"}
    scheduler = DDIMScheduler(**BETAS, prediction_type=kinds[version])
    return kind(
        unet=unet, text_encoder=text, vae=vae, tokenizer=tokenizer, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


# names of CompVis' code ---------------------------------------------------------------------------


def single_file(version: int, channels: int) -> Shapes:
    shapes = under("model.diffusion_model", unet(version, channels))
    shapes |= under("first_stage_model", autoencoder())
    if version == 1:
        return shapes | under("cond_stage_model.transformer.text_model", clip_text())
    return shapes | under("cond_stage_model.model", open_clip_text())


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def inside(prefix: str, shapes: Shapes) -> Shapes:
    own = {name: shape for name, shape in shapes.items() if name.startswith(f"{prefix}.")}
    return {name.removeprefix(f"{prefix}."): shape for name, shape in own.items()}


def affine(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def unet(version: int, channels: int) -> Shapes:
    small, large = CHANNELS
    emb = 4 * small
    shapes = affine("time_embed.0", emb, small) | affine("time_embed.2", emb, emb)
    shapes |= affine("input_blocks.0.0", small, channels, 3, 3)

    def block(name: str, cin: int, cout: int) -> Shapes:
        made = affine("in_layers.0", cin) | affine("in_layers.2", cout, cin, 3, 3)
        made |= affine("emb_layers.1", cout, emb)
        made |= affine("out_layers.0", cout) | affine("out_layers.3", cout, cout, 3, 3)
        made |= affine("skip_connection", cout, cin, 1, 1) if cin != cout else {}
        return under(name, made)

    def transformer(name: str, width: int) -> Shapes:
        one = (1, 1) if version == 1 else ()
        made = affine("norm", width)
        made |= affine("proj_in", width, width, *one) | affine("proj_out", width, width, *one)
        inner: Shapes = {}
        for attention, context in (("attn1", width), ("attn2", WIDTH)):
            inner[f"{attention}.to_q.weight"] = (width, width)
            inner |= {f"{attention}.to_{x}.weight": (width, context) for x in "kv"}
            inner |= affine(f"{attention}.to_out.0", width, width)
        inner |= affine("ff.net.0.proj", 8 * width, width) | affine("ff.net.2", width, 4 * width)
        for norm in ("norm1", "norm2", "norm3"):
            inner |= affine(norm, width)
        return under(name, made | under("transformer_blocks.0", inner))

    shapes |= block("input_blocks.1.0", small, small) | transformer("input_blocks.1.1", small)
    shapes |= affine("input_blocks.2.0.op", small, small, 3, 3)
    shapes |= block("input_blocks.3.0", small, large)
    shapes |= block("middle_block.0", large, large) | transformer("middle_block.1", large)
    shapes |= block("middle_block.2", large, large)
    shapes |= block("output_blocks.0.0", large + large, large)
    shapes |= block("output_blocks.1.0", large + small, large)
    shapes |= affine("output_blocks.1.1.conv", large, large, 3, 3)
    shapes |= block("output_blocks.2.0", large + small, small)
    shapes |= transformer("output_blocks.2.1", small)
    shapes |= block("output_blocks.3.0", small + small, small)
    shapes |= transformer("output_blocks.3.1", small)
    return shapes | affine("out.0", small) | affine("out.2", 4, small, 3, 3)


def autoencoder() -> Shapes:
    small, large = VAE

    def block(name: str, cin: int, cout: int) -> Shapes:
        made = affine("norm1", cin) | affine("conv1", cout, cin, 3, 3)
        made |= affine("norm2", cout) | affine("conv2", cout, cout, 3, 3)
        made |= affine("nin_shortcut", cout, cin, 1, 1) if cin != cout else {}
        return under(name, made)

    middle = block("mid.block_1", large, large) | block("mid.block_2", large, large)
    middle |= affine("mid.attn_1.norm", large)
    for one in ("q", "k", "v", "proj_out"):
        middle |= affine(f"mid.attn_1.{one}", large, large, 1, 1)
    down = affine("conv_in", small, 3, 3, 3) | block("down.0.block.0", small, small)
    down |= affine("down.0.downsample.conv", small, small, 3, 3)
    down |= block("down.1.block.0", small, large) | middle
    down |= affine("norm_out", large) | affine("conv_out", 8, large, 3, 3)
    up = affine("conv_in", large, 4, 3, 3) | middle
    up |= block("up.1.block.0", large, large) | block("up.1.block.1", large, large)
    up |= affine("up.1.upsample.conv", large, large, 3, 3)
    up |= block("up.0.block.0", large, small) | block("up.0.block.1", small, small)
    up |= affine("norm_out", small) | affine("conv_out", 3, small, 3, 3)
    shapes = under("encoder", down) | under("decoder", up)
    return shapes | affine("quant_conv", 8, 8, 1, 1) | affine("post_quant_conv", 4, 4, 1, 1)


def clip_text() -> Shapes:
    shapes: Shapes = {
        "embeddings.token_embedding.weight": (TOKENS, WIDTH),
        "embeddings.position_embedding.weight": (77, WIDTH),
    }
    for number in range(DEPTH):
        made: Shapes = {}
        for one in ("q_proj", "k_proj", "v_proj", "out_proj"):
            made |= affine(f"self_attn.{one}", WIDTH, WIDTH)
        made |= affine("mlp.fc1", HIDDEN, WIDTH) | affine("mlp.fc2", WIDTH, HIDDEN)
        made |= affine("layer_norm1", WIDTH) | affine("layer_norm2", WIDTH)
        shapes |= under(f"encoder.layers.{number}", made)
    return shapes | affine("final_layer_norm", WIDTH)


def open_clip_text() -> Shapes:
    """One block more than is used, and the projection, which is not used either."""
    shapes: Shapes = {
        "token_embedding.weight": (TOKENS, WIDTH),
        "positional_embedding": (77, WIDTH),
        "text_projection": (WIDTH, WIDTH),
        "logit_scale": (),
    }
    for number in range(DEPTH + 1):
        made: Shapes = {"attn.in_proj_weight": (3 * WIDTH, WIDTH)}
        made |= {"attn.in_proj_bias": (3 * WIDTH,)} | affine("attn.out_proj", WIDTH, WIDTH)
        made |= affine("mlp.c_fc", HIDDEN, WIDTH) | affine("mlp.c_proj", WIDTH, HIDDEN)
        made |= affine("ln_1", WIDTH) | affine("ln_2", WIDTH)
        shapes |= under(f"transformer.resblocks.{number}", made)
    return shapes | affine("ln_final", WIDTH)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
