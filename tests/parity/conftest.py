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

    @staticmethod
    def filled(name: str, shape: tuple[int, ...]) -> Tensor:
        """The same; of very large tensors quickly."""
        return torch.from_numpy(_values.filled(name, shape))

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


class Folders:
    """Writes tiny models of every format, as their peers do."""

    def __init__(self, root: Path, fixture: Any, alphabet: Callable[[Path], None]) -> None:
        self.root, self.fixture, self.alphabet = root, fixture, alphabet

    def pipeline(self, peer: str, kind: str, names: str, schedulers: str, under: str = "") -> Path:
        """A folder of diffusers. In `names` and `schedulers`: FOLDER or FOLDER=NAME_OF_THE_PEERS"""
        said, folder = self.fixture(peer), self.root / (under or f"{peer}-{kind}")
        folder.mkdir(parents=True)
        (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))
        for name in names.split():
            stem = "model" if name.endswith("encoder") else "diffusion_pytorch_model"
            said.write(folder, name, f"{stem}.safetensors")
        for one in schedulers.split():
            name, _, theirs = one.partition("=")
            (folder / name).mkdir()
            config = json.dumps(said.said["configs"][theirs or name])
            (folder / name / "scheduler_config.json").write_text(config)
        self.alphabet(folder / "tokenizer")
        return folder

    def karlo(self, images: bool) -> Path:
        kind = "UnCLIPImageVariationPipeline" if images else "UnCLIPPipeline"
        names = "text_encoder text_proj decoder super_res_first super_res_last "
        names += "image_encoder" if images else "prior"
        schedulers = "decoder_scheduler super_res_scheduler"
        return self.pipeline(
            "karlo", kind, names, schedulers + ("" if images else " prior_scheduler")
        )

    def kandinsky(self, part: str) -> Path:
        root = f"kandinsky-{part}"
        made = []
        if part != "decoder":
            names, scheduler = "prior text_encoder image_encoder", "scheduler=prior_scheduler"
            kind = "KandinskyV22PriorPipeline"
            made.append(self.pipeline("kandinsky", kind, names, scheduler, f"{root}/one"))
        if part != "prior":
            kind = "KandinskyV22Pipeline"
            made.append(
                self.pipeline("kandinsky", kind, "unet movq", "scheduler=ddim", f"{root}/two")
            )
        return made[0] if len(made) == 1 else self.root / root

    def stable_diffusion(self) -> Path:
        names = "unet vae text_encoder"
        return self.pipeline(
            "stable_diffusion_1", "StableDiffusionPipeline", names, "scheduler", "sd"
        )

    def single_file(self, name: str) -> Path:
        """With as many tokens as CLIP's own tokenizer knows, which such a file comes without."""
        peer, folder = self.fixture(f"single_file_{name}"), self.root / f"single-{name}"
        folder.mkdir()
        parts = {part: peer.weights(part) for part in peer.said["shapes"]}
        state = {f"{p}.{name}": v for p, named in parts.items() for name, v in named.items()}
        words = next(name for name in state if "token_embedding" in name)
        state[words] = state[words].repeat(97, 1)[:49408]
        save_file(state, folder / "it.safetensors")
        return folder / "it.safetensors"

    def stable_unclip(self, images: bool) -> Path:
        kind = "StableUnCLIPImg2ImgPipeline" if images else "StableUnCLIPPipeline"
        names = "image_normalizer text_encoder unet vae "
        names += "image_encoder" if images else "prior_text_encoder prior"
        schedulers = "image_noising_scheduler scheduler" + ("" if images else " prior_scheduler")
        return self.pipeline("stable_unclip", kind, names, schedulers)

    def glide(self, *names: str) -> Path:
        folder = self.root / f"glide-{'-'.join(names)}"
        folder.mkdir()
        for name in names:
            torch.save(self.fixture("glide").weights(name), folder / f"{name}.pt")
        self.alphabet(folder / "words")
        for file in ("vocab.json", "merges.txt"):
            (folder / file).write_text((folder / "words" / file).read_text())
        words = json.loads((folder / "vocab.json").read_text())
        letters = [word for word in words if "</w>" not in word and not word.startswith("<|s")]
        (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(letters)}))
        return folder

    def laion(self, *names: str) -> Path:
        root = self.root / f"laion-{'-'.join(names)}"
        facts = json.loads((HERE / "fixtures" / "laion_1.15.6.json").read_text())
        stored = load_file(HERE / "fixtures" / "laion_1.15.6.safetensors")
        for name in names:
            (root / name).mkdir(parents=True)
            start = f"{name}/weights/"
            state = {k.removeprefix(start): v / 64 for k, v in stored.items() if start in k}
            state |= {key: torch.zeros(s) for key, s in facts[name]["buffers"].items()}
            torch.save(state, root / name / "latest.pth")
            config = {key: value for key, value in facts[name].items() if key != "buffers"}
            (root / name / f"{name}_config.json").write_text(json.dumps(config))
        return root

    def clip(self, embed: int) -> Path:
        """A `CLIPModel` of one block, `embed` wide throughout, with CLIP's own tokens."""
        folder = self.root / f"clip-{embed}"
        folder.mkdir()
        sizes = {"hidden_size": embed, "intermediate_size": 32, "projection_dim": embed}
        sizes |= {"num_hidden_layers": 1, "num_attention_heads": 2}
        config: dict[str, Any] = {"architectures": ["CLIPModel"], "projection_dim": embed}
        config |= {"text_config": sizes}
        config |= {"vision_config": {**sizes, "image_size": 16, "patch_size": 8}}
        (folder / "config.json").write_text(json.dumps(config))
        torch.manual_seed(0)
        tensors = {name: torch.randn(shape) * 0.1 for name, shape in clip_shapes(embed).items()}
        save_file(tensors, folder / "model.safetensors")
        return folder


def clip_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the smallest `CLIPModel`."""
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "text_projection.weight": (width, width),
        "visual_projection.weight": (width, width),
        "text_model.embeddings.token_embedding.weight": (49408, width),
        "text_model.embeddings.position_embedding.weight": (77, width),
        "vision_model.embeddings.class_embedding": (width,),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, 8, 8),
        "vision_model.embeddings.position_embedding.weight": (5, width),
    }
    linear = {f"self_attn.{one}_proj": (width, width) for one in ("q", "k", "v", "out")}
    linear |= {"mlp.fc1": (32, width), "mlp.fc2": (width, 32)}
    norms = ["text_model.final_layer_norm"]
    norms += ["vision_model.pre_layrnorm", "vision_model.post_layernorm"]
    for tower in ("text_model", "vision_model"):
        block = f"{tower}.encoder.layers.0"
        norms += [f"{block}.layer_norm1", f"{block}.layer_norm2"]
        for name, (out, into) in linear.items():
            shapes |= {f"{block}.{name}.weight": (out, into), f"{block}.{name}.bias": (out,)}
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


@pytest.fixture(scope="session")
def folders(fixture: Any, alphabet: Callable[[Path], None]) -> Callable[[Path], Folders]:
    """`folders(root)` writes tiny foreign models there."""
    return lambda root: Folders(root, fixture, alphabet)
