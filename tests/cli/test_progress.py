"""Progress where no bar can be drawn: a plain line now and then, true, and none for quick work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from unclip.cli import _progress
from unclip.cli._progress import Lines, byte_progress, counting_progress, sampling_progress, waiting
from unclip.cost import Cost
from unclip.types import Step

RunCli = Callable[..., Any]


class Watched:
    """Lines with a clock of their own: what is written, and when."""

    def __init__(self, **options: Any) -> None:
        self.now, self.written = 100.0, list[tuple[float, str]]()
        write = lambda line: self.written.append((self.now - 100, line))  # noqa: E731
        self.lines = Lines(write, lambda: self.now, **options)

    def work(self, what: str, total: int, seconds: float) -> None:
        """Do `total` equal things."""
        for done in range(1, total + 1):
            self.now += seconds
            self.lines.update(what, done, total)


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """As after a command without --quiet."""
    token = _progress.quiet.set(False)
    yield
    _progress.quiet.reset(token)


def test_lines_count_and_reckon_what_is_left() -> None:
    watched = Watched()
    watched.work("decoder", 30, 1.0)
    assert watched.written == [
        (5.0, "decoder 5/30, 25 s left"),
        (15.0, "decoder 15/30, 15 s left"),
        (25.0, "decoder 25/30, 5 s left"),
    ]


def test_what_is_quick_writes_nothing() -> None:
    watched = Watched()
    watched.work("decoder", 49, 0.1)
    assert watched.written == []


def test_a_long_work_is_never_silent_and_never_a_flood() -> None:
    watched = Watched()
    watched.work("verifier", 36_000, 1.0)  # ten hours
    times = [0.0, *(when for when, _ in watched.written)]
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) <= _progress.SELDOM
    assert len(watched.written) < 36_000 / 50
    assert watched.written[-2][1].startswith("verifier 35")
    assert watched.written[0][1] == "verifier 5/36000, 10 h 00 min left"


def test_the_second_of_the_same_name_is_reckoned_anew() -> None:
    watched = Watched()
    watched.work("shrinking", 10, 100.0)
    watched.work("shrinking", 100, 1.0)
    assert watched.written[-1][1] == "shrinking 60/100, 40 s left"


def test_one_step_that_is_slow_says_how_far_it_is() -> None:
    watched = Watched()
    watched.work("decoder", 2, 50.0)
    assert watched.written == [(50.0, "decoder 1/2"), (100.0, "decoder 2/2")]


@pytest.mark.usefixtures("at_once")
def test_sampling_adds_up_batches(capsys: pytest.CaptureFixture[str]) -> None:
    with sampling_progress() as on_step:
        for _ in range(2):
            for index in (1, 2):
                on_step(Step("decoder", index, 2, x0=None))  # type: ignore[arg-type]
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == [f"unclip: decoder {done}" for done in ("1/2", "2/2", "3/4", "4/4")]


@pytest.mark.usefixtures("at_once")
def test_what_is_to_come_counts_where_the_cost_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Two pictures, then three windows of each; of a batch that is cut short the rest."""
    with sampling_progress() as on_step:
        on_step.cost = Cost(2, (8, 8), {"decoder": 2 * 2 + 3 * 2 * 2 + 1})
        for count, steps in ((2, 2), (2, 2), (2, 2), (2, 2), (1, 1)):
            for index in range(1, steps + 1):
                on_step(Step("decoder", index, steps, x0=torch.zeros(count, 3, 8, 8)))
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == [f"unclip: decoder {done}/9" for done in range(1, 10)]


@pytest.mark.usefixtures("at_once")
def test_counts_and_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    with counting_progress("glyphs") as on_progress:
        on_progress(3, 290)
    with byte_progress("org/name") as on_bytes:
        on_bytes(2**20, 2**21)
    assert capsys.readouterr().err.splitlines() == [
        "unclip: glyphs 3/290",
        "unclip: org/name 1.0 MiB/2.0 MiB",
    ]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["generate", "a fox"], ["prior", "decoder", "upsampler"]),
        (["sweep", "a fox", "--x", "seed=1,2"], ["prior", "decoder", "upsampler"]),
    ],
)
def test_commands_tell_a_log_unless_they_are_to_be_quiet(
    arguments: list[object], what: list[str], unclip: RunCli, model: Path
) -> None:
    loud = unclip(*arguments, "-o", "a.png", "--model", model)
    assert loud.code == 0
    for name in what:
        assert f"unclip: {name} 1/" in loud.err
    quiet = unclip("-q", *arguments, "-o", "b.png", "--model", model)
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out.startswith("b.png: ")
    assert unclip(
        *arguments, "-o", "c.png", "--model", model
    ).err  # --quiet was for that call alone


def test_quiet_leaves_errors(unclip: RunCli) -> None:
    unclip("--quiet", "generate", "a fox", "-o", "a.xyz").fails(2, ".xyz")


def test_a_wait_is_told_where_it_is_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with waiting("loading the model"):
        pass
    monkeypatch.setattr(_progress, "FIRST", 0.01)
    with waiting("loading the model"):
        time.sleep(0.2)
    assert capsys.readouterr().err == "unclip: loading the model ...\n"
