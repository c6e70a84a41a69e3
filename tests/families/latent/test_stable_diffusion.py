"""What Stable Diffusion's folders say of themselves, read without weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unclip.checkpoints.format import Options, find_format
from unclip.diffusion.schedule import Cosine, Linear, ScaledLinear
from unclip.errors import CheckpointError
from unclip.families.latent._unet import LatentUNet
from unclip.families.latent.latent_decoder import LatentDecoderConfig
from unclip.families.latent.stable_diffusion import FORMAT

# as published with v2-1-base and v1-5; what is left out has diffusers' default
UNET = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": [5, 10, 20, 20],
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1024,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "dual_cross_attention": False,
    "flip_sin_to_cos": True,
    "in_channels": 4,
    "layers_per_block": 2,
    "norm_eps": 1e-05,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "use_linear_projection": True,
}
TEXT = {
    "architectures": ["CLIPTextModel"],
    "hidden_act": "gelu",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "num_attention_heads": 16,
    "num_hidden_layers": 23,
    "vocab_size": 49408,
}
VAE = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
V1 = {
    "unet": {**UNET, "attention_head_dim": 8, "cross_attention_dim": 768},
    "text_encoder": {
        **TEXT, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
        "num_hidden_layers": 12, "hidden_act": "quick_gelu",
    },
}  # fmt: skip
WORDS = ["!", '"', "#", "a</w>", "<|startoftext|>", "<|endoftext|>"]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(unet={...}, kind=...)`: v2's folder with some settings changed, and no weights."""

    def write_json(name: str, file: str, values: dict[str, Any]) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_text(json.dumps(values))

    def make(kind: str = "StableDiffusionPipeline", **changes: dict[str, Any]) -> Path:
        write_json(".", "model_index.json", {"_class_name": kind})
        for name, own in (("unet", UNET), ("text_encoder", TEXT), ("vae", VAE)):
            write_json(name, "config.json", {**own, **changes.get(name, {})})
        own = {**SCHEDULER, **changes.get("scheduler", {})}
        write_json("scheduler", "scheduler_config.json", own)
        write_json("tokenizer", "vocab.json", {word: place for place, word in enumerate(WORDS)})
        (tmp_path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
        write_json("tokenizer", "tokenizer_config.json", {"pad_token": "<|endoftext|>"})
        if "special" in changes:
            write_json("tokenizer", "special_tokens_map.json", changes["special"])
        return tmp_path

    return make


def read(folder: Path) -> LatentDecoderConfig:
    config = FORMAT.open(folder, Options()).parts["decoder"].config
    assert isinstance(config, LatentDecoderConfig)
    return config


def test_version_2(write: Write) -> None:
    folder = write()
    assert find_format(folder) is FORMAT
    plan = FORMAT.open(folder, Options())
    config, network = read(folder), read(folder).network
    assert list(plan.parts) == ["decoder"]
    assert plan.licence.startswith("CreativeML Open RAIL++-M")
    assert plan.notes == ()
    assert (network.image_size, network.depth, network.layers) == (64, 2, 1)
    assert (network.heads, network.attention) == ((5, 10, 20, 20), (0, 1, 2))
    assert (network.text.depth, network.text.width, network.text.activation) == (23, 1024, "gelu")
    assert (config.autoencoder.scale, config.autoencoder.factor) == (0.18215, 8)
    assert config.schedule == ScaledLinear(last="first")
    assert config.parameterization.kind == "eps"
    sampling = config.sampling
    assert (sampling.sampler, sampling.steps, sampling.guidance_scale) == ("pndm", 50, 7.5)
    assert (sampling.spacing, sampling.threshold) == ("leading_after", "none")


def test_version_1(write: Write) -> None:
    plan = FORMAT.open(write(**V1), Options())
    config = read(write(**V1))
    assert plan.licence.startswith("CreativeML Open RAIL-M")
    assert config.network.heads == (8, 8, 8, 8)
    assert config.network.text.activation == "quick_gelu"
    # by diffusers' defaults, where a file leaves them out
    for key in ("down_block_types", "up_block_types", "block_out_channels", "attention_head_dim"):
        folder = write(**V1)
        values = json.loads((folder / "unet" / "config.json").read_text())
        del values[key]
        (folder / "unet" / "config.json").write_text(json.dumps(values))
        assert read(folder) == config


def test_padding_is_the_tokenizers(write: Write) -> None:
    config = read(write())
    assert (config.network.pad_id, config.network.empty) == (5, (4, 5))
    older = read(write(special={"pad_token": {"content": "!"}}))
    assert older.network.pad_id == 0


def test_what_the_network_predicts(write: Write) -> None:
    for name, kind in (("epsilon", "eps"), ("v_prediction", "v"), ("sample", "x0")):
        assert read(write(scheduler={"prediction_type": name})).parameterization.kind == kind


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"beta_schedule": "linear"}, Linear(beta_start=0.00085, beta_end=0.012, last="first")),
        ({"beta_schedule": "squaredcos_cap_v2"}, Cosine(last="first")),
        ({"set_alpha_to_one": True}, ScaledLinear()),
        ({"_class_name": "DPMSolverMultistepScheduler"}, ScaledLinear()),
        ({"num_train_timesteps": 400, "beta_end": 0.01},
         ScaledLinear(steps=400, beta_end=0.01, last="first")),
    ],
)  # fmt: skip
def test_schedules(write: Write, changes: dict[str, Any], expected: Any) -> None:
    assert read(write(scheduler=changes)).schedule == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"_class_name": "DDIMScheduler"}, {"sampler": "ddim", "spacing": "leading_after"}),
        ({"_class_name": "DDPMScheduler", "steps_offset": 0},
         {"sampler": "ddpm", "spacing": "leading"}),
        ({"_class_name": "EulerDiscreteScheduler"}, {"sampler": "euler", "spacing": "linspace"}),
        ({"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "leading"},
         {"sampler": "euler_ancestral", "spacing": "leading_after"}),
        ({"_class_name": "UniPCMultistepScheduler"}, {"sampler": "unipc", "spacing": "uniform"}),
        ({"_class_name": "DEISMultistepScheduler"}, {"sampler": "ddim"}),
        ({"_class_name": "UniPCMultistepScheduler", "timestep_spacing": "trailing"},
         {"sampler": "unipc", "spacing": "trailing"}),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True},
         {"sampler": "dpmpp_2m", "spacing": "karras"}),
        ({"_class_name": "DDIMScheduler", "clip_sample": True, "clip_sample_range": 3.0},
         {"threshold": "clamp", "limit": 3.0}),
        ({"thresholding": True, "sample_max_value": None},
         {"threshold": "dynamic", "ceiling": None}),
        ({"thresholding": True, "sample_max_value": 2.0}, {"threshold": "none", "ceiling": 2.0}),
    ],
)  # fmt: skip
def test_samplers(write: Write, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    sampling = read(write(scheduler=changes)).sampling.dump()
    assert {key: sampling[key] for key in expected} == expected


def test_linear_betas_are_the_files_whatever_their_number(write: Write) -> None:
    changes = {"beta_schedule": "linear", "num_train_timesteps": 100, "beta_end": 0.05}
    betas = read(write(scheduler=changes)).schedule.betas()  # type: ignore[union-attr]
    assert (float(betas[0]), float(betas[-1])) == pytest.approx((0.00085, 0.05))
    assert len(betas) == 100


def test_schedules_are_those_of_the_table_of_betas(write: Write) -> None:
    """The root of beta is even between the roots of its ends (numbers of v1's own table)."""
    bar = read(write()).schedule.alpha_bar()  # type: ignore[union-attr]
    assert float(bar[0]) == pytest.approx(1 - 0.00085)
    assert float(bar[999]) == pytest.approx(0.00466, abs=2e-5)
    assert float(bar[500]) == pytest.approx(0.2763, abs=2e-3)


@pytest.mark.parametrize(
    ("where", "changes", "message"),
    [
        ("unet", {"in_channels": 5}, "in_channels is 5; only 4 or 9 is read"),
        ("unet", {"addition_embed_type": "text_time"}, "addition_embed_type is 'text_time'"),
        ("unet", {"class_embed_type": "timestep"}, "class_embed_type is 'timestep'"),
        ("unet", {"num_class_embeds": 1000}, "num_class_embeds is 1000"),
        ("unet", {"dual_cross_attention": True}, "dual_cross_attention is True"),
        ("unet", {"layers_per_block": [1, 2]}, "layers_per_block is [1, 2]; only one number"),
        ("unet", {"sample_size": None}, "sample_size is None; only one number"),
        ("unet", {"cross_attention_dim": 768}, "cross_attention_dim is 768, but text_encoder is"),
        ("unet", {"down_block_types": ["AttnDownBlock2D"] * 4}, "AttnDownBlock2D is not read"),
        ("unet", {"up_block_types": ["UpBlock2D"] * 4}, "do not mirror down_block_types"),
        ("vae", {"shift_factor": 0.1}, "shift_factor is 0.1"),
        ("vae", {"use_quant_conv": False}, "use_quant_conv is False"),
        ("vae", {"_class_name": "AutoencoderTiny"}, "_class_name is 'AutoencoderTiny'"),
        ("vae", {"up_block_types": ["AttnUpDecoderBlock2D"] * 4}, "do not mirror"),
        ("scheduler", {"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'"),
        ("scheduler", {"trained_betas": [0.1]}, "trained_betas is [0.1]"),
        ("scheduler", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is True"),
        ("scheduler", {"prediction_type": "flow"}, "prediction_type is 'flow'"),
        ("scheduler", {"steps_offset": 3}, "steps_offset is 3"),
        (
            "scheduler",
            {"_class_name": "DDPMScheduler", "variance_type": "fixed_large"},
            "fixed_large",
        ),
        ("text_encoder", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
    ],
)
def test_a_setting_that_is_not_read_is_named(
    write: Write, where: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(write(**{where: changes}))
    assert message in str(caught.value)
    assert where in str(caught.value)


def test_it_is_known_by_its_pipeline(write: Write, tmp_path: Path) -> None:
    for kind in ("StableDiffusionInpaintPipeline", "StableUnCLIPImg2ImgPipeline"):
        assert FORMAT.matches(write(kind))
    for kind in ("UnCLIPPipeline", "StableDiffusionXLPipeline", "FlaxStableDiffusionPipeline"):
        assert not FORMAT.matches(write(kind))
    assert not FORMAT.matches(tmp_path / "unet")
    assert not FORMAT.matches(tmp_path / "unet" / "config.json")


def test_a_network_of_nine_channels_inpaints(write: Write) -> None:
    network = read(write("StableDiffusionInpaintPipeline", unet={"in_channels": 9})).network
    assert (network.inpaints, network.in_channels) == (True, 4)
    assert not read(write("StableDiffusionInpaintPipeline")).network.inpaints


def test_stable_unclip_knows_its_embeddings(write: Write) -> None:
    project = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2048}
    folder = write("StableUnCLIPImg2ImgPipeline", unet=project)
    for name, values in (
        ("image_normalizer", {"embedding_dim": 768}),
        ("image_encoder", {"projection_dim": 1024, "patch_size": 14}),
    ):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="embeddings of 1024 numbers, image_normalizer knows"):
        FORMAT.open(folder, Options())
    (folder / "image_normalizer" / "config.json").write_text('{"embedding_dim": 1024}')
    (folder / "image_noising_scheduler").mkdir()
    noising = json.dumps({"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2"})
    (folder / "image_noising_scheduler" / "scheduler_config.json").write_text(noising)
    config = read(folder)
    assert config.network.embed_dim == 1024
    assert config.image_schedule == Cosine()
    assert (config.sampling.steps, config.sampling.guidance_scale) == (20, 10.0)
    with torch.device("meta"):
        net = LatentUNet(config.network)
    assert net.image.fc1.weight.shape == (1280, 2048)
    assert list(FORMAT.open(folder, Options()).parts) == ["clip", "decoder"]


def test_an_unfinished_folder_is_named(write: Write) -> None:
    folder = write()
    part = FORMAT.open(folder, Options()).parts["decoder"]
    with pytest.raises(CheckpointError, match="unet has no weights"):
        part.tensors()
    (folder / "vae" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"vae is missing its config\.json"):
        FORMAT.open(folder, Options())
