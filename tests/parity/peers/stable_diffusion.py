"""Writes the fixtures of Stable Diffusion's pipeline in diffusers 0.33.1, shaped as v1 and as v2.

    PYTHON_OF_PEERS tests/parity/peers/stable_diffusion.py OUTDIR

Recorded are all calls of all networks and all scheduler steps of one run of each.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from karlo import drawn, filled, make_tokenizer, plain, shapes
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

PROMPT, NEGATIVE = "a red Fox, 2 cats", "blue"
SIDE, STEPS, PAD = 8, 4, "<|endoftext|>"
TEXT: dict[str, Any] = {
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "vocab_size": 514, "eos_token_id": 513, "bos_token_id": 512,
}  # fmt: skip
UNET: dict[str, Any] = {
    "sample_size": SIDE, "block_out_channels": (32, 64), "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "norm_num_groups": 16,
}  # fmt: skip
BETAS: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    for name, (networks, pad, scheduler) in versions().items():
        write(out, name, networks, pad, scheduler)
    packed = gzip.compress(json.dumps(published()).encode(), mtime=0)
    (out / "stable_published.json.gz").write_bytes(packed)


def versions() -> dict[str, tuple[dict[str, Any], str, DDIMScheduler]]:
    """Networks, the token that pads, and the scheduler."""
    v2 = {
        "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT, hidden_size=24, hidden_act="gelu")),
        "unet": UNet2DConditionModel(
            **UNET, cross_attention_dim=24, attention_head_dim=(2, 4), use_linear_projection=True
        ),
        "vae": make_vae(),
    }
    v = DDIMScheduler(**BETAS, prediction_type="v_prediction")
    return {
        "stable_diffusion_1": (version_1(), PAD, DDIMScheduler(**BETAS)),
        "stable_diffusion_2": (v2, "!", v),
    }


def version_1() -> dict[str, Any]:
    return {
        "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT, hidden_size=16)),
        "unet": UNet2DConditionModel(**UNET, cross_attention_dim=16, attention_head_dim=4),
        "vae": make_vae(),
    }


def make_vae(**more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, sample_size=2 * SIDE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        **more,
    )  # fmt: skip


def write(
    out: Path, name: str, networks: dict[str, Any], pad: str, scheduler: DDIMScheduler
) -> None:
    pipe, networks = make_pipe(networks, pad, scheduler)
    noise = numbers(1, 4, SIDE, SIDE)
    recorder = Recorder()
    recorder["noise"] = noise
    with recorder.of(pipe):
        picture = pipe(
            PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=7.5,
            latents=noise, output_type="np",
        ).images  # fmt: skip
    recorder["picture"] = torch.from_numpy(picture)
    recorder.autoencoder(pipe.vae)
    said = {"prompt": PROMPT, "negative": NEGATIVE, "pad": pad, **described(networks)}
    said["configs"]["scheduler"] = described_config(scheduler)
    recorder.save(out, name, said)


def make_pipe(
    networks: dict[str, Any], pad: str, scheduler: DDIMScheduler
) -> tuple[StableDiffusionPipeline, dict[str, Any]]:
    """The pipeline, and its networks, filled."""
    networks = {part: filled(part, net) for part, net in networks.items()}
    return make_pipeline(networks, pad, scheduler), networks


def make_pipeline(networks: dict[str, Any], pad: str, scheduler: Any) -> StableDiffusionPipeline:
    tokenizer = make_tokenizer()
    tokenizer.pad_token = pad
    pipe = StableDiffusionPipeline(
        **networks, tokenizer=tokenizer, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def numbers(*shape: int, seed: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


def described(networks: dict[str, Any]) -> dict[str, Any]:
    def config(net: Any) -> Any:
        if hasattr(net.config, "to_dict"):
            return plain(net.config.to_dict())
        return described_config(net)

    return {
        "configs": {name: config(net) for name, net in networks.items()},
        "shapes": {name: shapes(net) for name, net in networks.items()},
    }


def described_config(one: Any) -> dict[str, Any]:
    """A network's or a scheduler's configuration as diffusers saves it."""
    own = {key: value for key, value in plain(one.config).items() if not key.startswith("_")}
    return {**own, "_class_name": type(one).__name__}


class Recorder(dict[str, torch.Tensor]):
    """What went into and came out of the parts of a pipeline, as `run/part/call/name`."""

    def __init__(self) -> None:
        super().__init__()
        self.run = "run"
        self.counts: dict[str, int] = {}

    def keep(self, kind: str, **tensors: Any) -> None:
        index = self.counts[kind] = self.counts.get(kind, -1) + 1
        for name, one in tensors.items():
            if one is not None:
                value = one if isinstance(one, torch.Tensor) else torch.tensor(one)
                self[f"{self.run}/{kind}/{index}/{name}"] = value.detach().clone().float()

    @contextlib.contextmanager
    def of(self, pipe: Any, *modules: Any) -> Any:
        """Watch the pipeline's text encoder, U-Net and scheduler, and what `modules` draw."""

        def text(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            self.keep("text_encoder", tokens=args[0], hidden=output[0])

        def unet(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            x = args[0] if args else kwargs["sample"]
            t = args[1] if len(args) > 1 else kwargs["timestep"]
            self.keep("unet", x=x, t=t, out=output[0], labels=kwargs.get("class_labels"))

        handles = [pipe.unet.register_forward_hook(unet, with_kwargs=True)]
        if hasattr(pipe, "text_encoder"):
            handles.append(pipe.text_encoder.register_forward_hook(text, with_kwargs=True))
        step, draws = pipe.scheduler.step, [module.randn_tensor for module in modules]
        pipe.scheduler.step = self.stepped(step)
        for module in modules:
            module.randn_tensor = drawn(module.randn_tensor, self.keep)
        yield
        pipe.scheduler.step = step
        for module, draw in zip(modules, draws, strict=True):
            module.randn_tensor = draw
        for handle in handles:
            handle.remove()

    def stepped(self, step: Any, kind: str = "scheduler") -> Any:
        def run(output: Any, timestep: Any, sample: Any, **kwargs: Any) -> Any:
            after = step(output, timestep, sample, **kwargs)
            value = after[0] if isinstance(after, tuple) else after.prev_sample
            self.keep(kind, output=output, t=timestep, x=sample, after=value)
            return after

        return run

    def autoencoder(self, vae: Any) -> None:
        """Its ways in and out, each of numbers of its own."""
        image, latents = numbers(1, 3, 2 * SIDE, 2 * SIDE, seed=8), numbers(1, 4, SIDE, SIDE)
        said = vae.encode(image)
        self["vae/image"] = image
        if hasattr(said, "latent_dist"):
            self["vae/mean"] = said.latent_dist.mean
            self["vae/logvar"] = said.latent_dist.logvar
            self["vae/decoded"] = vae.decode(latents).sample
        else:
            self["vae/mean"] = said.latents
            self["vae/decoded"] = vae.decode(latents, force_not_quantize=True).sample
            self["vae/quantised"] = vae.decode(latents).sample
        self["vae/latents"] = latents

    def save(self, out: Path, name: str, said: dict[str, Any]) -> None:
        tensors = {key: value.contiguous() for key, value in self.items()}
        save_file(tensors, out / f"{name}.safetensors")
        (out / f"{name}.json").write_text(json.dumps(said, indent=1) + "\n")


def published() -> dict[str, Any]:
    """Names and shapes at the published sizes."""
    big: dict[str, Any] = {"sample_size": 64}
    linear = {"attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
    v2 = {"cross_attention_dim": 1024, "upcast_attention": True, **linear}
    project = {"class_embed_type": "projection"}
    text = {"projection_dim": 768, "hidden_size": 768, "intermediate_size": 3072}
    open_text = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23,
        "num_attention_heads": 16, "hidden_act": "gelu", "eos_token_id": 2,
    }  # fmt: skip
    with torch.device("meta"):
        networks = {
            "unet_1": UNet2DConditionModel(**big, cross_attention_dim=768),
            "unet_2": UNet2DConditionModel(**{**big, "sample_size": 96}, **v2),
            "unet_unclip_small": UNet2DConditionModel(
                **{**big, "sample_size": 96}, **v2, **project,
                projection_class_embeddings_input_dim=1536,
            ),
            "unet_unclip_large": UNet2DConditionModel(
                **{**big, "sample_size": 96}, **v2, **project,
                projection_class_embeddings_input_dim=2048,
            ),
            "vae": AutoencoderKL(
                block_out_channels=(128, 256, 512, 512), layers_per_block=2,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
            ),
            "text_encoder_1": CLIPTextModel(CLIPTextConfig(**text, num_attention_heads=12)),
            "text_encoder_2": CLIPTextModel(CLIPTextConfig(**open_text)),
        }  # fmt: skip
    return {
        name: {
            **{key: value[name] for key, value in zip(
                ("config", "shapes"), described({name: net}).values(), strict=True
            )},
            "parameters": sum(p.numel() for p in net.parameters()),
        }
        for name, net in networks.items()
    }  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
