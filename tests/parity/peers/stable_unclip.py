"""Writes the fixture of Stable unCLIP's pipelines in diffusers 0.33.1.

    PYTHON_OF_PEERS tests/parity/peers/stable_unclip.py OUTDIR

One run of the text-to-image pipeline, with Karlo's prior, and one of the other from an embedding.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import diffusers.pipelines.stable_diffusion.pipeline_stable_unclip as text_to_image
import diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img as image_to_image
import diffusers.schedulers.scheduling_unclip as scheduling
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
    StableUnCLIPImageNormalizer,
)
from karlo import filled, make_tokenizer
from stable_diffusion import (
    BETAS,
    TEXT,
    UNET,
    Recorder,
    described,
    described_config,
    make_vae,
    numbers,
)
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

PROMPT = "a red Fox, 2 cats"


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    torch.manual_seed(3)
    networks = {name: filled(name, net) for name, net in make_networks().items()}
    schedulers = make_schedulers()
    recorder = Recorder()
    text(recorder, networks, schedulers)
    image(recorder, networks, schedulers)
    said = {"prompt": PROMPT, "pad": "!", **described(networks)}
    for name, one in schedulers.items():
        said["configs"][name] = described_config(one)
    recorder.save(out, "stable_unclip", said)


def make_networks() -> dict[str, torch.nn.Module]:
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        projection_dim=16, image_size=16, patch_size=8, hidden_act="gelu",
    )  # fmt: skip
    prior_text = CLIPTextConfig(**TEXT, hidden_size=16, projection_dim=16)
    return {
        "prior_text_encoder": CLIPTextModelWithProjection(prior_text),
        "prior": PriorTransformer(
            num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=16,
            num_embeddings=77, additional_embeddings=4,
        ),
        "image_encoder": CLIPVisionModelWithProjection(vision),
        "image_normalizer": StableUnCLIPImageNormalizer(embedding_dim=16),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT, hidden_size=24, hidden_act="gelu")),
        "unet": UNet2DConditionModel(
            **UNET, cross_attention_dim=24, attention_head_dim=(2, 4), use_linear_projection=True,
            class_embed_type="projection", projection_class_embeddings_input_dim=32,
        ),
        "vae": make_vae(),
    }  # fmt: skip


def make_schedulers() -> dict[str, Any]:
    return {
        "prior_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0
        ),
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "scheduler": DDIMScheduler(**BETAS, prediction_type="v_prediction"),
    }


SHARED = ("image_normalizer", "text_encoder", "unet", "vae", "image_noising_scheduler", "scheduler")


def text(recorder: Recorder, networks: dict[str, Any], schedulers: dict[str, Any]) -> None:
    parts = {**networks, **schedulers, "tokenizer": make_tokenizer()}
    pipe = text_to_image.StableUnCLIPPipeline(
        **{name: parts[name] for name in (*SHARED, "tokenizer")},
        **{name: parts[name] for name in ("prior_text_encoder", "prior", "prior_scheduler")},
        prior_tokenizer=make_tokenizer(),
    )
    pipe.set_progress_bar_config(disable=True)
    recorder.run = "text"

    def prior(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        recorder.keep("prior", x=args[0], t=kwargs["timestep"], out=output[0])

    networks["prior"].register_forward_hook(prior, with_kwargs=True)
    with recorder.of(pipe, text_to_image, scheduling):
        picture = pipe(
            PROMPT, num_inference_steps=4, prior_num_inference_steps=3, noise_level=100,
            output_type="np",
        ).images  # fmt: skip
    recorder["text/picture"] = torch.from_numpy(picture)
    # this pipeline does not tell the prior's scheduler where the next step is, which then goes from
    # t to t - 1 each time: what comes out is the last x0, and only the decoder's part is compared
    last = recorder[f"text/prior/{recorder.counts['prior']}/out"].chunk(2)
    guided = (last[0] + 4.0 * (last[1] - last[0])).clamp(-5, 5)
    recorder["text/embed"] = networks["prior"].post_process_latents(guided)


def image(recorder: Recorder, networks: dict[str, Any], schedulers: dict[str, Any]) -> None:
    parts = {**networks, **schedulers, "tokenizer": make_tokenizer()}
    pipe = image_to_image.StableUnCLIPImg2ImgPipeline(
        **{name: parts[name] for name in (*SHARED, "tokenizer", "image_encoder")},
        feature_extractor=CLIPImageProcessor(size=16, crop_size=16),
    )
    pipe.set_progress_bar_config(disable=True)
    pixels = numbers(1, 3, 16, 16, seed=1)
    z_i = networks["image_encoder"](pixels).image_embeds
    recorder.run, recorder.counts = "image", {}
    recorder["image/pixels"], recorder["image/embed"] = pixels, z_i
    with recorder.of(pipe, image_to_image):
        picture = pipe(image_embeds=z_i, num_inference_steps=3, output_type="np").images
    recorder["image/picture"] = torch.from_numpy(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
