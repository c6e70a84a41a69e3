"""Speed, memory, time left and the share of the machine's peak."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unclip.train import progress
from unclip.train.clock import Clock
from unclip.train.cost import step_cost, task_on_meta
from unclip.train.progress import Meter, memory, peak
from unclip.train.recipe import load_recipe
from unclip.train.run import Run

CPU = torch.device("cpu")


class Hand(Clock):
    """A clock that a test moves by hand."""

    time = 0.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def meter(tmp_path: Path) -> Meter:
    recipe = load_recipe("tiny")
    run = Run(recipe, tmp_path, CPU)
    config = recipe.trained["upsampler"]
    trainer: Any = SimpleNamespace(clock=Hand(), step=10, config=config, device=CPU)
    return Meter(run, "upsampler", trainer)


def test_time_left_is_that_of_the_steps_left(meter: Meter) -> None:
    meter.trainer.clock.time = 40.0  # type: ignore[attr-defined]
    read = meter.read(30, {"loss": 1.0, "images_per_second": 9.0})
    assert read["seconds_left"] == pytest.approx((150 - 30) * 40.0 / 20)
    assert read["loss"] == 1.0
    assert "share_of_peak" not in read, "nothing is measured for a short training"


def test_the_share_of_the_peak(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step's arithmetic, done once a second, is half of what the machine can do."""
    recipe = meter.run.recipe
    flops, _ = step_cost(task_on_meta(recipe, "upsampler", torch.float32), 8, 8)
    measured: list[torch.dtype] = []

    def found(device: torch.device, dtype: torch.dtype) -> float:
        measured.append(dtype)
        return float(2 * flops)

    monkeypatch.setattr(progress, "peak", found)
    meter.trainer.clock.time = 61.0  # type: ignore[attr-defined]
    for step in (20, 30):
        read = meter.read(step, {"images_per_second": 8.0})
        assert read["share_of_peak"] == pytest.approx(0.5)
    assert len(measured) == 1


def test_the_peak_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of 512² matrices, of which one takes 2 ms and the others 5."""
    taken, made = iter([0.005, 0.002] + [0.005] * 100), []

    class Timer:
        def __init__(self, statement: str, globals: dict[str, Any], num_threads: int) -> None:
            made.append(eval(statement, globals))

        def timeit(self, number: int) -> Any:
            return SimpleNamespace(mean=next(taken))

    monkeypatch.setattr(progress, "Timer", Timer)
    assert peak(CPU, torch.bfloat16) == 2 * 512**3 / 0.002
    assert made[0].shape == (512, 512) and made[0].dtype == torch.bfloat16


def test_memory_is_that_of_this_process() -> None:
    before = memory(CPU)
    assert 50e6 < before < 1e12
    held = torch.zeros(40_000_000)  # 160 MB
    assert memory(CPU) >= before
    assert memory(CPU) >= held.numel() * held.element_size()


def test_data_wait_is_the_share_of_time_for_batches(
    make_trainer: Callable[..., Any], notes: Any
) -> None:
    clock = Hand()
    trainer = make_trainer(steps=4, log_every=2, clock=clock)
    batches = trainer.loader._attempt

    def slow() -> Any:
        clock.time += 3.0
        return batches()

    def passing(*_: object) -> None:
        clock.time += 1.0

    trainer.loader._attempt = slow
    trainer.task.register_forward_hook(passing)
    trainer.run(notes)
    assert [values["data_wait"] for _, values in notes.logged] == [0.75, 0.75]
