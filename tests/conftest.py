"""What tests of several packages share: tiny stages, conditions, a tokenizer, an exact denoiser."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from rich.console import Console
from torch import Tensor

from unclip.checkpoints import native
from unclip.files import atomic_folder
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import STAGES, Stage
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.watch import RunWatcher
from unclip.types import Cond, Level, Prediction

torch.set_num_threads(1)  # these tensors are tiny: more threads only cost
settings.register_profile("unclip", deadline=None)
settings.load_profile("unclip")

VOCAB, CONTEXT, WIDTH, EMBED, SIDE = 320, 8, 16, 16, 8
SIZES = {"width": WIDTH, "depth": 2, "heads": 2}
TEXT = {**SIZES, "vocab_size": VOCAB, "context": CONTEXT}
UNET = {"channels": 32, "multipliers": [1, 2], "depth": 1}
LAION_UNET = {
    "channels": 8,
    "multipliers": [1, 2],
    "depth": [1, 1],
    "groups": [4, 4],
    "heads": 2,
    "head_dim": 8,
    "context_dim": 8,
}
AUTOENCODER = {"channels": [32, 32], "depth": 1}

TINY: dict[str, dict[str, Any]] = {
    "clip": {
        "network": {
            "embed_dim": EMBED,
            "vision": {**SIZES, "image_size": SIDE, "patch_size": 4},
            "text": TEXT,
        }
    },
    "x_clip": {
        "network": {
            "embed_dim": EMBED,
            "vision": {**SIZES, "image_size": SIDE, "patch_size": 4},
            "text": {**TEXT, "learned_padding": False},
            "head_dim": 6,
        }
    },
    "prior": {
        "network": {**SIZES, "embed_dim": EMBED, "text_width": WIDTH, "context": CONTEXT},
        "sampling": {"sampler": "ddpm", "steps": 3, "eta": 1.0, "guidance_scale": 2.0},
    },
    "ar_prior": {
        "network": {
            **SIZES,
            "embed_dim": EMBED,
            "text_width": WIDTH,
            "context": CONTEXT,
            "dims": 6,
            "buckets": 8,
            "dot_buckets": 4,
        },
        "sampling": {"guidance_scale": 2.0},
    },
    "eclipse_prior": {
        "network": {**SIZES, "embed_dim": EMBED, "text_width": WIDTH, "context": CONTEXT},
    },
    "linear_prior": {"network": {"embed_dim": EMBED}},
    "decoder": {
        "network": {
            **UNET,
            "image_size": SIDE,
            "attention": [4],
            "head_dim": 32,
            "embed_dim": EMBED,
            "text": TEXT,
        },
        "parameterization": {"kind": "v"},
        "sampling": {"steps": 3, "guidance_scale": 2.0, "threshold": "clamp", "eta": 0.5},
    },
    "laion_prior": {
        "network": {
            "width": EMBED,
            "depth": 2,
            "heads": 2,
            "head_dim": 8,
            "context": CONTEXT,
            "norm_hidden": True,
        },
        "sampling": {"sampler": "ddpm", "steps": 3, "eta": 1.0, "guidance_scale": 2.0},
    },
    "laion_decoder": {
        "network": {
            **LAION_UNET,
            "image_size": SIDE,
            "attention": [False, True],
            "linear_attention": True,
            "down_first": True,
            "embed_dim": EMBED,
            "text_width": WIDTH,
            "context": CONTEXT,
            "out_channels": 3,
        },
        "parameterization": {"kind": "x0"},
        "sampling": {"steps": 3, "guidance_scale": 2.0, "threshold": "clamp", "eta": 0.5},
    },
    "laion_upsampler": {
        "network": {
            **LAION_UNET,
            "image_size": 2 * SIDE,
            "attention": [False, False],
            "out_channels": 3,
            "low_res": True,
            "low_res_noise": True,
        },
        "low_res_size": SIDE,
        "sampling": {"steps": 3, "threshold": "clamp", "eta": 0.5},
    },
    "latent_decoder": {
        "network": {
            "image_size": SIDE // 2,
            "channels": [32, 32],
            "depth": 1,
            "attention": [0],
            "heads": [2, 2],
            "groups": 8,  # of one channel each would take away what the timestep adds
            "text": {**TEXT, "learned_padding": False},
            "empty": [1, 2],
            "embed_dim": EMBED,
        },
        "autoencoder": {**AUTOENCODER, "scale": 0.5},
        "parameterization": {"kind": "v"},
        "sampling": {"steps": 3, "guidance_scale": 2.0, "eta": 0.5, "noise_level": 300},
    },
    "latent_unclip": {
        "network": {
            **UNET,
            "image_size": SIDE // 2,
            "in_channels": 4,
            "out_channels": 8,
            "attention": [2],
            "head_dim": 32,
            "embed_dim": EMBED,
        },
        "autoencoder": {**AUTOENCODER, "output": "latents", "codes": 8, "spatial": True},
        "parameterization": {"kind": "v", "learned_variance": True},
        "sampling": {"sampler": "ddpm", "steps": 3, "guidance_scale": 2.0, "eta": 1.0},
    },
    "autoencoder": {
        "network": {"latent_channels": 4, "space_to_depth": 2, "channels": [16, 32], "depth": 1},
        "image_size": SIDE,
        "crop": SIDE,
        "noise": 0.05,
    },
    "upsampler": {
        "network": {**UNET, "image_size": 2 * SIDE, "low_res": True},
        "low_res_size": SIDE,
        "crop": SIDE,
        "parameterization": {"kind": "v"},
        "sampling": {"steps": 3, "threshold": "clamp", "eta": 0.5},
        "corruption": {"at_sampling": 0.5},
    },
}
"""A few thousand weights of every stage, by kind."""


@pytest.fixture(scope="session", autouse=True)
def _no_defaults() -> Iterator[None]:
    """No configuration of the person who runs the tests, and no variable."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [one for one in os.environ if one.startswith("UNCLIP_")]:
            patch.delenv(name)
        patch.setenv("UNCLIP_CONFIG", "")
        yield


@pytest.fixture(params=["float64", "device"])
def changed_defaults(request: pytest.FixtureRequest) -> Iterator[None]:
    """PyTorch's default number format or device is another, as a program around us may set it.

    On the device `meta` tensors hold no numbers: whoever makes one there by oversight fails.
    """
    if request.param == "device":
        with torch.device("meta"):
            yield
        return
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def tiny() -> dict[str, dict[str, Any]]:
    """The configuration of a tiny stage of every kind."""
    return TINY


@pytest.fixture(scope="session")
def make_stage() -> Callable[..., Stage]:
    """`make_stage(kind, **changes)`: a tiny stage whose every weight is random, the zeros too."""

    def make(kind: str, **changes: Any) -> Stage:
        assert kind in TINY, f"give the stage '{kind}' a tiny configuration in tests/conftest.py"
        torch.manual_seed(0)
        values = {"kind": kind, **TINY[kind], **changes}
        stage = STAGES[kind](STAGES[kind].Config.parse(values))  # type: ignore[call-arg]
        for parameter in stage.net.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        return stage.eval()

    return make


@pytest.fixture(scope="session")
def save_model() -> Callable[..., native.Manifest]:
    """`save_model(folder, name, tokenizer, stages)` writes a whole model folder, or nothing."""

    def save(
        folder: Path,
        name: str,
        tokenizer: Tokenizer,
        stages: Mapping[str, Stage],
        card: str = "",
        dtype: torch.dtype = torch.float16,
        prior: str | None = None,
    ) -> native.Manifest:
        with atomic_folder(folder) as beside:
            tokenizer.save(beside / "tokenizer.json")
            for stage_name, stage in stages.items():
                native.save_stage(beside / stage_name, stage, dtype)
            if card:
                (beside / "README.md").write_text(card, encoding="utf-8")
            return native.write_manifest(beside, name, list(stages), tokenizer.context, prior=prior)

    return save


@pytest.fixture(scope="session")
def make_cond() -> Callable[..., Cond]:
    """`make_cond(batch)`: every field that tiny stages read, random, captions of all lengths."""

    def make(batch: int, seed: int = 0) -> Cond:
        rng = torch.Generator().manual_seed(seed)

        def randn(*shape: int) -> Tensor:
            return torch.randn(batch, *shape, generator=rng)

        lengths = torch.arange(batch) % (CONTEXT - 1) + 2
        return Cond(
            text_tokens=torch.randint(VOCAB, (batch, CONTEXT), generator=rng),
            text_mask=torch.arange(CONTEXT) < lengths[:, None],
            text_embed=torch.nn.functional.normalize(randn(EMBED), dim=-1),
            text_encodings=randn(CONTEXT, WIDTH),
            image_embed=torch.nn.functional.normalize(randn(EMBED), dim=-1),
            image=randn(3, SIDE, SIDE).clamp(-1, 1),
        )

    return make


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Learnt from a handful of captions."""
    captions = ["a red car", "two blue apples on a table", "the fox", "a dog under the moon"]
    return Tokenizer.train(captions * 5, VOCAB, CONTEXT)


@dataclass(frozen=True)
class Mixture:
    """Data ~ sum_k weights_k N(means_k, std^2 I), whose exact denoiser E[x0 | x_t] is known."""

    means: tuple[tuple[float, ...], ...]  # (K, D)
    weights: tuple[float, ...]  # (K,)
    std: float

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        """The exact Prediction for x (B, D), computed in float64."""
        alpha, sigma = (value.double() for value in level.like(x))
        means = torch.tensor(self.means, dtype=torch.float64)
        off = x.double()[:, None] - alpha * means  # (B, K, D)
        variance = (alpha * self.std) ** 2 + sigma**2
        log_weights = torch.tensor(self.weights, dtype=torch.float64).log()
        share = (log_weights - (off**2).sum(-1) / (2 * variance)).softmax(1)[..., None]
        x0 = (share * (means + alpha * self.std**2 / variance * off)).sum(1)
        eps = (share * sigma / variance * off).sum(1)
        return Prediction(x0.to(x.dtype), eps.to(x.dtype))


@pytest.fixture(scope="session")
def mixture() -> type[Mixture]:
    """The class, as test modules cannot import this file."""
    return Mixture


NAMES = ("clip", "prior", "decoder", "upsampler")
SHORT = [
    "stages.clip.network.vision.image_size=8",
    "stages.clip.train.steps=60",
    "stages.prior.train.steps=80",
    "stages.decoder.network.image_size=8",
    "stages.decoder.network.multipliers=[1]",
    "stages.decoder.train={steps=100, batch_size=16, learning_rate=5e-3, warmup=10, ema=0.97}",
    "stages.decoder.train.preview_every=100",
    "stages.decoder.sampling.steps=8",
    "stages.upsampler.low_res_size=8",
    "stages.upsampler.network.image_size=16",
    "stages.upsampler.crop=8",
    "stages.upsampler.train={steps=80, batch_size=8, learning_rate=5e-3, warmup=10, ema=0.95}",
    *(f"stages.{name}.train.batch_size=32" for name in ("clip", "prior")),
    *(f"stages.{name}.train.precision=float32" for name in NAMES),
    *(f"stages.{name}.train.workers=0" for name in NAMES),
]
"""What makes the preset `tiny` small enough for a test, and still tell colours apart."""


LITTLE: dict[str, Any] = {
    "name": "little",
    "data.source": "shapes",
    "tokenizer": {"vocab_size": VOCAB, "context": CONTEXT},
    "stages.clip.network": TINY["clip"]["network"],
    "stages.decoder.parameterization.kind": "v",
    "stages.decoder.sampling.steps": 2,
    "stages.decoder.network": {**UNET, "image_size": SIDE, "embed_dim": EMBED},
}
"""A recipe of two stages."""


@pytest.fixture(scope="session")
def little() -> Callable[..., str]:
    """`little({key: value}, steps=4, ...)`: that recipe as TOML, changed, and how it is trained.

    A key may be of any depth; None takes it away.
    """

    def write(changes: Mapping[str, Any] | None = None, **train: Any) -> str:
        values = {**_flat(LITTLE), **_flat(changes or {})}
        names = dict.fromkeys(key.split(".")[1] for key in values if key.startswith("stages."))
        trains = {f"stages.{name}.train.{key}": train[key] for name in names for key in train}
        given = {key: value for key, value in {**trains, **values}.items() if value is not None}
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())

    return write


def _flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        whole = f"{within}{key}"
        flat |= _flat(value, f"{whole}.") if isinstance(value, Mapping) else {whole: value}
    return flat


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The preset `tiny`, every stage trained for a few seconds. Read only."""
    run = Run(load_recipe("tiny", SHORT), tmp_path_factory.mktemp("run"), torch.device("cpu"))
    run.begin(resume=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unclip.train.watch._board", lambda _: None)  # slow to import
        for name in run.recipe.stages:
            trainer = run.trainer(name)
            with RunWatcher(run, name, trainer, Console(file=io.StringIO())) as watcher:
                assert trainer.run(watcher)
    return run


@pytest.fixture(scope="session")
def tiny_model(
    tmp_path_factory: pytest.TempPathFactory,
    make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
) -> Path:
    """A model folder with random weights, whose pictures are 16 x 16 noise. Read only."""
    path = tmp_path_factory.mktemp("tiny") / "tiny"
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder", "upsampler")}
    save_model(path, "tiny", tokenizer, stages)
    return path
