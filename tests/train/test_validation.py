"""The loss on held out pictures: the same levels and noise each time, and the best state kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unclip.data import IndexedSource, Sample, Source
from unclip.errors import OutputError, TrainingError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.train.budget import Pacer
from unclip.train.clock import Clock
from unclip.train.collate import Collate
from unclip.train.config import TrainConfig
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.section import by_position
from unclip.train.state import Best, best_state, load_state, mark_best, saved_states, step_of
from unclip.train.trainer import Trainer
from unclip.train.validation import Pairs, Validation, ValidationConfig

Make = Callable[..., Trainer]


@pytest.fixture
def measured(make_trainer: Make, tokenizer: Tokenizer) -> Make:
    """A trainer that measures every other step, on samples far away in the stream."""

    def make(kind: str = "prior", folder: str = "states", levels: int = 3, **more: Any) -> Trainer:
        trainer = make_trainer(kind, folder, **more)
        config = ValidationConfig(share=0.1, every=2, levels=levels)
        pairs = Pairs(trainer.loader.source, range(500, 507))  # type: ignore[arg-type]
        collate = trainer.task.collate(tokenizer)
        trainer.validation = Validation(config, pairs, trainer.task, collate, 4, torch.float32)
        return trainer

    return make


@pytest.mark.parametrize("kind", ["clip", "prior", "ar_prior", "decoder", "upsampler"])
def test_it_changes_nothing_of_the_training(
    kind: str, measured: Make, make_trainer: Make, notes: Any
) -> None:
    with_it, without = measured(kind, "with"), make_trainer(kind, "without")
    with_it.run(notes)
    without.run(notes)
    assert [step for step, _ in notes.validated_at] == [2, 4, 6]
    one, other = with_it.net.state_dict(), without.net.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_same_network_has_the_same_loss_and_another_one_another(
    measured: Make, notes: Any
) -> None:
    trainer = measured("decoder", learning_rate=1e-2)
    assert trainer.validation is not None
    first = trainer.validation.measure(trainer.averaged())
    assert trainer.validation.measure(trainer.averaged()) == first
    assert list(first) == ["validation", *(f"validation_level_{n}" for n in (1, 2, 3))]
    assert first["validation"] == pytest.approx(sum(list(first.values())[1:]) / 3)
    again = measured("decoder", "again", learning_rate=1e-2)
    assert again.validation is not None
    assert again.validation.measure(again.averaged()) == first
    trainer.run(notes)
    assert trainer.validation.measure(trainer.averaged()) != first


def test_it_is_the_error_of_eps_at_each_level(measured: Make, make_stage: Any) -> None:
    """A network that always says 0: the mean of eps², 1 at every level."""
    trainer = measured("decoder", levels=4)
    assert trainer.validation is not None
    stage: Any = trainer.averaged()
    stage.config = stage.config.model_copy(
        update={"parameterization": type(stage.config.parameterization)(kind="eps")}
    )
    for parameter in stage.net.parameters():
        parameter.zero_()
    values = trainer.validation.measure(stage)
    assert list(values.values()) == pytest.approx([1.0] * 5, rel=0.1)


def test_levels_are_told_from_each_other(measured: Make) -> None:
    """Of x0 from little noise to much: a network that says 0 is as wrong at all of them.

    One that says v = 0 predicts x0 = alpha x_t, which is worse the noisier x_t is.
    """
    trainer = measured("decoder", levels=4)
    assert trainer.validation is not None
    seen: list[float] = []
    stage: Any = trainer.averaged()
    net = stage.net.forward

    def spy(x: Tensor, t: Tensor, *rest: Any) -> Tensor:
        seen.append(float(t.float().unique()))
        return net(x, t, *rest)

    stage.net.forward = spy
    trainer.validation.measure(stage)
    assert len(seen) == 4 * 2, "two batches of 4 and 3"
    assert seen[:4] == sorted(set(seen)), "one level at a time, from the least noisy on"


def test_the_best_state_is_kept_and_pointed_to(measured: Make, notes: Any) -> None:
    trainer = measured(steps=12)
    losses = iter([5.0, 3.0, 4.0, 3.5, 3.1, 3.05])
    trainer.validation.measure = lambda stage: {"validation": next(losses)}  # type: ignore
    trainer.run(notes)
    best = best_state(trainer.folder)
    assert best is not None and (best.step, best.loss) == (4, 3.0)
    assert [step_of(path) for path in saved_states(trainer.folder)] == [4, 12]
    assert notes.saves == [2, 4, 12]
    assert load_state(saved_states(trainer.folder)[0]).values["step"] == 4


def test_what_could_not_be_saved_is_not_the_best(measured: Make, notes: Any) -> None:
    trainer = measured(steps=6)
    losses, write = iter([5.0, 3.0, 4.0]), trainer.keeper.store.write

    def full(state: Any) -> Path:
        if trainer.step == 4:
            raise OutputError("no room")
        return write(state)

    trainer.keeper.store.write = full  # type: ignore[method-assign]
    trainer.validation.measure = lambda stage: {"validation": next(losses)}  # type: ignore
    trainer.run(notes)
    best = best_state(trainer.folder)
    assert best is not None and (best.step, best.loss) == (6, 4.0)


def test_a_stream_without_random_access_is_refused() -> None:
    class Tar(Source):
        def __iter__(self) -> Any: ...
        def captions(self, count: int) -> Any: ...

    with pytest.raises(UsageError, match=r"not a stream: name a folder of pictures"):
        by_position(Tar())


def test_pictures_of_several_sizes_are_measured_in_batches_of_one(tokenizer: Tokenizer) -> None:
    class Mixed(IndexedSource):
        def sample(self, position: int) -> Sample:
            image = np.full((2 + position % 2, 4, 3), position, np.uint8)
            return {"image": image, "caption": "a dog"}

        def captions(self, count: int) -> Any: ...

    collate = Collate(tokenizer, ("image",), null=False)
    batches = Pairs(Mixed(), range(7)).batches(collate, 3)
    seen = [batch["image"][:, 0, 0, 0].tolist() for batch in batches]
    assert seen == [[0, 2, 4], [6], [1, 3, 5]]


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ("{path='x'}", r"validation\.data\.source' is missing"),
        ("{sorce='folder', path='x'}", r"unknown setting 'validation\.data\.sorce'"),
        ("{source='folder', pth='x'}", r"unknown setting 'validation\.data\.pth'"),
        ("{source='folder', path='x', crop='middle'}", r"validation\.data\.crop' must be"),
        ("{source='folder', path='x', max_skipped=2}", r"validation\.data\.max_skipped' must be"),
    ],
)
def test_data_of_its_own_are_checked_with_the_recipe(data: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        load_recipe("tiny", [f"validation={{data={data}}}"])


def test_data_of_its_own_may_be_described_as_the_data_are() -> None:
    whole = "{source='folder', path='x', flip=true, buckets=true, max_skipped=0.1}"
    assert load_recipe("tiny", [f"validation={{data={whole}}}"]).settings.validation


@pytest.mark.parametrize(
    "objective", ["{simsiam={}}", "{mlm={}}", "{infonce={weight=0},simsiam={}}"]
)
def test_losses_with_weights_of_their_own_are_measured(
    objective: str, tmp_path: Path, notes: Any
) -> None:
    short = {"steps": 3, "batch_size": 4, "workers": 0, "precision": "'float32'"}
    settings = [f"stages.clip.train.{k}={v}" for k, v in short.items()]
    settings += [f"stages.clip.objective={objective}"]
    settings += ["validation={share=0.1,pairs=4,every=1}"]
    weights = []
    for measures in (True, False):
        run = Run(load_recipe("tiny", settings), tmp_path / str(measures), torch.device("cpu"))
        run.begin(resume=False)
        trainer = run.trainer("clip")
        trainer.validation = trainer.validation if measures else None
        trainer.run(notes)
        heads = trainer.learners["heads_"].net
        weights.append([*trainer.net.state_dict().values(), *heads.state_dict().values()])
        run.end()
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    assert [step for step, _ in notes.validated_at] == [1, 2, 3]
    assert all(np.isfinite(values["validation"]) for _, values in notes.validated_at)


def test_conditions_wait_on_the_cpu_and_say_what_they_are_of(measured: Make) -> None:
    one, same, other = (measured("decoder", name) for name in ("one", "same", "other"))
    other.validation.pairs = Pairs(other.loader.source, range(501, 508))  # type: ignore
    for trainer in (one, same, other):
        trainer.validation.measure(trainer.averaged())  # type: ignore[union-attr]
    names = [trainer.validation.measured for trainer in (one, same, other)]  # type: ignore
    assert names[0] and names[0] == names[1] != names[2]


def test_conditions_are_moved_to_where_the_network_is(measured: Make) -> None:
    """A network on another device, `meta`, gets them there, and none stays."""
    trainer = measured("decoder")
    validation = trainer.validation
    assert validation is not None
    validation.measure(trainer.averaged())
    assert {value.device.type for cond in validation._conds for _, value in cond.items()} == {"cpu"}
    seen: list[str] = []

    def spy(stage: Stage, cond: Any, rng: Any) -> Any:
        seen.extend(value.device.type for _, value in cond.items())
        return torch.zeros(len(cond)), {}

    validation.task.loss_of = spy  # type: ignore[method-assign]
    validation.measure(copy.deepcopy(trainer.task.stage).to("meta"))
    assert set(seen) == {"meta"}


def test_the_best_of_other_pictures_is_not_compared_with(measured: Make, notes: Any) -> None:
    trainer = measured(steps=2)
    trainer.run(notes)
    best = best_state(trainer.folder)
    assert best is not None and best.measured
    mark_best(trainer.folder, Best(2, -1.0, "others"))
    again = measured(steps=4)
    assert again.resume()
    again.run(notes)
    found = best_state(again.folder)
    assert found is not None and (found.step, found.measured) == (4, best.measured)


def test_what_was_trained_on_is_not_held_out_later(measured: Make, notes: Any) -> None:
    def held(share: float) -> Trainer:
        trainer = measured(steps=2)
        assert trainer.validation is not None
        of = trainer.validation.config.model_copy(update={"share": share})
        trainer.validation.config = of
        return trainer

    held(0.1).run(notes)
    assert held(0.1).resume() and held(0.05).resume()
    with pytest.raises(TrainingError, match=r"validation\.share was 0\.1 and is 0\.2"):
        held(0.2).resume()


class Hand(Clock):
    """A clock that is moved by hand."""

    time = 0.0

    def now(self) -> float:
        return self.time


def test_validation_is_no_step_and_saves_no_state_twice(measured: Make, notes: Any) -> None:
    """Steps of 1 s, every other one measured in 6 s, a state due after 5: in 100 s 25 steps."""
    clock, told = Hand(), list[int]()
    trainer = measured(steps=90, clock=clock, checkpoint_minutes=5 / 60)

    def passing(*_: object) -> None:
        clock.time += 1

    def measure(stage: Stage) -> dict[str, float]:
        clock.time += 6
        return {"validation": -clock.time}

    def tell(steps: int) -> TrainConfig:
        told.append(steps)
        return trainer.config.model_copy(update={"steps": steps})

    trainer.task.register_forward_hook(passing)
    trainer.validation.measure = measure  # type: ignore
    trainer.pacing.pacer = Pacer(100.0, tell)
    trainer.run(notes)
    assert 85 <= trainer.seconds <= 100
    assert all(abs(steps - trainer.step) <= 4 for steps in told[1:]), told
    assert len(set(notes.saves)) >= len(notes.saves) - 1, "the last state alone may be new"


def test_what_learns_from_a_critic_has_no_best_state_and_is_told_so(tmp_path: Path) -> None:
    run = Run(load_recipe("gan", ["validation.share=0.1"]), tmp_path / "run", torch.device("cpu"))
    told: list[str] = []
    run.warn = told.append
    run.begin(resume=False)
    assert run.untrained("decoder").validation is None
    why = "it learns from a critic, and from no teacher"
    assert told == [f"'decoder' has no validation loss: {why}"]
    with pytest.raises(TrainingError, match=f"'decoder' in .* has no best state: {why}"):
        run.export_best("decoder")
    with pytest.raises(
        TrainingError, match=r"'clip' in .* has no best state: train with a setting"
    ):
        run.export_best("clip")
    run.end()


@pytest.mark.parametrize("setting", ["share=0.1,data={source='shapes'}", "pairs=3"])
def test_a_share_or_data_of_its_own(setting: str) -> None:
    with pytest.raises(UsageError, match="needs a share of the data, or data of its own"):
        load_recipe("tiny", [f"validation={{{setting}}}"])


def test_a_recipe_holds_out_and_its_best_becomes_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: Any
) -> None:
    short = {"steps": 4, "batch_size": 2, "workers": 0}
    settings = [f"stages.upsampler.train.{k}={v}" for k, v in short.items()]
    settings.append("validation={share=0.1,pairs=4,every=1,levels=2}")
    run = Run(load_recipe("tiny", settings), tmp_path / "run", torch.device("cpu"))
    run.begin(resume=False)
    trainer = run.trainer("upsampler")
    losses, measure = iter([2.0, 1.0, 3.0, 4.0]), trainer.validation.measure  # type: ignore
    held: dict[int, Tensor] = {}

    def measuring(stage: Stage) -> dict[str, float]:
        assert measure(stage)["validation"] > 0
        held[trainer.step] = next(stage.net.parameters()).detach().clone()
        return {"validation": next(losses)}

    monkeypatch.setattr(trainer.validation, "measure", measuring)
    trainer.run(notes)
    assert run.export_best("upsampler").step == 2
    from unclip.checkpoints.native import load_stage

    taken = next(load_stage(run.model, "upsampler").net.parameters())
    assert torch.allclose(taken, held[2], atol=1e-2)
    assert not torch.equal(held[2], held[4])
    distance = [float((taken - held[step]).abs().max()) for step in (2, 4)]
    assert distance[0] < distance[1]
