"""Many prompts at once: each picture is the one that its prompt alone gives, in shared batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip import Pipeline
from unclip.abilities._several import batches, cost_of
from unclip.abilities.generate import GenerateRequest
from unclip.abilities.img2img import ImageToImageRequest, image_to_image
from unclip.abilities.vary import VariationsRequest
from unclip.cost import Cost, Policy
from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.pipeline import Chain
from unclip.stages import Stage
from unclip.stages.model import Model
from unclip.types import Step

PICTURE = Image.radial_gradient("L").resize((16, 16)).convert("RGB")


@pytest.fixture(scope="module")
def pipe(make_stage: Callable[[str], Stage], tokenizer: Tokenizer) -> Pipeline:
    names = ("clip", "prior", "decoder", "upsampler")
    return Pipeline(Model(tokenizer, {name: make_stage(name) for name in names}, "tiny"))


def same(a: list[Image.Image], b: list[Image.Image]) -> bool:
    """To a level of 255: sums of another batch may be rounded in another way."""
    pairs = list(zip(a, b, strict=True))
    near = all(
        np.abs(np.asarray(x, np.int16) - np.asarray(y, np.int16)).max() <= 1 for x, y in pairs
    )
    return near and all(x.info["unclip"] == y.info["unclip"] for x, y in pairs)


@pytest.mark.parametrize(
    "settings",
    [{"n": 2}, {"n": 2, "best_of": 3}, {"negative_prompt": "a car"}, {"prior": "none", "steps": 2}],
)
def test_a_list_gives_what_each_prompt_gives_alone(
    settings: dict[str, Any], pipe: Pipeline
) -> None:
    prompts = ["a fox", "a red car", "a fox and a red car"]
    alone = [one for prompt in prompts for one in pipe.generate(prompt, seed=7, **settings)]
    together = pipe.generate(prompts, seed=7, **settings)
    assert same(together, alone)
    assert not same(together[:1], together[-1:]), "the prompt matters"
    recorded = [json.loads(one.info["unclip"])["prompt"] for one in together]
    assert recorded == [prompt for prompt in prompts for _ in range(settings.get("n", 1))]


def test_many_prompts_take_as_many_passes_as_many_pictures(pipe: Pipeline) -> None:
    """20 pictures are two batches, whether of 20 prompts or of one."""
    seen: list[tuple[str, int]] = []
    note: Callable[[Step], None] = lambda step: seen.append((step.stage, len(step.x0)))  # noqa: E731
    pipe.generate([f"a fox {n}" for n in range(20)], on_step=note)
    several, seen[:] = list(seen), []
    pipe.generate("a fox", n=20, on_step=note)
    assert several == seen
    assert {count for stage, count in seen if stage == "decoder"} == {4, 16}


def test_the_limit_is_of_all_prompts_together(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "limit", 20)
    pipe.generate("a fox", seed=1)
    with pytest.raises(UsageError, match=r"this would be 3 pictures .* limit is 20 steps"):
        pipe.generate(["a fox"] * 3)


def test_one_empty_prompt_is_found_before_the_first_is_drawn(pipe: Pipeline) -> None:
    def drawn(step: Step) -> None:
        pytest.fail("a step was taken")

    for call in (
        lambda prompts: pipe.generate(prompts, on_step=drawn),
        lambda prompts: pipe.image_to_image(PICTURE, prompts, on_step=drawn),
        lambda prompts: pipe.edit(PICTURE, prompt=prompts, box=(0, 0, 8, 8), on_step=drawn),
        lambda prompts: pipe.outpaint(PICTURE, prompts, left=8, on_step=drawn),
    ):
        with pytest.raises(UsageError, match="the prompt is empty"):
            call(["a fox", " "])


def test_abilities_of_a_picture_take_a_list_too(pipe: Pipeline) -> None:
    prompts, more = ["a fox", "a red car"], {"n": 2, "seed": 3, "steps": 2}
    for draw in (
        lambda prompt: pipe.image_to_image(PICTURE, prompt, **more),
        lambda prompt: pipe.edit(PICTURE, prompt=prompt, box=(0, 0, 8, 8), **more),
        lambda prompt: pipe.outpaint(PICTURE, prompt, left=8, **more),
        lambda prompt: pipe.outpaint(PICTURE, 8, prompt=prompt, **more),
    ):
        assert same(draw(prompts), draw(prompts[0]) + draw(prompts[1]))


def test_requests_that_agree_share_batches_and_the_others_do_not(pipe: Pipeline) -> None:
    def asked(prompt: str, n: int = 1, **settings: Any) -> GenerateRequest:
        return GenerateRequest.of(prompt=prompt, n=n, settings=settings)

    requests = [asked("a"), asked("b", steps=2), asked("c", 3), asked("d", steps=2)]
    vary = VariationsRequest.of(image=PICTURE)
    assert batches([*requests, vary, vary]) == [[0, 2], [1, 3], [4], [5]]
    assert batches([asked("a", 10), asked("b", 7), asked("c", 9), asked("d", 40)]) == [
        [0],
        [1, 2],
        [3],
    ]
    many = pipe.run_many([*requests, vary])
    for drawn, request in zip(many, [*requests, vary], strict=True):
        assert same(drawn, pipe.run(request))
    assert pipe.run_many([]) == []


@pytest.fixture
def told(pipe: Pipeline) -> tuple[Pipeline, list[Cost]]:
    """A pipeline, and what it was told its calls take."""
    costs: list[Cost] = []
    return Pipeline(pipe.model, policy=Policy(on_cost=costs.append)), costs


@pytest.mark.parametrize(
    "odd", ["a (red:1.3) car", "a red car AND a fox", "a fox " * 60], ids=["weight", "AND", "long"]
)
@pytest.mark.parametrize("settings", [{"n": 8}, {"best_of": 2}])
def test_an_odd_prompt_leaves_the_others_their_batch(
    odd: str,
    settings: dict[str, Any],
    told: tuple[Pipeline, list[Cost]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe, costs = told
    read, sizes = Chain.read_prompt, []
    alone = [pipe.generate(one, seed=7, **settings) for one in ("a fox", odd, "a car")]
    total = sum(cost.total for cost in costs)
    costs.clear()
    seen: list[str] = []

    def note(self: Chain, prompt: str, *rest: Any, **more: Any) -> Any:
        seen.append(prompt)
        return read(self, prompt, *rest, **more)

    def count(self: Chain, cond: Any, seeds: Any, **more: Any) -> Any:
        sizes.append(len(seeds))
        return sample(self, cond, seeds, **more)

    sample = Chain.sample
    monkeypatch.setattr(Chain, "read_prompt", note)
    monkeypatch.setattr(Chain, "sample", count)
    together = pipe.generate(["a fox", odd, "a car"], seed=7, **settings)
    assert same(together, [one for each in alone for one in each])
    assert [cost.total for cost in costs] == [total], "checked once, for all"
    assert seen == ["a fox", odd, "a car"], "read once"
    each = settings.get("n", 1) * settings.get("best_of", 1)
    assert sizes in ([2 * each, each], [3 * each])


def test_prompts_that_are_drawn_one_by_one_have_one_limit(
    told: tuple[Pipeline, list[Cost]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, costs = told
    calls: list[Callable[[Any], Any]] = [
        lambda prompt: pipe.image_to_image(PICTURE, prompt, steps=2),
        lambda prompt: pipe.edit(PICTURE, prompt=prompt, box=(0, 0, 8, 8), steps=2),
        lambda prompt: pipe.outpaint(PICTURE, prompt, left=8, steps=2),
    ]
    for draw in calls:
        costs.clear()
        pipe.limit = None
        draw("a fox")
        draw(["a fox", "a car", "a bus"])
        assert costs[1:] == [costs[0].times(3)], "told once, of all"
        pipe.limit = costs[0].total
        draw("a fox")
        with monkeypatch.context() as patch, pytest.raises(UsageError, match="would be 3 pictures"):
            patch.setattr(Chain, "fold", lambda *_, **__: pytest.fail("drawn"))
            draw(["a fox", "a car", "a bus"])


def test_the_cost_of_one_request_does_not_touch_another(pipe: Pipeline) -> None:
    """What is drawn meanwhile, by another thread, has the policy that it had."""
    policies: list[Policy] = []

    class Watched(Pipeline):
        def cost(self, *args: Any, **more: Any) -> Cost:
            policies.append(watched.policy)
            return super().cost(*args, **more)

    watched = Watched(pipe.model)
    before = watched.policy
    assert cost_of(watched, *[GenerateRequest.of(prompt="a fox", n=2)] * 3).pictures == 6
    assert watched.policy is before and all(one is before for one in policies) and policies


def test_clauses_of_every_prompt_are_counted(pipe: Pipeline) -> None:
    one, three = "a fox", "a fox AND a car AND a bus"
    asked: list[Cost] = []
    told = pipe.with_policy(Policy(on_cost=asked.append))
    alone = [cost_of(pipe, GenerateRequest.of(prompt=text)).total for text in (one, three)]
    assert alone[1] > alone[0]
    both = [GenerateRequest.of(prompt=text) for text in (one, three, one)]
    assert cost_of(pipe, *both).total == 2 * alone[0] + alone[1]
    more = [GenerateRequest.of(prompt=one, n=n) for n in (1, 3)]
    assert cost_of(pipe, *more).total == 4 * alone[0]
    drawn = {"strength": 0.5, "steps": 2}
    image_to_image(told, PICTURE, [one, three], **drawn)
    costs = [
        cost_of(
            pipe,
            ImageToImageRequest.of(image=PICTURE, prompt=text, settings={"steps": 2}, strength=0.5),
        ).total
        for text in (one, three)
    ]
    assert [cost.total for cost in asked] == [sum(costs)]
