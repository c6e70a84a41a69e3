"""What a recipe costs: against arithmetic done by hand, and against a step that is really run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from unclip.nn.layers import parameter_count
from unclip.rng import BatchRng
from unclip.train import cost
from unclip.train.activations import Activations, saved_bytes
from unclip.train.config import TrainConfig
from unclip.train.cost import (
    estimate,
    seconds_per_parameter,
    speed,
    state_bytes,
    step_cost,
    task_on_meta,
    update_flops,
)
from unclip.train.recipe import Recipe, load_recipe
from unclip.train.run import Run
from unclip.train.task import Task

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny() -> Recipe:
    return load_recipe("tiny", ["stages.clip.train.precision=float32"])


@pytest.mark.parametrize("preset", ["tiny", "emoji-cpu", "emoji", "dalle2", "gan", "emoji-1024"])
def test_a_step_of_every_stage_of_every_preset_is_reckoned(preset: str) -> None:
    recipe = load_recipe(preset)
    for name in recipe.trained:
        task = task_on_meta(recipe, name, torch.bfloat16)
        flops, kept = step_cost(task, 2, recipe.settings.tokenizer.context)
        assert flops > 2 * parameter_count(task.stage), name  # each weight is used, if but once
        assert kept.kept >= kept.checkpointed > 0, name


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_autograd_keeps(device: str) -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(device)
    x = torch.zeros(5, 8, device=device)
    with saved_bytes(net) as kept:
        out = net(x)
    # the input, and what the ReLU made, which the second layer keeps too; no weights
    assert sum(kept.values()) == 4 * (5 * 8 + 5 * 16)
    del out


def test_flops_of_the_contrastive_loss_by_hand(tiny: Recipe) -> None:
    """Matrix products of the tiny CLIP: 2·m·n·k each, three times over for the backward pass."""
    width, tokens, patches, batch = 32, 8, 17, 64
    block = 2 * 12 * width**2  # a token: qkv, projection, and an MLP of four times the width
    attention = 2 * 2 * width  # a token and a token it looks at: scores and sums
    text = tokens * (block + tokens * attention) + 2 * width * 32
    vision = patches * (block + patches * attention) + 2 * width * 32
    vision += 16 * 2 * (3 * 4 * 4) * width  # the patches' convolution
    scores = 2 * 32 * batch  # z_i against every z_t
    clip = estimate(tiny, "clip", CPU)
    pixels = 16 * 2 * (3 * 4 * 4) * width  # have no gradient
    assert clip.step_flops == batch * (3 * (text + vision + scores) - pixels)
    assert clip.total_flops == pytest.approx(150 * clip.step_flops)


def test_a_checkpointed_step_runs_its_blocks_again(tiny: Recipe) -> None:
    """By hand, for a prior of two blocks: its text passes the first of them, three tokens both.

    No gradient needs the last product of a block, a third of its 12 width^2 a token.
    """
    settings = ["stages.prior.train.batch_size=4"]
    again = [*settings, "stages.prior.train.activation_checkpointing=true"]
    plain, twice = (estimate(load_recipe("tiny", one), "prior", CPU) for one in (settings, again))
    width, text = 64, 8 + 1
    products = 2 * 8 * width**2 * (text + 2 * 3)
    attention = 4 * width * (text * text + 2 * 3 * (text + 3))
    assert twice.step_flops - plain.step_flops == 4 * (products + attention)
    assert twice.activation_bytes < plain.activation_bytes


def test_what_is_kept_where_blocks_are_computed_again() -> None:
    """By hand: two blocks of a layer, a ReLU and a layer; the first reads data, the second that."""
    block = [nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 8)) for _ in range(2)]
    net = nn.Module()
    net.blocks = nn.ModuleList(block)
    found = Activations()
    with found.watching(net):
        out = block[1](block[0](torch.zeros(5, 8)))
    assert found.kept == 4 * 5 * 2 * (8 + 64)
    assert found.checkpointed == 4 * 5 * (8 + 8 + 64)
    del out


@pytest.mark.parametrize("name", ["prior", "decoder", "upsampler"])
def test_a_step_on_meta_is_the_step_that_is_run(name: str, tiny: Recipe, tmp_path: Path) -> None:
    """The same matrix products as in the real loss; attention is fused there, so it is unfused."""
    run = Run(tiny, tmp_path, CPU)
    clip = run.build("clip") if name != "upsampler" else None
    task = Task(run.build(name), clip)
    size, context = task.source_size, tiny.settings.tokenizer.context
    batch = {
        "image": torch.zeros(2, *size, 3, dtype=torch.uint8),
        "text_tokens": torch.arange(2)[:, None].repeat(1, context),  # two texts: equal ones are one
        "text_mask": torch.ones(2, context, dtype=torch.bool),
    }
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as frozen:
            cond = task.cond(batch, BatchRng(0, 2))
        with FlopCounterMode(display=False) as trained, saved_bytes(task.stage) as kept:
            task.stage.loss(cond, BatchRng(0, 2))[0].mean().backward()
    on_meta = task_on_meta(tiny, name, torch.float32)
    flops, activations = step_cost(on_meta, 2, context)
    assert flops == frozen.get_total_flops() + trained.get_total_flops() > 0
    assert activations.kept == pytest.approx(sum(kept.values()), rel=0.02)
    assert parameter_count(on_meta.stage) == parameter_count(task.stage)


SMALL = {"embed_dim": 32, "text_width": 32, "context": 8, "width": 16, "depth": 1, "heads": 1}
PRIORS: dict[str, dict[str, Any]] = {
    "prior": SMALL,
    "ar_prior": {**SMALL, "dims": 4, "buckets": 8},
    "eclipse_prior": SMALL,
    "linear_prior": {"embed_dim": 32},
}


@pytest.mark.parametrize("kind", PRIORS)
def test_what_a_prior_predicts_is_reckoned_too(kind: str) -> None:
    values = {**load_recipe("tiny").dump(), "prior": "one"}
    values["stages"]["one"] = {"kind": kind, "network": PRIORS[kind], "train": {"steps": 1}}
    recipe = Recipe.parse(values)
    alone = estimate(recipe, "decoder", CPU)
    values["stages"]["decoder"]["predicted_share"] = 0.5
    both = estimate(Recipe.parse(values), "decoder", CPU)
    assert both.step_flops > alone.step_flops
    assert both.state_bytes > alone.state_bytes


def test_backward_is_worth_two_forwards() -> None:
    net = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    x = torch.zeros(4, 64, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        out = net(x)
        forward = counter.get_total_flops()
        out.sum().backward()
    assert counter.get_total_flops() == (1 + cost.BACKWARD) * forward


def test_memory_and_time_grow_as_they_should(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "speed", lambda *_: 1e9)
    monkeypatch.setattr(cost, "seconds_per_parameter", lambda *_: 1e-9)
    one = estimate(tiny, "upsampler", CPU)
    settings = ["stages.upsampler.train.batch_size=64", "stages.upsampler.train.steps=300"]
    two = estimate(load_recipe("tiny", settings), "upsampler", CPU)
    assert one.seconds == pytest.approx(one.total_flops / 1e9 + 150 * one.parameters * 1e-9)
    assert two.step_flops == 2 * one.step_flops
    assert two.total_flops == 4 * one.total_flops
    assert two.activation_bytes == pytest.approx(2 * one.activation_bytes, rel=0.01)
    assert one.state_bytes == two.state_bytes > 4 * 4 * one.parameters


def test_muon_keeps_one_moment(tiny: Recipe) -> None:
    net = nn.Sequential(nn.Linear(10, 10), nn.LayerNorm(10))
    assert state_bytes(net, TrainConfig(optimizer="adamw")) == 4 * 5 * (110 + 20)
    assert state_bytes(net, TrainConfig(optimizer="muon")) == 4 * (5 * (110 + 20) - 100)


def test_muons_products_are_counted_by_hand(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(80, 8), nn.Linear(8, 8), nn.LayerNorm(8))
    exact = 2 * 10 * 2 * 8**3 + 2 * 2 * 8**3 + 2 * 2 * (8**3 // 3 + 2 * (8**3 // 3))
    coarse = 4 * (2 * 10 + 1) * 2 * 8**3 + 12 * 2 * 8**3
    muon, adamw = TrainConfig(optimizer="muon"), TrainConfig(optimizer="adamw")
    assert update_flops(net, muon, torch.float32) == exact
    assert update_flops(net, muon, torch.bfloat16) == coarse
    assert update_flops(net, adamw, torch.float32) == 0
    monkeypatch.setattr(cost, "speed", lambda *_: 1e9)
    monkeypatch.setattr(cost, "seconds_per_parameter", lambda *_: 0.0)
    plain = estimate(tiny, "upsampler", CPU)
    by_muon = load_recipe("tiny", ["stages.upsampler.train.optimizer=muon"])
    one = estimate(by_muon, "upsampler", CPU)
    assert one.update_flops > 0
    assert one.total_flops == pytest.approx(plain.total_flops + 150 * one.update_flops)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_optimizer_is_measured(optimizer: str) -> None:
    config = TrainConfig.parse({"optimizer": optimizer})
    assert 1e-13 < seconds_per_parameter(nn.Linear(64, 64), config, CPU) < 1e-4


def test_a_frozen_clip_is_paid_for(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "speed", lambda *_: 1e9)
    clip, prior = (estimate(tiny, name, CPU) for name in ("clip", "prior"))
    net = task_on_meta(tiny, "prior", torch.float32).stage.net
    assert prior.state_bytes == state_bytes(net, tiny.trained["prior"]) + 4 * clip.parameters


@pytest.mark.parametrize("name", ["prior", "upsampler"])
def test_speed_is_measured(name: str, tiny: Recipe, tmp_path: Path) -> None:
    net = Run(tiny, tmp_path, CPU).build(name).net
    assert 1e6 < speed(net, 4, CPU, torch.float32) < 1e14


def test_the_paper_is_reckoned_without_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "speed", lambda *_: 1e15)
    monkeypatch.setattr(cost, "seconds_per_parameter", lambda *_: 0.0)
    prior = estimate(load_recipe("dalle2"), "prior", CPU)
    assert prior.parameters == pytest.approx(1e9, rel=0.05)
    # 6 FLOPs a weight and token (260 of them), attention left out; and CLIP's forward passes
    assert prior.step_flops > 6 * 4096 * 260 * 0.95e9
    assert prior.samples == 4096 * 600_000


@pytest.mark.parametrize("name", ["clip", "prior"])
def test_a_micro_batch_keeps_its_own_activations_alone(name: str, tiny: Recipe) -> None:
    """A prior's pieces are the arithmetic of the whole; CLIP's are encoded once more."""
    task = task_on_meta(tiny, name, torch.float32)
    flops, kept = step_cost(task, 64, 8)
    in_pieces, piece = step_cost(task, 64, 8, 16)
    assert 0.2 < piece.kept / kept.kept < 0.3
    if name == "prior":
        assert in_pieces == pytest.approx(flops)
    else:
        assert 1.25 * flops < in_pieces < 1.4 * flops  # a third more


def critical(start: float, *settings: str) -> Recipe:
    """emoji-1024 with a critic that begins when so much of the training is done."""
    objective = (
        f"{{kind='adversarial',critic='patches',data_weight=4,mismatch=0,critic_from={start}}}"
    )
    own = [f"objective={objective}", "train.steps=10", "train.optimizer=adamw"]
    return load_recipe("emoji-1024", [*(f"stages.upsampler_1024.{one}" for one in own), *settings])


def costs_of(start: float, *settings: str) -> cost.Cost:
    """Of the upsampler of `critical`."""
    return estimate(critical(start, *settings), "upsampler_1024", CPU)


def test_a_critic_that_begins_later_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """From .7 on: of ten steps of growing batches, 7 are without it and 3 with it."""
    monkeypatch.setattr(cost, "speed", lambda *_: 1e12)
    monkeypatch.setattr(cost, "seconds_per_parameter", lambda *_: 0.0)
    ramp = "stages.upsampler_1024.train.ramp=[[0, 2], [5, 8]]"
    always, late = costs_of(0.0), costs_of(0.7, ramp)
    task = task_on_meta(critical(0.5), "upsampler_1024", torch.float32)
    without, with_critic = cost.phase_costs(task, 8, 16)
    assert (without.start, without.end, with_critic.end) == (0.0, 0.5, 1.0)
    assert without.learning == {""} and with_critic.learning == {"", "critic_"}
    assert 2 < with_critic.flops / without.flops < 5
    assert always.step_flops == with_critic.flops
    assert late.samples == 5 * 2 + 5 * 8
    whole = without.flops / 8 * (5 * 2 + 2 * 8) + with_critic.flops / 8 * 3 * 8
    assert late.total_flops == pytest.approx(whole)
    assert late.seconds == pytest.approx(whole / 1e12)
    most = pytest.approx(always.memory_bytes, rel=1e-6)
    assert late.memory_bytes == most, "what is held at any time"


def test_the_steps_ahead_beside_those_since_the_last_look() -> None:
    """One FLOP a step until half, then three: at a quarter a mean step of the rest has 7/3."""
    none = Activations(), frozenset[str]()
    phases = cost.Phase(0.0, 0.5, 1.0, *none), cost.Phase(0.5, 1.0, 3.0, *none)
    assert cost.share_ahead(phases, 0.0, 0.25) == pytest.approx(7 / 3)
    assert cost.share_ahead(phases, 0.4, 0.6) == pytest.approx(3 / 2)
    assert cost.share_ahead(phases, 0.5, 0.75) == 1.0
    assert cost.share_ahead(phases, 0.0, 1.0) == cost.share_ahead(phases, 0.5, 0.5) == 1.0
    assert [cost.phase_at(phases, one).flops for one in (0.0, 0.49, 0.5, 1.0)] == [1, 1, 3, 3]


def test_a_critics_weights_are_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, gradients and two moments, and no average; its optimizer in its own steps alone."""
    monkeypatch.setattr(cost, "speed", lambda *_: 1e30)
    monkeypatch.setattr(cost, "seconds_per_parameter", lambda *_: 1e-9)
    recipe = critical(0.5)
    task = task_on_meta(recipe, "upsampler_1024", torch.float32)
    (net, config), (critic, own) = task.learners(recipe.trained["upsampler_1024"]).values()
    found = estimate(recipe, "upsampler_1024", CPU)
    assert state_bytes(critic, own, False) == 4 * 4 * parameter_count(critic) > 1e6
    frozen = 4 * sum(map(parameter_count, task.frozen))
    assert found.state_bytes == state_bytes(net, config) + state_bytes(critic, own, False) + frozen
    steps = 10 * parameter_count(net) + 5 * parameter_count(critic)
    assert found.seconds == pytest.approx(1e-9 * steps, rel=1e-3)


def test_a_critic_that_learns_features_is_a_network_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cost, "speed", lambda *_: 1e12)
    monkeypatch.setattr(cost, "seconds_per_parameter", lambda *_: 0.0)
    alone = ["stages.decoder.sampling.guidance_scale=1", "stages.decoder.train.steps=1"]
    kinds = [f"{{kind='adversarial',critic='{one}'}}" for one in ("patches", "features")]
    recipes = [load_recipe("tiny", [*alone, f"stages.decoder.objective={one}"]) for one in kinds]
    tasks = [task_on_meta(one, "decoder", torch.float32) for one in recipes]
    few, many = (parameter_count(one.critic) for one in tasks)
    patches, features = (estimate(one, "decoder", CPU).state_bytes for one in recipes)
    assert features - patches == 4 * 4 * (many - few)
    assert many > 0.9 * parameter_count(tasks[1].stage), "of which it has a copy"


@pytest.mark.parametrize(("share", "phases"), [(0.25, 2), (1.0, 1)])
def test_an_autoencoders_critic_is_paid_for(share: float, phases: int) -> None:
    setting = f"stages.autoencoder.critic={{share={share}}}"
    task = task_on_meta(load_recipe("emoji-autoencoder", [setting]), "autoencoder", torch.float32)
    found = cost.phase_costs(task, 2, 8)
    assert [one.start for one in found] == [0.0, 0.75][:phases] and found[-1].end == 1.0
    assert [len(one.learning) for one in found] == [1, 2][-phases:]
    assert found[-1].activations.kept > 0
