"""CLIP's layouts: which are known, at their published sizes, and what is wrong with others."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import unclip
from unclip.checkpoints import companions
from unclip.checkpoints._variants import weights_file
from unclip.checkpoints.archive import Tensors, open_tensors
from unclip.checkpoints.format import Options, find_format, open_model
from unclip.checkpoints.keymap import translate_back
from unclip.checkpoints.part import Part
from unclip.checkpoints.tokenizers import load_tokenizer
from unclip.errors import CheckpointError, UsageError
from unclip.families.clip import clip, huggingface
from unclip.families.clip import openai as its_own
from unclip.stages.clip import ClipStageConfig

FIXTURES = Path(__file__).parents[2] / "parity" / "fixtures"
PUBLISHED: dict[str, Any] = json.loads(
    gzip.decompress((FIXTURES / "clip_published.json.gz").read_bytes())
)
PARAMETERS = {"ViT-L-14": 427_616_513, "ViT-H-14": 986_109_441, "ViT-bigG-14": 2_539_567_105}


@pytest.fixture
def hf(tmp_path: Path) -> Path:
    """A folder of a `CLIPModel`, as transformers saved it."""
    folder = tmp_path / "hf"
    folder.mkdir()
    shutil.copy(FIXTURES / "clip_hf.safetensors", folder / "model.safetensors")
    shutil.copy(FIXTURES / "clip_hf.json", folder / "config.json")
    return folder


@pytest.fixture
def open_clip(tmp_path: Path) -> Path:
    """A folder of open_clip's."""
    folder = tmp_path / "open"
    folder.mkdir()
    shutil.copy(FIXTURES / "clip_open.safetensors", folder / "open_clip_model.safetensors")
    shutil.copy(FIXTURES / "clip_open.json", folder / "open_clip_config.json")
    return folder


@pytest.fixture
def openai(tmp_path: Path) -> Path:
    """A TorchScript archive under a name that says nothing."""
    return Path(shutil.copy(FIXTURES / "clip_openai.pt", tmp_path / "thing.bin"))


def edited(file: Path, **changes: Any) -> None:
    values = json.loads(file.read_text())
    for path, value in changes.items():
        *outer, last = path.split("__")
        inner = values
        for key in outer:
            inner = inner[key]
        inner[last] = value
    file.write_text(json.dumps(values))


def config_of(part: Part) -> Any:
    assert isinstance(part.config, ClipStageConfig)
    return part.config.network


# published sizes ----------------------------------------------------------------------------------


def whole(name: str, folder: Path) -> tuple[Part, dict[str, list[int]]]:
    """A published size by names and shapes alone."""
    said = PUBLISHED[name]
    with torch.device("meta"):
        tensors = Tensors({key: torch.empty(shape) for key, shape in said["shapes"].items()})
    file = folder / "config.json"
    file.write_text(json.dumps(said["config"]))
    if name.startswith("hf"):
        return huggingface.hf_whole_part(folder, lambda: tensors), said["shapes"]
    return its_own.open_clip_layout_part(file, lambda: tensors), said["shapes"]


@pytest.mark.parametrize("size", PARAMETERS)
@pytest.mark.parametrize("layout", ["hf", "open"])
def test_the_published_sizes(layout: str, size: str, tmp_path: Path) -> None:
    """Every name and shape finds its place, no other is wanted, and the way back is the same."""
    part, shapes = whole(f"{layout}/{size}", tmp_path)
    stage = part.build()
    part.check(stage.net, size)
    count = sum(parameter.numel() for parameter in stage.net.parameters())
    assert count == PARAMETERS[size]
    assert part.table is not None
    sizes = {key: tuple(shape) for key, shape in shapes.items()}
    back = dict(translate_back(stage.net.state_dict(), part.table, sizes))
    assert {key: list(value.shape) for key, value in back.items()} == shapes
    config = config_of(part)
    heads = {"ViT-L-14": (12, 16), "ViT-H-14": (16, 16), "ViT-bigG-14": (20, 16)}[size]
    assert (config.text.heads, config.vision.heads) == heads
    assert config.vision.image_size == 224
    assert config.text.context == 77


def test_openais_sizes_are_told_by_shapes_alone(tmp_path: Path) -> None:
    """ViT-L/14: the heads, which no shape tells, are 64 wide; its activation is quick_gelu."""
    shapes = PUBLISHED["open/ViT-L-14"]["shapes"]
    with torch.device("meta"):
        tensors = Tensors({key: torch.empty(shape) for key, shape in shapes.items()})
    told = its_own.openai_config(tensors, tmp_path)
    theirs = config_of(whole("hf/ViT-L-14", tmp_path)[0])
    assert told.dump() == theirs.dump()
    assert told.text is not None and told.text.activation == "quick_gelu"


def test_open_clips_own_have_gelu_unless_they_say_otherwise(open_clip: Path) -> None:
    file = open_clip / "open_clip_config.json"
    for said, activation in ((False, "gelu"), (True, "quick_gelu")):
        edited(file, model_cfg__quick_gelu=said)
        config = config_of(companions.open_clip_part(open_clip))
        assert config.text.activation == config.vision.activation == activation
    assert (config.vision.heads, config.vision.mlp_width) == (2, 60)
    assert (config.vision.mean, config.vision.std) == ((0.5,) * 3, (0.25,) * 3)


# a CLIP by itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["hf", "open_clip", "openai"])
def test_each_layout_is_a_model(
    layout: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = request.getfixturevalue(layout)
    assert find_format(path).name == "CLIP"
    plan = open_model(path)
    assert list(plan.parts) == ["clip"]
    assert config_of(plan.parts["clip"]).normalize
    with pytest.raises(
        UsageError, match=r"knows 96 tokens, the tokenizer has 49408: .*--tokenizer"
    ):
        plan.load(torch.float32)  # CLIP's own
    named = Options(tokenizer=words(tmp_path / "words"))
    model = open_model(path, named).load(torch.float32)
    assert model.tokenizer.context == 9
    (norm,) = model.stages["clip"].net.encode_image(torch.zeros(1, 3, 8, 8)).norm(dim=-1)  # type: ignore[operator]
    assert float(norm) == pytest.approx(1.0, abs=1e-5)


def test_it_compares_a_picture_with_texts(hf: Path, tmp_path: Path) -> None:
    """With a tokenizer of its own size: 96 tokens."""
    tokens = ["!", "a</w>", "b</w>", *"abc", *(f"[{i}]" for i in range(88))]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (hf / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (hf / "merges.txt").write_text("#version: 0.2\n")
    pipe = unclip.load(hf, "cpu", torch.float32)
    assert pipe.tokenizer.vocab_size == 96
    scores = pipe.probe(Image.new("RGB", (8, 8), "red"), ["a", "b"])
    assert len(scores) == 2


def test_a_state_dict_with_openais_names(openai: Path, tmp_path: Path) -> None:
    """As `clip.load(...)[0].state_dict()` gives it: without the three numbers."""
    tensors = dict(open_tensors(openai))
    for number in ("input_resolution", "context_length", "vocab_size"):
        del tensors[number]
    torch.save(tensors, tmp_path / "plain.pth")
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "plain.safetensors")
    for name in ("plain.pth", "plain.safetensors"):
        part = companions.open_clip_part(tmp_path / name)
        part.check(part.build().net, name)
        assert part.config == companions.open_clip_part(openai).config


def test_a_folder_of_one_file_is_that_file(openai: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    shutil.copy(openai, tmp_path / "folder" / "ViT.pt")
    plan = open_model(tmp_path / "folder")
    assert plan.parts["clip"].config == companions.open_clip_part(openai).config
    assert plan.licence == "MIT"
    shutil.copy(openai, tmp_path / "folder" / "prior.ckpt")  # it belongs to something larger
    assert not clip.FORMAT.matches(tmp_path / "folder")


def test_a_lone_open_clip_file_takes_the_settings_beside_it(open_clip: Path) -> None:
    part = companions.open_clip_part(open_clip / "open_clip_model.safetensors")
    assert part.config == companions.open_clip_part(open_clip).config


def test_a_folder_with_both_is_read_as_transformers(hf: Path, open_clip: Path) -> None:
    """As LAION publishes its models; without the weights of the one, the other is read."""
    for file in open_clip.iterdir():
        shutil.copy(file, hf)
    both = config_of(companions.open_clip_part(hf))
    assert both.text.heads == 4
    (hf / "model.safetensors").unlink()
    assert config_of(companions.open_clip_part(hf)).text.heads == 2


# transformers' settings ---------------------------------------------------------------------------


def test_what_settings_leave_out_is_the_default(tmp_path: Path) -> None:
    text = huggingface.hf_text_config({}, tmp_path)
    assert (text.width, text.depth, text.heads, text.mlp_width) == (512, 12, 8, 2048)
    assert (text.vocab_size, text.context, text.activation) == (49408, 77, "quick_gelu")
    vision = huggingface.hf_vision_config({"patch_size": 16}, tmp_path)
    assert (vision.width, vision.depth, vision.heads, vision.image_size) == (768, 12, 12, 224)
    assert (vision.patch_size, vision.mean) == (16, huggingface.CLIP_PIXELS.mean)


def test_the_older_spelling_of_a_tower_wins(hf: Path) -> None:
    """As in OpenAI's own folders, which have both; and there it is filled up with defaults."""
    edited(hf / "config.json", text_config_dict={"hidden_size": 640, "num_attention_heads": 10})
    config = config_of(companions.open_clip_part(hf))
    assert (config.text.width, config.text.heads, config.text.depth) == (640, 10, 12)
    edited(hf / "config.json", text_config_dict=None)
    assert config_of(companions.open_clip_part(hf)).text.width == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config__hidden_act": "relu"}, "hidden_act is 'relu'; only 'quick_gelu' or 'gelu'"),
        ({"vision_config__num_channels": 4}, "num_channels is 4; only 3 is read"),
        ({"vision_config__layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06; only 1e-05"),
        ({"text_config__hidden_size": 15}, "width 15 is not a multiple of heads 4"),
        ({"text_config__num_hidden_layers": "two"}, "'depth'"),
    ],
)
def test_settings_that_are_not_read_are_named(
    changes: dict[str, Any], message: str, hf: Path
) -> None:
    edited(hf / "config.json", **changes)
    with pytest.raises(CheckpointError, match=rf"config\.json.*{message}"):
        companions.open_clip_part(hf)


def test_pixels_are_as_the_folder_says(hf: Path) -> None:
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    (hf / "preprocessor_config.json").write_text(json.dumps(values))
    vision = config_of(companions.open_clip_part(hf)).vision
    assert (vision.mean, vision.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    (hf / "preprocessor_config.json").write_text('{"image_mean": [1]}')
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: image_mean and"):
        companions.open_clip_part(hf)


def test_weights_are_found_under_every_name(tmp_path: Path) -> None:
    """From the least wanted to the most."""
    names = [
        "pytorch_model.fp16.bin",
        "model.safetensors.index.fp16.json",
        "model.fp16.safetensors",
        "pytorch_model.bin.index.json",
        "pytorch_model.bin",
        "model.safetensors.index.json",
        "model.safetensors",
    ]
    with pytest.raises(CheckpointError, match=r"has no weights \(such as model\.safetensors\)"):
        weights_file(tmp_path)
    for name in names:
        (tmp_path / name).touch()
        assert weights_file(tmp_path).name == name


# refusals -----------------------------------------------------------------------------------------


def test_a_resnet_is_refused(tmp_path: Path) -> None:
    names = ("visual.conv1.weight", "visual.layer1.0.conv1.weight", "token_embedding.weight")
    torch.save({name: torch.ones(2, 2) for name in names}, tmp_path / "RN50.pt")
    with pytest.raises(CheckpointError, match=r"RN50\.pt is a CLIP whose .* ResNet; only .* ViT"):
        open_model(tmp_path / "RN50.pt")


def test_an_open_clip_resnet_and_others_are_refused(open_clip: Path) -> None:
    file = open_clip / "open_clip_config.json"
    saved = file.read_text()
    for changes, message in (
        ({"model_cfg__vision_cfg__layers": [3, 4, 6, 3]}, "ResNet; only a ViT is read"),
        ({"model_cfg__vision_cfg__timm_model_name": "x"}, "timm_model_name is 'x'; only None"),
        ({"model_cfg__text_cfg__hf_model_name": "x"}, "hf_model_name is 'x'"),
        ({"model_cfg__vision_cfg__image_size": [8, 12]}, r"image_size \[8, 12\] is not a square"),
        ({"model_cfg": {}}, "lacks model_cfg with embed_dim"),
    ):
        edited(file, **changes)
        with pytest.raises(CheckpointError, match=rf"open_clip_config\.json.*{message}"):
            companions.open_clip_part(open_clip)
        file.write_text(saved)


def test_a_lone_file_of_open_clips_needs_its_settings(tmp_path: Path) -> None:
    shapes = PUBLISHED["open/ViT-H-14"]["shapes"]
    with torch.device("meta"):
        tensors = Tensors({key: torch.empty(shape) for key, shape in shapes.items()})
    with pytest.raises(CheckpointError, match=r"1280 wide, .* need their open_clip_config\.json"):
        its_own.openai_config(tensors, tmp_path)


def test_a_name_too_many_or_too_few_is_named(hf: Path) -> None:
    named = Options(tokenizer=words(hf / "words"))
    weights = load_file(hf / "model.safetensors")
    extra = {**weights, "text_model.extra": torch.ones(1)}
    save_file(extra, hf / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"hf/clip does not fit: 1 not used: text_model\.extra"
    ):
        open_model(hf, named).load(torch.float32)
    del weights["visual_projection.weight"]
    save_file(weights, hf / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing: visual_projection\.weight"):
        open_model(hf, named).load(torch.float32)


# the CLIP that a model is given -------------------------------------------------------------------


def test_a_named_clip_must_fit_the_model(hf: Path, tmp_path: Path) -> None:
    part = companions.open_clip_part(hf, 24, normalize=False, null="text", null_image=True)
    config = part.config
    assert isinstance(config, ClipStageConfig)
    assert (config.network.normalize, config.null, config.null_image) == (False, "text", True)
    with pytest.raises(UsageError, match=r"CLIP .*hf makes embeddings of 24 numbers; .* with 768"):
        companions.open_clip_part(hf, 768)
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match=r"none is no CLIP that is known here"):
        companions.open_clip_part(tmp_path / "none")


def half(hf: Path, folder: Path, tower: str) -> Path:
    folder.mkdir()
    config = json.loads((hf / "config.json").read_text())
    values = {**config[f"{tower}_config"], "projection_dim": 24}
    (folder / "config.json").write_text(json.dumps(values))
    names = (f"{tower}_model.", "text_projection" if tower == "text" else "visual_projection")
    weights = load_file(hf / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if k.startswith(names)}, folder / "model.safetensors"
    )
    return folder


def test_half_a_clip_is_completed(hf: Path, tmp_path: Path) -> None:
    own = huggingface.hf_clip_part(
        half(hf, tmp_path / "text", "text"), normalize=False, null="text"
    )
    assert companions.completed(own, None) is own
    done = companions.completed(own, hf)
    config = done.config
    assert isinstance(config, ClipStageConfig)
    assert config.network.vision is not None and config.null == "text"
    assert not config.network.normalize
    done.check(done.build().net, "it")
    eyes = half(hf, tmp_path / "vision", "vision")
    with pytest.raises(UsageError, match=r"vision has no text encoder, which the model's own has"):
        companions.completed(own, eyes)


def test_half_a_clip_by_itself_is_a_model_of_that_half(hf: Path, tmp_path: Path) -> None:
    for tower, other in (("text", "vision"), ("vision", "text")):
        folder = half(hf, tmp_path / tower, tower)
        plan = open_model(folder, Options(tokenizer=words(tmp_path / "words")))
        assert getattr(config_of(plan.parts["clip"]), other) is None
        plan.load(torch.float32)


def test_towers_of_two_widths_are_refused(hf: Path, tmp_path: Path) -> None:
    text, vision = (half(hf, tmp_path / tower, tower) for tower in ("text", "vision"))
    edited(text / "config.json", projection_dim=25)
    with pytest.raises(CheckpointError, match=r"do not belong together: \[24, 25\] wide"):
        huggingface.hf_clip_part(text, vision)


# tokenizers ---------------------------------------------------------------------------------------


def words(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    tokens = ["!", "a</w>", "a", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


@pytest.mark.parametrize(
    ("main", "older", "pad"),
    [
        (None, None, "<|endoftext|>"),
        ({"pad_token": "!"}, None, "!"),
        ({"pad_token": "<|endoftext|>"}, {"pad_token": "!"}, "!"),
        ({"pad_token": "!", "added_tokens_decoder": {}}, {"pad_token": "<|endoftext|>"}, "!"),
        ({"pad_token": {"content": "!"}}, None, "!"),
        ({"pad_token": "!"}, {"bos_token": "<|startoftext|>"}, "!"),
    ],
)
def test_padding_is_what_the_files_name(
    main: dict[str, Any] | None, older: dict[str, Any] | None, pad: str, tmp_path: Path
) -> None:
    """As transformers 4.49 finds it in OpenAI's, Stable Diffusion's and Karlo's folders."""
    folder = words(tmp_path)
    for name, values in (("tokenizer_config", main), ("special_tokens_map", older)):
        if values is not None:
            (folder / f"{name}.json").write_text(json.dumps(values))
    tokenizer = companions.folder_tokenizer(folder, 5)
    number = {"!": 0, "<|endoftext|>": 4}[pad]
    tokens, mask = tokenizer.encode(["a"])
    assert tokens.tolist() == [[3, 1, 4, number, number]]
    assert mask.tolist() == [[True] * 3 + [False] * 2]
    tokenizer.save(tmp_path / "saved.json")
    loaded = load_tokenizer(tmp_path / "saved.json", 5)
    assert torch.equal(loaded.encode(["a"])[0], tokens), "a model of ours keeps it"
    assert loaded.pieces("a") == [1]


def test_a_tokenizer_json_alone_is_enough(tmp_path: Path) -> None:
    """Even one that says to pad and to cut, as a pipeline may have left it."""
    tokenizer = companions.folder_tokenizer(words(tmp_path), 5)
    values = json.loads(tokenizer.to_json())
    values["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    values["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    other = tmp_path / "other"
    other.mkdir()
    assert not companions.has_tokenizer(other)
    with pytest.raises(CheckpointError, match=r"other has no tokenizer"):
        companions.folder_tokenizer(other)
    (other / "tokenizer.json").write_text(json.dumps(values))
    assert companions.has_tokenizer(other)
    found = companions.folder_tokenizer(other, 6)
    assert found.encode(["a a a"])[0].tolist() == [[3, 1, 1, 1, 4, 4]]
    (other / "tokenizer_config.json").write_text('{"pad_token": "none"}')
    with pytest.raises(CheckpointError, match="no 'none' to pad with"):
        companions.folder_tokenizer(other)


def test_a_tokenizer_may_be_named(openai: Path, tmp_path: Path) -> None:
    named = words(tmp_path / "named")
    plan = open_model(openai, Options(tokenizer=named))
    assert plan.read_tokenizer().vocab_size == 5
    assert clip.tokenizer_for(openai, Options(), 77).vocab_size == 49408
