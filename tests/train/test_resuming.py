"""What a recipe may ask for: stopped or killed, a training goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from unclip.train.recipe import load_recipe
from unclip.train.run import Run

from .lives import Lives, inline


def pictures(folder: Path, **more: object) -> str:
    """Nine, wide and high, of two captions each."""
    (folder / "pictures").mkdir()
    for number in range(9):
        size = (40, 40 + 20 * (number % 2))
        Image.new("RGB", size, (number * 20, 9, 99)).save(folder / f"pictures/{number}.png")
        (folder / f"pictures/{number}.txt").write_text(f"shade {number}\ncolour {number}\n")
    values = {"source": "folder", "path": str(folder / "pictures"), **more}
    return f"data={inline(values)}"


def cache(folder: Path) -> Lives:
    """A prior, from what a frozen CLIP said once."""
    return Lives(folder, "prior", [pictures(folder)], ["clip"], cache=True)


def validation(folder: Path) -> Lives:
    """Held-out pictures are measured, and the best state kept."""
    measured = "validation={share=0.3,every=2,pairs=2,levels=2}"
    return Lives(folder, "upsampler", [pictures(folder), measured])


def buckets(folder: Path) -> Lives:
    """Pictures of several shapes, some of them mirrored."""
    data = pictures(folder, buckets=True, flip=True, crop="random")
    return Lives(folder, "decoder", [data], ["clip"])


def lora(folder: Path) -> Lives:
    """Low-rank matrices alone learn, and alone are saved."""
    base = Run(load_recipe("tiny", ["tokenizer.captions=50"]), folder / "base", torch.device("cpu"))
    base.begin(resume=False)
    torch.manual_seed(0)
    base.export_frozen("upsampler")
    base.end()
    origin = f"stages.upsampler={inline({'from': str(base.model)})}"
    lives = Lives(folder, "upsampler", [origin], lora={"rank": 2})
    lives.settings.remove("stages.upsampler.crop=8")  # it is taken from the base as it is
    return lives


def critic(folder: Path) -> Lives:
    """A second network, with an optimizer of its own."""
    objective = 'stages.upsampler.objective={kind="adversarial",critic="patches",largest_gap=99}'
    return Lives(folder, "upsampler", [objective], ["clip"])


def muon(folder: Path) -> Lives:
    """Two optimizers for one network."""
    return Lives(folder, "upsampler", optimizer="muon")


def sam(folder: Path) -> Lives:
    """Two gradients a step."""
    return Lives(folder, "upsampler", sam=0.05)


def grad_cache(folder: Path) -> Lives:
    """CLIP's batch in pieces, each of which is encoded twice."""
    return Lives(folder, "clip", batch_size=4, micro_batch=1)


def pieces(folder: Path) -> Lives:
    """A batch in pieces, with blocks that are computed again."""
    options = {"micro_batch": 2, "activation_checkpointing": True}
    return Lives(folder, "upsampler", batch_size=3, **options)


def ramp(folder: Path) -> Lives:
    """Batches that grow on the way."""
    return Lives(folder, "upsampler", ramp=[[3, 4], [5, 1]])


def workers(folder: Path) -> Lives:
    """Processes that make batches ahead."""
    return Lives(folder, "upsampler", [pictures(folder)], workers=2)


def budget(folder: Path) -> Lives:
    """As many steps as fit into a time; the learning rate says nothing of how many come."""
    others = [f"stages.{name}.train.share=1" for name in ("clip", "prior", "decoder")]
    return Lives(folder, "upsampler", ["budget=0.5", *others], decay=0.0, share=50)


CASES: dict[str, Callable[[Path], Lives]] = {
    one.__name__: one
    for one in (
        buckets, cache, critic, grad_cache, lora, muon, pieces, ramp, sam, validation, workers
    )
}  # fmt: skip


def lives_of(name: str, folder: Path, steps: int) -> Lives:
    """Those of a case, of so many steps."""
    lives = {**CASES, "budget": budget}[name](folder)
    lives.settings.append(f"stages.{lives.stage}.train.steps={steps}")
    return lives


@pytest.mark.parametrize("name", ["buckets", "validation"])
def test_stopped_and_gone_on_with_it_is_the_same_training(name: str, tmp_path: Path) -> None:
    """Five more steps, of another trainer, are those of one that was not stopped.

    The others: test_trainer.py, test_caching.py, test_distillation.py, test_lora.py.
    """
    lives_of(name, tmp_path, 7).stop(at=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")
@pytest.mark.parametrize("name", [*CASES, "budget"])
def test_killed_at_random_moments_it_is_the_same_training(name: str, tmp_path: Path) -> None:
    """Four times: twice anywhere in a life, and twice in what it does with its states."""
    lives_of(name, tmp_path, 8).at_random(2, 8, name)
