"""Losses that are not finite, or explode: skipped, gone back from, and in the end given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unclip.errors import DataError, TrainingError
from unclip.train.clock import Clock
from unclip.train.config import FaultConfig, TrainConfig
from unclip.train.faults import WINDOW, Guard, to_skip
from unclip.train.optim import Muon, make_optimizers
from unclip.train.state import load_state, saved_states, step_of
from unclip.train.trainer import Trainer

Make = Callable[..., Trainer]


def spoil(trainer: Trainer, kind: str, bad: Callable[[int], bool]) -> list[int]:
    """Make the loss bad where `bad` says so of a batch's first position; returns what it was."""
    forward, seen = trainer.task.forward, list[int]()

    def spoilt(*given: Any) -> Any:
        loss, metrics = forward(*given)
        seen.append(trainer.loader.first)
        if bad(trainer.loader.first):
            if kind == "loss":
                loss = loss * float("nan")
            elif kind == "gradient":  # of a loss that is finite
                loss = loss + (loss - loss.detach()).sqrt()
            else:
                loss = loss * 1e4
        return loss, metrics

    trainer.task.forward = spoilt  # type: ignore[method-assign]
    return seen


def newest(trainer: Trainer) -> dict[str, Tensor]:
    state = load_state(saved_states(trainer.folder)[-1])
    return {f"{g}/{key}": value for g, held in state.tensors.items() for key, value in held.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(
    kind: str, optimizer: str, make_trainer: Make, notes: Any
) -> None:
    trainer = make_trainer("decoder", steps=4, optimizer=optimizer, log_every=1)
    spoil(trainer, kind, lambda position: position == 8)
    held: list[list[Tensor]] = []

    def look(*_: object) -> None:
        moments = [m for o in trainer.learners[""].optimizers for m in o.state.values()]
        tensors = [*trainer.net.parameters(), *(t for m in moments for t in m.values())]
        held.append([tensor.detach().clone() for tensor in tensors])

    notes.scalars = look
    trainer.run(notes)
    first, second, third, fourth = held  # after each step; the third is the bad one
    assert not all(map(torch.equal, first, second))
    assert all(map(torch.equal, second, third))
    assert not all(map(torch.equal, third, fourth))
    assert all(bool(tensor.isfinite().all()) for tensor in fourth)
    assert len(notes.notes) == 1
    assert "1 step up to step 3 skipped" in notes.notes[0]


def test_means_leave_out_what_was_skipped(make_trainer: Make, notes: Any) -> None:
    trainer = make_trainer(steps=4, log_every=4)
    losses: list[float] = []
    forward = trainer.task.forward
    spoil(trainer, "loss", lambda position: position == 4)
    spoilt = trainer.task.forward

    def listening(*given: Any) -> Any:
        out = spoilt(*given)
        losses.append(float(out[0].detach()))
        return out

    trainer.task.forward = listening  # type: ignore[method-assign]
    assert forward is not None
    trainer.run(notes)
    good = [losses[0], losses[2], losses[3]]
    assert notes.logged[0][1]["loss"] == pytest.approx(sum(good) / 3)


def test_a_run_with_skipped_steps_is_resumed_exactly(make_trainer: Make, notes: Any) -> None:
    def bad(position: int) -> bool:
        return position in (4, 12)

    whole = make_trainer(folder="whole", steps=6)
    spoil(whole, "loss", bad)
    whole.run(notes)
    cut = make_trainer(folder="cut", steps=6)
    spoil(cut, "loss", bad)
    cut.clock.stop = lambda: cut.step >= 2
    cut.run(notes)
    again = make_trainer(folder="cut", steps=6)
    spoil(again, "loss", bad)
    assert again.resume()
    again.run(notes)
    assert same(newest(whole), newest(again))
    assert whole.guard.state_dict() == again.guard.state_dict()


PATIENT = {"patience": 3, "rollbacks": 2}


@pytest.mark.parametrize("kind", ["loss", "explosion"])
def test_after_several_it_goes_back_and_on_with_other_data(
    kind: str, make_trainer: Make, notes: Any
) -> None:
    """Steps of 4: those at positions 96 to 111 are bad. A state is saved after 22 steps."""
    clock = Clock(save=lambda: trainer.step == 22)
    trainer = make_trainer(steps=30, log_every=1, faults=PATIENT, clock=clock)
    seen = spoil(trainer, kind, lambda position: 96 <= position < 112)
    before: list[Tensor] = []

    def keep(step: int) -> None:
        if step == 22 and not before:
            before.extend(p.detach().clone() for p in trainer.net.parameters())

    notes.saving = keep
    back: list[bool] = []
    resume = trainer.keeper.resume

    def resuming(training: Any, warn: Any) -> bool:
        done = resume(training, warn)
        back.append(all(map(torch.equal, before, trainer.net.parameters())))
        return done

    trainer.keeper.resume = resuming  # type: ignore[method-assign]
    assert trainer.run(notes)
    assert trainer.step == 30
    assert back == [True]
    # 24 good steps and 3 bad ones; from step 22 on again, with the data that come next
    assert seen == list(range(0, 4 * (24 + 3 + 8), 4))
    assert [note for note in notes.notes if "back to step 22" in note and "at step 27" in note]
    assert trainer.guard.rollbacks == 1


@pytest.mark.parametrize("end", ["steps", "data", "signal"])
def test_weights_that_exploded_are_never_the_last_state(
    end: str, make_trainer: Make, notes: Any
) -> None:
    """The 30th step explodes, and is the last, or no more batches come, or a signal."""
    clock = Clock(save=lambda: trainer.step == 22)
    clock.stop = lambda: end == "signal" and trainer.step == 30
    steps = 30 if end == "steps" else 60
    trainer = make_trainer(steps=steps, faults=PATIENT, clock=clock, keep_states=1)
    seen = spoil(trainer, "explosion", lambda position: position == 4 * 29)
    batches, gone = trainer.loader._attempt, DataError("the disk with the data is gone")
    if end == "data":
        trainer.loader._attempt = lambda: gone if trainer.step == 30 else batches()  # type: ignore[method-assign]
        with pytest.raises(DataError, match="is gone"):
            trainer.run(notes)
    else:
        assert trainer.run(notes) == (end == "steps")
        assert any("in 1 step in a row, at step 30: back to step 22" in one for one in notes.notes)
    last = 30 if end == "steps" else 22
    assert [step_of(one) for one in saved_states(trainer.folder)] == [last]
    assert all(bool(tensor.isfinite().all()) for tensor in newest(trainer).values())
    assert len(seen) == 30 + (8 if end == "steps" else 0)  # on with the data that come next
    assert seen == list(range(0, 4 * len(seen), 4))


def test_what_it_went_back_for_is_remembered_by_who_is_killed(
    make_trainer: Make, notes: Any
) -> None:
    clock = Clock(save=lambda: trainer.step == 22)
    trainer = make_trainer(steps=60, log_every=1, faults=PATIENT, clock=clock)
    spoil(trainer, "loss", lambda position: position >= 96)
    with pytest.raises(TrainingError, match=r"in 3 steps in a row, at step \d+; the last good st"):
        trainer.run(notes)
    assert sum("back to step" in note for note in notes.notes) == PATIENT["rollbacks"]
    again = make_trainer(steps=60, faults=PATIENT)
    assert again.resume()
    assert again.step == 22
    assert again.guard.rollbacks == PATIENT["rollbacks"]
    assert again.loader.state_dict()["position"] == 4 * (24 + 3 * 2)


def test_without_a_state_it_stops(make_trainer: Make, notes: Any) -> None:
    trainer = make_trainer(steps=30, faults=PATIENT)
    spoil(trainer, "loss", lambda position: position >= 8)
    with pytest.raises(TrainingError, match="no state was saved yet") as caught:
        trainer.run(notes)
    assert "\n" not in str(caught.value) and "learning_rate" in str(caught.value)
    assert saved_states(trainer.folder) == []


def test_what_explodes_is_not_saved(make_trainer: Make, notes: Any) -> None:
    clock = Clock(save=lambda: trainer.step in (22, 26))
    trainer = make_trainer(steps=30, log_every=100, clock=clock)
    spoil(trainer, "explosion", lambda position: 96 <= position < 112)
    trainer.run(notes)
    assert notes.saves == [22, 30]


def test_a_spike_alone_is_nothing() -> None:
    guard = Guard(FaultConfig(patience=2))
    for number in range(60):
        guard.add(torch.tensor(1e6 if number % 2 else 1.0), torch.tensor(False))
    assert guard.look() == 0
    assert guard.fault == ""


def test_the_median_follows_and_faults_of_long_ago_are_forgotten() -> None:
    """A loss that falls to a hundredth: what was usual at first is an explosion in the end."""
    guard = Guard(FaultConfig(patience=1, explosion=10))
    guard.rollbacks = 2
    for loss in [1.0] * WINDOW + [0.01] * WINDOW:
        guard.add(torch.tensor(loss), torch.tensor(False))
    guard.look()
    assert (guard.rollbacks, guard.fault) == (0, "")
    guard.add(torch.tensor(1.0), torch.tensor(False))
    guard.look()
    assert guard.exploding
    assert guard.fault == "the loss was above 10 times its median, 0.01, in 1 step in a row"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.5, 1.0, 2.0, 500.0]), st.booleans()), max_size=80),
    st.sets(st.integers(0, 80)),
)
def test_it_makes_no_difference_when_it_looks(
    steps: list[tuple[float, bool]], looks: set[int]
) -> None:
    often, once = Guard(FaultConfig()), Guard(FaultConfig())
    counted = 0
    for number, (loss, skipped) in enumerate(steps):
        for guard in (often, once):
            guard.add(torch.tensor(float("nan") if skipped else loss), torch.tensor(skipped))
        if number in looks:
            counted += often.look()
            fresh = Guard(FaultConfig())
            fresh.load_state_dict(often.state_dict())
            often = fresh
    assert counted + often.look() == once.look() == sum(skipped for _, skipped in steps)
    assert often.state_dict() == once.state_dict()


@pytest.mark.parametrize(
    ("loss", "norms", "skip"),
    [
        (1.0, [2.0, 3.0], False),
        (float("nan"), [1.0], True),
        (1.0, [1.0, float("inf")], True),
        (-float("inf"), [1.0], True),
    ],
)
def test_loss_and_all_gradients_must_be_finite(loss: float, norms: list[float], skip: bool) -> None:
    assert bool(to_skip(map(torch.tensor, [loss, *norms]))) is skip


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_an_optimizer_that_asks_itself_skips_as_one_that_is_not_asked(optimizer: str) -> None:
    """As on a GPU, which nobody waits for: the flag is a tensor there."""

    def make() -> tuple[nn.Module, list[torch.optim.Optimizer]]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.Conv2d(2, 3, 3))
        return net, make_optimizers(net, TrainConfig(optimizer=optimizer, precision="float32"))  # type: ignore[arg-type]

    asked, plain = make(), make()
    for number in range(4):
        torch.manual_seed(number)
        for one, other in zip(asked[0].parameters(), plain[0].parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
            if number in (0, 2):
                one.grad[0] = float("nan")
        for each in asked[1]:
            each.found_inf = torch.tensor(float(number in (0, 2)))  # type: ignore[attr-defined]
            each.step()
        for each in plain[1]:
            if number not in (0, 2):
                each.step()
    pairs = zip(asked[0].parameters(), plain[0].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert isinstance(asked[1][0], Muon) == (optimizer == "muon")
