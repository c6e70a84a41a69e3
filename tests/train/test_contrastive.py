"""CLIP's task: heads that are in states and in no model, x-clip's combination, many processes."""

from __future__ import annotations

import math
import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing

from unclip.checkpoints.native import load_stage, save_stage
from unclip.data import Source
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import BatchRng
from unclip.stages import STAGES
from unclip.train.config import TrainConfig
from unclip.train.contrastive import ContrastiveTask
from unclip.train.loader import Loader
from unclip.train.recipe import load_recipe
from unclip.train.run import Run, changes
from unclip.train.state import load_state, saved_states
from unclip.train.trainer import Trainer

ALL = {
    "infonce": {"extra_projection": True},
    "siglip": {"weight": 0.1},
    "filip": {"form": "dcl"},
    "mlm": {},
    "simclr": {},
    "simsiam": {},
}


@pytest.fixture
def make(
    make_stage: Callable[..., Any], speckles: Any, tokenizer: Tokenizer, tmp_path: Path
) -> Callable[..., Trainer]:
    def trainer(folder: str, **settings: Any) -> Trainer:
        task = ContrastiveTask(make_stage("clip", objective=ALL))
        given = {"steps": 4, "batch_size": 5, "warmup": 1, "precision": "float32", **settings}
        source: Source = speckles(task.source_size)
        loader = Loader(source, task.collate(tokenizer), 5, 0)
        return Trainer(task, loader, TrainConfig.parse(given), tmp_path / folder)

    return trainer


def test_heads_are_saved_and_resumed_and_in_no_model(
    make: Callable[..., Trainer], make_stage: Callable[..., Any], notes: Any, tmp_path: Path
) -> None:
    whole, halves = make("whole", micro_batch=2), make("halves", micro_batch=2)
    whole.run(notes)
    halves.clock.stop = lambda: halves.step >= 2
    halves.run(notes)
    again = make("halves", micro_batch=2)
    assert again.resume() and again.step == 2
    again.run(notes)
    states = [load_state(saved_states(one.folder)[-1]).tensors for one in (whole, again)]
    assert states[0]["heads_net"].keys() == halves.task.heads.state_dict().keys()  # type: ignore[operator, union-attr]
    for group, tensors in states[0].items():
        assert all(torch.equal(states[1][group][name], one) for name, one in tensors.items()), group
    averaged = again.averaged()
    save_stage(tmp_path / "model", averaged)
    names = load_stage(tmp_path, "model").net.state_dict().keys()
    assert names == make_stage("clip").net.state_dict().keys()


def test_a_state_of_other_losses_is_named() -> None:
    """Where they have weights of their own; others may come and go."""
    recipes = [
        load_recipe("tiny", [f"stages.clip.objective.{one}.weight=0.5"]).stage("clip")
        for one in ("infonce", "dcl", "mlm")
    ]
    infonce, dcl, mlm = recipes
    assert changes(infonce, dcl, "stages.clip") == ""
    assert changes(infonce, mlm, "stages.clip") == (
        "stages.clip.objective = infonce, and now it is infonce, mlm"
    )


def test_x_clips_combination_trains_and_stays_finite(tmp_path: Path) -> None:
    """FILIP, DCL, extra projections, SimCLR and MLM together, which elsewhere end in NaN."""
    settings = ["stages.clip.train.batch_size=24", "stages.clip.train.precision=float32"]
    run = Run(load_recipe("xclip", settings), tmp_path, torch.device("cpu"))
    trainer = run.trainer("clip")
    told = [{n: float(v) for n, v in trainer.advance().items()} for _ in range(16)]
    assert {"filip", "dcl", "simclr", "mlm"} <= told[0].keys()
    assert all(math.isfinite(value) for one in told for value in one.values())
    losses = [one["loss"] for one in told]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


@pytest.mark.slow
def test_x_clips_combination_ends_at_its_floor_and_not_in_nan(tmp_path: Path) -> None:
    """At ten times the learning rate, until there is nothing left to tell apart."""
    settings = ["stages.clip.train.learning_rate=3e-2", "stages.clip.train.precision=float32"]
    run = Run(load_recipe("xclip", settings), tmp_path, torch.device("cpu"))
    trainer = run.trainer("clip")
    told = [{n: float(v) for n, v in trainer.advance().items()} for _ in range(300)]
    assert all(math.isfinite(value) for one in told for value in one.values())
    assert min(one["loss"] for one in told) >= 0.9 * -5


def _process(
    rank: int, world: int, port: int, batch: dict[str, Tensor], out: Path, size: int
) -> None:
    """One of some processes: the gradients that its part of a batch gives, averaged over all."""
    from torch import distributed

    from unclip.train.distributed.gathering import All

    torch.set_num_threads(1)
    warnings.simplefilter("error", FutureWarning)  # a user would see it
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=world)
    try:
        task = _task()
        task.everyone = All(type("World", (), {"rank": rank})())
        half = len(batch["image"]) // world
        here = {name: one[rank * half : (rank + 1) * half] for name, one in batch.items()}
        told = task.train().backward(here, BatchRng("seed", half, first=rank * half), size)
        for one in [*task.parameters(), loss := torch.nn.Parameter(told["loss"])]:
            mean = one.grad if one is not loss else one.data
            if mean is not None:
                distributed.all_reduce(mean)
                mean /= world
        if rank == 0:
            torch.save([{n: p.grad for n, p in task.named_parameters()}, loss.data], out)
    finally:
        distributed.destroy_process_group()


def _task() -> ContrastiveTask:
    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 1, "heads": 2}
    network = {
        "embed_dim": 16,
        "vision": {**sizes, "image_size": 8, "patch_size": 4},
        "text": {**sizes, "vocab_size": 320, "context": 8},
    }
    clip = STAGES["clip"]
    return ContrastiveTask(clip(clip.Config.parse({"network": network, "objective": ALL})))  # type: ignore[call-arg]


@pytest.mark.parametrize("size", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_two_processes_have_the_gradients_of_the_whole_batch(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every loss that compares samples, gathered with gradients by gloo; GradCache where 2 of 3."""
    pytest.importorskip("unclip.train.distributed.gathering")
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # where processes find this file
    torch.manual_seed(1)
    tokens = torch.randint(3, 320, (6, 8))
    tokens[4] = tokens[0]  # equal captions on different processes
    batch = {
        "image": torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8),
        "text_tokens": tokens,
        "text_mask": torch.arange(8)[None] < torch.tensor([3, 8, 5, 6, 3, 7])[:, None],
        "negative_tokens": tokens.roll(1, 1),
        "negative_mask": torch.arange(8)[None] < torch.tensor([3, 8, 5, 6, 3, 7])[:, None],
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = 2, port, batch, tmp_path / "grads", size
    multiprocessing.spawn(_process, given, nprocs=2)  # type: ignore[no-untyped-call]
    found, loss = torch.load(tmp_path / "grads", weights_only=True)
    task = _task()
    told = task.train().backward(batch, BatchRng("seed", 6))
    assert float(loss) == pytest.approx(float(told["loss"]), rel=1e-5)
    for name, one in task.named_parameters():
        if one.grad is not None:
            top = max(1.0, float(one.grad.abs().max()))
            assert torch.allclose(found[name], one.grad, atol=1e-5 * top), name
