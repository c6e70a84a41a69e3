"""What cannot be loaded is told why: what lies there, in one line, whoever was asked for it."""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import unclip
from unclip.checkpoints.format import open_model
from unclip.errors import CheckpointError, UnclipError, UsageError

FIXTURES = Path(__file__).parents[1] / "parity" / "fixtures"


class Runs:
    """What a pickle that runs code asks for."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1",)


def cut(file: Path) -> None:
    whole = (FIXTURES / "clip_openai.pt").read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def gzipped(file: Path) -> None:
    with tarfile.open(file, "w:gz") as archive:
        archive.add(FIXTURES / "clip_hf.json", "config.json")


def zipped(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")


def tensors(*names: str) -> Callable[[Path], None]:
    return lambda file: save_file({name: torch.zeros(2) for name in names}, file)


def saved(data: object) -> Callable[[Path], None]:
    return lambda file: torch.save(data, file)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut.pt": (cut, r"is damaged or truncated"),
    "lfs.pt": (
        lambda f: f.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        r"is a git-lfs pointer, .*`git lfs pull`",
    ),
    "page.pt": (lambda f: f.write_text("<!DOCTYPE html><html></html>"), "is a web page"),
    "page.safetensors": (lambda f: f.write_text("\n <html>"), "is a web page"),
    "empty.pt": (lambda f: f.write_bytes(b""), "is empty"),
    "code.pt": (lambda f: f.write_bytes(pickle.dumps(Runs(), 2)), "refused: .*'builtins.eval'"),
    "cut.safetensors": (
        lambda f: f.write_bytes((FIXTURES / "clip_hf.safetensors").read_bytes()[:-9]),
        "is damaged or truncated",
    ),
    "model.gguf": (lambda f: f.write_bytes(b"GGUF\3"), r"for GGUF \(llama\.cpp\).* not read"),
    "model.onnx": (lambda f: f.write_bytes(b"\x08\x06"), "for ONNX, which are not read"),
    "model.zip": (zipped, "is an archive: unpack it, and give the folder"),
    "model.tar.gz": (gzipped, "is an archive: unpack it, and give the folder"),
    "photo.png": (lambda f: Image.new("RGB", (2, 2)).save(f), "is a picture, not a model"),
    "config.json": (lambda f: f.write_text("{}"), "holds settings, no weights: give its folder"),
    "lora.safetensors": (
        tensors("lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"),
        "is a LoRA, which changes another model's weights: not read",
    ),
    "peft.safetensors": (tensors("unet.down.0.to_q.lora_A.weight"), "is a LoRA"),
    "learned.bin": (saved({"<cat-toy>": torch.zeros(768)}), "is a textual inversion"),
    "learned.pt": (
        saved({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.zeros(2)}}),
        "is a textual inversion",
    ),
    "control.safetensors": (tensors("control_model.input_hint_block.0.weight"), "is a ControlNet"),
    "sdxl.safetensors": (
        tensors("conditioner.embedders.0.transformer.text_model.x", "model.diffusion_model.out"),
        "is a single file of Stable Diffusion XL",
    ),
    "flux.safetensors": (tensors("double_blocks.0.img_attn.qkv.weight"), "is FLUX"),
    "sd3.safetensors": (tensors("model.diffusion_model.joint_blocks.0.x"), "is Stable Diffusion 3"),
    "vae.safetensors": (tensors("encoder.conv_in.weight"), r"is an autoencoder \(VAE\) alone"),
    "model.safetensors": (tensors("vision_model.x", "text_model.x"), "without its config.json"),
    "unet.safetensors": (tensors("down_blocks.0.x"), "a component .* with its model_index.json"),
    "mine.safetensors": (tensors("layer1.weight", "fc.bias"), r"2 tensors \(fc\.bias, layer1"),
    "numbers.pt": (saved([1, 2]), "is no model: it holds no state dict"),
    "training.pt": (saved({"epoch": 3, "loss": 0.1}), "no state dict, but epoch, loss"),
}


WEIGHTS = [name for name in FILES if name.endswith((".pt", ".bin", ".safetensors"))]


@pytest.mark.parametrize(
    ("name", "given_as"),
    [
        *((name, given_as) for name in FILES for given_as in ("model", "clip")),
        *((name, given_as) for name in WEIGHTS for given_as in ("model's folder", "clip's folder")),
    ],
)
def test_a_file_says_what_it_is(name: str, given_as: str, tmp_path: Path) -> None:
    """Alone or in a folder, as the model or as its CLIP."""
    write, words = FILES[name]
    (tmp_path / "it").mkdir()
    file = tmp_path / "it" / name
    write(file)
    given = file.parent if "folder" in given_as else file
    with pytest.raises(UnclipError) as caught:
        if given_as.startswith("model"):
            open_model(given)
        else:
            unclip.load(karlo_text(tmp_path / "karlo"), "cpu", clip=given)
    assert "\n" not in str(caught.value)
    assert str(given) in str(caught.value)
    caught.match(words)


def karlo_text(folder: Path) -> Path:
    """As much of Karlo's folder as is read before its CLIP is."""
    said = json.loads((FIXTURES / "karlo.json").read_text())["configs"]
    (folder / "text_encoder").mkdir(parents=True)
    (folder / "model_index.json").write_text('{"_class_name": "UnCLIPPipeline"}')
    (folder / "text_encoder" / "config.json").write_text(json.dumps(said["text_encoder"]))
    return folder


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("StableDiffusionXLPipeline", r"holds Stable Diffusion XL \(StableDiffusionXLPipeline\)"),
        ("StableDiffusionXLImg2ImgPipeline", "holds Stable Diffusion XL"),
        ("StableDiffusion3Pipeline", "holds Stable Diffusion 3 "),
        ("IFPipeline", r"holds DeepFloyd IF \(IFPipeline\)"),
        ("LatentConsistencyModelPipeline", r"holds a latent consistency model \(LCM\)"),
        ("FluxPipeline", "holds FLUX"),
        ("PixArtAlphaPipeline", "holds PixArt"),
        ("Kandinsky3Pipeline", "holds Kandinsky 3"),
        ("StableVideoDiffusionPipeline", "holds Stable Video Diffusion"),
        ("StableDiffusionControlNetPipeline", "holds Stable Diffusion with a ControlNet"),
        ("NextYearsPipeline", r"holds a pipeline of diffusers \(NextYearsPipeline\)"),
    ],
)
def test_a_pipeline_that_is_not_read_is_named(kind: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    (tmp_path / "unet").mkdir()
    with pytest.raises(CheckpointError, match=rf"{words}.*, which is not read \(known formats"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"architectures": ["SiglipModel"], "model_type": "siglip"}, r"SigLIP \(SiglipModel\)"),
        ({"model_type": "siglip2"}, r"SigLIP 2 \(siglip2\)"),
        ({"architectures": ["ChineseCLIPModel"], "model_type": "chinese_clip"}, "Chinese-CLIP"),
        ({"architectures": ["MCLIP"], "model_type": "M-CLIP"}, "MultilingualCLIP"),
        ({"architectures": ["NewModel"], "model_type": "new"}, "a NewModel of transformers"),
        ({"_class_name": "ControlNetModel"}, r"a ControlNet \(ControlNetModel\) of diffusers"),
        ({"_class_name": "AutoencoderKL"}, r"an autoencoder \(VAE\)"),
    ],
)
def test_a_network_that_is_not_read_is_named(
    settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    tensors("weight")(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"holds {words}.*which is not read by itself"):
        open_model(tmp_path)
    with pytest.raises(UsageError, match=rf"is no CLIP that is known here: it holds {words}"):
        unclip.load(karlo_text(tmp_path / "karlo"), "cpu", clip=tmp_path)


def test_one_part_of_a_pipeline_leads_to_the_whole(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "UnCLIPPipeline"}')
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "config.json").write_text('{"_class_name": "PriorTransformer"}')
    with pytest.raises(CheckpointError, match=r"one part of a model: give the folder above it"):
        open_model(tmp_path / "prior")


@pytest.mark.parametrize("file", ["model_index.json", "config.json", "open_clip_config.json"])
def test_settings_that_are_cut_are_named_with_their_line(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text('{\n  "_class_name": "UnCLIPPipe')
    stem = "open_clip_model" if file.startswith("open") else "model"
    tensors("weight")(tmp_path / f"{stem}.safetensors")
    with pytest.raises(CheckpointError, match=rf"{file} is not valid JSON: .*line 2"):
        open_model(tmp_path)


def test_a_missing_part_is_named_with_its_format(tmp_path: Path) -> None:
    folder = karlo_text(tmp_path / "karlo")
    (folder / "image_encoder").mkdir()
    with pytest.raises(
        CheckpointError, match=r"image_encoder is missing its config\.json \(read as karlo\)"
    ):
        open_model(folder)
    (folder / "text_encoder" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"text_encoder is missing its config\.json"):
        open_model(folder)


def test_a_missing_setting_is_named_with_its_file(tmp_path: Path) -> None:
    folder = karlo_text(tmp_path / "karlo")
    for name in ("decoder", "text_proj"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"text_proj/config\.json lacks 'cross_atten"):
        open_model(folder)
    (folder / "text_proj" / "config.json").write_text(
        '{"cross_attention_dim": 1, "clip_embeddings_dim": 1, "clip_extra_context_tokens": 4}'
    )
    unet = {"cross_attention_dim": 1, "block_out_channels": "wide", "sample_size": 8}
    (folder / "decoder" / "config.json").write_text(json.dumps(unet))
    with pytest.raises(CheckpointError, match=r"of the wrong kind: .* \(read as karlo\)"):
        open_model(folder)


def test_a_clip_without_weights_says_so(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "clip_hf.json", tmp_path / "config.json")
    part = open_model(tmp_path).parts["clip"]
    with pytest.raises(CheckpointError, match=r"has no weights \(such as model\.safetensors\)"):
        part.tensors()


def test_folders_of_other_things(tmp_path: Path) -> None:
    def told(words: str) -> None:
        with pytest.raises(CheckpointError, match=words):
            open_model(tmp_path)

    told("is an empty folder")
    (tmp_path / "notes.txt").write_text("nothing")
    told(r"holds no model, but notes\.txt")
    (tmp_path / "model.tar").write_bytes(b"")
    told(r"holds an archive, model\.tar: unpack it first")
    for name in ("a.png", "b.JPG"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    told(r"holds pictures \(2\), no model: `unclip train")
    (tmp_path / "model.onnx").write_bytes(b"\x08")
    told(r"holds weights for ONNX \(model\.onnx\) alone")


def test_a_folder_of_models_offers_them(tmp_path: Path) -> None:
    for name in ("deep/inside/one", "two"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        shutil.copy(FIXTURES / "clip_hf.safetensors", folder / "model.safetensors")
        shutil.copy(FIXTURES / "clip_hf.json", folder / "config.json")
    with pytest.raises(CheckpointError, match=r"some: give \S+/two or \S+/deep/inside/one"):
        open_model(tmp_path)
