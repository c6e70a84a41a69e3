"""What is saved, and gone on from, while a detector sees a failure."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.diffusion.limits import Limits
from unclip.errors import DataError, TrainingError
from unclip.media.measures import laplacian_energy
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import Rng
from unclip.stages import Stage
from unclip.train.config import TrainConfig
from unclip.train.detectors import Detectors, Probe
from unclip.train.distillation import ConsistencyTask
from unclip.train.loader import Loader
from unclip.train.state import FAILED, load_values, saved_states, step_of
from unclip.train.trainer import Trainer
from unclip.types import Cond

Make = Callable[..., Trainer]

HEALTHY = [0.42 + 0.33 * min(1, n / 60) for n in range(120)]
"""Diversity of a student of `turbo`, from its start to its end."""


@pytest.fixture
def make(
    make_stage: Callable[..., Stage], tokenizer: Tokenizer, speckles: Any, tmp_path: Path
) -> Make:
    """`make(diversity, **train settings)`: a student that is so diverse after each step."""
    few = {"steps": 1, "guidance_scale": 1.0, "threshold": "clamp"}
    objective = {"kind": "consistency", "levels": 4, "limits": {"patience": 4}}

    def trainer(diversity: Callable[[int], float] | None, **settings: Any) -> Trainer:
        student = make_stage("decoder", objective=objective, sampling=few)
        task = ConsistencyTask(student, make_stage("clip"), None, make_stage("decoder"))
        usual = {"steps": 20, "batch_size": 4, "workers": 0, "precision": "float32"}
        config = TrainConfig.parse({**usual, "log_every": 1, **settings})
        loader = Loader(speckles(task.source_size), task.collate(tokenizer), 4, 0)
        made = Trainer(task, loader, config, tmp_path / "states")
        if diversity:
            task.measure = lambda _: {"diversity": diversity(made.step)}  # type: ignore
        return made

    return trainer


def steps(trainer: Trainer) -> list[int]:
    return [step_of(one) for one in saved_states(trainer.folder)]


def bad_after(step: int) -> Callable[[int], float]:
    return lambda at: 1.0 if at <= step else 0.1


@pytest.mark.parametrize("end", ["signal", "steps", "data"])
def test_a_stop_saves_what_fails_by_name_and_keeps_the_last_good_state(
    end: str, make: Make, notes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = {"checkpoint_minutes": 1e-9, "keep_states": 1}
    first = make(bad_after(3), **often, **({"steps": 5} if end == "steps" else {}))
    if end == "signal":
        first.clock.stop = lambda: first.step >= 5
    if end == "data":
        feed = first.feed.next

        def ending() -> Any:
            if first.step == 5:
                raise DataError("no more")
            return feed()

        monkeypatch.setattr(first.feed, "next", ending)
        with pytest.raises(DataError):
            first.run(notes)
    else:
        first.run(notes)
    assert steps(first) == [3, 5]
    assert "seed collapse: diversity is 0.10 and should be at least 0.7, 2 looks" in notes.notes[-1]
    assert "state of step 5 shows it; " in notes.notes[-1] and "step-00000003" in notes.notes[-1]

    second = make(bad_after(0), **often)  # knows that it was good once, and of two looks
    assert second.resume() and second.step == 5
    assert "2 looks" in second.task.detectors.failing
    with pytest.raises(TrainingError, match=r"^seed collapse: .* 4 looks in a row\. Go on from"):
        second.run(notes)
    assert second.step == 7
    assert steps(second) == [3] and list(second.folder.glob(f"step-*5{FAILED}"))
    third = make(bad_after(0), **often)
    assert third.resume() and third.step == 3 and not third.task.detectors.failing


def test_states_of_before_detectors_were_kept_load(make: Make) -> None:
    trainer = make(None)
    trainer.advance()
    path = trainer.save() / "state.json"
    assert {"looks", "failing"} <= load_values(path.parent).keys()
    trainer.task.detectors.load_state_dict({})
    assert not trainer.task.detectors.failing
    assert trainer.task.detectors.state_dict()["seed collapse"]["outside"] is None


def test_what_waits_for_a_recovery_is_said_once_and_a_signal_is_never_refused(
    make: Make, notes: Any
) -> None:
    def diversity(step: int) -> float:
        return 0.1 if step in (4, 5, 6) else 1.0

    trainer = make(diversity, steps=8, checkpoint_minutes=1e-9, keep_states=9)
    trainer.clock.save = lambda: trainer.step == 5
    trainer.run(notes)
    assert steps(trainer) == [1, 2, 3, 5, 7, 8]
    waits, asked = notes.notes
    assert waits.startswith("seed collapse: diversity is 0.10") and "no state is saved" in waits
    assert waits.endswith("step-00000003")
    assert "the state of step 5 shows it" in asked


def test_a_look_is_what_is_logged_and_saving_is_none(make: Make, notes: Any) -> None:
    """Ten states are saved between two logs; one bad value is seen once."""
    trainer = make(bad_after(4), steps=8, log_every=4, checkpoint_minutes=1e-9)
    trainer.run(notes)
    assert trainer.task.detectors.state_dict()["seed collapse"]["outside"] == 1
    seen = Detectors(Limits(patience=2), against_reference=True)
    seen.look({"diversity": 1.0})
    seen.look({"diversity": 0.1})
    seen.look({"loss": 1.0})
    assert seen.failing.startswith("seed collapse"), "what has no value says nothing"


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_student_of_turbo_is_not_stopped_and_one_that_collapses_is(seed: int) -> None:
    """As the teacher's own ten guided steps, .735 of its thirty, it never comes to .8."""
    noise = random.Random(seed)
    seen = Detectors(Limits(), against_reference=True)
    for value in HEALTHY:
        seen.look({"diversity": value * (1 + 0.04 * noise.uniform(-1, 1))})
        assert not seen.failing
    with pytest.raises(TrainingError, match=r"^seed collapse: diversity is .* 10 looks"):
        for n in range(30):
            seen.look({"diversity": 0.75 * 0.93**n})


def test_who_was_more_diverse_than_the_teacher_may_become_like_it() -> None:
    seen = Detectors(Limits(patience=1), against_reference=True)
    for value in (1.6, 1.0, 0.735):
        seen.look({"diversity": value})
    assert not seen.failing


class Rows:
    """A stage that draws rows of one height, from every seed another grey."""

    factor, device = 1, torch.device("cpu")

    def __init__(self, height: float) -> None:
        self.height = height

    def condition_for(self, cond: Cond, image: Tensor) -> Cond:
        return cond

    def sample(self, cond: Cond, rng: Rng, sampling: dict[str, Any]) -> Cond:
        rows = (torch.arange(16) % 2 * 2.0 - 1)[:, None].expand(1, 3, 16, 16)
        return Cond(image=0.1 * rng.randn(1, 1, 1) + self.height * rows)


def test_beside_a_critic_the_truth_says_how_sharp_and_the_teacher_how_diverse() -> None:
    truth = Rows(0.4).sample(Cond(), Rng(range(4)), {}).image
    blurry: Any = Rows(0.1)
    student: Any = Rows(0.4)
    found = Probe(Cond(image=truth), blurry, as_sharp_as_truth=True).measure(student)
    assert truth is not None
    assert float(laplacian_energy(truth).mean()) == pytest.approx((4 * 0.4) ** 2, rel=1e-4)
    assert found["sharpness"] == pytest.approx(1.0, rel=1e-4)
    assert found["diversity"] == pytest.approx(1.0, rel=1e-4)


def test_the_probe_is_of_the_streams_first_samples_wherever_training_is(
    make: Make, notes: Any
) -> None:
    first = make(None, steps=2)
    first.run(notes)
    later = make(None, steps=3)
    assert later.resume()
    place = later.loader.state_dict()
    later.task.measure(lambda: later.ema.average)
    assert later.loader.state_dict() == place
    a, b = (one.task.probe.cond for one in (first, later))  # type: ignore[union-attr]
    assert all(torch.equal(x, dict(b.items())[name]) for name, x in a.items())
    position = make(None).feed.next()["image"]
    assert torch.equal(position, first.feed.beginning(4)[0]["image"])


def test_all_processes_probe_the_same_samples(make: Make) -> None:
    """The second of two too, whose own batches are others."""
    trainer = make(None)
    expected, _ = trainer.feed.beginning(4)
    trainer.loader.rank, trainer.loader.world = 1, 2
    assert not torch.equal(trainer.feed.next()["image"], expected["image"])
    assert torch.equal(trainer.feed.beginning(4)[0]["image"], expected["image"])
