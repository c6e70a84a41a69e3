"""Which folders are Kandinsky's, what they say of themselves, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unclip.checkpoints.format import Options, find_format
from unclip.diffusion.schedule import Linear
from unclip.errors import CheckpointError
from unclip.families.latent.kandinsky import FORMAT, decoder_part
from unclip.families.latent.latent_unclip import LatentUnclipConfig

UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "addition_embed_type": "image",
    "attention_head_dim": 64,
    "block_out_channels": [384, 768, 1152, 1536],
    "cross_attention_dim": 768,
    "down_block_types": ["ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3],
    "encoder_hid_dim": 1280,
    "encoder_hid_dim_type": "image_proj",
    "in_channels": 4,
    "layers_per_block": 3,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "out_channels": 8,
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": 64,
    "up_block_types": [*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
}
MOVQ = {
    "_class_name": "VQModel",
    "block_out_channels": [128, 256, 256, 512],
    "down_block_types": [*["DownEncoderBlock2D"] * 3, "AttnDownEncoderBlock2D"],
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "norm_type": "spatial",
    "num_vq_embeddings": 16384,
    "scaling_factor": 0.18215,
    "up_block_types": ["AttnUpDecoderBlock2D", *["UpDecoderBlock2D"] * 3],
    "vq_embed_dim": 4,
}
SCHEDULER: dict[str, Any] = {
    "_class_name": "DDPMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "variance_type": "learned_range",
}
PRIOR = {
    "_class_name": "PriorTransformer",
    "attention_head_dim": 64,
    "embedding_dim": 1280,
    "num_attention_heads": 32,
    "num_embeddings": 77,
    "num_layers": 20,
}
PRIOR_SCHEDULER = {
    "_class_name": "UnCLIPScheduler",
    "clip_sample_range": 10.0,
    "prediction_type": "sample",
    "variance_type": "fixed_small_log",
}


def put(file: Path, values: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values))


def write_decoder(folder: Path, **changes: dict[str, Any]) -> Path:
    put(folder / "model_index.json", {"_class_name": "KandinskyV22Pipeline"})
    put(folder / "unet" / "config.json", {**UNET, **changes.get("unet", {})})
    put(folder / "movq" / "config.json", {**MOVQ, **changes.get("movq", {})})
    scheduler = {**SCHEDULER, **changes.get("scheduler", {})}
    put(folder / "scheduler" / "scheduler_config.json", scheduler)
    return folder


def write_prior(folder: Path, prefix: str = "") -> Path:
    kind = "KandinskyV22PriorPipeline" if not prefix else "KandinskyV22CombinedPipeline"
    put(folder / "model_index.json", {"_class_name": kind})
    put(folder / f"{prefix}prior" / "config.json", PRIOR)
    put(folder / f"{prefix}text_encoder" / "config.json", {"projection_dim": 1280})
    vision = {"projection_dim": 1280, "patch_size": 14}
    put(folder / f"{prefix}image_encoder" / "config.json", vision)
    grey = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}
    put(folder / f"{prefix}image_processor" / "preprocessor_config.json", grey)
    put(folder / f"{prefix}scheduler" / "scheduler_config.json", PRIOR_SCHEDULER)
    return folder


def test_two_folders_side_by_side(tmp_path: Path) -> None:
    write_prior(tmp_path / "kandinsky-2-2-prior")
    write_decoder(tmp_path / "kandinsky-2-2-decoder")
    put(tmp_path / "other" / "model_index.json", {"_class_name": "SomethingElse"})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model_index.json").write_text("{")
    assert find_format(tmp_path) is FORMAT
    plan = FORMAT.open(tmp_path, Options())
    assert list(plan.parts) == ["clip", "prior", "decoder"]
    assert plan.notes == ()
    clip = plan.parts["clip"].config.dump()
    assert (clip["null"], clip["null_image"], clip["network"]["normalize"]) == ("text", True, False)
    assert clip["network"]["vision"]["mean"] == [0.5, 0.4, 0.3]
    prior = plan.parts["prior"].config.dump()
    assert (prior["network"]["embed_dim"], prior["network"]["depth"]) == (1280, 20)
    assert (prior["sampling"]["threshold"], prior["sampling"]["limit"]) == ("clamp", 10.0)


def test_the_combined_pipelines_folder(tmp_path: Path) -> None:
    write_decoder(tmp_path)
    write_prior(tmp_path, "prior_")
    assert FORMAT.matches(tmp_path)
    assert list(FORMAT.open(tmp_path, Options()).parts) == ["clip", "prior", "decoder"]


def test_one_alone_says_what_it_lacks(tmp_path: Path) -> None:
    prior, decoder = write_prior(tmp_path / "a" / "p"), write_decoder(tmp_path / "b" / "d")
    assert list(FORMAT.open(prior, Options()).parts) == ["clip", "prior"]
    alone = FORMAT.open(decoder, Options())
    assert list(alone.parts) == ["decoder"]
    assert alone.notes == (
        "without its prior: give that one's folder with --clip to draw from a text",
    )
    both = FORMAT.open(decoder, Options(clip=prior))
    assert list(both.parts) == ["clip", "prior", "decoder"]
    assert both.notes == ()


def test_two_of_a_kind_are_refused(tmp_path: Path) -> None:
    write_decoder(tmp_path / "one")
    write_decoder(tmp_path / "two")
    with pytest.raises(CheckpointError, match="are two of a kind: name one"):
        FORMAT.open(tmp_path, Options())


@pytest.mark.parametrize("kind", ["KandinskyPipeline", "KandinskyPriorPipeline"])
def test_the_older_one_is_refused_by_what_is_missing(tmp_path: Path, kind: str) -> None:
    put(tmp_path / "model_index.json", {"_class_name": kind})
    assert FORMAT.matches(tmp_path)
    with pytest.raises(CheckpointError, match=r"Kandinsky 2\.1, whose text encoder, Multilingual"):
        FORMAT.open(tmp_path, Options())


def test_what_is_not_its_own(tmp_path: Path) -> None:
    assert not FORMAT.matches(tmp_path)
    put(tmp_path / "model_index.json", {"_class_name": "UnCLIPPipeline"})
    write_prior(tmp_path / "inside")
    assert not FORMAT.matches(tmp_path)


def config(folder: Path) -> LatentUnclipConfig:
    found = decoder_part(folder).config
    assert isinstance(found, LatentUnclipConfig)
    return found


def test_the_decoder(tmp_path: Path) -> None:
    found = config(write_decoder(tmp_path))
    network = found.network
    assert (network.channels, network.multipliers, network.depth) == (384, (1, 2, 3, 4), 3)
    assert network.attention == (32, 16, 8)
    assert (network.embed_dim, network.image_tokens, network.context_dim) == (1280, 32, 768)
    assert network.reads == {"image_embed"}
    # the file's factor is not used by its pipelines
    assert (found.autoencoder.scale, found.autoencoder.codes) == (1.0, 16384)
    assert found.schedule == Linear(beta_start=0.00085, beta_end=0.012)
    sampling = found.sampling
    assert (sampling.sampler, sampling.steps, sampling.guidance_scale) == ("ddpm", 100, 4.0)
    assert (sampling.spacing, sampling.eta) == ("leading", None)


def test_a_scheduler_that_leaves_the_learnt_variance_unused(tmp_path: Path) -> None:
    sampling = config(write_decoder(tmp_path, scheduler={"variance_type": "fixed_small"})).sampling
    assert (sampling.sampler, sampling.eta) == ("ddim", 1.0)


@pytest.mark.parametrize(
    ("where", "changes", "message"),
    [
        ("unet", {"in_channels": 9}, "in_channels is 9; only 4 is read"),
        ("unet", {"encoder_hid_dim_type": "text_image_proj"}, "'text_image_proj'"),
        ("unet", {"addition_embed_type": "image_hint"}, "'image_hint'"),
        ("movq", {"lookup_from_codebook": True}, "lookup_from_codebook is True"),
        ("scheduler", {"prediction_type": "sample"}, "prediction_type is 'sample'"),
        ("scheduler", {"thresholding": True, "dynamic_thresholding_ratio": 0.9}, "ratio is 0.9"),
    ],
)
def test_a_setting_that_is_not_read_is_named(
    tmp_path: Path, where: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        config(write_decoder(tmp_path, **{where: changes}))
    assert message in str(caught.value)
    assert where in str(caught.value)
