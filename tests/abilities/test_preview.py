"""What is seen while pictures are drawn: at a small share of the time, and changing nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unclip.abilities._preview import Previews
from unclip.errors import Cancelled, UsageError
from unclip.facade import Pipeline
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.stages.model import Model
from unclip.types import Step


@pytest.fixture
def made(make_stage: Callable[..., Stage], tokenizer: Tokenizer) -> Pipeline:
    """Of every kind of picture: a decoder of 8 x 8, an upsampler to 16 x 16."""
    names = ("clip", "prior", "decoder", "upsampler")
    return Pipeline(Model(tokenizer, {name: make_stage(name) for name in names}, "tiny"))


def test_previews_change_nothing_and_end_as_the_picture(made: Pipeline) -> None:
    shown: list[list[Image.Image]] = []
    stages: list[str] = []

    def on_step(step: Step) -> None:
        stages.append(step.stage)
        shown.append(made.preview(step))

    plain = made.generate("a fox", n=2, seed=3)
    seen = made.generate("a fox", n=2, seed=3, on_step=on_step)
    assert [one.tobytes() for one in seen] == [one.tobytes() for one in plain]
    assert [len(each) for each in shown] == [0 if name == "prior" else 2 for name in stages]
    assert {one.size for each in shown for one in each} == {(16, 16)}, "enlarged to the whole"
    assert [one.tobytes() for one in shown[-1]] == [one.tobytes() for one in plain]


def test_latents_are_seen_on_a_small_grid(make_stage: Callable[..., Stage]) -> None:
    """The picture of pooled latents: flat latents give the same colour as the whole would."""
    stage: Any = make_stage("latent_decoder")
    flat = torch.tensor([0.3, -0.2, 0.5, 0.1]).view(1, 4, 1, 1)
    step = Step("decoder", 1, 3, flat.expand(2, 4, 64, 32))
    small = stage.preview(step)
    assert small.shape == (2, 3, 32, 16), "16 x 8 latents of two pixels a side"
    with torch.inference_mode():
        whole = stage.space.decode(flat.expand(2, 4, 16, 8))
    assert torch.allclose(small, whole, atol=1e-4)
    few = Step("decoder", 1, 3, torch.randn(1, 4, 8, 8))
    with torch.inference_mode():
        assert torch.equal(stage.preview(few), stage.space.decode(few.x0))


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("step", "cost"), [(1.0, 0.01), (1.0, 0.3), (0.01, 0.05)])
def test_they_take_their_share_of_the_time_and_no_more(
    step: float, cost: float, made: Pipeline
) -> None:
    clock, count = Clock(), 0

    def show(pictures: Any) -> None:
        nonlocal count
        count, clock.now = count + 1, clock.now + cost

    on_step = Previews(made, show, 0.04, clock)
    for index in range(1, 1001):
        clock.now += step
        on_step(Step("decoder", index, 1000, torch.zeros(1, 3, 8, 8)))
    assert count * cost <= max(cost, 0.04 * clock.now)
    assert count * cost >= min(1000 * cost, 0.04 * clock.now - 2 * (cost + step))


def test_a_stage_of_no_picture_costs_nothing(made: Pipeline) -> None:
    shown: list[Any] = []
    on_step = made.previews(shown.append, share=1e9)
    on_step(Step("prior", 1, 3, torch.zeros(1, 16)))
    on_step(Step("nobody", 1, 3, torch.zeros(1, 16)))
    assert shown == []
    on_step(Step("decoder", 1, 3, torch.full((1, 3, 8, 8), -1.0)))
    ((one,),) = shown
    assert not np.asarray(one).any()


def test_who_shows_may_cancel(made: Pipeline) -> None:
    def show(_: Any) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        made.generate("a fox", on_step=made.previews(show, share=1e9))
    with pytest.raises(UsageError, match="show must be a function of pictures, got 3"):
        made.previews(3)  # type: ignore[arg-type]
