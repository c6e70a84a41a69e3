"""diffusers' calls: what they draw is what `unclip.load` draws."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unclip import load
from unclip.compat.diffusers import (
    DiffusionPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    UnCLIPImageVariationPipeline,
)
from unclip.errors import UsageError


@pytest.fixture(scope="module")
def pipe(tiny_model: Path) -> DiffusionPipeline:
    return DiffusionPipeline.from_pretrained(
        tiny_model, torch_dtype=torch.float32, safety_checker=None
    ).to("cpu")


def same(one: Image.Image, other: Image.Image) -> bool:
    return bool((np.asarray(one) == np.asarray(other)).all())


def test_a_prompt(pipe: DiffusionPipeline, tiny_model: Path) -> None:
    generator = torch.Generator().manual_seed(7)
    drawn = pipe("a red car", num_inference_steps=2, generator=generator, guidance_scale=2.0)
    own = load(tiny_model, "cpu", "float32").generate(
        "a red car", steps=2, seed=7, guidance_scale=2.0
    )
    assert len(drawn.images) == 1 and same(drawn.images[0], own[0])
    assert drawn.nsfw_content_detected is None
    pictures, _ = pipe(
        prompt=["a fox", "a car"], num_inference_steps=1, output_type="np", return_dict=False
    )
    assert pictures.shape[0] == 2 and pictures.dtype == np.float32


def test_pictures(pipe: DiffusionPipeline, tiny_model: Path) -> None:
    fox = pipe("a fox", num_inference_steps=1).images[0]
    own = load(tiny_model, "cpu")
    steps = {"num_inference_steps": 2}
    again = StableDiffusionImg2ImgPipeline(tiny_model, "cpu")("a car", fox, strength=0.5, **steps)
    assert same(again.images[0], own.image_to_image(fox, "a car", strength=0.5, steps=2)[0])
    more = UnCLIPImageVariationPipeline(tiny_model, "cpu")(fox, num_images_per_prompt=2, **steps)
    assert len(more.images) == 2
    mask = Image.new("L", fox.size)
    mask.paste(255, (4, 4, 12, 12))
    inpaint = StableDiffusionInpaintPipeline(tiny_model, "cpu")
    edited = inpaint(prompt="a car", image=fox, mask_image=mask, **steps).images[0]
    assert np.asarray(edited)[0, 0].tolist() == np.asarray(fox)[0, 0].tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p(), "DiffusionPipeline needs prompt"),
        (lambda p: p("a", "b"), "takes prompt by position"),
        (lambda p: p("a fox", clip_skip=1), "'clip_skip' means nothing here"),
        (lambda p: p.scheduler, "give sampler='euler a' with each call"),
        (lambda p: setattr(p, "scheduler", 3), "give sampler='int' with each call"),
        (lambda p: p.from_pretrained("org/name"), "'org/name' is no folder here, and nothing is"),
        (lambda p: p.from_pretrained(".", revision="x"), "argument 'revision' is not read"),
    ],
)
def test_what_is_refused(
    pipe: DiffusionPipeline, call: Callable[[DiffusionPipeline], object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        call(pipe)


def test_low_memory(tiny_model: Path) -> None:
    pipe = DiffusionPipeline(tiny_model, "cpu")
    pipe.enable_model_cpu_offload()
    assert len(pipe("a fox", num_inference_steps=1).images) == 1


def test_the_page_about_it(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
    code = re.findall(r"compat/test_diffusers.py -->\n```python\n(.*?)```", page, re.S)[0]
    monkeypatch.chdir(tmp_path)
    Path("folder").symlink_to(tiny_model)
    exec(code.replace("steps=25", "steps=2"), {"torch": torch})
    with Image.open("fox.png") as picture:
        assert picture.size == (16, 16)
