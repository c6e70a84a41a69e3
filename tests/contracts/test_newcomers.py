"""A newcomer touches one place: networks, stages, spaces, samplers, formats of this file alone.

Each is a module in a new room of `unclip.families`, a class or a function; nothing else is told.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import unclip
from unclip import families
from unclip.checkpoints.format import FORMATS, find_format, open_model
from unclip.checkpoints.native import load_stage, save_stage
from unclip.diffusion.samplers import SAMPLERS, sampler
from unclip.diffusion.samplers.base import Move, Walk
from unclip.diffusion.space import SPACES, SpaceSettings
from unclip.errors import CheckpointError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import BatchRng, Rng
from unclip.stages import STAGES
from unclip.stages.decoder import Decoder, DecoderConfig
from unclip.types import Cond, Level, Prediction

SRC = Path(unclip.__file__).parent

NETWORK = '''
from typing import Literal
from torch import nn
from unclip.nn.conditioning import NetConfig

class PixelMlpConfig(NetConfig):
    """A network that sees each pixel alone, and z_i."""
    kind: Literal["pixel_mlp"] = "pixel_mlp"
    width: int = 8
    embed_dim: int = 16
    @property
    def reads(self):
        return frozenset({"image_embed"})
    def build(self):
        return PixelMlp(self)

class PixelMlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.first = nn.Conv2d(config.in_channels, config.width, 1)
        self.z_i = nn.Linear(config.embed_dim, config.width)
        self.last = nn.Conv2d(config.width, config.out_channels, 1)
    def encode(self, given):
        return self.z_i(given["image_embed"])[:, :, None, None]
    def forward(self, x, t, encoded):
        return self.last((self.first(x) + encoded).relu())

NETWORK = PixelMlpConfig
'''

STAGE = '''
from typing import Literal
from pydantic import Field
from torch import nn
from unclip.stages.stage import Stage, StageConfig

class MirrorConfig(StageConfig):
    """Turns pictures round."""
    kind: Literal["mirror"] = "mirror"

class Mirror(Stage):
    Config, kind = MirrorConfig, "mirror"
    consumes = produces = frozenset({"image"})
    image_size = 8
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.net = nn.Linear(1, 1)
    def _sample(self, cond, rng, args):
        return cond.replace(image=cond.image.flip(-1))
    def loss(self, cond, rng):
        return self.net(cond.image.mean((1, 2, 3))[:, None])[:, 0], {}

STAGE = Mirror
'''

HEIR = """
from typing import Literal
from unclip.families.adm.guided_unet import GuidedUNetConfig

class AardvarkConfig(GuidedUNetConfig):
    kind: Literal["aardvark"] = "aardvark"

NETWORK = AardvarkConfig
"""

FORMAT = """
from safetensors.torch import load_file
from unclip.checkpoints.archive import open_tensors
from unclip.checkpoints.format import Format, Plan
from unclip.checkpoints.part import Part
from unclip.checkpoints.keymap import same
from unclip.stages.linear_prior import LinearPriorStageConfig
from unclip.nn.linear_prior import LinearPriorConfig
from unclip.families.clip.clip import clip_tokenizer

class Toy(Format):
    name = "toy"
    def matches(self, path):
        return path.suffix == ".safetensors" and "toy.weight" in open_tensors(path)
    def open(self, path, options):
        tensors = open_tensors(path)
        network = LinearPriorConfig(embed_dim=tensors.shape("toy.weight")[0])
        config = LinearPriorStageConfig(network=network)
        parts = {"prior": Part(config, lambda: open_tensors(path), same("map", "toy"))}
        return Plan(path.stem, self.name, path, parts, clip_tokenizer)

FORMAT = Toy()
"""

LAYOUT = """
from unclip.checkpoints.lora import Pair, Place

class Toy:
    def matches(self, keys, metadata):
        return "toy.down" in keys
    def places(self, keys, metadata, stages):
        return {Place("decoder", "conv_in.weight"): Pair("toy.down", "toy.up")}

LORA = Toy()
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Puts a module into a room of families that is not there otherwise."""
    folder = tmp_path / "rooms" / "room_of_a_test"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(folder.parent)])

    def put(name: str, text: str) -> None:
        (folder / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    yield put
    for name in [name for name in sys.modules if "room_of_a_test" in name]:
        del sys.modules[name]


def decoder(**network: Any) -> dict[str, Any]:
    return {
        "network": {"kind": "pixel_mlp", "image_size": 8, **network},
        "parameterization": {"kind": "v"},
        "sampling": {"steps": 3},
    }


def test_a_network(room: Callable[[str, str], None], tmp_path: Path, make_cond: Any) -> None:
    with pytest.raises(UsageError, match="unknown network 'pixel_mlp'"):
        DecoderConfig.parse(decoder())
    room("pixel_mlp", NETWORK)
    with pytest.raises(UsageError, match=r"unknown setting 'it\.network\.widht'"):
        DecoderConfig.parse(decoder(widht=4), "it")
    stage = Decoder(DecoderConfig.parse(decoder(width=12)))
    cond = Cond(image_embed=make_cond(2).image_embed)
    assert stage.consumes == {"image_embed"}
    image = stage.sample(cond, Rng([1, 2])).image
    assert image is not None and image.shape == (2, 3, 8, 8)
    assert stage.loss(cond.replace(image=image), BatchRng(0, 2))[0].shape == (2,)
    save_stage(tmp_path / "it", stage, torch.float32)
    loaded = load_stage(tmp_path, "it")
    again = loaded.sample(cond, Rng([1, 2])).image
    assert again is not None and torch.equal(image, again)


def test_a_network_takes_over_no_saved_model(room: Callable[[str, str], None]) -> None:
    """Files without a kind are read as they were, whatever newcomers know besides."""
    room("aardvark", HEIR)
    size = {"image_size": 8, "channels": 32, "multipliers": [1], "depth": 1}
    saved = {"network": {**size, "embed_dim": 16, "unit_embed": False}}
    assert DecoderConfig.parse(saved).dump()["network"]["kind"] == "guided_unet"


def test_a_stage(room: Callable[[str, str], None], tmp_path: Path) -> None:
    room("mirror", STAGE)
    assert "mirror" in STAGES.names()
    kind: Any = STAGES["mirror"]
    save_stage(tmp_path / "it", kind(kind.Config()), torch.float32)
    image = torch.rand(1, 3, 8, 8)
    turned = load_stage(tmp_path, "it").sample(Cond(image=image), Rng([0])).image
    assert turned is not None and torch.equal(turned, image.flip(-1))


def test_a_format(room: Callable[[str, str], None], tmp_path: Path) -> None:
    file = tmp_path / "it.safetensors"
    weight = torch.randn(4, 4)
    save_file({"toy.weight": weight, "toy.bias": torch.zeros(4)}, file)
    room("toy", FORMAT)
    assert find_format(file) is FORMATS["toy"]
    model = open_model(file).load(torch.float32)
    z_t = torch.randn(2, 4)
    z_i = model.stages["prior"].sample(Cond(text_embed=z_t), Rng([0, 1])).image_embed
    expected = torch.nn.functional.normalize(z_t @ weight.T, dim=-1)
    assert z_i is not None and torch.allclose(z_i, expected, atol=1e-6)


def test_a_layout_of_lora_files(
    room: Callable[[str, str], None],
    make_stage: Callable[..., Any],
    save_model: Callable[..., Any],
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "small"
    save_model(folder, "small", tokenizer, {"decoder": make_stage("decoder")})
    file, name = tmp_path / "ink.safetensors", "conv_in.weight"
    kernel = unclip.load(folder, "cpu", torch.float32).stages["decoder"].net.state_dict()[name]
    down, up = torch.randn(1, *kernel.shape[1:]), torch.randn(len(kernel), 1, 1, 1)
    save_file({"toy.down": down, "toy.up": up}, file)
    with pytest.raises(CheckpointError, match=r"'toy\.down' is of no layout"):
        unclip.load(folder, "cpu", lora=[file])
    room("toy_lora", LAYOUT)
    pipe = unclip.load(folder, "cpu", torch.float32, lora=[file])
    found = pipe.stages["decoder"].net.state_dict()[name]
    assert torch.allclose(found, kernel + up * down, atol=1e-6)


class Halved(SpaceSettings):
    """Pictures at half their contrast."""

    kind: Literal["halved_by_a_test"] = "halved_by_a_test"

    def encode(self, data: Tensor) -> Tensor:
        return data / 2

    def decode(self, x: Tensor) -> Tensor:
        return x * 2


def test_a_space(make_stage: Callable[..., Any], make_cond: Any, tmp_path: Path) -> None:
    assert SPACES["halved_by_a_test"] is Halved
    stage = make_stage("decoder", space={"kind": "halved_by_a_test"})
    cond, plain = make_cond(1), make_stage("decoder")
    stage.net.load_state_dict(plain.net.state_dict())
    half = stage.sample_data(cond, Rng([1]), {"threshold": "none"}) / 2
    assert torch.allclose(
        half.clamp(-1, 1), plain.sample_data(cond, Rng([1]), {"threshold": "none"})
    )
    save_stage(tmp_path / "it", stage, torch.float32)
    assert load_stage(tmp_path, "it").config.space == Halved()
    with pytest.raises(UsageError, match=r"unknown space 'halfed'.*known: rgb, embedding"):
        make_stage("decoder", space={"kind": "halfed"})


def test_a_sampler(make_stage: Callable[..., Any], make_cond: Any) -> None:
    stage, cond, name = make_stage("decoder"), make_cond(1), "straight_by_a_test"
    asked = {"sampler": name, "steps": 3}
    with pytest.raises(UsageError, match=f"unknown sampler '{name}'"):
        stage.sample(cond, Rng([1]), asked)

    @sampler(eta=0.0, name=name)
    def straight(walk: Walk, x: Tensor, said: Prediction, now: Level, then: Level) -> Tensor:
        return Move.between(now, then, walk.eta).start(said, said.eps, walk.rng)

    try:
        assert SAMPLERS[name] is straight
        image = stage.sample(cond, Rng([1]), asked).image
    finally:
        del SAMPLERS[name]
    euler = stage.sample(cond, Rng([1]), {**asked, "sampler": "euler"}).image
    assert torch.equal(image, euler)


FOREIGN = re.compile(
    r"dalle2|laion|karlo|glide|kandinsky|stable.?diffusion|stable.?unclip|x.?clip|open.?clip"
    r"|openai|hugging|transformers\b|diffusers|gpt.?2|lucidrains|movq"
    r"|kohya|a1111|automatic1111|comfy.?ui|novelai",
    re.IGNORECASE,
)
CORE = ("nn", "diffusion", "stages", "pipeline.py")


def sources() -> list[Path]:
    every = [SRC / name for name in CORE]
    return [f for one in every for f in (sorted(one.rglob("*.py")) if one.is_dir() else [one])]


@pytest.mark.parametrize("file", sources(), ids=lambda file: file.relative_to(SRC).as_posix())
def test_the_core_names_no_foreign_project(file: Path) -> None:
    """Among files, identifiers and strings; comments and docstrings may cite one."""
    tree = ast.parse(file.read_text())
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    cited = {
        id(body[index].value)
        for node in ast.walk(tree)
        if isinstance(body := getattr(node, "body", None), list)
        for index in range(len(body))
        if isinstance(body[index], ast.Expr) and isinstance(node, owners)
    }
    words = [file.stem]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in cited:
            words.append(node.value)
        for field in ("id", "attr", "name", "arg", "module"):
            value = getattr(node, field, None)
            words += [value] if isinstance(value, str) else []
    assert [word for word in words if FOREIGN.search(word)] == []
