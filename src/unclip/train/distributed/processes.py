"""Processes that `torchrun` started, and how they talk."""

from __future__ import annotations

import gc
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from ... import errors
from ...errors import Cancelled, TrainingError, UnclipError
from ..world import World

T = TypeVar("T")

ROLL_CALL = 5.0
"""Seconds in which a process that lives says so, after one did not answer."""


class Processes(World):
    """Several processes. They agree over gloo, on the CPU; networks may use NCCL on GPUs.

    What they tell each other is numbers and JSON: nothing is unpickled.

    Args:
        rank: of this process.
        size: how many there are.
        device: of this process.
        minutes: how long they wait for each other.
    """

    alone = False

    def __init__(self, rank: int, size: int, device: torch.device, minutes: float) -> None:
        self.rank, self.size, self.minutes = rank, size, minutes
        timeout = timedelta(minutes=minutes)
        agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        every = dist.TCPStore(  # type: ignore[attr-defined]
            address, port, size, self.is_first and not agents, timeout
        )
        self.store = dist.PrefixStore(f"unclip/{attempt}", every)  # type: ignore[attr-defined]
        self.store.set(f"who/{rank}", f"{socket.gethostname()}, number {os.getpid()} there")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, store=self.store, rank=rank, world_size=size, timeout=timeout
        )

    def decided(self, flag: bool) -> bool:
        """See `World`."""
        said = torch.tensor([flag], dtype=torch.uint8)
        dist.broadcast(said, 0)
        return bool(said.item())

    def any(self, flag: bool) -> bool:
        """See `World`."""
        said = torch.tensor([flag], dtype=torch.uint8)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said.item())

    def first(self, make: Callable[[], T]) -> T:
        """See `World`."""
        failed, made = _tried(make) if self.is_first else (None, None)
        told = self._told({"made": made, "failed": _named(failed)}, 0)
        if told["failed"]:
            raise failed or _like(*told["failed"])
        value: T = told["made"]
        return value

    def each(self, make: Callable[[], T]) -> T:
        """See `World`."""
        failed, made = _tried(make)
        who = torch.tensor([self.rank if failed else self.size])
        dist.all_reduce(who, dist.ReduceOp.MIN)
        if int(who) < self.size:
            told = self._told(_named(failed), int(who))
            raise failed or _like(*told)
        return cast(T, made)

    def _told(self, value: Any, who: int) -> Any:
        """What one process says, as JSON."""
        said = list(json.dumps(value).encode()) if self.rank == who else []
        length = torch.tensor([len(said)])
        dist.broadcast(length, who)
        text = torch.tensor(said or [0] * int(length), dtype=torch.uint8)
        dist.broadcast(text, who)
        return json.loads(bytes(text.tolist()))

    def total(self, counts: Sequence[int]) -> list[int]:
        """See `World`."""
        sums = torch.tensor(counts, dtype=torch.int64)
        dist.all_reduce(sums)
        return [int(one) for one in sums.tolist()]

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """See `World`."""
        names = self.first(lambda: sorted(values))
        if not names:
            return {}
        sums = torch.tensor([values.get(name, 0.0) for name in names], dtype=torch.float64)
        dist.all_reduce(sums)
        return dict(zip(names, (sums / self.size).tolist(), strict=True))

    @contextmanager
    def together(self) -> Iterator[None]:
        """See `World`: the first that fails says why, all others end in silence."""
        try:
            yield
        except Exception as error:
            told = self._explained(error)
            code = told.exit_code if isinstance(told, UnclipError) else 1
            if self.store.compare_set("failed", "", str(self.rank)) == str(self.rank).encode():
                if told is error:
                    raise
                raise told from error
            raise SystemExit(code) from None
        gc.collect()  # a trainer divided by FSDP that outlives its group aborts the process
        dist.destroy_process_group()

    def _explained(self, error: Exception) -> Exception:
        """The error; where another process did not answer, one that names it."""
        if isinstance(error, Cancelled):  # all of them were
            with suppress(RuntimeError):
                if not self.is_first:
                    self.store.wait(["failed"], timedelta(seconds=ROLL_CALL))
            return error
        lost = isinstance(error, RuntimeError) and any(
            word in str(error) for word in ("gloo", "Gloo", "NCCL", "onnection")
        )
        if not lost or self.store.check(["failed"]):
            return error
        missing = self._missing()
        who = "; ".join(f"{rank} of {self.size} ({self._who(rank)})" for rank in missing)
        if not missing:
            return TrainingError(f"the processes lost each other: {' '.join(str(error).split())}")
        if "imed out" in str(error) or "imeout" in str(error):
            return TrainingError(
                f"process {who} has not answered for {self.minutes:g} minutes: it hangs, or its "
                "data do; resume to go on from the last saved state"
            )
        return TrainingError(
            f"process {who} is gone: it was killed, or its machine is down; resume to go on from "
            "the last saved state"
        )

    def _missing(self) -> list[int]:
        """Who does not answer within `ROLL_CALL` seconds."""
        self.store.set(f"here/{self.rank}", "1")
        names = [f"here/{rank}" for rank in range(self.size)]
        with suppress(RuntimeError):
            self.store.wait(names, timedelta(seconds=ROLL_CALL))
        return [rank for rank, name in enumerate(names) if not self.store.check([name])]

    def _who(self, rank: int) -> str:
        return self.store.get(f"who/{rank}").decode()


def _tried(make: Callable[[], T]) -> tuple[UnclipError | None, T | None]:
    """How it failed, or what it gave."""
    try:
        return None, make()
    except UnclipError as error:
        return error, None


def _named(error: UnclipError | None) -> list[str] | None:
    return [type(error).__name__, str(error)] if error else None


def _like(name: str, text: str) -> UnclipError:
    """The error of another process."""
    kind = vars(errors).get(name, UnclipError)
    return cast(UnclipError, UnclipError(text) if kind is errors.SamplingError else kind(text))
