"""Prompts as conditions: weights, chunks of tokens, several at once, what is not read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.nn.weighted import weighted
from unclip.rng import Rng
from unclip.stages import prompts
from unclip.stages.guided import Conjunction
from unclip.stages.model import Model
from unclip.types import Cond
from unclip.weighting import parse

Make = Callable[..., Any]


@pytest.fixture
def model(make_stage: Make, tokenizer: Tokenizer) -> Callable[..., Model]:
    def make(*kinds: str, **changes: Any) -> Model:
        stages = {kind: make_stage(kind, **changes.get(kind, {})) for kind in kinds}
        return Model(tokenizer, stages, "it")

    return make


@pytest.fixture
def latent(make_stage: Make, tokenizer: Tokenizer) -> Model:
    """Reads the text alone, in chunks of its 8 tokens, as Stable Diffusion does."""
    stage = make_stage("latent_decoder")
    network = {**stage.config.network.dump(), "embed_dim": 0, "empty": [1, 2]}
    return Model(tokenizer, {"decoder": make_stage("latent_decoder", network=network)}, "it")


def test_weights_are_those_of_the_words(model: Any, tokenizer: Tokenizer) -> None:
    it = model("clip", "prior", "decoder")
    cond = prompts.read_prompt(it, "a ((red)) car on (the:0.5) moon", "(fox:1.5)")
    tokens, mask = tokenizer.encode(["a red car on the moon"])
    assert torch.equal(cond.text_tokens, tokens) and torch.equal(cond.text_mask, mask)
    assert cond.text_weights is not None and cond.null_text_weights is not None
    spans = tokenizer.spans("a red car on the moon")
    words = ["a red car on the moon"[one.start : one.end].strip() for one in spans][:6]
    named = dict(zip(words, cond.text_weights[0, 1:7].tolist(), strict=True))
    assert named["red"] == pytest.approx(1.21) and named["a"] == named["car"] == 1.0
    assert cond.text_weights[0, 0] == 1.0
    assert 1.5 in cond.null_text_weights[0].tolist()


def test_a_prompt_without_syntax_is_read_as_before(model: Any, latent: Model) -> None:
    for it in (model("clip", "prior", "decoder"), latent):
        cond = prompts.read_prompt(it, "a red car (", r"the \[fox")
        assert cond.text_weights is None and type(cond) is Cond
        for text, own in (("a red car (", cond.text_tokens), ("the [fox", cond.null_text_tokens)):
            assert own is not None and torch.equal(own, it.tokenizer.encode([text])[0])
    assert prompts.read_prompt(model("clip", "decoder"), "a").null_text_tokens is None


def test_the_mean_stays() -> None:
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)) + 1
    weights = torch.tensor([[1.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    found = weighted(x, weights)
    assert torch.allclose(found.mean((1, 2)), x.mean((1, 2)), atol=1e-6)
    ratio = found / x
    assert torch.allclose(ratio[0, 1], 2 * ratio[0, 0]) and torch.equal(found[1], x[1])
    assert weighted(x, None) is x
    centred = x - x.mean((1, 2), keepdim=True)
    assert weighted(centred, weights).abs().max() < 10 * centred.abs().max()


def test_long_texts_and_breaks_are_chunks(latent: Model, tokenizer: Tokenizer) -> None:
    assert prompts.reads_long(latent) and tokenizer.room == 6
    long = "a red car on a table under the moon"
    ids = tokenizer.pieces(long)
    assert 6 < len(ids) <= 12
    cond = prompts.read_prompt(latent, long, "the fox")
    want, _ = tokenizer.framed([ids[:6], ids[6:]])
    assert torch.equal(cond.text_tokens, want.reshape(1, -1))
    null, _ = tokenizer.encode(["the fox", ""])
    assert torch.equal(cond.null_text_tokens, null.reshape(1, -1))
    parted = prompts.read_prompt(latent, "a red BREAK (car:2)")
    own, _ = tokenizer.encode(["a red", "car"])
    assert torch.equal(parted.text_tokens, own.reshape(1, -1))
    assert parted.text_weights is not None and parted.text_weights[0, 9] == 2
    assert not list(prompts.complaints(latent, parse(long + " BREAK a")))


@torch.no_grad()
def test_each_chunk_is_encoded_by_itself(latent: Model) -> None:
    net = latent.stages["decoder"].net.unet  # type: ignore[union-attr]
    both = prompts.read_prompt(latent, "a red BREAK car")
    one, two = (prompts.read_prompt(latent, text) for text in ("a red", "car"))
    read = [net._read(each.text_tokens) for each in (both, one, two)]  # type: ignore[operator]
    assert torch.allclose(read[0], torch.cat(read[1:], dim=1), atol=1e-6)
    image = latent.stages["decoder"].sample(both.expand(2), Rng([0, 1])).image
    assert image is not None and image.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_prompts_that_hold_at_once_add_up(
    scale: float, latent: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """eps = null + scale·Σ weight·(cond − null), and in one forward."""
    stage: Any = latent.stages["decoder"]
    cond = prompts.read_prompt(latent, "a red car:0.5 AND the fox:-1.5", "a dog")
    assert isinstance(cond, Conjunction)
    options = stage.config.sampling.merge({"guidance_scale": scale})
    x = Rng([3]).randn(4, 4, 4)
    level = stage.config.schedule.grid(4, "uniform")[1]
    sizes: list[int] = []
    handle = stage.net.register_forward_hook(lambda _m, given, _o: sizes.append(len(given[0])))
    with torch.inference_mode():
        found = stage.thresholded(cond, options)(x, level).eps
        assert sizes == [3]
        handle.remove()

        def alone(text: str) -> Tensor:
            one = prompts.read_prompt(latent, text)
            plain = options.merge({"guidance_scale": 1.0})
            eps: Tensor = stage.thresholded(one, plain)(x, level).eps
            return eps

        car, fox, dog = (alone(text) for text in ("a red car", "the fox", "a dog"))
    want = dog + scale * (0.5 * (car - dog) - 1.5 * (fox - dog))
    assert torch.allclose(found, want, atol=1e-4)
    assert not torch.allclose(found, car, atol=1e-2)


def test_every_prompt_has_a_z_i_of_its_own(model: Any) -> None:
    from unclip import Pipeline

    pipe = Pipeline(model("clip", "prior", "decoder"))
    cond = pipe.read_prompt("a red car AND the fox").expand(2)
    seen = pipe.sample_prior(cond, Rng([0, 1]))
    (first, _), (second, _) = seen.every
    for text, own in (("a red car", first), ("the fox", second)):
        alone = pipe.sample_prior(pipe.read([text]).expand(2), Rng([0, 1]))
        assert own.image_embed is not None and alone.image_embed is not None
        assert torch.allclose(own.image_embed, alone.image_embed, atol=1e-5)
    twice = pipe.sample(pipe.read_prompt("a red car:0.25 AND a red car:0.75"), [5])
    once = pipe.sample(pipe.read_prompt("a red car"), [5])
    assert torch.allclose(twice, once, atol=1e-4)


def test_no_more_chunks_than_memory_is_kept_for(latent: Model, model: Any) -> None:
    many = " BREAK ".join(["a"] * 33)
    assert prompts.read_prompt(latent, many.removesuffix(" BREAK a")).text_tokens is not None
    for text, negative in ((many, ""), ("a", many), ("a AND " + many, ""), ("a " * 400, "")):
        with pytest.raises(UsageError, match=r"chunks of 6 tokens: give at most 32$"):
            prompts.read_prompt(latent, text, negative)
    prompts.read_prompt(model("clip", "prior", "decoder"), many, many)  # which are one chunk


@pytest.mark.parametrize("ability", ["generate", "img2img", "edit", "outpaint"])
def test_prompts_that_hold_at_once_are_counted_and_share_a_batch(model: Any, ability: str) -> None:
    """In the steps, those of the prior too, which `limit` sees before the first one."""
    from unclip import Pipeline

    pipe = Pipeline(model("clip", "prior", "decoder"))
    asked: dict[str, Any] = {"n": 5, "steps": 2, "prior_steps": 3}
    given = {} if ability == "generate" else {"image": Image.new("RGB", (8, 8))}
    given |= {"edit": {"box": (0, 0, 4, 4)}, "outpaint": {"left": 4}}.get(ability, {})
    name = {"img2img": "image_to_image"}.get(ability, ability)
    costs, sizes = [], []
    pipe.on_cost = costs.append
    decoder: Any = pipe.stages["decoder"]
    decoder.net.register_forward_hook(lambda _m, seen, _o: sizes.append(len(seen[0])))
    runs: list[int] = []
    for prompt in ("a", "a AND b", "a AND b:0.5 AND c AND d"):
        sizes.clear()
        getattr(pipe, name)(prompt=prompt, **given, **asked)
        runs.append(max(sizes))
    one, two, four = costs
    assert two.total == 2 * one.total and four.total == 4 * one.total
    assert two.steps["prior"] == 2 * one.steps["prior"] and (one + two).further == two.further
    assert two.times(3).total == 3 * two.total
    assert runs[0] == 5 * 2 and runs[2] == 4 * 5
    pipe.limit = one.total
    with pytest.raises(UsageError, match="the limit is"):
        getattr(pipe, name)(prompt="a AND b", **given, **asked)


def test_what_is_not_read_is_named(model: Any, latent: Model) -> None:
    def said(it: Model, prompt: str, *more: Any) -> str:
        return "; ".join(prompts.complaints(it, parse(prompt), *more))

    whole = model("clip", "prior", "decoder")
    assert not said(whole, "a (red:1.3) car AND a fox")
    assert "BREAK is read as a space" in said(whole, "a BREAK car")
    assert said(whole, "a <lora:ink:0.8> car").startswith("'<lora:ink:0.8>' is left out")
    assert "--lora FILE" in said(whole, "a <lora:ink:0.8> car")
    assert "is cut" in said(whole, "a car " * 9) and not said(latent, "a car " * 9)
    assert "AND is read as a comma" in said(whole, "a AND b", None, False)
    blind = model("clip", "linear_prior", "latent_unclip")
    assert "weights such as (word:1.3) have no effect" in said(blind, "(a)")
    assert not said(model("clip", "prior", "latent_unclip"), "(a)")


def test_a_negative_prompt_without_effect(model: Any, latent: Model) -> None:
    runs = ("prior", "decoder")
    it = model("clip", "prior", "decoder")
    plain = {"prior": {"guidance_scale": 1.0}, "decoder": {"guidance_scale": 1.0}}
    assert not prompts.unguided(it, {}, runs)
    assert not prompts.unguided(it, {**plain, "prior": {}}, runs)
    assert prompts.unguided(it, plain, runs) == "it needs prior_guidance_scale other than 1"
    one = {"decoder": {"guidance_scale": 1.0}}
    assert prompts.unguided(latent, one, ["decoder"]) == "it needs guidance_scale other than 1"
    two = {"decoder": {"guidance_scale": 1.0, "image_guidance_scale": 2.0}}
    assert not prompts.unguided(it, {**plain, **two}, runs)
    blind = model("clip", "eclipse_prior", "latent_unclip")
    assert "none is guided by a text" in prompts.unguided(
        blind, {}, ["eclipse_prior", "latent_unclip"]
    )
