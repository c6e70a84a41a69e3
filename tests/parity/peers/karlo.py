"""Writes the fixture of Karlo's pipelines in diffusers 0.33.1.

    PYTHON_OF_PEERS tests/parity/peers/karlo.py OUTDIR

Recorded are all calls of all networks and all scheduler steps of one run of each pipeline.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import diffusers.pipelines.unclip.pipeline_unclip as text_to_image
import diffusers.pipelines.unclip.pipeline_unclip_image_variation as image_variation
import diffusers.schedulers.scheduling_unclip as scheduling
import numpy as np
import torch
from _values import value
from diffusers import PriorTransformer, UnCLIPScheduler, UNet2DConditionModel, UNet2DModel
from diffusers.pipelines.unclip.text_proj import UnCLIPTextProjModel
from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

PROMPT = "a red Fox, 2 cats"
SIDE = 8


def main(out: Path) -> None:
    torch.set_grad_enabled(False)
    tokenizer = make_tokenizer()
    networks = {name: filled(name, net) for name, net in make_networks().items()}
    schedulers = make_schedulers()
    said: dict[str, Any] = {
        "prompt": PROMPT,
        "configs": {
            **{n: plain(net.config.to_dict() if hasattr(net.config, "to_dict") else net.config)
               for n, net in networks.items()},
            **{n: plain(one.config) for n, one in schedulers.items()},
        },
        "shapes": {n: shapes(net) for n, net in networks.items()},
    }  # fmt: skip
    recorded: dict[str, torch.Tensor] = {}
    vision = networks.pop("image_encoder")
    record("text", networks, schedulers, recorded, text_pipeline(tokenizer, networks, schedulers))
    networks["image_encoder"] = vision
    run = image_pipeline(tokenizer, networks, schedulers)
    record("image", networks, schedulers, recorded, run)
    save_file({k: v.contiguous() for k, v in recorded.items()}, out / "karlo.safetensors")
    (out / "karlo.json").write_text(json.dumps(said, indent=1) + "\n")
    packed = gzip.compress(json.dumps(published()).encode(), mtime=0)
    (out / "karlo_published.json.gz").write_bytes(packed)


def make_networks() -> dict[str, torch.nn.Module]:
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        projection_dim=16, vocab_size=514, eos_token_id=513, bos_token_id=512,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        projection_dim=16, image_size=16, patch_size=8,
    )  # fmt: skip
    unet: dict[str, Any] = {
        "block_out_channels": (32, 64), "layers_per_block": 1, "act_fn": "silu",
    }  # fmt: skip
    upsampler = {
        **unet, "sample_size": 2 * SIDE, "in_channels": 6, "out_channels": 3,
        "down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "up_block_types": ("ResnetUpsampleBlock2D",) * 2, "add_attention": False,
    }  # fmt: skip
    return {
        "text_encoder": CLIPTextModelWithProjection(text),
        "image_encoder": CLIPVisionModelWithProjection(vision),
        "prior": PriorTransformer(
            num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=16,
            num_embeddings=77, additional_embeddings=4,
        ),
        "text_proj": UnCLIPTextProjModel(
            clip_extra_context_tokens=4, clip_embeddings_dim=16, time_embed_dim=128,
            cross_attention_dim=24,
        ),
        "decoder": UNet2DConditionModel(
            **unet, sample_size=SIDE, in_channels=3, out_channels=6, cross_attention_dim=24,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            attention_head_dim=16, class_embed_type="identity",
            resnet_time_scale_shift="scale_shift",
        ),
        "super_res_first": UNet2DModel(**upsampler),
        "super_res_last": UNet2DModel(**upsampler),
    }  # fmt: skip


def published() -> dict[str, Any]:
    """Names and shapes at the published size."""
    unet: dict[str, Any] = {
        "block_out_channels": (320, 640, 960, 1280), "layers_per_block": 3,
    }  # fmt: skip
    upsampler = {
        **unet, "sample_size": 256, "in_channels": 6, "out_channels": 3, "add_attention": False,
        "down_block_types": ("ResnetDownsampleBlock2D",) * 4,
        "up_block_types": ("ResnetUpsampleBlock2D",) * 4,
    }  # fmt: skip
    with torch.device("meta"):
        networks = {
            "prior": PriorTransformer(
                num_attention_heads=32, attention_head_dim=64, num_layers=20, embedding_dim=768
            ),
            "text_proj": UnCLIPTextProjModel(
                clip_embeddings_dim=768, time_embed_dim=1280, cross_attention_dim=1536
            ),
            "decoder": UNet2DConditionModel(
                **unet, sample_size=64, in_channels=3, out_channels=6, cross_attention_dim=1536,
                down_block_types=("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
                mid_block_type="UNetMidBlock2DSimpleCrossAttn",
                up_block_types=(*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
                attention_head_dim=64, class_embed_type="identity",
                resnet_time_scale_shift="scale_shift",
            ),
            "super_res_first": UNet2DModel(**upsampler),
            "super_res_last": UNet2DModel(**upsampler),
        }  # fmt: skip
    return {
        name: {
            "config": plain(net.config),
            "parameters": sum(p.numel() for p in net.parameters()),
            "shapes": shapes(net),
        }
        for name, net in networks.items()
    }


def make_schedulers() -> dict[str, UnCLIPScheduler]:
    return {
        "prior_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0
        ),
        "decoder_scheduler": UnCLIPScheduler(
            variance_type="learned_range", prediction_type="epsilon"
        ),
        "super_res_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="epsilon"
        ),
    }


def make_tokenizer() -> CLIPTokenizer:
    """CLIP's alphabet without a single merge."""
    from transformers.models.clip.tokenization_clip import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    folder = Path(tempfile.mkdtemp())
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = (folder / "vocab.json", folder / "merges.txt")
    return CLIPTokenizer(*files, pad_token="!", model_max_length=77)


def filled(component: str, net: torch.nn.Module) -> torch.nn.Module:
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            made = torch.from_numpy(value(f"{component}.{name}", tuple(tensor.shape)))
            tensor.copy_(made.abs() + 0.5 if name == "clip_std" else made)
    return net.eval()


def shapes(net: torch.nn.Module) -> dict[str, list[int]]:
    return {n: list(v.shape) for n, v in net.state_dict().items() if v.is_floating_point()}


def plain(config: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dict(config), default=str))


def text_pipeline(tokenizer: Any, networks: Any, schedulers: Any) -> Any:
    pipe = text_to_image.UnCLIPPipeline(tokenizer=tokenizer, **networks, **schedulers)
    pipe.set_progress_bar_config(disable=True)
    return lambda: pipe(
        PROMPT, prior_num_inference_steps=3, decoder_num_inference_steps=3,
        super_res_num_inference_steps=3, output_type="np",
    ).images  # fmt: skip


def image_pipeline(tokenizer: Any, networks: Any, schedulers: Any) -> Any:
    used = {n: net for n, net in networks.items() if n != "prior"}
    kept = {n: one for n, one in schedulers.items() if n != "prior_scheduler"}
    pipe = image_variation.UnCLIPImageVariationPipeline(
        tokenizer=tokenizer, feature_extractor=CLIPImageProcessor(size=16, crop_size=16),
        **used, **kept,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pixels = torch.from_numpy(np.random.RandomState(1).standard_normal((1, 3, 16, 16)))
    z_i = networks["image_encoder"](pixels.float()).image_embeds
    recorded_pixels.append(pixels.float())
    return lambda: pipe(
        image_embeddings=z_i, decoder_num_inference_steps=2, super_res_num_inference_steps=2,
        output_type="np",
    ).images  # fmt: skip


recorded_pixels: list[torch.Tensor] = []


def record(
    run: str, networks: Any, schedulers: Any, into: dict[str, torch.Tensor], pipeline: Any
) -> None:
    """Run a pipeline and keep what went into and came out of its parts."""
    counts: dict[str, int] = {}

    def keep(kind: str, **tensors: Any) -> None:
        index = counts[kind] = counts.get(kind, -1) + 1
        for name, one in tensors.items():
            if one is not None:
                tensor = one if isinstance(one, torch.Tensor) else torch.tensor(one)
                into[f"{run}/{kind}/{index}/{name}"] = tensor.detach().clone().float()

    handles = [
        net.register_forward_hook(watch(name, keep), with_kwargs=True)
        for name, net in networks.items()
    ]
    originals = {name: one.step for name, one in schedulers.items()}
    for name, one in schedulers.items():
        one.step = stepped(name, one.step, keep)
    modules = (scheduling, text_to_image, image_variation)
    draws = [module.randn_tensor for module in modules]
    torch.manual_seed(7)
    for module in modules:
        module.randn_tensor = drawn(module.randn_tensor, keep)
    keep("picture", it=torch.from_numpy(np.asarray(pipeline())))
    if run == "image":
        keep("pixels", it=recorded_pixels[-1])
        with torch.no_grad():
            keep("embed", it=networks["image_encoder"](recorded_pixels[-1]).image_embeds)
    for module, draw in zip(modules, draws, strict=True):
        module.randn_tensor = draw
    for name, one in schedulers.items():
        one.step = originals[name]
    for handle in handles:
        handle.remove()


def watch(name: str, keep: Any) -> Any:
    def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if name.endswith("_encoder"):
            if name == "text_encoder":
                tokens = args[0] if args else kwargs["input_ids"]
                keep(name, tokens=tokens, embed=output.text_embeds, hidden=output[1])
            return
        if name == "text_proj":
            keep(name, context=output[0], vector=output[1])
            return
        value = output[0] if isinstance(output, tuple) else output
        value = getattr(value, "sample", getattr(value, "predicted_image_embedding", value))
        x = kwargs.get("hidden_states", kwargs.get("sample", args[0] if args else None))
        keep(name, x=x, t=kwargs.get("timestep", args[1] if len(args) > 1 else None), out=value)

    return hook


def stepped(name: str, step: Any, keep: Any) -> Any:
    def run(output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        after = step(output, timestep, sample, *args, **kwargs)
        keep(name, output=output, t=timestep, x=sample, after=after.prev_sample)
        return after

    return run


def drawn(draw: Any, keep: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        noise = draw(*args, **kwargs)
        keep("noise", it=noise)
        return noise

    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))
