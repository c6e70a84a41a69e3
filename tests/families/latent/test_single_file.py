"""Stable Diffusion in one file: what names and shapes say, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unclip.checkpoints.format import Options, find_format
from unclip.checkpoints.keymap import Take
from unclip.errors import CheckpointError
from unclip.families.clip.huggingface import hf_text_table
from unclip.families.latent import single_file
from unclip.families.latent._autoencoder import AutoencoderConfig
from unclip.families.latent._compvis_names import autoencoder_table, unet_table
from unclip.families.latent._unet import LatentUNetConfig
from unclip.families.latent.latent_decoder import LatentDecoderConfig
from unclip.families.latent.single_file import FORMAT, decoder_table
from unclip.nn.text import TextConfig

UNET, VAE = "model.diffusion_model", "first_stage_model"
TEXT, OPEN_TEXT = "cond_stage_model.transformer.text_model", "cond_stage_model.model"
V_SIGN = f"{UNET}.input_blocks.1.1.transformer_blocks.0.norm1.bias"
Shapes = dict[str, tuple[int, ...]]


def shapes(version: int, channels: int = 4) -> Shapes:
    """What is looked at of a file of one level, 64 wide; a network needs more."""
    first = f"{UNET}.input_blocks.1"
    made: Shapes = {
        f"{UNET}.input_blocks.0.0.weight": (64, channels, 3, 3),
        f"{first}.0.out_layers.3.weight": (64, 64, 3, 3),
        f"{first}.1.norm.weight": (64,),
        f"{UNET}.middle_block.1.transformer_blocks.0.norm1.weight": (64,),
        f"{UNET}.out.2.weight": (4, 64, 3, 3),
        V_SIGN: (64,),
        f"{VAE}.encoder.conv_in.weight": (32, 3, 3, 3),
        f"{VAE}.encoder.down.0.block.0.conv1.weight": (32, 32, 3, 3),
        f"{VAE}.post_quant_conv.weight": (4, 4, 1, 1),
    }
    if version == 1:
        made[f"{TEXT}.embeddings.token_embedding.weight"] = (49408, 64)
        made[f"{TEXT}.embeddings.position_embedding.weight"] = (77, 64)
        return made | {f"{TEXT}.encoder.layers.0.mlp.fc1.weight": (96, 64)}
    made[f"{OPEN_TEXT}.token_embedding.weight"] = (49408, 64)
    made[f"{OPEN_TEXT}.positional_embedding"] = (77, 64)
    blocks = f"{OPEN_TEXT}.transformer.resblocks"
    return made | {f"{blocks}.{number}.mlp.c_fc.weight": (96, 64) for number in range(2)}


def write(folder: Path, shapes: Shapes, std: float = 0.0) -> Path:
    """`std` is that of the bias by which a v2 is told apart."""
    tensors = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}
    if V_SIGN in tensors:
        tensors[V_SIGN] = (std * (-1.0) ** torch.arange(64)).half()
    save_file(tensors, folder / "it.safetensors")
    return folder / "it.safetensors"


def read(file: Path, dialect: str | None = None) -> LatentDecoderConfig:
    config = FORMAT.open(file, Options(dialect=dialect)).parts["decoder"].config
    assert isinstance(config, LatentDecoderConfig)
    return config


def test_version_1(tmp_path: Path) -> None:
    file = write(tmp_path, shapes(1))
    assert find_format(file) is FORMAT
    plan, config = FORMAT.open(file, Options()), read(file)
    network = config.network
    assert (network.image_size, network.channels, network.depth) == (64, (64,), 1)
    assert (network.heads, network.attention, network.layers) == ((8,), (0,), 1)
    assert (network.text.depth, network.text.heads, network.text.width) == (1, 1, 64)
    assert (network.text.activation, network.inpaints) == ("quick_gelu", False)
    assert (network.pad_id, network.empty) == (49407, (49406, 49407)), "CLIP's own tokenizer"
    assert config.parameterization.kind == "eps"
    assert (config.sampling.sampler, config.sampling.steps) == ("pndm", 50), "as published"
    assert (config.autoencoder.scale, config.autoencoder.factor) == (0.18215, 1)
    assert plan.licence.startswith("CreativeML Open RAIL-M")
    assert plan.notes == ()


def test_version_2_reads_the_last_block_but_one(tmp_path: Path) -> None:
    file = write(tmp_path, shapes(2))
    network = read(file).network
    assert (network.text.depth, network.text.activation) == (1, "gelu")
    assert (network.heads, network.pad_id) == ((1,), 0)
    assert FORMAT.open(file, Options()).licence.startswith("CreativeML Open RAIL++-M")


@pytest.mark.parametrize(
    ("std", "dialect", "found"),
    [(0.05, None, ("eps", 64)), (0.2, None, ("v", 96)), (0.2, "eps", ("eps", 64)),
     (0.05, "v", ("v", 96))],
)  # fmt: skip
def test_what_version_2_predicts(
    std: float, dialect: str | None, found: tuple[str, int], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By a bias of the published networks, unless a person says."""
    monkeypatch.setattr(single_file, "V_SIGN", V_SIGN)
    file = write(tmp_path, shapes(2), std)
    config = read(file, dialect)
    assert (config.parameterization.kind, config.network.image_size) == found
    notes = FORMAT.open(file, Options(dialect=dialect)).notes
    other = {"eps": "v", "v": "eps"}[found[0]]
    said = f"read as a network that predicts {found[0]}; if it is not, give --dialect {other}"
    assert notes == (() if dialect else (said,))


def test_what_else_tells(tmp_path: Path) -> None:
    assert read(write(tmp_path, shapes(2))).parameterization.kind == "v", "most are"
    assert read(write(tmp_path, shapes(2, 9))).parameterization.kind == "eps"
    marked = write(tmp_path, shapes(1) | {"v_pred": (0,)})
    assert (read(marked).parameterization.kind, read(marked).network.image_size) == ("v", 64)
    tensors = {name: torch.zeros(shape) for name, shape in shapes(2).items()}
    torch.save({"state_dict": tensors, "global_step": 875_000}, tmp_path / "base.ckpt")
    assert read(tmp_path / "base.ckpt").parameterization.kind == "eps", "v2's base of 512"


def test_nine_channels_inpaint(tmp_path: Path) -> None:
    for version in (1, 2):
        network = read(write(tmp_path, shapes(version, 9))).network
        assert (network.inpaints, network.in_channels) == (True, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{UNET}.input_blocks.0.0.weight": (64, 5, 3, 3)}, "takes in 5 channels, .* sees depth"),
        ({f"{UNET}.input_blocks.0.0.weight": (64, 8, 3, 3)}, "8 channels, InstructPix2Pix's; only"),
        ({f"{UNET}.label_emb.0.0.weight": (64, 64)}, "single file of Stable unCLIP or of an upsc"),
        ({"ztsnr": (0,)}, "trained to zero SNR .ztsnr., which is not read"),
        ({f"{UNET}.input_blocks.0.0.weight": None}, "is not a whole Stable Diffusion: .*input_bl"),
        ({f"{TEXT}.encoder.layers.0.mlp.fc1.weight": None}, "is not a whole Stable Diffusion"),
        ({n: None for n in shapes(1) if n.startswith(VAE)}, r"holds no autoencoder \(VAE\)"),
        ({n: None for n in shapes(1) if n.startswith(TEXT)}, "holds no text encoder"),
    ],
)
def test_what_is_not_read_is_named(
    changes: dict[str, tuple[int, ...] | None], message: str, tmp_path: Path
) -> None:
    every = {**shapes(1), **changes}
    file = write(tmp_path, {name: shape for name, shape in every.items() if shape is not None})
    assert FORMAT.matches(file)
    with pytest.raises(CheckpointError, match=message) as caught:
        FORMAT.open(file, Options())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conditioner.embedders.0.transformer.x", f"{UNET}.out.2.weight", f"{VAE}.x"],
         "is a single file of Stable Diffusion XL, which is not read"),
        ([f"{UNET}.joint_blocks.0.x", f"{VAE}.x"], "is Stable Diffusion 3, which is not read"),
        (["double_blocks.0.x", "img_in.weight"], "is FLUX, which is not read"),
        ([f"{UNET}.double_blocks.0.x"], "is FLUX, which is not read"),
        ([f"{UNET}.out.2.weight", f"{UNET}.out.0.bias"], "is a U-Net alone"),
        (["lora_unet_x.lora_up.weight"], "is a LoRA, which .*: not read by itself"),
    ],
)  # fmt: skip
def test_other_families_are_named(names: list[str], message: str, tmp_path: Path) -> None:
    file = tmp_path / "it.safetensors"
    save_file({name: torch.zeros(1) for name in names}, file)
    with pytest.raises(CheckpointError, match=message):
        find_format(file)


# names at the published sizes ---------------------------------------------------------------------

V1_TEXT = TextConfig(
    width=768,
    depth=12,
    heads=12,
    activation="quick_gelu",
    vocab_size=49408,
    context=77,
    learned_padding=False,
)
V1 = LatentUNetConfig(
    image_size=64,
    channels=(320, 640, 1280, 1280),
    attention=(0, 1, 2),
    heads=(8,) * 4,
    text=V1_TEXT,
)
V1_VAE = AutoencoderConfig(channels=(128, 256, 512, 512))


def sources(table: dict[str, Take]) -> set[str]:
    return {source for take in table.values() for source in take.sources}


def test_as_many_names_as_the_published_file_has() -> None:
    """Of v1-5-pruned-emaonly: 686 of the U-Net, 248 of the autoencoder, 196 of the text encoder."""
    assert len(sources(unet_table(V1))) == 686
    assert len(sources(autoencoder_table(V1_VAE))) == 248
    assert len(sources(hf_text_table(12))) == 196


@pytest.mark.parametrize(
    "name",
    [
        f"{UNET}.time_embed.2.bias",
        f"{UNET}.input_blocks.9.0.op.weight",
        f"{UNET}.input_blocks.11.0.in_layers.0.weight",
        f"{UNET}.input_blocks.4.0.skip_connection.weight",
        f"{UNET}.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        f"{UNET}.output_blocks.2.1.conv.weight",
        f"{UNET}.output_blocks.8.2.conv.weight",
        f"{UNET}.output_blocks.11.1.transformer_blocks.0.norm1.bias",
        f"{VAE}.encoder.down.2.downsample.conv.weight",
        f"{VAE}.encoder.mid.attn_1.proj_out.weight",
        f"{VAE}.decoder.up.3.upsample.conv.weight",
        f"{VAE}.decoder.up.1.block.0.nin_shortcut.weight",
        f"{VAE}.decoder.up.0.block.2.conv2.bias",
        f"{VAE}.quant_conv.weight",
        f"{TEXT}.encoder.layers.11.self_attn.out_proj.bias",
    ],
)
def test_names_of_the_published_file(name: str) -> None:
    assert name in sources(decoder_table(LatentDecoderConfig(network=V1, autoencoder=V1_VAE)))
