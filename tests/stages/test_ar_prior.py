"""The autoregressive prior: what is fitted, how components are drawn, and that it learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.errors import Cancelled, UsageError
from unclip.rng import BatchRng, Rng
from unclip.stages.ar_prior import ArPriorStage, ArPriorStageConfig, ArSampling, choose, guide
from unclip.types import Cond, Step

SEEDS = [3, 4, 5]


@pytest.fixture
def cond(make_cond: Callable[..., Cond]) -> Cond:
    return make_cond(3).replace(image=None, image_embed=None)


@pytest.fixture
def stage(make_stage: Callable[..., Any]) -> Any:
    return make_stage("ar_prior")


def drawn(stage: Any, cond: Cond, seeds: list[int], **settings: Any) -> Tensor:
    z: Tensor = stage.sample(cond, Rng(seeds), settings).image_embed
    return z


def test_it_is_what_the_network_says_with_its_own_uniforms(stage: Any, cond: Cond) -> None:
    """Sampling again by hand, without a cache: the whole network for every token."""
    net, dims = stage.net, stage.config.network.dims
    uniform = Rng(SEEDS).rand(dims + 1)
    likeness = net.top_half(uniform[:, 0])
    tokens = torch.zeros(3, dims, dtype=torch.long)
    null = cond.replace(keep_text=torch.zeros(3, dtype=torch.bool))
    for number in range(dims):
        with torch.no_grad():
            shown, without = (
                net(dict(c.items()), likeness, tokens)[:, number] for c in (cond, null)
            )
        chance = ((without + 2.5 * (shown - without)) / 0.7).softmax(-1)
        for sample in range(3):
            reached = chance[sample].cumsum(0)
            tokens[sample, number] = int(torch.searchsorted(reached, uniform[sample, number + 1]))
    expected = net.embed(tokens)
    got = drawn(stage, cond, SEEDS, temperature=0.7, guidance_scale=2.5)
    assert torch.allclose(got, expected, atol=1e-5)
    assert torch.allclose(got.norm(dim=-1), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize(("scale", "seen"), [(1.0, 3), (3.0, 6)])
def test_guidance_doubles_the_batch_and_the_prefix_runs_once(
    scale: float, seen: int, stage: Any, cond: Cond
) -> None:
    sizes: list[tuple[int, ...]] = []
    stage.net.transformer.register_forward_hook(
        lambda _m, inputs, _o: sizes.append(tuple(inputs[0].shape[:2]))
    )
    drawn(stage, cond, SEEDS, guidance_scale=scale)
    dims, context = stage.config.network.dims, stage.config.network.context
    assert sizes == [(seen, context + 2)] + [(seen, 1)] * (dims - 1)


def test_without_temperature_only_the_dot_product_is_random(stage: Any, cond: Cond) -> None:
    first = drawn(stage, cond, SEEDS, temperature=0)
    stage.net.top_half = lambda uniform: torch.full(uniform.shape, 3)  # as a network attribute
    fixed = [drawn(stage, cond, seeds, temperature=0) for seeds in (SEEDS, [6, 7, 8])]
    assert torch.equal(fixed[0], fixed[1])
    assert not torch.equal(drawn(stage, cond, SEEDS), drawn(stage, cond, [6, 7, 8]))
    assert first.shape == fixed[0].shape


def test_every_token_is_told_with_the_embedding_so_far(stage: Any, cond: Cond) -> None:
    steps: list[Step] = []
    z = stage.sample(cond, Rng(SEEDS), on_step=steps.append).image_embed
    dims = stage.config.network.dims
    assert [(s.stage, s.index, s.total) for s in steps] == [
        ("ar_prior", index, dims) for index in range(1, dims + 1)
    ]
    assert torch.equal(steps[-1].x0, z)
    coefficients = [stage.net.pca.encode(step.x0) for step in steps[:2]]
    assert (coefficients[0][:, 1:].abs() < 1e-4).all(), "what is not drawn yet is the mean"
    assert not (coefficients[1][:, 1].abs() < 1e-4).any()

    def cancel(step: Step) -> None:
        steps.append(step)
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        stage.sample(cond, Rng(SEEDS), on_step=cancel)
    assert len(steps) == dims + 1


def test_settings_override_defaults_and_bad_ones_are_named(stage: Any, cond: Cond) -> None:
    plain = drawn(stage, cond, SEEDS)
    assert torch.equal(drawn(stage, cond, SEEDS, temperature=None), plain)
    assert not torch.equal(drawn(stage, cond, SEEDS, temperature=0.2), plain)
    for bad, message in (
        ({"temprature": 1}, r"unknown setting 'sampling.temprature' \(did you mean 'temperature'"),
        ({"temperature": -1}, r"'sampling.temperature'.*must be at least 0"),
        ({"steps": 3}, r"unknown setting 'sampling.steps'"),
    ):
        with pytest.raises(UsageError, match=message):
            stage.sample(cond, Rng(SEEDS), bad)


def test_choice_is_the_inverse_of_the_distribution_function() -> None:
    logits = torch.tensor([0.1, 0.6, 0.3]).log().expand(1000, 3)
    uniform = torch.arange(1000) / 1000
    counts = torch.bincount(choose(logits, uniform, 1.0))
    assert counts.tolist() == pytest.approx([100, 600, 300], abs=1)
    cold = torch.bincount(choose(logits, uniform, 0.5))  # squared and normalised
    assert cold.tolist() == pytest.approx([1000 * p / 0.46 for p in (0.01, 0.36, 0.09)], abs=1)
    assert choose(logits, uniform, 0).unique().tolist() == [1]
    never = torch.tensor([[0.0, -torch.inf]])
    assert choose(never, torch.tensor([1 - 2**-24]), 1.0).tolist() == [0]


def test_guidance_extrapolates_logits() -> None:
    logits = torch.randn(4, 6)
    guided = guide(logits, ArSampling(guidance_scale=3.0))
    assert torch.allclose(guided, logits[2:] + 3 * (logits[:2] - logits[2:]))
    assert torch.equal(guide(logits, ArSampling()), logits)


def test_preparation_fits_every_sample_it_is_shown(stage: Any, make_cond: Any) -> None:
    conds = [make_cond(50, seed) for seed in range(4)]
    stage.prepare(iter(conds))
    z = torch.cat([c.image_embed for c in conds])
    assert torch.allclose(stage.net.pca.mean, z.mean(0), atol=1e-6)
    likeness = torch.cat([(c.image_embed * c.text_embed).sum(-1) for c in conds])
    middle = stage.config.network.dot_buckets // 2 - 1
    assert torch.isclose(stage.net.dots.edges[0, middle], likeness.median(), atol=0.02)
    counts = [torch.bincount(column) for column in stage.net.tokens(z).T]
    assert all((count - 200 / stage.config.network.buckets).abs().max() <= 1 for count in counts)
    assert stage.prepare_samples >= 1000


def test_in_half_precision_it_draws_much_the_same(
    make_stage: Callable[..., Any], cond: Cond
) -> None:
    settings = {"guidance_scale": 1.0, "temperature": 0}
    exact = drawn(make_stage("ar_prior"), cond, SEEDS, **settings)
    half = drawn(make_stage("ar_prior").to(torch.bfloat16), cond, SEEDS, **settings)
    assert half.dtype == torch.float32
    assert torch.allclose(half.norm(dim=-1), torch.ones(3), atol=1e-5)
    assert F.cosine_similarity(half, exact).median() > 0.99  # a near tie may fall the other way


@pytest.mark.parametrize(("share", "matters"), [(0.0, True), (1.0, False)])
def test_text_is_dropped_as_configured(
    share: float, matters: bool, make_stage: Callable[..., Any], make_cond: Callable[..., Cond]
) -> None:
    stage, cond = make_stage("ar_prior", drop_text=share), make_cond(3)
    other = cond.replace(text_embed=-cond.text_embed)  # type: ignore[operator]
    loss, changed = (stage.loss(c, BatchRng(0, 3))[0] for c in (cond, other))
    assert torch.allclose(loss, changed) != matters


def test_training_shows_the_true_dot_product(stage: Any, make_cond: Any) -> None:
    cond = make_cond(64)
    stage.prepare([cond])
    seen: list[Tensor] = []
    stage.net.dot_in.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    stage.loss(cond, BatchRng(0, 64))
    likeness = (cond.image_embed * cond.text_embed).sum(-1)
    (tokens,) = seen
    assert (tokens[likeness.argsort()].diff() >= 0).all()
    assert torch.bincount(tokens).tolist() == [16, 16, 16, 16]


def test_the_loss_of_a_network_that_knows_nothing(stage: Any, make_cond: Any) -> None:
    for parameter in stage.net.out.parameters():
        torch.nn.init.zeros_(parameter)
    loss, metrics = stage.loss(make_cond(3), BatchRng(0, 3))
    assert torch.allclose(loss, torch.full((3,), math.log(stage.config.network.buckets)))
    assert metrics["accuracy"].shape == (3,)


def test_it_learns_a_conditional_distribution() -> None:
    """Two texts; the first has one embedding, the second has two, three to one, never a mixture.

    A regression would answer the second text with an average that never occurs.
    """
    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 1, "heads": 2, "embed_dim": 5, "text_width": 3, "context": 2}
    network = {**sizes, "dims": 3, "buckets": 8, "dot_buckets": 2}
    stage = ArPriorStage(ArPriorStageConfig.parse({"network": network, "drop_text": 0.0}))
    answers = torch.tensor([[0, 0, -1.414, 0, 0.7], [0, 1, 1, 0, 0.7], [0, -1, 1, 0, 0.7]])
    answers = F.normalize(answers, dim=-1)  # z_i·z_t is u for all of them, and tells nothing

    def batch(size: int, seed: int) -> tuple[Cond, Tensor]:
        rng = torch.Generator().manual_seed(seed)
        text = torch.randint(2, (size,), generator=rng)
        rare = (torch.rand(size, generator=rng) < 0.25).long()
        z_t = F.one_hot(3 * text, 5).float()  # (1, 0, 0, 0, u) or (0, 0, 0, 1, u)
        z_t[:, 4] = torch.rand(size, generator=rng)
        mask = torch.ones(size, 2, dtype=torch.bool)
        answer = answers[torch.where(text == 0, 0, 1 + rare)]
        encodings = torch.zeros(size, 2, 3)
        cond = Cond(text_mask=mask, text_embed=z_t, text_encodings=encodings, image_embed=answer)
        return cond, text

    stage.prepare([batch(512, 777)[0]])
    optimizer = torch.optim.Adam(stage.net.parameters(), lr=1e-2)
    for step in range(150):
        optimizer.zero_grad()
        stage.loss(batch(64, step)[0], BatchRng(step, 64))[0].mean().backward()
        optimizer.step()
    cond, text = batch(600, 9999)
    z = drawn(stage.eval(), cond.replace(image_embed=None), list(range(600)))
    match = z @ answers.T > 0.99
    assert match.any(1).float().mean() > 0.97, "nothing but what was seen"
    share = match[text == 1].float().mean(0)
    assert match[text == 0, 0].float().mean() > 0.97
    assert float(share[1]) == pytest.approx(0.75, abs=0.07)
    assert float(share[2]) == pytest.approx(0.25, abs=0.07)
