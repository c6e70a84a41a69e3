"""Writes the fixture of Kandinsky 2.2's pipelines in diffusers 0.33.1.

    PYTHON_OF_PEERS tests/parity/peers/kandinsky.py OUTDIR

One run of the prior, and two of the decoder from what it gave: with the ancestral sampler, learnt
variance and a threshold, and with DDIM.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2 as decoding
import diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_prior as imagining
import diffusers.schedulers.scheduling_ddpm as ancestral
import diffusers.schedulers.scheduling_unclip as scheduling
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from karlo import drawn, filled, make_tokenizer
from stable_diffusion import SIDE, TEXT, Recorder, described, described_config
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

PROMPT = "a red Fox, 2 cats"
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear"}
UNET: dict[str, Any] = {
    "in_channels": 4, "out_channels": 8, "addition_embed_type": "image",
    "encoder_hid_dim_type": "image_proj", "resnet_time_scale_shift": "scale_shift",
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
}  # fmt: skip


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    torch.manual_seed(4)
    networks = {name: filled(name, net) for name, net in make_networks().items()}
    schedulers = make_schedulers()
    recorder = Recorder()
    embeds = prior(recorder, networks, schedulers["prior_scheduler"])
    for run in ("ddpm", "ddim"):
        decoder(recorder, networks, schedulers[run], run, embeds)
    recorder.autoencoder(networks["movq"])
    said = {"prompt": PROMPT, "pad": "!", **described(networks)}
    for name, one in schedulers.items():
        said["configs"][name] = described_config(one)
    recorder.save(out, "kandinsky", said)
    packed = gzip.compress(json.dumps(published()).encode(), mtime=0)
    (out / "kandinsky_published.json.gz").write_bytes(packed)


def make_networks() -> dict[str, torch.nn.Module]:
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        projection_dim=16, image_size=16, patch_size=8, hidden_act="gelu",
    )  # fmt: skip
    text = CLIPTextConfig(**TEXT, hidden_size=16, projection_dim=16, hidden_act="gelu")
    return {
        "text_encoder": CLIPTextModelWithProjection(text),
        "image_encoder": CLIPVisionModelWithProjection(vision),
        "prior": PriorTransformer(
            num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=16,
            num_embeddings=77, additional_embeddings=4,
        ),
        "unet": UNet2DConditionModel(
            **UNET, sample_size=SIDE, block_out_channels=(32, 64), layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            encoder_hid_dim=16, cross_attention_dim=24, attention_head_dim=16,
        ),
        "movq": VQModel(
            block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"), latent_channels=4,
            num_vq_embeddings=12, vq_embed_dim=4, norm_type="spatial",
        ),
    }  # fmt: skip


def make_schedulers() -> dict[str, Any]:
    return {
        "prior_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=10.0
        ),
        "ddpm": DDPMScheduler(
            **BETAS, variance_type="learned_range", thresholding=True, sample_max_value=2.0,
            clip_sample_range=2.0,
        ),
        "ddim": DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    }  # fmt: skip


def prior(recorder: Recorder, networks: dict[str, Any], scheduler: Any) -> Any:
    parts = {name: networks[name] for name in ("prior", "text_encoder", "image_encoder")}
    pipe = imagining.KandinskyV22PriorPipeline(
        **parts, tokenizer=make_tokenizer(), scheduler=scheduler,
        image_processor=CLIPImageProcessor(size=16, crop_size=16),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    recorder.run = "prior"

    def watch(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        value = getattr(output, "predicted_image_embedding", output)
        recorder.keep("prior", x=args[0], t=kwargs["timestep"], out=value)

    networks["prior"].register_forward_hook(watch, with_kwargs=True)
    scheduler.step = recorder.stepped(scheduler.step)
    draws = [module.randn_tensor for module in (imagining, scheduling)]
    for module in (imagining, scheduling):
        module.randn_tensor = drawn(module.randn_tensor, recorder.keep)
    found = pipe(PROMPT, num_inference_steps=3)
    for module, draw in zip((imagining, scheduling), draws, strict=True):
        module.randn_tensor = draw
    recorder["prior/embed"], recorder["prior/null"] = (
        found.image_embeds,
        found.negative_image_embeds,
    )
    return found


def decoder(
    recorder: Recorder, networks: dict[str, Any], scheduler: Any, run: str, embeds: Any
) -> None:
    pipe = decoding.KandinskyV22Pipeline(
        unet=networks["unet"], movq=networks["movq"], scheduler=scheduler
    )
    pipe.set_progress_bar_config(disable=True)
    recorder.run, recorder.counts = run, {}
    with recorder.of(pipe, decoding, ancestral):
        picture = pipe(
            **embeds, height=2 * SIDE, width=2 * SIDE, num_inference_steps=4, output_type="pt"
        ).images
    recorder[f"{run}/picture"] = picture


def published() -> dict[str, Any]:
    """Names and shapes at the published size."""
    text = CLIPTextConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
        projection_dim=1280, hidden_act="gelu",
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=1664, intermediate_size=8192, num_hidden_layers=48, num_attention_heads=16,
        projection_dim=1280, patch_size=14, hidden_act="gelu",
    )  # fmt: skip
    with torch.device("meta"):
        networks = {
            "text_encoder": CLIPTextModelWithProjection(text),
            "image_encoder": CLIPVisionModelWithProjection(vision),
            "prior": PriorTransformer(
                num_attention_heads=32, attention_head_dim=64, num_layers=20, embedding_dim=1280
            ),
            "unet": UNet2DConditionModel(
                **UNET, sample_size=64, block_out_channels=(384, 768, 1152, 1536),
                layers_per_block=3, attention_head_dim=64, encoder_hid_dim=1280,
                cross_attention_dim=768,
                down_block_types=("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
                up_block_types=(*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
            ),
            "movq": VQModel(
                block_out_channels=(128, 256, 256, 512), layers_per_block=2, latent_channels=4,
                down_block_types=(*("DownEncoderBlock2D",) * 3, "AttnDownEncoderBlock2D"),
                up_block_types=("AttnUpDecoderBlock2D", *("UpDecoderBlock2D",) * 3),
                num_vq_embeddings=16384, vq_embed_dim=4, norm_type="spatial",
            ),
        }  # fmt: skip
    return {
        name: {
            "config": described({name: net})["configs"][name],
            "shapes": described({name: net})["shapes"][name],
            "parameters": sum(p.numel() for p in net.parameters()),
        }
        for name, net in networks.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
