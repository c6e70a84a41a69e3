"""What the comparisons with other implementations share: their files, written anew from names."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unclip.rng import Rng

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("_values", HERE / "peers" / "_values.py")
assert _spec and _spec.loader
_values = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_values)


class Fixture:
    """What a peer wrote of itself: `said` is JSON, `tensors` what went in and came out."""

    def __init__(self, name: str) -> None:
        self.said: dict[str, Any] = json.loads((HERE / "fixtures" / f"{name}.json").read_text())
        self.tensors = load_file(HERE / "fixtures" / f"{name}.safetensors")

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def count(self, prefix: str) -> int:
        """How many calls `prefix/0/...`, `prefix/1/...` were recorded."""
        return len({n.split("/")[2] for n in self.tensors if n.startswith(f"{prefix}/")})

    @staticmethod
    def value(name: str, shape: tuple[int, ...]) -> Tensor:
        """The numbers that both sides give a tensor of that name."""
        return torch.from_numpy(_values.value(name, shape))

    def weights(self, component: str) -> dict[str, Tensor]:
        """A component's state dict, as the peer filled it."""
        made = {}
        for name, shape in self.said["shapes"][component].items():
            value = torch.from_numpy(_values.value(f"{component}.{name}", tuple(shape)))
            made[name] = value.abs() + 0.5 if name == "clip_std" else value
        return made

    def write(self, folder: Path, component: str, file: str) -> None:
        """A component's folder, as the peer saves it."""
        (folder / component).mkdir(parents=True, exist_ok=True)
        config = self.said["configs"][component]
        (folder / component / "config.json").write_text(json.dumps(config))
        save_file(self.weights(component), folder / component / file)


@pytest.fixture(scope="session")
def fixture() -> type[Fixture]:
    """The class, as test modules cannot import this file."""
    return Fixture


def write_alphabet(folder: Path) -> None:
    """CLIP's alphabet without a single merge: 514 tokens."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = [chr(byte) for byte in shown] + [chr(256 + place) for place in range(len(hidden))]
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "!"}))


@pytest.fixture(scope="session")
def alphabet() -> Callable[[Path], None]:
    """Writes a small tokenizer in CLIP's files."""
    return write_alphabet


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Tensor]], list[Tensor]]:
    """`replayed(noises)`: the next draws of any `Rng` are these, in order; gives what is left."""

    def replay(noises: list[Tensor]) -> list[Tensor]:
        left = list(noises)

        def randn(self: Rng, *shape: int) -> Tensor:
            noise = left.pop(0)
            assert tuple(noise.shape[1:]) == shape
            return noise

        monkeypatch.setattr(Rng, "randn", randn)
        return left

    return replay


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest number of the peer's, `b`."""
    assert a.shape == b.shape, f"{tuple(a.shape)} and {tuple(b.shape)}"
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


@pytest.fixture(scope="session")
def off() -> Callable[[Tensor, Tensor], float]:
    """`off(ours, theirs)`."""
    return difference


@pytest.fixture(scope="session")
def components() -> Mapping[str, str]:
    """How diffusers' pipelines call the weights of their components."""
    return {
        "text_encoder": "model.safetensors",
        "image_encoder": "model.safetensors",
        "*": "diffusion_pytorch_model.safetensors",
    }
