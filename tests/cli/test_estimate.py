"""How long work takes: said once, once the steps have shown it, and where it is long."""

from __future__ import annotations

import pytest
import torch

from unclip.cli import _estimate
from unclip.cli._estimate import Estimate
from unclip.cost import Cost
from unclip.types import Step


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(_estimate.time, "monotonic", lambda: self.now)

    def run(
        self, estimate: Estimate, stage: str, total: int, batch: int, seconds: float, first: float
    ) -> None:
        """All steps of a stage, each of so many seconds, `first` before the first."""
        for index in range(1, total + 1):
            self.now += seconds + (first if index == 1 else 0)
            estimate.update(Step(stage, index, total, torch.zeros(batch, 1)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_long_work_is_told_of_once(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    estimate = Estimate(Cost(160, (64, 64), {"prior": 160 * 5, "decoder": 160 * 10}))
    clock.run(estimate, "prior", total=5, batch=16, seconds=0.1, first=30)
    assert capsys.readouterr().err == ""
    clock.run(estimate, "decoder", total=10, batch=16, seconds=2.0, first=30)
    # 800/16 steps of .1 s and 1600/16 of 2 s, from the first decoder step that was timed
    words = "160 pictures of 64×64 in up to 2,400 sampling steps: 3 min or more, Ctrl-C ends it"
    assert capsys.readouterr().err == f"unclip: {words}\n"
    assert estimate.seconds() == pytest.approx(50 * 0.1 + 100 * 2.0)


def test_short_work_is_not(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    estimate = Estimate(Cost(16, (64, 64), {"decoder": 160}))
    clock.run(estimate, "decoder", total=10, batch=16, seconds=5.0, first=500)
    assert capsys.readouterr().err == ""


def test_an_inversion_does_not_count(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    estimate = Estimate(Cost(4, (64, 64), {"decoder": 40}, inverting=10))
    clock.run(estimate, "decoder", total=10, batch=1, seconds=50.0, first=0)
    clock.run(estimate, "decoder", total=10, batch=4, seconds=1.0, first=0)
    assert capsys.readouterr().err == ""
    assert estimate.seconds() == pytest.approx(10.0)


def test_stages_of_one_step_count_from_their_second_on(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate = Estimate(Cost(160, (64, 64), {"upsampler": 160}))
    for _ in range(3):
        clock.run(estimate, "upsampler", total=1, batch=1, seconds=2.0, first=0)
    assert estimate.seconds() == pytest.approx(160 * 2.0)
    assert "5 min or more" in capsys.readouterr().err
