"""The one loop: exact resume, limits, what is told, and what a failure leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from unclip.checkpoints.native import load_stage, save_stage
from unclip.errors import DataError, OutputError, TrainingError, WorkersLostError
from unclip.rng import Rng
from unclip.train import trainer as trainer_module
from unclip.train.budget import Pacer, TimeIsUp
from unclip.train.clock import Clock
from unclip.train.config import TrainConfig
from unclip.train.keeping import FAILED_SAVES
from unclip.train.loader import REPLACED
from unclip.train.measuring import seconds_per_step
from unclip.train.state import load_state, saved_states, step_of
from unclip.train.task import Task
from unclip.train.trainer import Trainer
from unclip.train.world import World

Make = Callable[..., Trainer]
T = TypeVar("T")


def everything(trainer: Trainer) -> dict[str, Tensor]:
    """Weights, average and optimizer of the newest saved state."""
    state = load_state(saved_states(trainer.folder)[-1])
    return {f"{g}/{key}": value for g, held in state.tensors.items() for key, value in held.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[key], b[key]) for key in a)


def run_to(trainer: Trainer, step: int, notes: Any) -> bool:
    """Train until the clock says, after that step, to stop."""
    trainer.clock.stop = lambda: trainer.step >= step
    done = trainer.run(notes)
    trainer.clock.stop = lambda: False
    return done


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("clip", {}),
        ("prior", {}),
        ("ar_prior", {}),
        ("decoder", {"network": {"dropout": 0.2}}),
        ("decoder", {"optimizer": "muon"}),
        ("upsampler", {}),
        ("prior", {"sam": 0.05, "micro_batch": 2, "activation_checkpointing": True}),
        ("clip", {"micro_batch": 2}),
        ("prior", {"workers": 2}),
    ],
)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
def test_stopped_and_resumed_it_is_the_same_run_bit_for_bit(
    kind: str, settings: dict[str, Any], make_trainer: Make, notes: Any
) -> None:
    settings = {**settings, "ramp": ((2, 6), (4, 3))}
    whole = make_trainer(kind, "whole", **settings)
    start = {key: value.clone() for key, value in whole.net.state_dict().items()}
    assert whole.run(notes)
    halves = make_trainer(kind, "halves", **settings)
    assert not run_to(halves, 3, notes)
    torch.manual_seed(123)  # another process would begin elsewhere
    again = make_trainer(kind, "halves", **settings)
    assert again.resume()
    assert again.step == 3
    assert again.run(notes)
    assert same(everything(whole), everything(again))
    assert (
        whole.loader.state_dict()
        == again.loader.state_dict()
        == {"position": 4 * 2 + 6 * 2 + 3 * 2}
    )
    trained = whole.net.state_dict()
    assert any(not torch.equal(trained[key], start[key]) for key in trained)


def test_all_that_a_step_needs_is_placed(
    make_trainer: Make, make_stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("decoder")
    clip, prior = trainer.task.clip[0], make_stage("prior")
    task = Task(trainer.task.stage, clip, prior)
    placed: list[Any] = []
    monkeypatch.setattr("unclip.train.trainer.place", lambda module, _: placed.append(module))
    Trainer(task, trainer.loader, trainer.config, trainer.folder)
    assert placed == [task, clip, prior]


def test_two_runs_are_equal_and_another_seed_is_not(make_trainer: Make, notes: Any) -> None:
    one, two, other = (make_trainer("prior", folder) for folder in "abc")
    other.feed.seed = 1
    for trainer in (one, two, other):
        trainer.run(notes)
    assert same(everything(one), everything(two))
    assert not same(everything(one), everything(other))


def test_a_sample_has_the_same_draws_whichever_process_trains_on_it(make_trainer: Make) -> None:
    whole = make_trainer(batch_size=4)
    whole.feed.next()
    drawn = whole.feed.rng(whole.step).randn(3)
    for rank in (0, 1):
        half = make_trainer(batch_size=2)
        half.loader.rank, half.loader.world = rank, 2
        half.feed.next()
        assert torch.equal(half.feed.rng(half.step).randn(3), drawn[2 * rank : 2 * rank + 2])
    whole.feed.next()
    assert not torch.equal(whole.feed.rng(whole.step).randn(3), drawn)


@pytest.mark.parametrize("kind", ["prior", "ar_prior", "decoder", "upsampler"])
def test_a_sample_has_the_same_draws_in_batches_of_every_size(
    kind: str, make_trainer: Make
) -> None:
    """Noise, level, hidden conditions, crop, mask and dropout: all that a loss is made of."""

    def losses(folder: str, steps: int, **settings: Any) -> list[float]:
        network = {"dropout": 0.3} if kind in ("decoder", "upsampler") else None
        trainer = make_trainer(kind, folder, network, learning_rate=1e-30, **settings)
        found: list[float] = []
        loss = trainer.task.stage.loss

        def spy(*args: Any) -> Any:
            each, metrics = loss(*args)
            found.extend(each.tolist())
            return each, metrics

        trainer.task.stage.loss = spy  # type: ignore[method-assign]
        for _ in range(steps):
            trainer.advance()
        return found

    whole = losses("whole", 1, batch_size=12)
    assert len(whole) == 12 and len(set(whole)) > 6
    assert losses("parts", 3, batch_size=4) == pytest.approx(whole, rel=1e-4)
    assert losses("ramp", 3, batch_size=2, ramp=((1, 7), (2, 3))) == pytest.approx(whole, rel=1e-4)


def test_time_is_told_by_the_clock_alone() -> None:
    """Who replaces the clock decides for all processes."""
    folder = Path(trainer_module.__file__).parent
    asking = {file.stem for file in folder.glob("*.py") if "\nimport time\n" in file.read_text()}
    assert asking == {"clock"}


def test_without_a_state_there_is_nothing_to_resume(make_trainer: Make) -> None:
    trainer = make_trainer()
    assert not trainer.resume()
    assert trainer.step == 0


def test_a_state_of_another_shape_is_named(make_trainer: Make, notes: Any) -> None:
    make_trainer("prior").run(notes)
    wider = make_trainer("prior", network={"depth": 3})
    with pytest.raises(
        TrainingError, match=r"step-00000006 does not fit the recipe: '.*blocks\.2\S*' is "
    ):
        wider.resume()
    (saved_states(wider.folder)[-1] / "optimizer.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"step-00000006 is damaged: it has no optimizer"):
        make_trainer("prior").resume()


def test_batches_grow_as_the_ramp_says(make_trainer: Make, notes: Any) -> None:
    trainer, sizes = make_trainer(ramp=((2, 7), (5, 2))), []
    trainer.task.register_forward_hook(lambda _m, args, _o: sizes.append(len(args[0]["image"])))
    trainer.run(notes)
    assert sizes == [4, 4, 7, 7, 7, 2]


def test_the_learning_rate_is_applied_step_by_step(make_trainer: Make, notes: Any) -> None:
    trainer, rates = make_trainer(steps=12, warmup=2, decay=0.5, learning_rate=0.03), []
    (optimizer,) = trainer.learners[""].optimizers
    step = optimizer.step
    optimizer.step = lambda: (  # type: ignore[method-assign]
        rates.append([group["lr"] for group in optimizer.param_groups]) or step()
    )
    trainer.run(notes)
    rising, falling = [0.01, 0.02, 0.03], [0.03, 0.025, 0.02, 0.015, 0.01, 0.005]
    assert [rate for rate, _ in rates] == pytest.approx([*rising, 0.03, 0.03, 0.03, *falling])
    assert all(first == second for first, second in rates)


def test_what_is_told(make_trainer: Make, notes: Any) -> None:
    trainer = make_trainer(steps=7, log_every=3, preview_every=2)
    losses: list[float] = []
    trainer.task.register_forward_hook(lambda _m, _a, out: losses.append(float(out[0].detach())))
    assert trainer.run(notes)
    assert [step for step, _ in notes.logged] == [3, 6, 7]
    for (_, values), part in zip(notes.logged, (losses[:3], losses[3:6], losses[6:]), strict=True):
        assert values["loss"] == pytest.approx(sum(part) / len(part), rel=1e-5)
        assert values["images_per_second"] > 0
        assert values["grad_norm"] > 0
        assert "mse" in values
    assert notes.logged[-1][1]["learning_rate"] == pytest.approx(3e-4 / (7 * 0.25))
    assert [step for step, _ in notes.previews] == [0, 2, 4, 6, 7]
    assert notes.saves == [7]
    assert trainer.seconds > 0


def test_gradients_are_clipped(make_trainer: Make, notes: Any) -> None:
    trainer, norms = make_trainer(clip_grad=1e-3), []
    (optimizer,) = trainer.learners[""].optimizers
    step = optimizer.step

    def spy() -> None:
        grads = [p.grad.flatten() for p in trainer.net.parameters() if p.grad is not None]
        norms.append(float(torch.cat(grads).norm()))
        step()

    optimizer.step = spy  # type: ignore[method-assign, assignment]
    trainer.run(notes)
    assert norms == pytest.approx([1e-3] * 6, rel=1e-2)
    assert all(values["grad_norm"] > 0.01 for _, values in notes.logged)


def test_limits_end_it_early_with_a_saved_state(make_trainer: Make, notes: Any) -> None:
    clock = Clock()
    by_minutes = make_trainer("prior", "minutes", steps=10**6, clock=clock)
    clock.deadline = clock.now() + 0.3
    assert not by_minutes.run(notes)
    assert 1 <= by_minutes.step < 10**5
    assert notes.saves == [by_minutes.step]
    assert [step_of(path) for path in saved_states(by_minutes.folder)] == [by_minutes.step]
    by_hand = make_trainer("prior", "hand")
    assert not run_to(by_hand, 2, notes)
    assert by_hand.step == 2
    assert by_hand.run(notes)
    assert by_hand.step == 6


def test_a_finished_run_stays_as_it_is(make_trainer: Make, notes: Any) -> None:
    trainer = make_trainer()
    trainer.run(notes)
    before = everything(trainer)
    again = make_trainer()
    again.resume()
    assert again.run(notes)
    assert same(everything(again), before)


def test_states_are_saved_as_it_goes_and_two_are_kept(make_trainer: Make, notes: Any) -> None:
    trainer = make_trainer(checkpoint_minutes=1e-9)
    trainer.run(notes)
    assert notes.saves == [1, 2, 3, 4, 5, 6, 6]
    assert [path.name for path in saved_states(trainer.folder)] == [
        "step-00000005",
        "step-00000006",
    ]


def test_the_watcher_is_told_before_the_state_is_there(make_trainer: Make, notes: Any) -> None:
    """What it writes is then never behind the newest state, whenever the process is killed."""
    trainer, there = make_trainer(checkpoint_minutes=1e-9, steps=3), []
    notes.saving = lambda step: there.append((step, [*map(step_of, saved_states(trainer.folder))]))
    trainer.run(notes)
    assert there == [(1, []), (2, [1]), (3, [1, 2]), (3, [2, 3])]


def test_a_state_is_saved_when_one_is_asked_for(make_trainer: Make, notes: Any) -> None:
    trainer = make_trainer(clock=Clock(save=lambda: trainer.step in (2, 3)))
    trainer.run(notes)
    assert notes.saves == [2, 3, 6]


@pytest.mark.parametrize("failing", [2, 5])
def test_a_full_disk_is_tried_again_and_in_the_end_stops_it(
    failing: int, make_trainer: Make, notes: Any
) -> None:
    trainer = make_trainer(steps=8, checkpoint_minutes=1e-9)
    write, left = trainer.keeper.store.write, [failing]

    def full(state: Any) -> Path:
        if trainer.step > 1 and left[0] > 0:
            left[0] -= 1
            raise OutputError("cannot write a state: no room")
        return write(state)

    trainer.keeper.store.write = full  # type: ignore[method-assign]
    if failing == 5:
        with pytest.raises(OutputError, match="no room"):
            trainer.run(notes)
        assert [step_of(path) for path in saved_states(trainer.folder)] == [1]
        assert len(notes.notes) == FAILED_SAVES
        return
    assert trainer.run(notes)
    assert (
        notes.notes
        == ["cannot write a state: no room; training goes on, and tries it again"] * failing
    )
    assert [step_of(path) for path in saved_states(trainer.folder)] == [7, 8]


def test_a_damaged_state_is_passed_over_and_the_run_is_the_same(
    make_trainer: Make, notes: Any
) -> None:
    whole = make_trainer(folder="whole")
    whole.run(notes)
    trainer, said = make_trainer(checkpoint_minutes=1e-9), list[str]()
    run_to(trainer, 4, notes)
    file = saved_states(trainer.folder)[-1] / "ema.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\1\2\3\4")
    again = make_trainer()
    assert again.resume(said.append)
    assert again.step == 3
    assert len(said) == 1 and "step-00000004/ema.safetensors is damaged" in said[0]
    again.run(notes)
    assert same(everything(whole), everything(again))


class Hand(Clock):
    """A clock that a test moves by hand."""

    time = 100.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.mark.parametrize(("minutes", "steps"), [(0.5, 4), (2.0, 13), (1e-6, 1)])
def test_minutes_are_minutes(
    minutes: float, steps: int, make_trainer: Make, notes: Any, clock: Hand
) -> None:
    """Steps of 10 s: the step at hand when time is up is the last."""
    clock.deadline = clock.time + 60 * minutes
    trainer = make_trainer(steps=100, batch_size=2, clock=clock)

    def passing(*_: object) -> None:
        clock.time += 10

    trainer.task.register_forward_hook(passing)
    assert not trainer.run(notes)
    assert trainer.step == steps == notes.saves[-1]


def test_minutes_between_states_are_minutes(make_trainer: Make, notes: Any, clock: Hand) -> None:
    trainer = make_trainer(steps=9, checkpoint_minutes=0.5, clock=clock)

    def passing(*_: object) -> None:
        clock.time += 10

    trainer.task.register_forward_hook(passing)
    trainer.run(notes)
    assert notes.saves == [4, 8, 9]  # after more than 30 s


def test_previews_come_by_time(make_trainer: Make, notes: Any, clock: Hand) -> None:
    """A step takes a minute: of 10, the start, every third, and the end."""

    def passing(*_: object) -> None:
        clock.time += 60

    trainer = make_trainer(steps=10, preview_minutes=2.5, clock=clock)
    trainer.task.register_forward_hook(passing)
    trainer.run(notes)
    assert [step for step, _ in notes.previews] == [0, 3, 6, 9, 10]
    trainer.run(notes)
    assert len(notes.previews) == 5, "nothing is left to do"


def test_a_budgeted_stage_ends_in_its_time(make_trainer: Make, notes: Any, clock: Hand) -> None:
    """Steps of 2 s; 11 previews and the last state of 5 s at most are in the 100 s too."""

    def pass_time(seconds: float) -> Callable[..., None]:
        def passing(*_: object) -> None:
            clock.time += seconds

        return passing

    notes.preview, told = pass_time(5), list[int]()
    trainer = make_trainer(steps=500, preview_minutes=0.5, decay=1.0, clock=clock)
    trainer.task.register_forward_hook(pass_time(2))

    def tell(steps: int) -> TrainConfig:
        told.append(steps)
        return trainer.config.model_copy(update={"steps": steps})

    trainer.pacing.pacer = Pacer(100.0, tell)
    assert trainer.run(notes)
    assert 90 <= trainer.seconds <= 100
    assert trainer.step == told[-1]
    assert notes.logged[-1][1]["learning_rate"] <= 3e-4 / 30, "which has come down by then"


def test_pictures_a_second_are_those_since_the_last_line(
    make_trainer: Make, notes: Any, clock: Hand
) -> None:
    trainer = make_trainer(steps=6, batch_size=4, log_every=3, clock=clock)
    spent = iter([1, 1, 2, 4, 4, 4])

    def passing(*_: object) -> None:
        clock.time += next(spent)

    trainer.task.register_forward_hook(passing)
    trainer.run(notes)
    assert [values["images_per_second"] for _, values in notes.logged] == [3 * 4 / 4, 3 * 4 / 12]


def test_a_state_is_saved_where_no_batches_come_any_more(make_trainer: Make, notes: Any) -> None:
    trainer = make_trainer(steps=9)
    batches = trainer.loader._attempt
    trainer.loader._attempt = lambda: batches() if trainer.step < 4 else None  # type: ignore[method-assign]
    with pytest.raises(WorkersLostError, match="were killed"):
        trainer.run(notes)
    assert notes.saves == [4]
    assert step_of(saved_states(trainer.folder)[-1]) == 4
    assert len(notes.notes) == REPLACED
    again = make_trainer(steps=9)
    assert again.resume()
    assert again.run(notes)


class Two(World):
    """The first of two processes, of which the other has no batch after its fourth."""

    alone = False

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.gone = trainer, False

    def each(self, make: Callable[[], T]) -> T:
        made = make()
        if self.trainer.step == 4 and not self.gone:
            self.gone = True
            raise DataError("the other's disk is gone")
        return made


def test_where_another_process_has_no_batch_all_save_and_lose_none(
    make_trainer: Make, notes: Any
) -> None:
    """This one had its fifth batch already: it is the next one of who resumes."""
    trainer = make_trainer(steps=9)
    trainer.world = trainer.feed.world = trainer.keeper.world = Two(trainer)
    with pytest.raises(DataError, match="the other's disk is gone"):
        trainer.run(notes)
    (state,) = saved_states(trainer.folder)
    assert step_of(state) == 4
    assert load_state(state).values["data"] == {"position": 4 * 4}


def test_a_full_disk_stops_several_processes_no_earlier_than_one(
    make_trainer: Make, notes: Any
) -> None:
    trainer = make_trainer(steps=3, checkpoint_minutes=1e-9)
    trainer.world = trainer.feed.world = trainer.keeper.world = Two(trainer)
    write = trainer.keeper.store.write

    def full(state: Any) -> Path:
        if trainer.step == 2:
            raise OutputError("cannot write a state: no room")
        return write(state)

    trainer.keeper.store.write = full  # type: ignore[method-assign]
    assert trainer.run(notes)
    assert [step_of(path) for path in saved_states(trainer.folder)] == [1, 3]


def test_seconds_are_all_that_pass_and_go_on_when_resumed(
    make_trainer: Make, notes: Any, clock: Hand
) -> None:
    def pass_time(seconds: float) -> Callable[..., None]:
        def passing(*_: object) -> None:
            clock.time += seconds

        return passing

    notes.preview, notes.saving = pass_time(100), pass_time(10)
    for steps, checkpoints in ((4, 2.9 / 60), (7, 99.0)):
        settings = {"steps": steps, "checkpoint_minutes": checkpoints, "preview_every": 3}
        trainer = make_trainer(**settings, clock=clock)
        trainer.resume()
        trainer.task.register_forward_hook(pass_time(1))
        trainer.run(notes)
    # a preview, steps 1 to 3, a preview and a state, step 4, the last preview of four steps and
    # a state; then steps 5 to 7 and previews after steps 6 and 7
    first = 100 + 3 + 100 + 10 + 1 + 100 + 10
    assert load_state(saved_states(trainer.folder)[0]).values["seconds"] == first
    assert trainer.seconds == first + 3 + 200
    assert trainer.step == 7


@pytest.mark.parametrize(("built", "deadline", "steps"), [(70, 60, 0), (0, 49, 1), (0, 53, 4)])
def test_measuring_a_step_ends_with_the_time(
    built: int, deadline: float, steps: int, make_trainer: Make, clock: Hand
) -> None:
    """Time is up before the first step, in it (50 s), or in those of 1.5 s after it."""
    trainer, made = make_trainer(clock=clock), []

    def passing(*_: object) -> None:
        clock.time += 1.5 if made else 50.0
        made.append(trainer.step)

    clock.time, clock.deadline = built, deadline
    trainer.task.register_forward_hook(passing)
    with pytest.raises(TimeIsUp, match=r"^stopped before the steps of 'prior' were measured$"):
        seconds_per_step(trainer, 4, 60.0)
    assert len(made) == steps


@pytest.mark.parametrize(("window", "steps"), [(0.5, 2), (3.0, 2), (3.1, 4), (20.0, 16)])
def test_a_step_is_measured_without_its_warm_up(
    window: float, steps: int, make_trainer: Make, clock: Hand
) -> None:
    """The first step takes 50 s and each of the others 1.5: rounds of 1, 2, 4, ... follow it."""
    trainer, sizes = make_trainer(steps=2, ramp=((1, 9),), clock=clock), []

    def passing(_module: Any, args: Any, _out: Any) -> None:
        clock.time += 1.5 if sizes else 50.0
        sizes.append(len(args[0]["image"]))

    trainer.task.register_forward_hook(passing)
    assert seconds_per_step(trainer, 5, window) == 1.5
    rounds = [1, 1] if window <= 1.5 else [1, 1, *(2**n for n in range(1, 9) if 2**n <= steps)]
    assert sizes == [5] * sum(rounds)
    assert saved_states(trainer.folder) == []


def test_the_averaged_stage_samples_with_the_average(
    make_trainer: Make, make_cond: Any, notes: Any, tmp_path: Any
) -> None:
    trainer = make_trainer("decoder", learning_rate=0.01)
    trainer.run(notes)
    stage = trainer.averaged()
    assert type(stage) is type(trainer.task.stage)
    assert stage.net is trainer.ema.average
    assert not stage.training
    assert trainer.task.stage.training, "the one in training goes on"
    save_stage(tmp_path / "it", stage, torch.float32)
    cond, loaded = make_cond(2), load_stage(tmp_path, "it")
    image = stage.sample(cond, Rng([0, 1])).image
    assert torch.allclose(image, loaded.sample(cond, Rng([0, 1])).image, atol=1e-5)
    raw = trainer.task.stage.eval().sample(cond, Rng([0, 1])).image
    assert not torch.allclose(image, raw, atol=1e-4)


def test_the_average_follows_every_step(make_trainer: Make, notes: Any) -> None:
    trainer = make_trainer(steps=2, ema=0.5)
    expected = {key: value.clone() for key, value in trainer.net.state_dict().items()}
    for step in range(2):
        run_to(trainer, step + 1, notes)
        decay = (1 + step) / (10 + step)
        for key, value in trainer.net.state_dict().items():
            expected[key] = decay * expected[key] + (1 - decay) * value
    for key, value in trainer.ema.average.state_dict().items():
        assert torch.allclose(value, expected[key], atol=1e-6)


def test_half_precision_trains_float32_weights(make_trainer: Make, notes: Any) -> None:
    trainer, seen = make_trainer("decoder", precision="bfloat16"), set()
    trainer.net.conv_in.register_forward_hook(lambda _m, _i, out: seen.add(out.dtype))  # type: ignore[union-attr, operator]
    trainer.run(notes)
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in trainer.net.parameters()} == {torch.float32}
    exact = make_trainer("decoder", "exact")
    exact.run(notes)
    assert notes.logged[-1][1]["loss"] == pytest.approx(notes.logged[0][1]["loss"], rel=0.05)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_bfloat16_is_used_where_the_hardware_is_fast_in_it_and_nowhere_else(
    fast: bool, optimizer: str, make_trainer: Make, notes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every operation of a whole run, by PyTorch's profiler, saving and averaging included."""
    monkeypatch.setattr("unclip.device.cpu_has_bf16", lambda: fast)
    trainer = make_trainer("decoder", precision="auto", optimizer=optimizer, steps=2)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        trainer.run(notes)
    coarse = {
        event.name()
        for event in seen.profiler.kineto_results.events()  # type: ignore[union-attr]
        if "c10::BFloat16" in event.dtypes()
    }
    if not fast:
        assert coarse == set()
        return
    products = {"aten::convolution", "aten::addmm"}
    assert products | ({"aten::bmm"} if optimizer == "muon" else set()) <= coarse


class Seen:
    """Counts what a stage is prepared with, and leaves a mark among its buffers."""

    def __init__(self, trainer: Trainer, wanted: int) -> None:
        stage: Any = trainer.task.stage
        stage.prepare_samples, stage.prepare = wanted, self
        self.net = stage.net
        self.sizes: list[int] = []
        self.pictures: list[float] = []

    def __call__(self, conds: Any) -> None:
        for cond in conds:
            self.sizes.append(len(cond.image_embed))
            self.pictures.append(float(cond.image_embed.sum()))
        self.net.pca.mean.fill_(sum(self.pictures))


def test_a_stage_is_prepared_with_the_first_samples_and_trains_on_them_again(
    make_trainer: Make, notes: Any
) -> None:
    trainer = make_trainer("ar_prior", steps=2, batch_size=4)
    seen = Seen(trainer, 10)
    trainer.prepare()
    assert seen.sizes == [4, 4, 4]
    assert len(set(seen.pictures)) == 3
    assert trainer.loader.state_dict() == {"position": 0}
    mark = trainer.net.pca.mean
    assert mark.any()
    assert torch.equal(trainer.averaged().net.pca.mean, mark)  # type: ignore[union-attr, arg-type]
    conds: list[float] = []
    cond = trainer.task.cond

    def spy(batch: Any, rng: Any) -> Any:
        found = cond(batch, rng)
        conds.append(float(found.image_embed.sum()))  # type: ignore[union-attr]
        return found

    trainer.task.cond = spy  # type: ignore[method-assign]
    trainer.run(notes)
    assert conds == seen.pictures[:2]


def test_what_was_fitted_is_resumed_and_not_fitted_again(make_trainer: Make, notes: Any) -> None:
    trainer = make_trainer("ar_prior", steps=4)
    trainer.task.stage.prepare_samples = 64  # type: ignore[misc]
    trainer.prepare()
    basis = trainer.net.pca.basis.clone()
    run_to(trainer, 2, notes)
    again = make_trainer("ar_prior", steps=4)
    assert not torch.equal(again.net.pca.basis, basis)
    assert again.resume()
    for net in (again.net, again.averaged().net):
        assert torch.equal(net.pca.basis, basis)  # type: ignore[union-attr, arg-type]
        assert torch.equal(net.values.edges, trainer.net.values.edges)  # type: ignore[union-attr, arg-type]


def test_a_stage_that_asks_for_nothing_is_shown_nothing(make_trainer: Make) -> None:
    trainer = make_trainer("prior")
    average = trainer.ema
    trainer.prepare()
    assert trainer.loader._batches is None
    assert trainer.ema is average
