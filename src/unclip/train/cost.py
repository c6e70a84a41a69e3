"""What a recipe costs before it starts: parameters, arithmetic, memory and time.

A whole training step of each stage is run on PyTorch's `meta` device, where tensors have shapes
but no numbers: no data, no weights and no memory are needed, whatever the size.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from ..device import autocast, place
from ..nn.autoencoder import Autoencoder, Block
from ..nn.latents import InLatents
from ..nn.layers import parameter_count
from ..nn.transformer import Transformer, TransformerConfig
from ..nn.unet import UNet
from ..rng import BatchRng, Rng
from ..stages import DiffusionStage, Stage
from ..types import Level
from .activations import Activations
from .blocks import checkpoint_blocks
from .config import TrainConfig
from .ema import Ema
from .frozen import freeze
from .lora import learn_low_rank
from .optim import hidden_matrices, make_optimizers, orthogonal
from .recipe import Recipe
from .task import Task
from .tasks import bare, make_task

BACKWARD = 2
"""Forward passes that a backward pass is worth: gradients of the inputs, and of the weights."""

_WIDEST, _LARGEST = 256, 32  # channels and side of the blocks that speed is measured on


@dataclass(frozen=True)
class Cost:
    """What one stage costs. A step is one at the largest batch."""

    name: str
    steps: int
    batch_size: int
    samples: int  # in all steps
    parameters: int
    step_flops: float  # forward and backward, and the frozen CLIP's forward; the mean of all steps
    update_flops: float  # the optimizers' products and inverses of one step, whatever the batch
    state_bytes: int  # weights, gradients, moments, average, a critic's too; frozen CLIP
    activation_bytes: int  # what the backward pass keeps, of the step that keeps most
    seconds: float  # for all steps

    @property
    def total_flops(self) -> float:
        """FLOPs of the whole training."""
        return self.step_flops / self.batch_size * self.samples + self.update_flops * self.steps

    @property
    def memory_bytes(self) -> int:
        """The least that the device has to hold."""
        return self.state_bytes + self.activation_bytes


def estimate(recipe: Recipe, name: str, device: torch.device) -> Cost:
    """Estimate the cost of one stage of a recipe, whose data need not be there.

    The speed of `device` is measured, for a second or two.

    Raises:
        UsageError: the stage does not fit the others.
    """
    config = recipe.trained[name]
    dtype = config.dtype(device)
    batch_size = max(size for _, size in config.stretches(config.steps))
    task = task_on_meta(recipe, name, dtype)
    freeze(task.stage.net, config.freeze, f"stages.{name}")
    context, pieces = recipe.settings.tokenizer.context, config.micro_batch
    checkpointed = config.activation_checkpointing
    phases = phase_costs(task, batch_size, context, pieces)
    kept = [one.activations for one in phases]
    if checkpointed:
        checkpoint_blocks(task.stage.net)
        phases = phase_costs(task, batch_size, context, pieces)  # blocks run twice
    lengths = [(steps_of(one, config), samples_of(one, config)) for one in phases]
    samples = sum(count for _, count in lengths)
    flops = sum(one.flops * count for one, (_, count) in zip(phases, lengths, strict=True))
    flops *= (2 if config.sam else 1) / samples  # of the mean step
    learners = task.learners(config)
    frozen = sum(parameter_count(helper) for helper in task.frozen)
    arithmetic = flops / batch_size * samples / speed(task.stage.net, batch_size, device, dtype)
    updates = 0.0
    for prefix, (net, own) in learners.items():
        steps = sum(
            n for one, (n, _) in zip(phases, lengths, strict=True) if prefix in one.learning
        )
        updates += steps * _learning(net) * seconds_per_parameter(net, own, device, not prefix)
    return Cost(
        name=name,
        steps=config.steps,
        batch_size=batch_size,
        samples=samples,
        parameters=parameter_count(task.stage),
        step_flops=flops,
        update_flops=sum(update_flops(*each, dtype) for each in learners.values()),
        state_bytes=sum(state_bytes(*each, not key) for key, each in learners.items()) + 4 * frozen,
        activation_bytes=max(one.checkpointed if checkpointed else one.kept for one in kept),
        seconds=arithmetic + updates,
    )


@dataclass(frozen=True)
class Phase:
    """A part of the training, all steps of which compute the same.

    Args:
        start, end: shares of the training that are done.
        flops: of one step.
        activations: that a step keeps.
        learning: what it gives gradients, by the names of `Task.learners`.
    """

    start: float
    end: float
    flops: float
    activations: Activations
    learning: frozenset[str]


def phase_costs(
    task: Task, batch_size: int, context: int, micro_batch: int | None = None
) -> list[Phase]:
    """What `step_cost` says of a task on `meta`, for each of its phases."""
    found = []
    for start, end in pairwise((*task.phases, 1.0)):
        task.begin(start, task.stage.net)
        learners = task.learners(TrainConfig())
        for net, _ in learners.values():
            net.zero_grad()
        flops, kept = step_cost(task, batch_size, context, micro_batch)
        learning = (
            key
            for key, (net, _) in learners.items()
            if any(one.grad is not None for one in net.parameters())
        )
        found.append(Phase(start, end, flops, kept, frozenset(learning)))
    return found


def steps_of(phase: Phase, config: TrainConfig) -> int:
    """How many of a training's steps are in a phase."""
    return math.ceil(phase.end * config.steps) - math.ceil(phase.start * config.steps)


def samples_of(phase: Phase, config: TrainConfig) -> int:
    """How many samples they have."""
    start, end = (
        sum(n * size for n, size in config.stretches(math.ceil(share * config.steps)))
        for share in (phase.start, phase.end)
    )
    return int(end - start)


def share_ahead(phases: Sequence[Phase], then: float, now: float) -> float:
    """Arithmetic of the mean step of the rest, as a share of that of those from `then` to `now`."""
    if not then < now < 1:
        return 1.0
    return _mean_flops(phases, now, 1.0) / _mean_flops(phases, then, now)


def _mean_flops(phases: Sequence[Phase], start: float, end: float) -> float:
    """Of a step between two shares of the training."""
    parts = (one.flops * max(0.0, min(end, one.end) - max(start, one.start)) for one in phases)
    return sum(parts) / (end - start)


def phase_at(phases: Sequence[Phase], progress: float) -> Phase:
    """The phase when a share of the training is done."""
    return [one for one in phases if one.start <= progress][-1]


def step_cost(
    task: Task, batch_size: int, context: int, micro_batch: int | None = None
) -> tuple[float, Activations]:
    """FLOPs of one step of a task on `meta` as it has begun, and the activations that it keeps.

    Of micro batches one is run. Only one's activations are kept at a time.
    """
    size = min(batch_size, micro_batch or batch_size)
    with torch.device("meta"):
        batch = task.blank(size, context)
    rng, kept = _NoRng(0, size, "meta"), Activations()
    with FlopCounterMode(display=False) as frozen:
        cond = task.cond(batch, rng)
    beside = [net for net, _ in task.learners(TrainConfig()).values()]
    with (
        FlopCounterMode(display=False) as trained,
        kept.watching(task.stage, *beside, *task.frozen),
    ):
        loss, _ = task.loss(cond, rng)
        with FlopCounterMode(display=False) as backward:
            loss.mean().backward()  # type: ignore[no-untyped-call]
    flops = frozen.get_total_flops() + trained.get_total_flops()
    if task.encodes_twice and size < batch_size:
        flops += trained.get_total_flops() - backward.get_total_flops()
    return float(flops) * batch_size / size, kept


def update_flops(net: nn.Module, config: TrainConfig, dtype: torch.dtype) -> float:
    """FLOPs of the products and inverses of one step of the optimizer: Muon's; AdamW has none."""
    ops = torch.ops.aten
    inverse = {ops.linalg_cholesky_ex: _third, ops.cholesky_inverse: lambda *a, **k: 2 * _third(*a)}
    with FlopCounterMode(display=False, custom_mapping=inverse) as counter:
        for matrix in hidden_matrices(net) if config.optimizer == "muon" else []:
            orthogonal(torch.empty(1, *matrix.flatten(1).shape, device="meta"), dtype)
    return float(counter.get_total_flops())


def _third(shape: Sequence[int], *_: object, **__: object) -> int:
    """FLOPs of the Cholesky factors of (K, m, m): m^3 / 3 each."""
    return math.prod(shape) * shape[-1] // 3


def task_on_meta(recipe: Recipe, name: str, dtype: torch.dtype) -> Task:
    """A stage and, where it needs them, the recipe's CLIP and prior, all without numbers."""

    def helper(one: str) -> Stage:
        return bare(recipe, name, one).to(dtype)

    def trained(one: str) -> Stage:
        stage = helper(one)
        if isinstance(stage, DiffusionStage):  # its schedule looks at numbers
            stage.config = stage.config.model_copy(update={"schedule": _NoSchedule()})
        return stage

    teacher = recipe.stage(name).teacher
    chosen = {teacher: trained} if teacher else {}
    task = make_task(recipe, name, trained(name), lambda one: chosen.get(one, helper)(one))
    task = task.to("meta")
    if lora := recipe.trained[name].lora:
        learn_low_rank(task.stage.net, lora, f"stages.{name}")
    return task


class _NoRng(BatchRng):
    """Draws without numbers."""

    def randn(self, *shape: int) -> Tensor:
        return torch.empty((self.batch, *shape), device=self.device)

    rand = randn


@dataclass(frozen=True)
class _NoSchedule:
    """Levels without numbers."""

    def sample(self, rng: Rng) -> Level:
        return Level(rng.rand(), rng.rand(), rng.rand())

    def before(self, level: Level) -> Level:
        return level

    def at_log_snr(self, log_snr: Tensor) -> Level:
        return Level(*[log_snr.float()] * 3)

    def grid(self, steps: int, spacing: str = "uniform") -> list[Level]:
        """Of () each, as `sample` gives (B,)."""
        return [Level(*(torch.empty((), device="meta") for _ in range(3)))] * (steps + 1)


def speed(net: nn.Module, batch_size: int, device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s that `device` reaches, forward and backward, on a block like those of `net`."""
    batch = min(batch_size, 8 if device.type == "cpu" else 64)
    block, inputs = _block_like(net, batch)
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(block).to("meta")(*(one.to("meta") for one in inputs))
    place(block, device)
    inputs = [one.to(device).requires_grad_() for one in inputs]  # as deep within a network

    def run() -> None:
        with autocast(device, dtype):
            out = block(*inputs)
        (out[0] if isinstance(out, tuple) else out).float().sum().backward()

    return float((1 + BACKWARD) * counter.get_total_flops() / _seconds(run))


def _block_like(net: nn.Module, batch: int) -> tuple[nn.Module, list[Tensor]]:
    """A block like those that a network is made of, and its inputs."""
    if isinstance(net, InLatents):
        return _block_like(net.unet, batch)
    if isinstance(net, Autoencoder):
        width, side = min(_WIDEST, net.config.channels[-1]), _LARGEST
        x = torch.randn(batch, width, side, side).contiguous(memory_format=torch.channels_last)
        return Block(width), [x]
    return _unet_block(net, batch) if isinstance(net, UNet) else _transformer_block(net, batch)


def _unet_block(net: UNet, batch: int) -> tuple[nn.Module, list[Tensor]]:
    """A residual block as in the middle of the down path, and its inputs."""
    config = net.config
    level = len(config.multipliers) // 2
    channels = min(_WIDEST, config.multipliers[level] * config.channels)
    side = min(_LARGEST, max(4, config.image_size // net.fold // 2**level))
    block = net.block(channels, channels)
    nn.init.normal_(block.conv2.weight, std=0.01)
    x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
    return block, [x, torch.randn(batch, 4 * config.channels)]


def _transformer_block(net: nn.Module, batch: int) -> tuple[nn.Module, list[Tensor]]:
    """A transformer's block of the greatest width in `net`, and 64 tokens a sample."""
    qkv = [one for name, one in net.named_modules() if name.rpartition(".")[2] == "qkv"]
    widths = [one.in_features for one in qkv if isinstance(one, nn.Linear)]
    width = min(4 * _WIDEST, max(widths, default=_WIDEST))
    heads = width // 64 if width % 64 == 0 else 1
    blocks = TransformerConfig(width=width, depth=1, heads=heads)
    return Transformer(blocks, causal=False), [torch.randn(batch, 64, width)]


def seconds_per_parameter(
    net: nn.Module, config: TrainConfig, device: torch.device, averaged: bool = True
) -> float:
    """Time of clipping, optimizer and average, for one parameter of a network like `net`."""
    shapes = [sorted(matrix.flatten(1).shape) for matrix in hidden_matrices(net)]
    count = max(1, sum(small * large for small, large in shapes))
    mean = sum(small * small * large for small, large in shapes) / count
    ratio = max(1.0, sum(large * large for _, large in shapes) / count)
    side = min(4 * _WIDEST, max(64, round(mean)))  # Muon's time grows with it
    wide, layers = round(side * ratio), max(1, int(2**21 / (side**2 * ratio)))
    like = nn.ModuleList(nn.Linear(wide, side, device=device) for _ in range(layers))
    ema, optimizers = Ema(like, config.ema), make_optimizers(like, config)
    for parameter in like.parameters():
        parameter.grad = torch.randn_like(parameter)

    def run() -> None:
        nn.utils.clip_grad_norm_(like.parameters(), config.clip_grad)
        for optimizer in optimizers:
            optimizer.step()
        if averaged:
            ema.update(like, 0)

    return _seconds(run) / parameter_count(like)


def state_bytes(net: nn.Module, config: TrainConfig, averaged: bool = True) -> int:
    """Weights; of those that learn gradients, average and moments: AdamW's two, Muon's one.

    Where weights climb (SAM) a copy of them is kept. A critic has no average.
    """
    single = hidden_matrices(net) if config.optimizer == "muon" else []
    moments = 2 * _learning(net) - sum(matrix.numel() for matrix in single)
    copies = 1 + averaged + bool(config.sam)  # gradients, average, and the weights before
    return 4 * (parameter_count(net) + copies * _learning(net) + moments)  # all float32


def _learning(net: nn.Module) -> int:
    """Number of parameters that are not frozen."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def _seconds(run: Callable[[], None]) -> float:
    """The median time of a call, from about .3 s of calls after a warm-up."""
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=0.3).median
