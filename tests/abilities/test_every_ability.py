"""What all abilities keep: they can be ended, and say what a model lacks."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import unclip
from unclip import Cancelled, Pipeline
from unclip.abilities.generate import GenerateRequest
from unclip.cost import Cost
from unclip.errors import PromptWarning, UsageError
from unclip.stages.decoder import Decoder
from unclip.stages.upsampler import AnyUpsampler
from unclip.train.run import Run
from unclip.types import Step

pytestmark = pytest.mark.filterwarnings("ignore::unclip.errors.SettingWarning")
"""All have the same settings, whatever they run."""

PICTURE = Image.radial_gradient("L").resize((16, 16)).convert("RGB")
WHOLE = Image.new("L", (16, 16), 255)
WORDS = "a red circle"

ABILITIES: dict[str, Callable[..., Any]] = {
    "generate": lambda p, **more: p.generate(WORDS, **more),
    "best_of": lambda p, **more: p.generate(WORDS, best_of=2, **more),
    "variations": lambda p, **more: p.variations(PICTURE, **more),
    "image_to_image": lambda p, **more: p.image_to_image(PICTURE, WORDS, **more),
    "edit": lambda p, **more: p.edit(PICTURE, WHOLE, WORDS, **more),
    "outpaint": lambda p, **more: p.outpaint(PICTURE, left=4, prompt=WORDS, **more),
    "interpolate": lambda p, **more: p.interpolate(PICTURE, WORDS, **more),
    "interpolate prompts": lambda p, **more: p.interpolate(WORDS, "a", **more),
    "text_diff": lambda p, **more: p.text_diff(PICTURE, WORDS, "a", **more),
    "reconstruct": lambda p, **more: p.reconstruct(PICTURE, [1], pictures=[PICTURE] * 3, **more),
    "upscale": lambda p, **more: p.upscale(PICTURE, **more),
}
OF_TEXT = ["generate", "image_to_image", "edit", "outpaint", "interpolate prompts"]


@pytest.mark.parametrize("ability", ABILITIES)
def test_it_can_be_ended_after_any_step(ability: str, pipe: Pipeline, few: dict[str, int]) -> None:
    seen: list[Step] = []

    def stop_at(count: int) -> Callable[[Step], None]:
        def tell(step: Step) -> None:
            seen.append(step)
            if len(seen) == count:
                raise Cancelled("stopped")

        return tell

    for count in (1, 2):
        seen.clear()
        with pytest.raises(Cancelled):
            ABILITIES[ability](pipe, on_step=stop_at(count), **few)
        assert len(seen) == count
    seen.clear()
    ABILITIES[ability](pipe, on_step=stop_at(0), **few)
    assert {step.stage for step in seen} <= set(pipe.stages)
    total = len(seen)
    seen.clear()
    with pytest.raises(Cancelled):
        ABILITIES[ability](pipe, on_step=stop_at(total), **few)


@pytest.fixture(scope="module")
def usual(pipe: Pipeline, few: dict[str, int]) -> dict[str, list[bytes]]:
    """What each ability draws."""
    return {name: drawn(ability(pipe, **few)) for name, ability in ABILITIES.items()}


def drawn(pictures: list[Image.Image]) -> list[bytes]:
    return [picture.tobytes() for picture in pictures]


def test_defaults_of_pytorch_change_nothing(
    usual: dict[str, list[bytes]], trained: Run, few: dict[str, int], changed_defaults: None
) -> None:
    pipe = unclip.load(trained.model, device="cpu", dtype=torch.float32)
    assert pipe.probe(PICTURE, ["a", "b"])
    for name, ability in ABILITIES.items():
        assert drawn(ability(pipe, **few)) == usual[name], name


@pytest.mark.parametrize("ability", ABILITIES)
def test_its_cost_is_known_before_the_first_step(
    ability: str, pipe: Pipeline, few: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Cost] = []
    seen: dict[str, list[int]] = {}  # stage -> pictures of each step

    def keep(cost: Cost) -> None:
        assert not seen
        told.append(cost)

    def count(step: Step) -> None:
        seen.setdefault(step.stage, []).append(len(step.x0))

    monkeypatch.setattr(pipe, "policy", replace(pipe.policy, on_cost=keep))
    pictures = ABILITIES[ability](pipe, on_step=count, **few)
    (cost,) = told
    assert (cost.pictures, cost.size) == (len(pictures), pictures[0].size[::-1])
    taken = sum(sum(each) for each in seen.values())
    if ability in ("image_to_image", "outpaint"):  # begins half way; passes windows over
        assert taken <= cost.total <= 3 * taken
    elif cost.inverting:  # of networks that put out x0 it begins a few steps later
        assert cost.total - cost.inverting < taken <= cost.total
    else:
        assert {name: sum(each) for name, each in seen.items()} == cost.steps
    if not cost.inverting:
        assert set(seen) == set(cost.steps)


@pytest.mark.parametrize("ability", ABILITIES)
def test_a_stage_alone_says_how_high_and_how_wide_it_draws(
    ability: str, pipe: Pipeline, few: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Cost] = []
    monkeypatch.setattr(pipe, "policy", replace(pipe.policy, on_cost=told.append))
    monkeypatch.setattr(Decoder, "image_size", (8, 16))
    monkeypatch.setattr(AnyUpsampler, "image_size", (16, 32))
    sizes = {(one.height, one.width) for one in ABILITIES[ability](pipe, **few)}
    of_the_picture = {"edit": (16, 16), "outpaint": (16, 20), "upscale": (32, 32)}
    assert sizes == {told[0].size} == {of_the_picture.get(ability, (16, 32))}


def test_a_cost_can_be_refused(
    pipe: Pipeline, few: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(cost: Cost) -> None:
        raise Cancelled(f"{cost.total} steps are too many")

    monkeypatch.setattr(pipe, "policy", replace(pipe.policy, on_cost=refuse))
    with pytest.raises(Cancelled, match="18 steps are too many"):
        pipe.generate(WORDS, n=2, on_step=pytest.fail, **few)


@pytest.mark.parametrize(
    ("ability", "needs"),
    [
        ("variations", "encoding a picture"),
        ("interpolate", "encoding a picture"),
        ("text_diff", "a text difference"),
        ("reconstruct", "reconstruction"),
    ],
)
def test_a_model_without_clip_says_who_needs_it_and_how_to_get_it(
    ability: str, needs: str, short: Callable[..., Pipeline]
) -> None:
    with pytest.raises(
        UsageError, match=rf"'short' has no CLIP, which {needs} needs; train one with it"
    ):
        ABILITIES[ability](short("decoder", "upsampler"))


ODD = "a red bicycle"
READ: dict[str, Callable[..., Any]] = {
    "generate": lambda p, **more: p.generate(ODD, n=2, **more),
    "negative prompt": lambda p, **more: p.generate(WORDS, negative_prompt=ODD, **more),
    "image_to_image": lambda p, **more: p.image_to_image(PICTURE, ODD, **more),
    "edit": lambda p, **more: p.edit(PICTURE, WHOLE, ODD, **more),
    "outpaint": lambda p, **more: p.outpaint(PICTURE, left=4, prompt=ODD, **more),
    "interpolate": lambda p, **more: p.interpolate(PICTURE, ODD, **more),
    "text_diff": lambda p, **more: p.text_diff(PICTURE, ODD, "a", **more),
    "probe": lambda p, **_: p.probe(PICTURE, ["a", ODD]),
}
"""Every way to give words that a model reads."""


@pytest.mark.parametrize("ability", READ)
def test_a_word_that_the_model_does_not_know_is_told_before_the_first_step(
    ability: str, pipe: Pipeline, few: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def stop(step: Step) -> None:
        seen.append(step.stage)
        raise Cancelled("stopped")

    warned = pytest.warns(PromptWarning, match="does not know 'bicycle'; ")
    with warned as told, contextlib.suppress(Cancelled):
        READ[ability](pipe, on_step=stop, **few)
    assert {Path(one.filename).name for one in told} == {Path(__file__).name}
    seen.clear()
    monkeypatch.setattr(pipe, "strict_words", True)
    with pytest.raises(UsageError, match="does not know 'bicycle'"):
        READ[ability](pipe, on_step=stop, **few)
    assert not seen


def test_words_that_the_model_knows_are_drawn_without_a_word(
    pipe: Pipeline, few: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "strict_words", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe.generate("A red, blue circle!", **few)


def test_a_model_that_lists_no_words_says_nothing(
    short: Callable[..., Pipeline], few: dict[str, int]
) -> None:
    silent = short("clip", "prior", "decoder")
    silent.strict_words = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silent.generate("a bike", steps=2, prior_steps=2)


def test_a_prompt_longer_than_the_model_reads_is_told_with_where_it_is_cut(
    pipe: Pipeline, few: dict[str, int]
) -> None:
    room = pipe.tokenizer.room
    assert pipe.tokenizer.context == room + 2
    long = " ".join(["a red circle"] * room)
    end = r"it is cut after '(… )?((a|red|circle) ?)+', and '((a|red|circle) ?)+(…)?' is not read"
    with pytest.warns(PromptWarning, match=rf"tokens, the model reads {room}: {end}$"):
        first = pipe.generate(long, **few)[0]
    with pytest.warns(PromptWarning):
        again = pipe.generate(f"{long} a blue square", **few)[0]
    assert first.tobytes() == again.tobytes(), "what is told as cut is not read"


def test_probing_needs_clip(short: Callable[..., Pipeline]) -> None:
    with pytest.raises(UsageError, match="no CLIP, which probing needs"):
        short("decoder").probe(PICTURE, ["a", "b"])


@pytest.mark.parametrize("ability", [*OF_TEXT, "best_of", "interpolate"])
def test_a_model_without_prior_says_how_to_do_without(
    ability: str, short: Callable[..., Pipeline], few: dict[str, int]
) -> None:
    model, less = short("clip", "decoder", "upsampler"), {**few}
    del less["prior_steps"]
    with pytest.raises(UsageError, match=r"no prior.*\[stages\.prior\].*prior='none'"):
        ABILITIES[ability](model, **less)
    assert ABILITIES[ability](model, prior="none", **less)


@pytest.mark.parametrize("names", [("clip",), ("clip", "prior")])
@pytest.mark.parametrize("ability", sorted(set(ABILITIES) - {"upscale", "reconstruct"}))
def test_a_model_that_makes_no_picture_says_so_before_any_work(
    ability: str, names: tuple[str, ...], short: Callable[..., Pipeline]
) -> None:
    def fail(step: Step) -> None:
        pytest.fail(f"{step.stage} has worked")

    for more in ({}, {"steps": 3}):
        with pytest.raises(UsageError, match="'short' has no stage that makes a picture"):
            ABILITIES[ability](short(*names), on_step=fail, **more)


@pytest.mark.parametrize("names", [("prior", "decoder", "upsampler"), ("upsampler",)])
@pytest.mark.parametrize("ability", OF_TEXT)
def test_a_model_that_cannot_read_says_so(
    ability: str, names: tuple[str, ...], short: Callable[..., Pipeline]
) -> None:
    with pytest.raises(UsageError, match="'short' has no"):
        ABILITIES[ability](short(*names))


def test_a_model_whose_clip_is_needed_again_is_no_single_pass() -> None:
    assert GenerateRequest.of(prompt="a", n=2, seed=0, settings={}).one_pass
    assert not GenerateRequest.of(prompt="a", n=1, best_of=2, seed=0, settings={}).one_pass
