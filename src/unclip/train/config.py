"""How one stage is trained, and times as a person writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from math import inf
from typing import Annotated, Literal, Self

import torch
from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from ..config import Config, UserPath
from ..device import fast_dtype
from ..errors import UsageError

Beta = Annotated[float, Field(ge=0, lt=1)]

_NUMBER = r"(\d+(?:\.\d+)?)\s*"
_TIME = re.compile(
    rf"(?:{_NUMBER}(?:h|hours?))?\s*(?:{_NUMBER}(?:m|min|minutes?|$))?\s*(?:{_NUMBER}(?:s|sec|seconds?))?"
)


def minutes_of(value: object) -> float:
    """'3h', '90m', '45min', '1h 30min', '90s', or plain minutes -> minutes. Raises UsageError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        total = float(value)
    else:
        whole = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
        parts = [float(part or 0) for part in whole.groups()] if whole else [0.0] * 3
        total = 60 * parts[0] + parts[1] + parts[2] / 60
    if not 0 < total < inf:
        raise UsageError(
            f"a budget is a time such as 3h, 90m, 45min, 20s or plain minutes, got {value!r}"
        )
    return total


def _minutes(value: object) -> float | None:
    return None if value is None else minutes_of(value)


Minutes = Annotated[float | None, BeforeValidator(_minutes)]
"""A setting that is a time, kept as minutes."""


class FaultConfig(Config):
    """What is done about steps whose loss or gradient is not finite, or whose loss explodes."""

    patience: int = Field(10, ge=1, description="bad steps in a row before it goes back to a state")
    explosion: float = Field(10.0, gt=1, description="a loss so many times its median is bad")
    rollbacks: int = Field(3, ge=0, description="how often it goes back before it stops")


class LoraConfig(Config):
    """Low-rank matrices that learn in place of a stage's weights: see `nn.lora`."""

    rank: int = Field(16, ge=1, description="of the matrices; 8 to 32 are usual")
    alpha: float | None = Field(
        None, gt=0, description="the change is alpha/rank times their product; none is the rank"
    )
    targets: tuple[str, ...] = Field(
        (),
        description="layers, by the end of their names or patterns such as 'text.*'; none is every "
        "linear layer and convolution but those at the network's edge",
    )


class TrainConfig(Config):
    """How one stage is trained."""

    steps: int = Field(1000, ge=1, description="optimizer steps; a budget chooses others")
    batch_size: int = Field(64, ge=1, description="samples a step, of all processes together")
    ramp: tuple[tuple[NonNegativeInt, PositiveInt], ...] = Field(
        (), description="(step, batch size) pairs: from that step on, that size"
    )
    micro_batch: int | None = Field(
        None, ge=1, description="samples at once; a batch is worked on in pieces of so many"
    )
    freeze: tuple[str, ...] = Field(
        (), description="parts of the network that stay as they are, such as 'vision' or 'text'"
    )
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: for matrices, and AdamW for the rest"
    )
    sam: float = Field(
        0.0,
        ge=0,
        description="radius of sharpness-aware minimization, .1 in the paper; 0 is without",
    )
    learning_rate: float = Field(3e-4, gt=0, description="the highest, after the warm-up")
    warmup: int = Field(200, ge=0, description="steps of linear warm-up, a fifth of all at most")
    decay: float = Field(0.25, ge=0, le=1, description="last share of the steps: down to zero")
    weight_decay: float = Field(0.01, ge=0, description="of matrices alone")
    betas: tuple[Beta, Beta] = Field((0.9, 0.99), description="of AdamW")
    clip_grad: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(
        0.999, ge=0, lt=1, description="decay of the averaged weights, which are the model"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="that networks multiply in; auto: what is fast here"
    )
    engine: Literal["ddp", "fsdp"] = Field(
        "ddp", description="of several processes: each has the network, or a part of it"
    )
    activation_checkpointing: bool = Field(
        False, description="less memory for a forward pass more: blocks are computed again"
    )
    compile: bool = Field(False, description="compile each repeated block; needs a C++ compiler")
    lora: LoraConfig | None = Field(
        None, description="learn a LoRA of what the stage is taken from, and leave that as it is"
    )
    workers: int = Field(1, ge=0, description="processes that make batches; 0 is in the loop")
    cache: bool | UserPath = Field(
        False,
        description="keep what frozen networks say of the data on disk: in the run, or this folder",
    )
    log_every: int = Field(20, ge=1, description="steps between two lines, at most a minute")
    preview_minutes: float = Field(
        5.0, gt=0, description="between sample grids; a stage's start and end have one too"
    )
    preview_every: int | None = Field(
        None, ge=1, description="steps between sample grids, beside those by time"
    )
    checkpoint_minutes: float = Field(3.0, gt=0, description="between saved states")
    keep_states: int = Field(2, ge=1, description="saved states kept: the newest ones")
    faults: FaultConfig = FaultConfig()
    share: float | None = Field(
        None, gt=0, description="weight of this stage in a budget; without any: what steps take"
    )

    @model_validator(mode="after")
    def _low_rank_matrices_take_adamw(self) -> Self:
        if self.lora is not None and self.optimizer != "adamw":
            raise ValueError(f"optimizer must be adamw with lora, got {self.optimizer}")
        return self

    def dtype(self, device: torch.device) -> torch.dtype:
        """What networks multiply in on a device."""
        if self.precision == "auto":
            return fast_dtype(device)
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def batch_at(self, step: int) -> int:
        """The batch size of a step, counted from 0."""
        size = self.batch_size
        for start, value in self.ramp:
            size = value if step >= start else size
        return size

    def stretches(self, steps: float = inf) -> Iterator[tuple[float, int]]:
        """(steps, batch size) of each stretch of one batch size among the first `steps` steps."""
        starts = sorted({0, *(start for start, _ in self.ramp)})
        for start, end in pairwise([*(one for one in starts if one < steps), steps]):
            yield end - start, self.batch_at(int(start))
