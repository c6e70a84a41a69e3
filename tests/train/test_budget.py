"""A budget: arithmetic with speeds that are given, and runs that keep what was worked out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unclip.errors import TrainingError, UsageError
from unclip.train import cost
from unclip.train.activations import Activations
from unclip.train.budget import (
    KEPT,
    Allocation,
    Pacer,
    TimeIsUp,
    by_shares,
    seconds_for,
    steps_within,
)
from unclip.train.clock import Clock
from unclip.train.config import TrainConfig, minutes_of
from unclip.train.measuring import seconds_per_step
from unclip.train.recipe import Recipe, load_recipe
from unclip.train.run import Run
from unclip.train.state import State, load_state, save_state, saved_states
from unclip.train.trainer import Trainer
from unclip.train.world import World

CPU = torch.device("cpu")
NAMES = ("clip", "prior", "decoder", "upsampler")
SPEED = {"clip": 0.01, "prior": 0.02, "decoder": 0.05, "upsampler": 0.1}
"""Seconds a picture that the fake clock lets each stage of `tiny` take."""


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("3h", 180.0),
        ("90m", 90.0),
        ("45min", 45.0),
        ("45", 45.0),
        (45, 45.0),
        (0.5, 0.5),
        (1e-5, 1e-5),
        (" 1.5 hours ", 90.0),
        ("1h30", 90.0),
        ("1h 30min", 90.0),
        ("2 minutes", 2.0),
        ("90s", 1.5),
        ("1h 2m 30 sec", 62.5),
    ],
)
def test_times(text: object, minutes: float) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "3d",
        "h",
        "-3h",
        "0",
        "0h",
        "30 s 4",
        "1e9",
        "inf",
        float("nan"),
        True,
        "3h2h",
        None,
        0,
        -5,
    ],
)
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(
        UsageError, match="such as 3h, 90m, 45min, 20s or plain minutes, got"
    ) as caught:
        minutes_of(text)
    assert repr(text) in str(caught.value)


def test_a_recipe_takes_a_budget_and_keeps_minutes() -> None:
    recipe = load_recipe("tiny", ["budget=1h30m"])
    assert recipe.settings.budget == 90.0
    assert Recipe.parse(recipe.dump()) == recipe
    assert load_recipe("tiny").settings.budget is None
    with pytest.raises(UsageError, match=r"'budget': .* such as 3h.* got 'soon'"):
        load_recipe("tiny", ["budget=soon"])


RAMPED = TrainConfig(batch_size=4, ramp=((10, 8), (20, 2)))


@pytest.mark.parametrize(
    ("config", "seconds", "steps"),
    [
        (TrainConfig(batch_size=4), 0.0, 0),
        (TrainConfig(batch_size=4), 3.999, 0),
        (TrainConfig(batch_size=4), 4.0, 1),
        (TrainConfig(batch_size=4), 41.0, 10),
        (RAMPED, 39.9, 9),
        (RAMPED, 40.0, 10),
        (RAMPED, 40.0 + 7.9, 10),
        (RAMPED, 40.0 + 8.0, 11),
        (RAMPED, 40.0 + 80.0 + 1.9, 20),
        (RAMPED, 40.0 + 80.0 + 2000.0, 1020),
    ],
)
def test_steps_that_fit_by_hand(config: TrainConfig, seconds: float, steps: int) -> None:
    """A step takes a second a picture."""
    assert steps_within(config, float, seconds) == steps


@given(
    ramp=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=4),
    seconds=st.floats(0.1, 500),
    each=st.floats(0.05, 3),
)
def test_the_most_steps_that_fit(ramp: list[tuple[int, int]], seconds: float, each: float) -> None:
    """Against counting: the time of every step is added up one by one."""
    config = TrainConfig(batch_size=3, ramp=tuple(ramp))

    def pace(size: int) -> float:
        return each * (1 + size)

    steps = steps_within(config, pace, seconds)
    counted = sum(pace(config.batch_at(step)) for step in range(steps))
    assert seconds_for(config, pace, steps) == pytest.approx(counted)
    assert counted <= seconds + 1e-4 < counted + pace(config.batch_at(steps)) + 2e-4


def test_sizes_that_are_not_reached_are_not_measured() -> None:
    measured: list[int] = []

    def pace(size: int) -> float:
        measured.append(size)
        return float(size)

    assert steps_within(RAMPED, pace, 30.0) == 7
    assert measured == [4]


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, float]]:
    """Steps take what SPEED says; (stage, batch size, window) of what was measured."""
    asked: list[tuple[str, int, float]] = []

    def pace(trainer: Trainer, size: int, window: float) -> float:
        name = trainer.folder.parent.name
        asked.append((name, size, window))
        return SPEED[name] * size

    monkeypatch.setattr("unclip.train.run.seconds_per_step", pace)
    monkeypatch.setattr("unclip.train.trainer.Ema", lambda *_: None)  # nothing is trained
    monkeypatch.setattr(Clock, "now", lambda _: 0.0)  # measuring takes no time
    return asked


def tiny(*settings: str) -> Recipe:
    sizes = [f"stages.{name}.train.batch_size=4" for name in NAMES]
    return load_recipe("tiny", [*sizes, "tokenizer.captions=50", *settings])


def shared(*weights: float) -> list[str]:
    return [f"stages.{n}.train.share={w}" for n, w in zip(NAMES, weights, strict=True)]


FEW = [f"stages.{name}.train.steps=1" for name in NAMES]
"""A step is a floor that no share is below."""


def make_run(tmp_path: Path, *settings: str) -> Run:
    run = Run(tiny(*settings), tmp_path / "run", CPU)
    run.begin(resume=True)
    return run


def allocate(run: Run) -> dict[str, Allocation]:
    """What the budget gives the stages that have not begun."""
    return run.spending.allocate(run.recipe)


def spend(run: Run, name: str, seconds: float, step: int | None = None) -> None:
    """Let a stage have taken so long, up to its last step or to another one."""
    last = run.recipe.trained[name].steps
    values = {"step": step or last, "seconds": seconds, "seed": 0, "data": {"position": 0}}
    save_state(run.folder / name / "states", State(values))


def test_shares_divide_a_budget(tmp_path: Path, speeds: list[tuple[str, int, float]]) -> None:
    """10 minutes by 1:2:6:1 are 60, 120, 360 and 60 s, of which 97 % are for steps."""
    run = make_run(tmp_path, "budget=10", *shared(1, 2, 6, 1))
    expected = {}
    for name, seconds in zip(NAMES, (60, 120, 360, 60), strict=True):
        each = 4 * SPEED[name]
        steps = int(0.97 * seconds / each + 1e-6)
        own = run.recipe.trained[name].steps
        took = pytest.approx(steps * each)
        expected[name] = Allocation(name, steps, 4 * steps, took, pytest.approx(seconds), own)
    assert allocate(run) == expected
    assert [one.steps for one in expected.values()] == [1455, 1455, 1746, 145]
    assert not any(one.is_little for one in expected.values())
    assert speeds == [(name, 4, pytest.approx(1.5)) for name in NAMES]
    assert allocate(run) == expected, "by the paces of before"
    assert len(speeds) == 4
    assert not (run.folder / "decoder").exists()


def test_a_step_is_measured_for_no_more_than_twenty_seconds(
    tmp_path: Path, speeds: list[tuple[str, int, float]]
) -> None:
    allocate(make_run(tmp_path, "budget=10h", *shared(1, 1, 97, 1)))
    assert [window for _, _, window in speeds] == [20.0] * 4


def test_without_shares_the_recipe_keeps_its_balance(tmp_path: Path, speeds: Any) -> None:
    """Every stage's steps are scaled by the same factor, whatever the budget."""
    run = make_run(tmp_path, "budget=5")
    own = {name: run.recipe.trained[name].steps for name in NAMES}
    cost = sum(4 * SPEED[name] * own[name] for name in NAMES)
    for minutes in (1.0, 30.0):
        run.recipe = run.recipe.with_budget(minutes)
        scaled = 0.97 * 60 * minutes / cost
        for one in allocate(run).values():
            assert abs(one.steps - scaled * own[one.name]) <= 1
    fitted, _ = run.spending.fitted(run.recipe, "clip")
    assert fitted.shares() == {n: pytest.approx(4 * SPEED[n] * own[n]) for n in NAMES}
    assert [name for name, *_ in speeds] == list(NAMES), "each is measured once"


def test_a_ramp_is_in_the_estimate(tmp_path: Path, speeds: Any) -> None:
    """A share of 60 s: 100 steps of 2 pictures take 10 s, and what is left are steps of 8."""
    ramp = ["stages.decoder.train.ramp=[[0, 2], [100, 8]]"]
    run = make_run(tmp_path, "budget=400", *shared(398, 0.5, 1, 0.5), *ramp)
    one = allocate(run)["decoder"]
    steps = 100 + int((0.97 * 60 - 10) / 0.4)
    assert (one.steps, one.samples) == (steps, 200 + 8 * (steps - 100))
    assert one.seconds == pytest.approx(10 + 0.4 * (steps - 100))
    assert [size for name, size, _ in speeds if name == "decoder"] == [2, 8]


def test_every_stage_has_its_floor(tmp_path: Path, speeds: Any) -> None:
    """A tenth of the own 150, 200, 400 and 150 steps takes .6, 1.6, 8 and 6 s, and 3 % more.

    The shares of the last three in 2 minutes are 12 ms each: not a step.
    """
    run = make_run(tmp_path, "budget=2", *shared(9997, 1, 1, 1))
    steps = {name: one.steps for name, one in allocate(run).items()}
    assert [steps[name] for name in NAMES[1:]] == [20, 40, 15]
    left = 120 - (1.6 + 8 + 6) / 0.97
    assert steps["clip"] == int(0.97 * left / 0.04 + 1e-6)
    assert run.spending.budget.enough(run.recipe) == pytest.approx(16.2 / 0.97 / 60)


def test_where_not_all_floors_fit_all_are_shortened_alike(tmp_path: Path, speeds: Any) -> None:
    run = make_run(tmp_path, f"budget={0.5 * 16.2 / 0.97 / 60}", *shared(1, 2, 6, 1))
    plan = allocate(run)
    assert [one.steps for one in plan.values()] == [7, 10, 20, 7]
    assert all(one.is_little for one in plan.values())


def test_the_budget_of_all_own_steps(tmp_path: Path, speeds: Any) -> None:
    """150, 200, 400, 150 steps take 6, 16, 80, 60 s; the upsampler's share of a tenth decides."""
    run = make_run(tmp_path, "budget=1", *shared(1, 2, 6, 1))
    allocate(run)
    minutes = run.spending.budget.whole(run.recipe)
    assert minutes == pytest.approx(600 / 0.97 / 60)
    run.recipe = run.recipe.with_budget(minutes + 1e-6)
    plan = allocate(run)
    assert plan["upsampler"].steps == 150
    assert all(one.steps >= one.own for one in plan.values())


@given(
    shares=st.lists(st.floats(0.01, 100), min_size=1, max_size=5),
    floors=st.lists(st.floats(0.1, 100), min_size=5, max_size=5),
    seconds=st.floats(0.1, 500),
)
def test_time_is_divided_whole_by_shares_above_floors(
    shares: list[float], floors: list[float], seconds: float
) -> None:
    names = [f"stage {number}" for number in range(len(shares))]
    by = dict(zip(names, shares, strict=True))
    least = dict(zip(names, floors, strict=False))
    given = by_shares(seconds, by, least)
    assert sum(given.values()) == pytest.approx(seconds)
    if sum(least.values()) > seconds:
        parts = [given[name] / least[name] for name in names]
        assert parts == pytest.approx([seconds / sum(least.values())] * len(names))
        return
    assert all(given[name] >= least[name] * (1 - 1e-9) for name in names)
    above = [given[n] / by[n] for n in names if given[n] > least[n] * (1 + 1e-6)]
    assert above == pytest.approx(above[:1] * len(above)), "what is above its floor is by shares"


@pytest.mark.parametrize(("took", "left"), [(60.0, 540.0), (30.0, 570.0), (300.0, 300.0)])
def test_what_a_stage_leaves_or_overruns_goes_to_the_later_ones(
    took: float, left: float, tmp_path: Path, speeds: Any
) -> None:
    run = make_run(tmp_path, "budget=10", *shared(1, 2, 6, 1))
    spend(run, "clip", took)
    assert run.spending.spent(run.recipe) == took
    fitted = run.spending.fitted(run.recipe, "prior")[0].trained["prior"].steps
    assert fitted == int(0.97 * left * 2 / 9 / 0.08 + 1e-6)


def test_a_stage_that_is_not_finished_is_reckoned_to_its_end(tmp_path: Path, speeds: Any) -> None:
    run = make_run(tmp_path, "budget=10", *shared(1, 2, 6, 1))
    spend(run, "decoder", seconds=50.0, step=100)  # of 400
    assert run.spending.spent(run.recipe) == 200.0
    assert run.spending.fitted(run.recipe, "clip")[0].trained["clip"].steps == int(
        0.97 * 400 / 4 / 0.04 + 1e-6
    )


def test_a_damaged_state_is_named(tmp_path: Path, speeds: Any) -> None:
    run = make_run(tmp_path, "budget=10", *shared(1, 2, 6, 1))
    spend(run, "clip", 1.0)
    file = saved_states(run.folder / "clip" / "states")[-1] / "state.json"
    for text in ('{"step": 3}', '{"seconds": "soon"}', "["):
        file.write_text(text)
        with pytest.raises(TrainingError, match=r"state\.json is damaged"):
            run.spending.fitted(run.recipe, "prior")


def test_a_budget_that_is_too_short(tmp_path: Path, speeds: Any) -> None:
    with pytest.raises(
        UsageError,
        match=r"too short: a step of stage 'clip' takes 0\.04 s.* 0\.019 minutes give "
        r"every stage a step, 0\.28 minutes a tenth",
    ):
        allocate(Run(tiny("budget=0.01", *shared(1, 1, 1, 1)), tmp_path, CPU))


def test_what_earlier_stages_overran_is_not_taken_from_the_floors(
    tmp_path: Path, speeds: Any
) -> None:
    run = make_run(tmp_path, "budget=0.5", *shared(1, 1, 1, 1))
    spend(run, "clip", 40.0)
    plan = allocate(run)
    assert {name: one.steps for name, one in plan.items()} == {
        "prior": 20, "decoder": 40, "upsampler": 15,
    }  # fmt: skip


class Told:
    """A stage of one picture a step, whose configuration follows its pacer."""

    def __init__(self, steps: int, seconds: float) -> None:
        self.config = TrainConfig(steps=steps, batch_size=1)
        self.pacer = Pacer(seconds, self.take)
        self.changes: list[int] = []

    def take(self, steps: int) -> TrainConfig:
        self.changes.append(steps)
        self.config = self.config.model_copy(update={"steps": steps})
        return self.config

    def run(self, pace: Callable[[int], float], aside: float = 0.0) -> tuple[int, float]:
        step, now = 0, 0.0
        while step < self.config.steps:
            steps = self.pacer.steps(self.config, step, now, aside)
            if steps != self.config.steps:
                self.pacer.tell(steps)
            step, now = step + 1, now + pace(step)
        return step, now


def test_steps_that_take_as_long_as_measured_stay_as_planned() -> None:
    told = Told(steps=int(KEPT * 100), seconds=100.0)
    assert told.run(lambda _: 1.0) == (97, 97.0)
    assert told.changes == []


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0, 4.0])
def test_a_stage_ends_in_its_time_whatever_its_pace_becomes(factor: float) -> None:
    """The pace changes when a third is done: so do the steps that are left."""
    told = Told(steps=970, seconds=1000.0)
    step, now = told.run(lambda step: 1.0 if step < 300 else factor)
    assert 960 <= now <= 1000
    assert step == pytest.approx(300 + 680 / factor, rel=0.04)
    assert len(told.changes) <= 8, "it does not follow every breath"


def test_time_set_aside_is_not_spent_on_steps() -> None:
    step, now = Told(steps=970, seconds=1000.0).run(lambda _: 1.0, aside=100.0)
    assert 850 <= now <= 900
    assert step == now


def test_a_stage_out_of_time_ends_with_the_next_step() -> None:
    told = Told(steps=50, seconds=30.0)
    step, _ = told.run(lambda step: 1.0 if step < 10 else 40.0)
    assert step == 12


def test_some_shares_are_no_shares(tmp_path: Path) -> None:
    settings = ["stages.clip.train.share=1", "stages.decoder.train.share=2"]
    assert tiny(*settings).trained["clip"].share == 1
    with pytest.raises(UsageError, match=r"'stages\.prior\.train\.share' is missing: give every"):
        tiny("budget=3", *settings)
    with pytest.raises(UsageError, match=r"'stages\.clip\.train\.share' must be above 0"):
        tiny("stages.clip.train.share=0")


class Silent:
    """Told how training goes, and keeps it to itself."""

    def scalars(self, step: int, values: dict[str, float]) -> None: ...
    def saving(self, step: int) -> None: ...
    def note(self, line: str) -> None: ...
    def preview(self, step: int, stage: Any) -> None: ...


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`quick(seconds)` lets every step count as that long, the measurements for nothing."""

    def pace(seconds: float) -> None:
        monkeypatch.setattr("unclip.train.run.seconds_per_step", lambda *_: seconds)

    monkeypatch.setattr(Clock, "now", lambda _: 0.0)  # measuring takes no time
    return pace


def weights(run: Run) -> dict[str, torch.Tensor]:
    state = load_state(saved_states(run.folder / "upsampler" / "states")[-1])
    return {f"{g}/{k}": value for g, held in state.tensors.items() for k, value in held.items()}


def test_a_budgeted_run_is_the_run_with_those_steps_and_stays_so(
    tmp_path: Path, quick: Callable[[float], None]
) -> None:
    """To the bit: measuring leaves no trace, and resuming elsewhere changes no schedule."""
    quick(1.0)
    run = make_run(tmp_path, "budget=1", *FEW, *shared(80, 5, 5, 10))  # 6 s for the upsampler
    trainer = run.trainer("upsampler")
    assert trainer.config.steps == 5
    trainer.clock.stop = lambda: trainer.step >= 2
    trainer.run(Silent())
    recorded = json.loads((run.folder / "recipe.json").read_text())
    assert recorded["budget"] == 1.0
    assert recorded["stages"]["upsampler"]["train"]["steps"] == 5

    quick(0.1)  # another machine
    again = make_run(tmp_path, *FEW)  # without the budget: the run knows it
    assert again.recipe.settings.budget == 1.0
    assert again.recipe.shares() == run.recipe.shares()
    assert again.recipe.trained["clip"].steps == 1, "not begun"
    trainer = again.trainer("upsampler")
    assert (trainer.step, trainer.config.steps) == (2, 5)
    assert trainer.run(Silent())

    plain = Run(tiny("stages.upsampler.train.steps=5"), tmp_path / "plain", CPU)
    plain.begin(resume=False)
    plain.trainer("upsampler").run(Silent())
    mine, theirs = weights(again), weights(plain)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())


def test_a_resumed_stage_has_the_time_it_was_given(
    tmp_path: Path, quick: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 10 s; stopped after two steps of a second each and 7 s of building, and built again."""
    quick(1.0)
    now, build = [0.0], Run.build

    def slowly(run: Run, *args: Any) -> Any:
        now[0] += 7
        return build(run, *args)

    run = make_run(tmp_path, "budget=5", *FEW, *shared(80, 5, 5, 10))  # 30 s for the upsampler
    run.spending.budget.shares(run.recipe)
    monkeypatch.setattr(Run, "build", slowly)
    monkeypatch.setattr(Clock, "now", lambda _: now[0])
    trainer = run.trainer("upsampler")
    assert trainer.pacing.pacer is not None and trainer.pacing.pacer.seconds == 30.0
    trainer.step, trainer.seconds = 2, trainer.seconds + 2
    trainer.save()
    assert run.spending.spent(run.recipe) == 30.0, "not (7 + 2) / 2 s for each of its steps"
    again = make_run(tmp_path, *FEW).trainer("upsampler")
    assert again.pacing.pacer is not None and again.pacing.pacer.seconds == 30.0
    assert again.seconds == 7 + 2 + 7
    again.step = 29
    again.save()
    assert run.spending.spent(run.recipe) == 16.0, "finished, it took what it took"


def test_what_is_built_once_is_reckoned_once(tmp_path: Path, speeds: Any) -> None:
    """A stage begun without a budget, at 1 s a step after 40 s of filling its cache."""
    run = make_run(tmp_path)
    last = run.recipe.trained["decoder"].steps
    values = {"step": 10, "seconds": 50.0, "seed": 0, "data": {"position": 0}}
    save_state(run.folder / "decoder" / "states", State({**values, "facts": {"built": 40.0}}))
    assert run.spending.spent(run.recipe) == 40 + last


class Heard(World):
    """The second of two processes, which hears what the first one says."""

    rank, size, alone = 1, 2, False

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers

    def first(self, make: Callable[[], Any]) -> Any:
        return self.answers.pop(0)


def test_the_first_process_plans_for_all(tmp_path: Path, speeds: Any) -> None:
    """A slow one would refuse the budget by itself, and leave the others waiting."""
    settings = ["budget=1", *shared(1, 1, 1, 1)]
    fast = Run(tiny(*settings), tmp_path / "run", CPU)
    told = allocate(fast), fast.spending.fitted(fast.recipe, "clip")
    slow = Run(tiny(*settings), tmp_path / "run", CPU)
    answers = [{name: vars(one) for name, one in told[0].items()}] * 2
    slow.world = Heard([*answers, told[1][0].shares()])
    slow.spending.budget.paces = {name: (lambda size: 1e6) for name in NAMES}
    assert allocate(slow) == told[0]
    assert slow.spending.fitted(slow.recipe, "clip") == told[1]


def test_a_stage_without_a_saved_state_is_fitted_anew(
    tmp_path: Path, quick: Callable[[float], None]
) -> None:
    quick(1.0)
    make_run(tmp_path, "budget=1", *FEW, *shared(80, 5, 5, 10)).trainer("upsampler")
    quick(0.1)
    assert make_run(tmp_path, *FEW).trainer("upsampler").config.steps == 58
    assert make_run(tmp_path, *FEW, "budget=2").trainer("upsampler").config.steps == 116


def test_measuring_ends_with_the_time_and_says_what_it_measures(
    tmp_path: Path, quick: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage takes 7 s to build, and 10 s are there: the third is not begun."""
    quick(1.0)
    now, said, build = [0.0], list[str](), Run.build

    def slowly(run: Run, *args: Any) -> Any:
        now[0] += 7
        return build(run, *args)

    @contextmanager
    def waiting(what: str) -> Iterator[None]:
        said.append(what)
        yield

    run = make_run(tmp_path, "budget=10", *shared(1, 1, 1, 1))
    monkeypatch.setattr(Run, "build", slowly)
    monkeypatch.setattr(Clock, "now", lambda _: now[0])
    run.clock.deadline, run.spending.budget.waiting = 10.0, waiting
    with pytest.raises(TimeIsUp, match=r"^stopped before the steps of 'decoder' were measured$"):
        allocate(run)
    assert said == ["measuring clip (1 of 4)", "measuring prior (2 of 4)"]


def test_the_least_budget_is_said_and_accepted(
    tmp_path: Path, quick: Callable[[float], None]
) -> None:
    quick(1.0)
    with pytest.raises(UsageError, match=r"[\d.]+ minutes give every stage a step") as caught:
        allocate(make_run(tmp_path, "budget=0.001", *shared(1, 1, 1, 1)))
    run = make_run(tmp_path, "budget=0.001")
    for name, config in run.recipe.trained.items():
        run.spending.budget._measured(name, config, run.recipe)
    least = run.spending.budget.least(run.recipe)
    assert f"{least:.2g} minutes give" in str(caught.value)
    for times, fits in ((1.01, True), (0.98, False)):
        trial = make_run(tmp_path, f"budget={times * least}", *shared(1, 1, 1, 1))
        if fits:
            assert min(one.steps for one in allocate(trial).values()) == 1
        else:
            with pytest.raises(UsageError, match="too short"):
                allocate(trial)


def test_measured_shares_are_written_down(tmp_path: Path, quick: Callable[[float], None]) -> None:
    quick(1.0)
    run = make_run(tmp_path, "budget=15")
    run.trainer("upsampler")
    shares = {name: float(run.recipe.trained[name].steps) for name in NAMES[:3]}
    again = make_run(tmp_path)
    assert again.recipe.shares() == {**shares, "upsampler": 150.0}


def test_time_that_building_and_measuring_take_is_in_the_budget(
    tmp_path: Path, quick: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building takes 7 s, and all four are built before the first, two with an untrained CLIP."""
    quick(1.0)
    now, build = [0.0], Run.build

    def slowly(run: Run, *args: Any) -> Any:
        now[0] += 7
        return build(run, *args)

    monkeypatch.setattr(Run, "build", slowly)
    monkeypatch.setattr(Clock, "now", lambda _: now[0])
    run = make_run(tmp_path, "budget=10", *shared(1, 1, 1, 1))
    trainer = run.trainer("clip")
    assert trainer.seconds == 7.0
    assert trainer.pacing.pacer is not None
    assert trainer.pacing.pacer.seconds == (600 - 6 * 7) / 4
    assert run.recipe.trained["clip"].steps == int(0.97 * (600 - 6 * 7) / 4)


def test_a_recorded_recipe_of_another_edition_is_gone_on_with(tmp_path: Path) -> None:
    """Where no budget settled anything in it, nothing of it is needed."""
    run = make_run(tmp_path)
    values = {**json.loads((run.folder / "recipe.json").read_text()), "of_old": 1}
    (run.folder / "recipe.json").write_text(json.dumps(values))
    assert make_run(tmp_path).recipe == run.recipe


def test_a_damaged_recipe_of_a_run_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, "budget=1")
    (run.folder / "recipe.json").write_text("{")
    with pytest.raises(TrainingError, match=r"recipe\.json is damaged"):
        make_run(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_measured_on_the_recipes_data(name: str, tmp_path: Path) -> None:
    """With an untrained CLIP where one is needed, and without a trace."""
    run = make_run(tmp_path)
    trainer = run.untrained(name)
    assert 0 < seconds_per_step(trainer, 3, 1e-9) < 60
    assert trainer.loader.state_dict() == {"position": 2 * 3}
    assert not (run.folder / name).exists()
    assert not run.model.exists()


def test_steps_are_measured_in_every_phase_and_weighed_by_its_share(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of the last fifth takes 11 s, one before 1 s: the mean is 3 s."""
    trainer = make_trainer(steps=50)
    clock = SimpleNamespace(time=0.0, is_over=lambda: False)
    clock.now = lambda: clock.time
    trainer.clock = clock
    begun: list[float] = []
    monkeypatch.setattr(type(trainer.task), "phases", (0.0, 0.8))
    monkeypatch.setattr(trainer.task, "begin", lambda progress, average: begun.append(progress))
    advance = trainer.advance

    def slow() -> Any:
        done = advance()
        clock.time += 11.0 if begun[-1] >= 0.8 else 1.0
        return done

    monkeypatch.setattr(trainer, "advance", slow)
    assert seconds_per_step(trainer, 2, 8.0) == pytest.approx(3.0)
    assert max(one for one in begun if one < 0.8) < 1e-6 and max(begun) < 0.81


def test_a_stage_whose_steps_will_take_longer_is_not_given_too_many() -> None:
    """A critic begins halfway and makes a step thrice as long: of 400 s are 200 steps."""
    phases = [cost.Phase(a, a + 0.5, f, Activations(), frozenset()) for a, f in ((0, 1), (0.5, 3))]

    def run(told: Told) -> tuple[int, float]:
        return told.run(lambda step: 1.0 if step < 0.5 * told.config.steps else 3.0)

    told, blind = Told(steps=200, seconds=400 / KEPT), Told(steps=200, seconds=400 / KEPT)
    told.pacer.ahead = partial(cost.share_ahead, phases)
    assert run(told) == (200, 400.0)
    assert told.changes == []
    steps, _ = run(blind)
    assert max(blind.changes) > 350 and steps > 240, "which would begin the critic too late"
