"""What every stage keeps: its declared fields are true, it learns, it saves, a picture is its own.

A new file in `unclip/stages` is tested by existing; it needs one entry in tests/conftest.py.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unclip.checkpoints.native import load_stage, save_stage
from unclip.errors import Cancelled, SamplingError, UsageError
from unclip.facade import Pipeline
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import BatchRng, Rng
from unclip.stages import STAGES, DiffusionStage, Stage, on_meta
from unclip.stages.decoder import Decoder
from unclip.stages.model import Model
from unclip.train.blocks import checkpoint_blocks
from unclip.train.data import size_step
from unclip.types import Cond, Step

SEEDS = [5, 6, 7]
IDLE = {"clip": {"text.padding"}}  # stands behind the end of text, where a causal encoder ends


TEXT = {"width": 16, "depth": 1, "heads": 2, "vocab_size": 320, "context": 8}
DROPPED = {"drop_text": 0.3, "drop_image": 0.3}  # so that their nulls are trained
CONDITIONAL: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "upsampler of text and z_i": (
        "upsampler",
        {"text": TEXT, "embed_dim": 16, "attention": [8], "head_dim": 32},
        DROPPED,
    ),
    "decoder of latents": (
        "decoder",
        {"image_size": 4, "in_channels": 4, "out_channels": 4, "attention": [2], "norm": "layer"},
        {
            "autoencoder": {"latent_channels": 4, "space_to_depth": 2, "channels": [16]},
            "parameterization": {"kind": "x0"},
        },
    ),
    "upsampler of CLIP's text": (
        "upsampler",
        {"clip_text": {"embed_dim": 16, "width": 16}, "attention": [8], "head_dim": 32},
        {},
    ),
    "laion_upsampler of text and z_i": (
        "laion_upsampler",
        {"embed_dim": 16, "text_width": 16, "context": 8, "attention": [False, True]},
        DROPPED,
    ),
    "decoder of patches": (
        "decoder",
        {
            "kind": "dit",
            "image_size": 8,
            "patch_size": 4,
            "width": 32,
            "depth": 2,
            "heads": 2,
            "embed_dim": 16,
            "text": TEXT,
        },
        {**DROPPED, "parameterization": {"kind": "x0"}, "objective": {"flow": {}}},
    ),
}
"""Stages that can read more than their kind's tiny configuration does, or are of another network:
kind, network, settings."""

NOT_IN_THE_LOSS = {"x_clip": {"text_mask"}}  # it hides padding among the encodings alone


@pytest.fixture(params=[*STAGES.names(), *CONDITIONAL])
def stage(request: pytest.FixtureRequest, make_stage: Callable[..., Stage]) -> Stage:
    kind, network, settings = CONDITIONAL.get(request.param, (request.param, {}, {}))
    plain: Any = make_stage(kind)
    if not network:
        return plain  # type: ignore[no-any-return]
    usual = {} if "kind" in network else plain.config.network.dump()
    return make_stage(kind, network={**usual, **network}, **settings)


@pytest.fixture
def cond(stage: Stage, make_cond: Callable[..., Cond]) -> Cond:
    """What the stage consumes and not a field more, for three samples."""
    return only(make_cond(3), stage.consumes)


@pytest.fixture
def lesson(stage: Stage, make_cond: Callable[..., Cond]) -> Cond:
    """What the stage trains on and not a field more: four smooth pictures and their conditions."""
    cond = make_cond(4)
    size = stage.image_size or (8, 8)
    smooth = F.interpolate(cond.image[..., :2, :2], size, mode="bilinear")  # type: ignore[index]
    if "latents" in stage.trains_on:
        cond = cond.replace(latents=stage.space.encode(smooth))  # type: ignore[attr-defined]
    return only(cond.replace(image=smooth), stage.trains_on)


def only(cond: Cond, names: frozenset[str]) -> Cond:
    unknown = names - {field.name for field in fields(Cond)}
    assert not unknown, f"no such fields of Cond: {unknown}"
    return Cond(**{name: value for name, value in cond.items() if name in names})


def produced(stage: Stage, cond: Cond, seeds: list[int] = SEEDS, **more: Any) -> dict[str, Tensor]:
    after = stage.sample(cond, Rng(seeds), **more)
    return {name: value for name, value in after.items() if name in stage.produces}


def is_random(stage: Stage) -> bool:
    """Whether it has settings of how to draw, and so something to draw."""
    return "sampling" in type(stage).Config.model_fields


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)


def test_consumes_is_enough_and_produces_is_all_that_changes(stage: Stage, cond: Cond) -> None:
    after = dict(stage.sample(cond, Rng(SEEDS)).items())
    before = dict(cond.items())
    assert set(before) == stage.consumes
    assert set(after) == stage.consumes | stage.produces
    changed = {name for name, value in after.items() if value is not before.get(name)}
    assert changed == stage.produces
    assert all(len(value) == 3 and value.isfinite().all() for value in after.values())


def test_blocks_that_are_computed_again_change_no_gradient(stage: Stage, lesson: Cond) -> None:
    """Activation checkpointing; a stage without blocks has nothing to compute again."""

    def learned(stage: Stage) -> tuple[Tensor, list[Tensor]]:
        torch.manual_seed(0)
        loss = stage.loss(lesson, BatchRng(0, 4))[0].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss, [torch.zeros(()) if p.grad is None else p.grad for p in stage.net.parameters()]

    for weight in stage.net.parameters():  # zeros would hide what is behind them
        weight.data.add_(0.02 * torch.randn(weight.shape))
    again = stage.with_net(copy.deepcopy(stage.net))
    checkpoint_blocks(again.net)
    (loss, plain), (same, computed) = learned(stage.train()), learned(again.train())
    assert same.item() == pytest.approx(loss.item(), rel=1e-6)
    for one, other in zip(plain, computed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_weights_that_are_not_numbers_end_in_an_error_that_names_the_stage(
    stage: Stage, cond: Cond, tokenizer: Tokenizer
) -> None:
    for weight in stage.net.parameters():
        weight.data.fill_(torch.nan)
    pipe = Pipeline(Model(tokenizer, {"mine": stage}))
    with pytest.raises(SamplingError, match=r"^stage 'mine' gave .* not finite") as at:
        pipe.fold(cond, Rng(SEEDS))
    if isinstance(stage, DiffusionStage):
        assert f"at step 1 of {stage.config.sampling.steps}:" in str(at.value)


@pytest.mark.parametrize("step", [2, 3])
def test_an_overflow_names_its_step_whatever_clamps_it(stage: Stage, cond: Cond, step: int) -> None:
    if not isinstance(stage, DiffusionStage):
        pytest.skip("it has no steps")
    calls = iter(range(1, 10))

    def overflow(_: Any, __: Any, out: Tensor) -> Tensor:
        return out * torch.inf if next(calls) == step else out

    stage.net.register_forward_hook(overflow)
    with pytest.raises(SamplingError, match=rf"at step {step} of {stage.config.sampling.steps}:"):
        stage.sample(cond, Rng(SEEDS))


def test_every_consumed_field_matters(stage: Stage, cond: Cond) -> None:
    plain = produced(stage, cond)
    for name, value in cond.items():
        flipped = produced(stage, cond.replace(**{name: value.flip(0)}))
        assert not close(plain, flipped), f"{name} changes nothing"


def test_a_sample_depends_on_its_own_seed_and_condition_alone(stage: Stage, cond: Cond) -> None:
    together = produced(stage, cond)
    for index, seed in enumerate(SEEDS):
        one = cond.map(lambda value, i=index: value[i : i + 1])  # type: ignore[misc]
        alone = produced(stage, one, [seed])
        assert close({n: v[index : index + 1] for n, v in together.items()}, alone)
    turned = produced(stage, cond.map(lambda value: value.flip(0)), SEEDS[::-1])
    assert close({name: value.flip(0) for name, value in together.items()}, turned)


def test_a_seed_makes_a_sample_where_anything_is_random(stage: Stage, cond: Cond) -> None:
    first, again, other = (produced(stage, cond, s) for s in (SEEDS, SEEDS, [8, 9, 10]))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert close(first, other) != is_random(stage)


@pytest.fixture
def usual(stage: Stage, cond: Cond) -> dict[str, Tensor]:
    """What it makes while PyTorch's defaults are its own."""
    return produced(stage, cond)


def test_defaults_of_pytorch_change_nothing(
    stage: Stage, cond: Cond, usual: dict[str, Tensor], changed_defaults: None
) -> None:
    again = produced(stage, cond)
    assert all(torch.equal(again[name], value) for name, value in usual.items())


def test_sampling_leaves_its_condition_alone(stage: Stage, cond: Cond) -> None:
    before = {name: value.clone() for name, value in cond.items()}
    stage.sample(cond, Rng(SEEDS))
    assert all(torch.equal(value, before[name]) for name, value in cond.items())


def test_every_step_is_told_and_can_end_the_work(stage: Stage, cond: Cond) -> None:
    steps: list[Step] = []
    stage.sample(cond, Rng(SEEDS), on_step=steps.append)
    if not is_random(stage):
        assert steps == []
        return
    count = stage.config.sampling.steps if isinstance(stage, DiffusionStage) else steps[0].total
    assert [(s.stage, s.index, s.total) for s in steps] == [
        (stage.kind, index, count) for index in range(1, count + 1)
    ]

    def cancel(step: Step) -> None:
        steps.append(step)
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        stage.sample(cond, Rng(SEEDS), on_step=cancel)
    assert len(steps) == count + 1


def test_settings_override_defaults_and_bad_ones_are_named(stage: Stage, cond: Cond) -> None:
    if not isinstance(stage, DiffusionStage):
        return
    steps: list[Step] = []
    settings = {"steps": 2, "guidance_scale": None, "sampler": "ddim"}
    changed = produced(stage, cond, sampling=settings, on_step=steps.append)
    assert len(steps) == 2
    assert not close(changed, produced(stage, cond))
    for bad, message in (
        ({"stepz": 2}, r"unknown setting 'sampling.stepz' \(did you mean 'steps'\?\)"),
        ({"steps": 0}, "'sampling.steps' must be at least 1"),
        ({"sampler": "ddmp"}, r"unknown sampler 'ddmp' \(did you mean 'ddpm'\?\)"),
    ):
        with pytest.raises(UsageError, match=message):
            stage.sample(cond, Rng(SEEDS), bad)


def test_the_loss_is_one_number_a_sample(stage: Stage, lesson: Cond) -> None:
    loss, metrics = stage.loss(lesson, BatchRng(0, 4))
    assert loss.shape == (4,)
    assert loss.isfinite().all()
    assert all(value.shape in ((), (4,)) for value in metrics.values())
    again, _ = stage.loss(lesson, BatchRng(0, 4))
    assert torch.equal(loss, again)


def test_a_decoder_learns_from_pictures_that_are_no_squares(stage: Stage, lesson: Cond) -> None:
    """Those of an aspect bucket, with sides that are multiples of what it says."""
    if not isinstance(stage, Decoder):
        pytest.skip("buckets are a decoder's")
    fields = [name for name in ("image", "latents") if getattr(lesson, name) is not None]
    step = size_step(stage)
    size = stage.image_size
    for name in fields:
        value = getattr(lesson, name)
        factor = size[0] // value.shape[-2]
        wide = torch.cat([value, value[..., : 2 * step // factor]], -1)
        lesson = lesson.replace(**{name: wide})
    loss, _ = stage.loss(lesson, BatchRng(0, 4))
    assert loss.shape == (4,) and loss.isfinite().all()


def test_the_loss_depends_on_each_condition(stage: Stage, lesson: Cond) -> None:
    """Some seeds hide a condition; not every one does."""
    for name, value in lesson.items():
        if name in NOT_IN_THE_LOSS.get(stage.kind, set()):
            continue
        other = lesson.replace(**{name: value.flip(0)})
        with torch.no_grad():
            pairs = [
                [stage.loss(cond, BatchRng(seed, 4))[0] for cond in (lesson, other)]
                for seed in range(4)
            ]
        assert any(not torch.allclose(one, two, rtol=1e-5) for one, two in pairs), name


def test_every_weight_is_trained(stage: Stage, lesson: Cond) -> None:
    idle = {name for name, p in stage.net.named_parameters() if p.requires_grad}
    for step in range(8):  # a null is trained only where a condition happens to be dropped
        stage.net.zero_grad()
        stage.loss(lesson, BatchRng(step, 4))[0].mean().backward()
        idle -= {n for n, p in stage.net.named_parameters() if p.grad is not None and p.grad.any()}
    assert idle == IDLE.get(stage.kind, set())


def test_it_learns_one_batch_by_heart(stage: Stage, lesson: Cond) -> None:
    """With another set of noise than it was trained on."""

    def measured() -> float:
        with torch.no_grad():
            losses = [stage.loss(lesson, BatchRng(f"test/{i}", 4))[0].mean() for i in range(16)]
        return float(torch.stack(losses).mean())

    torch.manual_seed(0)
    before = measured()
    optimizer = torch.optim.Adam(stage.net.parameters(), lr=3e-3)
    for step in range(45):
        optimizer.zero_grad()
        stage.loss(lesson, BatchRng(step, 4))[0].mean().backward()
        optimizer.step()
    assert measured() < before / 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_saved_and_loaded_it_is_the_same(
    stage: Stage, cond: Cond, dtype: torch.dtype, tmp_path: Path
) -> None:
    save_stage(tmp_path / "it", stage, dtype)
    loaded = load_stage(tmp_path, "it")
    assert type(loaded) is type(stage)
    assert loaded.config == stage.config  # type: ignore[attr-defined]
    assert not loaded.training
    mine, theirs = stage.net.state_dict(), loaded.net.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert theirs[name].dtype == torch.float32
        assert torch.equal(theirs[name], value.to(dtype).float())
    if dtype == torch.float32:
        ours, its = produced(stage, cond), produced(loaded, cond)
        assert all(torch.equal(ours[name], its[name]) for name in ours)


def test_its_configuration_survives_json_and_names_mistakes(stage: Stage) -> None:
    config: Any = stage.config  # type: ignore[attr-defined]
    values = json.loads(json.dumps(config.dump()))
    assert values["kind"] == stage.kind
    assert type(config).parse(values) == config
    values["network"]["widht"] = 3
    with pytest.raises(UsageError, match=r"unknown setting 'stages\.it\.network\.widht'"):
        type(config).parse(values, "stages.it")


def test_a_share_above_1_is_an_error_that_names_its_field(stage: Stage) -> None:
    """As of samples that lose their text: 30 for 30 % would hide every text."""
    config: Any = stage.config  # type: ignore[attr-defined]
    shares = [one for one in config.dump() if one.startswith("drop_") or one.endswith("_share")]
    for name, wrong in product(shares, (30.0, -0.1)):
        with pytest.raises(UsageError, match=rf"'stages\.it\.{name}' must be .*, got {wrong:g}"):
            type(config).parse({**config.dump(), name: wrong}, "stages.it")


def test_it_can_be_measured_without_memory(stage: Stage) -> None:
    twin = on_meta(stage.config)  # type: ignore[attr-defined]
    shapes = {name: value.shape for name, value in twin.net.state_dict().items()}
    assert shapes == {name: value.shape for name, value in stage.net.state_dict().items()}
    assert {value.device.type for value in twin.net.state_dict().values()} == {"meta"}
