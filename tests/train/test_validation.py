"""The loss on held out pictures: the same levels and noise each time, and the best state kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.errors import OutputError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.state import best_state, load_state, saved_states, step_of
from unclip.train.trainer import Trainer
from unclip.train.validation import Pairs, Validation, ValidationConfig, divided

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
    losses, write = iter([5.0, 3.0, 4.0]), trainer.store.write

    def full(state: Any) -> Path:
        if trainer.step == 4:
            raise OutputError("no room")
        return write(state)

    trainer.store.write = full  # type: ignore[method-assign]
    trainer.validation.measure = lambda stage: {"validation": next(losses)}  # type: ignore
    trainer.run(notes)
    best = best_state(trainer.folder)
    assert best is not None and (best.step, best.loss) == (6, 4.0)


def test_a_stream_without_random_access_is_refused() -> None:
    from unclip.data import Source

    class Tar(Source):
        def __iter__(self) -> Any: ...
        def captions(self, count: int) -> Any: ...

    with pytest.raises(UsageError, match=r"not a stream: name a folder of pictures"):
        divided(Tar(), ValidationConfig(share=0.1), (8, 8))


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
