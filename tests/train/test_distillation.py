"""A student of a tiny decoder, with and without a critic."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.errors import TrainingError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import BatchRng, Rng
from unclip.stages import Stage
from unclip.train.adversarial import AdversarialTask, differs
from unclip.train.config import TrainConfig
from unclip.train.distillation import ConsistencyTask
from unclip.train.ema import Ema
from unclip.train.loader import Loader
from unclip.train.optim import Learner
from unclip.train.state import best_state
from unclip.train.trainer import Trainer
from unclip.train.validation import Pairs, Validation, ValidationConfig
from unclip.types import Cond, Prediction

CONSISTENCY = {"kind": "consistency", "levels": 8, "strides": [[0, 2], [0.5, 1]]}
ADVERSARIAL = {**CONSISTENCY, "kind": "adversarial", "teacher": "decoder"}
OWN = {**CONSISTENCY, "own_share": 0.5}
LARGER = {"image_size": 16, "channels": 32, "multipliers": [1], "depth": 1, "embed_dim": 16}
ALONE = {"kind": "adversarial", "noise_share": 1.0}
LATER = {**ADVERSARIAL, "critic_from": 0.5}

MakeTask = Callable[..., Any]


@pytest.fixture
def make_task(make_stage: Callable[..., Stage]) -> MakeTask:
    """`make_task(objective, teacher={...}, **student settings)`, the same weights for both."""

    def make(objective: dict[str, Any], teacher: Any = None, **changes: Any) -> Any:
        one = make_stage("decoder", **(teacher or {}))
        sampling = {"steps": 3, "guidance_scale": 1.0, "threshold": "clamp"}
        other = make_stage("decoder", objective=objective, sampling=sampling, **changes)
        for stage in (one, other):  # a path that is smoother than random weights draw it
            stage.net.conv_out.weight.data.mul_(0.3)
        kind = AdversarialTask if objective["kind"] == "adversarial" else ConsistencyTask
        return kind(other, make_stage("clip"), None, one if objective.get("teacher", 1) else None)

    return make


@pytest.fixture
def make_trainer(tokenizer: Tokenizer, speckles: Any, tmp_path: Path) -> Callable[..., Trainer]:
    """`make_trainer(task, folder, **train settings)`."""

    def make(task: Any, folder: str = "states", **settings: Any) -> Trainer:
        usual = {"steps": 4, "batch_size": 4, "warmup": 1, "workers": 0, "precision": "float32"}
        config = TrainConfig.parse({**usual, **settings})
        loader = Loader(speckles(task.source_size), task.collate(tokenizer), config.batch_at(0), 0)
        return Trainer(task, loader, config, tmp_path / folder)

    return make


def given(task: Any, batch: int = 8) -> Cond:
    """Captions, embeddings and noise for pictures."""
    rng, network = BatchRng("given", batch), task.stage.config.network
    tokens = torch.ones(batch, network.text.context, dtype=torch.long)
    return Cond(
        text_tokens=tokens,
        text_mask=tokens > 0,
        text_embed=torch.nn.functional.normalize(rng.randn(network.embed_dim)),
        image_embed=torch.nn.functional.normalize(rng.randn(network.embed_dim)),
        image=rng.rand(3, *task.stage.image_size) * 2 - 1,
    )


def drawn(stage: Stage, cond: Cond, **sampling: Any) -> Tensor:
    image = stage.sample(cond, Rng(list(range(len(cond)))), sampling).image
    assert image is not None
    return image


@pytest.mark.timeout(600)
def test_the_student_comes_closer_than_as_few_steps_of_its_teacher(make_task: MakeTask) -> None:
    task = make_task(CONSISTENCY, drop_text=0.0)
    cond, steps = given(task), 60
    exam = task.exam(cond, 4, BatchRng("exam", 8))
    undistilled = exam.losses(task.stage)
    learner = Learner(task.stage.net, TrainConfig(steps=steps, learning_rate=2e-3, warmup=1))
    ema, losses = Ema(task.stage.net, 0.9), []
    for step in range(steps):
        task.begin(step / steps, ema.average)
        loss, _ = task.loss(cond, BatchRng(step, len(cond)))
        loss.mean().backward()
        learner.clip()
        learner.update(step)
        ema.update(task.stage.net, step)
        losses.append(float(loss.detach().mean()))
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    path = drawn(task.teacher[0], cond, steps=30, eta=0.0)
    few = drawn(task.teacher[0], cond, steps=2, eta=0.0)
    student = drawn(task.stage.with_net(ema.average), cond, steps=1, guidance_scale=1.0)
    assert float((student - path).abs().mean()) < 0.7 * float((few - path).abs().mean())
    learnt = exam.losses(task.stage.with_net(ema.average))  # which is what validation measures
    before, after = (sum(float(one.mean()) for one in each) for each in (undistilled, learnt))
    assert after < 0.85 * before
    assert float(learnt[-1].mean()) < 0.7 * float(undistilled[-1].mean())  # at pure noise


def test_held_out_pictures_tell_a_student_how_far_the_paths_end_is(
    make_task: MakeTask,
    make_trainer: Callable[..., Trainer],
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    notes: Any,
) -> None:
    """Each path is walked once. Who says the end has no loss; the teacher's own weights have."""
    trainer = make_trainer(make_task({**CONSISTENCY, "guidance_scale": 3.0}))
    task, config = trainer.task, ValidationConfig(share=0.1, every=2, levels=3)
    pairs = Pairs(trainer.loader.source, range(500, 507))  # type: ignore[arg-type]
    one = Validation(config, pairs, task, task.collate(tokenizer), 4, torch.float32)
    trainer.validation = one
    teacher = one.measure(trainer.averaged())
    assert list(teacher) == ["validation", *(f"validation_level_{n}" for n in (1, 2, 3))]
    assert min(teacher.values()) > 0
    assert [len(exam.paths.end) for exam in one._exams] == [4, 3]
    monkeypatch.setattr(type(task), "exam", None)  # it is not asked again
    assert one.measure(trainer.averaged()) == teacher
    trainer.run(notes)
    best = best_state(trainer.folder)
    assert [step for step, _ in notes.validated_at] == [2, 4]
    assert best is not None and best.loss == min(v["validation"] for _, v in notes.validated_at)
    ends = iter([exam.paths.end[:, n] for exam in one._exams for n in (2, 1, 0)])

    def says_the_end(x: Tensor, level: Any) -> Prediction:
        return Prediction(next(ends), torch.zeros_like(x))

    student = trainer.averaged()
    monkeypatch.setattr(type(student), "thresholded", lambda *_: says_the_end)
    assert set(one.measure(student).values()) == {0.0}


@pytest.mark.parametrize(("threshold", "most"), [("clamp", 1.0), ("none", 30.0)])
def test_the_paths_end_is_clamped_where_sampling_clamps(
    threshold: str, most: float, make_task: MakeTask
) -> None:
    """An average that says 30 everywhere: pictures end at 1, what has no bounds where it said."""
    task = make_task(CONSISTENCY, {"sampling": {"guidance_scale": 2.0, "threshold": threshold}})
    sampling = task.stage.config.sampling.merge({"threshold": threshold})
    x0 = type(task.stage.config.parameterization)(kind="x0")
    changes = {"sampling": sampling, "parameterization": x0}
    task.stage.config = task.stage.config.model_copy(update=changes)
    average = copy.deepcopy(task.stage.net)
    with torch.no_grad():
        average.conv_out.weight.zero_()
        average.conv_out.bias.fill_(30.0)
    task.begin(0.0, average)
    shown, x = task.training_example(given(task), BatchRng(0, 8))
    part = task.segment(shown, x, BatchRng(1, 8))
    ends = task.end(shown, part)[part.then.sigma > 0]
    assert len(ends) and torch.allclose(ends, torch.full_like(ends, most), atol=1e-4)


def test_the_loss_of_a_student_is_of_the_places_that_count(make_task: MakeTask) -> None:
    """Half of each picture counts: what is left of it there is the loss of that half alone."""
    task = make_task(CONSISTENCY)
    cond = given(task)
    half = torch.zeros(8, 1, *task.stage.image_size)
    half[..., :4] = 1.0
    losses = [
        task.loss(cond.replace(loss_mask=mask), BatchRng(0, 8))[0]
        for mask in (None, half, 1 - half)
    ]
    whole, left, right = losses
    assert torch.allclose(whole, (left + right) / 2, rtol=1e-4)
    assert not torch.allclose(left, right, rtol=1e-2)


@pytest.mark.parametrize(
    ("objective", "measured"),
    [
        (CONSISTENCY, True),
        (ADVERSARIAL, True),
        ({**ADVERSARIAL, "consistency_weight": 0.0}, False),
        ({**ALONE, "teacher": None}, False),
    ],
)
def test_of_a_critic_alone_no_state_is_the_best(
    objective: dict[str, Any], measured: bool, make_task: MakeTask
) -> None:
    task = make_task(objective)
    assert bool(task.unmeasured) != measured and bool(task.examined) == measured


@pytest.mark.parametrize("objective", [CONSISTENCY, ADVERSARIAL, ALONE])
def test_what_is_frozen_stays_as_it_is(
    objective: dict[str, Any],
    make_task: MakeTask,
    make_trainer: Callable[..., Trainer],
    notes: Any,
) -> None:
    task = make_task(objective)
    before = [[p.clone() for p in stage.net.parameters()] for stage in task.frozen]
    assert make_trainer(task).run(notes)
    after = [list(stage.net.parameters()) for stage in task.frozen]
    for old, new in zip(before, after, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
        assert all(p.grad is None for p in new)


@pytest.mark.parametrize("objective", [CONSISTENCY, ADVERSARIAL, ALONE, OWN, LATER])
def test_resuming_is_exact(
    objective: dict[str, Any],
    make_task: MakeTask,
    make_trainer: Callable[..., Trainer],
    notes: Any,
) -> None:
    whole = make_trainer(make_task(objective), "whole")
    whole.run(notes)
    first = make_trainer(make_task(objective), "parts")
    for _ in range(2):
        first.advance()
    first.save()
    second = make_trainer(make_task(objective), "parts")
    assert second.resume()
    second.run(notes)
    assert whole.learners.keys() == second.learners.keys()
    for prefix, learner in whole.learners.items():
        other = dict(second.learners[prefix].net.state_dict())
        assert all(torch.equal(v, other[k]) for k, v in learner.net.state_dict().items())


def test_each_player_has_the_gradient_of_its_own_loss(make_task: MakeTask) -> None:
    def gradients(**weights: float) -> tuple[list[Tensor], list[Tensor]]:
        torch.manual_seed(1)  # of the critic
        task = make_task({**ADVERSARIAL, **weights})
        torch.nn.init.normal_(task.critic.heads[0].out.weight)
        task.loss(given(task), BatchRng(0, 8))[0].mean().backward()
        return tuple(
            [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]
            for net in (task.stage.net, task.critic)
        )  # type: ignore[return-value]

    none = {"consistency_weight": 0.0, "adversarial_weight": 0.0, "clip_weight": 0.0}
    student, critic = gradients()
    idle, alone = gradients(**none)
    assert all(not one.any() for one in idle)
    assert any(one.any() for one in student)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(critic, alone, strict=True))
    by_critic, _ = gradients(**{**none, "adversarial_weight": 1.0})
    assert any(one.any() for one in by_critic)


def test_the_critic_tells_true_pictures_from_made_ones(make_task: MakeTask) -> None:
    task = make_task({**ADVERSARIAL, "adversarial_weight": 0.0})
    task.stage.requires_grad_(False)
    cond = given(task).replace(image=torch.full((8, 3, *task.stage.image_size), 0.9))
    learner = Learner(task.critic, TrainConfig(steps=30, learning_rate=3e-3, warmup=1))
    said = []
    for step in range(30):
        loss, metrics = task.loss(cond, BatchRng(step, 8))
        loss.mean().backward()
        learner.clip()
        learner.update(step)
        said.append({name: float(value.mean()) for name, value in metrics.items()})
    assert abs(said[0]["gap"]) < 0.5
    assert said[-1]["gap"] > 1
    assert said[-1]["critic"] < 0.7 * said[0]["critic"]


def test_a_picture_of_its_own_z_i_has_nothing_to_gain(make_task: MakeTask) -> None:
    """1 - cos is 0 for what CLIP sees in the drawn picture, 2 for the opposite, and is weighed."""
    task = make_task({**ALONE, "critic": "whole", "teacher": None, "mismatch": 0.0})
    cond, rng = given(task), BatchRng("picture", 8)
    shown, _ = task.training_example(cond, rng)
    z_i = task.clip[0].net.encode_image(task.stage.space.decode(cond.image))
    for sign, expected in ((1, 0.0), (-1, 2.0)):
        found = task._unlike(cond.image, shown.replace(image_embed=sign * z_i))["clip_image"]
        assert torch.allclose(found, torch.full((8,), expected), atol=1e-5)
    plain, metrics = task.loss(cond, BatchRng("loss", 8))
    weighed = task.objective.model_copy(update={"embed_weight": 3.0})
    task.stage.config = task.stage.config.model_copy(update={"objective": weighed})
    total, _ = task.loss(cond, BatchRng("loss", 8))
    assert torch.allclose(total - plain, 3 * metrics["clip_image"], atol=1e-5)


def test_almost_true_captions_are_told_apart(make_task: MakeTask) -> None:
    task = make_task(ADVERSARIAL)
    cond = given(task).replace(keep_text=torch.ones(8, dtype=torch.bool))
    tokens = torch.full_like(cond.text_tokens, 2)  # type: ignore[arg-type]
    cond = cond.replace(negative_tokens=tokens, negative_mask=tokens > 0)
    other = task._mismatched(cond, BatchRng(0, 8))
    assert other.text_tokens is not None and other.image_embed is not None
    assert cond.image_embed is not None
    almost = (other.text_tokens == 2).all(1)
    assert 0 < int(almost.sum()) < 8
    own = (other.image_embed == cond.image_embed).all(1)
    assert torch.equal(own, almost)  # the others have another picture's z_i
    assert torch.equal(other.image_embed[~own], cond.image_embed.roll(1, 0)[~own])


def test_a_critic_may_begin_when_a_part_of_the_training_is_done(make_task: MakeTask) -> None:
    """Until then it is as if there were none, and its weights stay as they are."""
    options = {"noise_share": 1.0, "data_weight": 2.0, "teacher": None}
    task = make_task({**ADVERSARIAL, **options, "critic_from": 0.5})
    before, cond = copy.deepcopy(task.critic.state_dict()), given(task)
    learner = Learner(*task.learners(TrainConfig(steps=30, warmup=1))["critic_"])
    task.begin(0.49, task.stage.net)
    loss, metrics = task.loss(cond, BatchRng(0, 8))
    assert set(metrics) == {"data"} and torch.allclose(loss, 2 * metrics["data"])
    loss.mean().backward()
    assert all(one.grad is None for one in task.critic.parameters())
    learner.update(0)
    assert not any(one.state for one in learner.optimizers), "Adam's count begins with it"
    assert all(torch.equal(value, before[name]) for name, value in task.critic.state_dict().items())
    task.begin(0.5, task.stage.net)
    loss, metrics = task.loss(cond, BatchRng(0, 8))
    assert {"adversarial", "critic", "penalty"} < set(metrics)
    loss.mean().backward()
    learner.update(1)
    after = task.critic.state_dict()
    assert not torch.equal(after["patches.0.weight"], before["patches.0.weight"])
    with pytest.raises(UsageError, match="critic_from needs a data_weight, or a teacher"):
        make_task({**ALONE, "critic_from": 0.5})


def test_equal_captions_are_no_mismatch(make_task: MakeTask) -> None:
    cond = given(make_task(ADVERSARIAL))
    assert not differs(cond, cond).any()
    tokens = cond.text_tokens.clone()  # type: ignore[union-attr]
    tokens[3, 1] += 1
    assert differs(cond, cond.replace(text_tokens=tokens)).tolist() == [i == 3 for i in range(8)]
    assert differs(Cond(image=torch.zeros(2, 3, 8, 8)), Cond()).all()


def test_a_critic_that_wins_ends_training(
    make_task: MakeTask, make_trainer: Callable[..., Trainer], notes: Any
) -> None:
    trainer = make_trainer(make_task({**ADVERSARIAL, "largest_gap": 1e-9}), steps=50, log_every=1)
    trainer.task.critic.heads[0].out.bias.data.fill_(0.0)  # type: ignore[union-attr, index]
    with pytest.raises(TrainingError, match=r"the critic wins.*largest_gap"):
        trainer.run(notes)


def test_a_critic_that_diverges_leaves_the_last_good_state(
    make_task: MakeTask, make_trainer: Callable[..., Trainer], notes: Any
) -> None:
    """Without a rival and without a penalty its logits run apart."""
    idle = {"consistency_weight": 0.0, "adversarial_weight": 0.0, "clip_weight": 0.0}
    free = {**ALONE, **idle, "critic": "patches", "critic_rate": 0.01, "penalty": 0.0}
    task = make_task({**free, "mismatch": 0.0, "largest_gap": 1.0})
    given = {"steps": 200, "log_every": 2, "checkpoint_minutes": 1e-9, "clip_grad": 100.0}
    trainer = make_trainer(task, **given)
    with pytest.raises(TrainingError, match=r"the critic wins.*largest_gap"):
        trainer.run(notes)
    failed = trainer.step
    assert all(values["gap"] <= 1.0 for _, values in notes.logged)
    assert trainer.resume()
    assert 0 < trainer.step < failed
    assert all(one.isfinite().all() for one in task.critic.parameters())


@pytest.mark.parametrize(
    ("objective", "teacher", "message"),
    [
        (CONSISTENCY, {"sampling": {"steps": 3, "guidance_scale": 1.0}}, "without guidance"),
        (CONSISTENCY, {"schedule": {"kind": "linear"}}, "need the same schedule"),
        (CONSISTENCY, {"network": LARGER}, r"need the same picture size, got \(8, 8\) and"),
        ({**CONSISTENCY, "teacher": None}, None, "objective.teacher' is missing"),
    ],
)
def test_a_teacher_that_cannot_teach(
    objective: dict[str, Any], teacher: Any, message: str, make_task: MakeTask
) -> None:
    with pytest.raises(UsageError, match=message):
        make_task(objective, teacher)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"guidance_scale": 2.0}, "guidance_scale must be 1, got 2: .*'consistency'"),
        ({"image_guidance_scale": 3.0}, "image_guidance_scale must not be set, got 3: "),
    ],
)
def test_what_was_distilled_is_not_guided_again(
    setting: dict[str, float], message: str, make_task: MakeTask
) -> None:
    stage = make_task(CONSISTENCY).stage
    with pytest.raises(UsageError, match=f"^{message}"):
        stage.check(setting)
    values = stage.config.dump()
    values["sampling"] |= setting
    with pytest.raises(UsageError, match=rf"sampling\.{message}"):
        type(stage.config).parse(values)


JUDGE_ALONE = {**ADVERSARIAL, "consistency_weight": 0.0}


@pytest.mark.parametrize(
    ("objective", "asks"),
    [
        (CONSISTENCY, True),
        (ADVERSARIAL, True),
        (JUDGE_ALONE, False),
        ({**JUDGE_ALONE, "own_share": 0.5}, True),
        ({**ALONE, "teacher": None}, False),
    ],
)
def test_the_average_is_gathered_where_a_step_or_a_measurement_needs_it(
    objective: dict[str, Any],
    asks: bool,
    make_task: MakeTask,
    make_trainer: Callable[..., Trainer],
    notes: Any,
) -> None:
    """Four steps, of which the second and the last are logged, with what the probe then shows."""
    trainer = make_trainer(make_task(objective), log_every=2)
    gathered: list[int] = []
    gather = trainer.engine.average

    def counted(ema: Ema) -> torch.nn.Module:
        gathered.append(trainer.step)
        return gather(ema)

    trainer.engine.average = counted  # type: ignore[method-assign]
    trainer.run(notes)
    assert gathered == ([0, 1, 2, 2, 3, 4] if asks else [2, 4])


@pytest.mark.parametrize("objective", [CONSISTENCY, ADVERSARIAL, ALONE])
def test_a_critic_is_not_divided(objective: dict[str, Any], make_task: MakeTask) -> None:
    task = make_task(objective)
    assert task.whole == ([task.critic] if objective["kind"] == "adversarial" else [])
