"""The loop that trains judges and feature extractors: AdamW, a warm-up, and a cosine to zero."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from unclip.device import place
from unclip.errors import CheckpointError
from unclip.files import atomic_file

SAVE_EVERY = 250
"""Steps between two saved states."""

OnStep = Callable[[int, int, float], None]
"""(step, steps, running mean of the loss)."""


@dataclass(frozen=True)
class Descent:
    """How a network is trained. `warmup` is the share of the steps in which the rate rises."""

    steps: int
    learning_rate: float
    weight_decay: float
    clip: float
    warmup: float

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.learning_rate * ((step + 1) / warm)
        turn = math.pi * (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * (0.5 * (1 + math.cos(turn)))


class Fit:
    """A network on its way: weights, optimizer, and the step that comes next.

    Args:
        net: to be trained.
        descent: how.
        device: where.
        state: a file that keeps where training stands, to go on from there; gone at the end.
        identity: all that the training depends on; a state of another one is refused.

    Raises:
        CheckpointError: `state` is damaged, or of another training.
    """

    def __init__(
        self,
        net: nn.Module,
        descent: Descent,
        device: torch.device | None = None,
        state: Path | None = None,
        identity: Any = None,
    ) -> None:
        self.net, self.descent, self.state = net, descent, state
        self.identity = json.dumps(identity)
        self.step, self.loss = 0, 0.0
        place(net.train(), device or torch.device("cpu"))
        self.optimizer = torch.optim.AdamW(
            net.parameters(), descent.learning_rate, weight_decay=descent.weight_decay
        )
        if state and state.exists():
            self._load(state)

    def run(self, loss_of: Callable[[int], Tensor], on_step: OnStep | None = None) -> None:
        """All the steps that are left. `loss_of` gives the loss () of a step."""
        while self.step < self.descent.steps:
            loss = loss_of(self.step)
            for group in self.optimizer.param_groups:
                group["lr"] = self.descent.rate(self.step)
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.net.parameters(), self.descent.clip)
            self.optimizer.step()
            value = float(loss.detach())
            self.loss = value if self.step == 0 else 0.98 * self.loss + 0.02 * value
            self.step += 1
            if self.state and self.step % SAVE_EVERY == 0:
                self._save(self.state)
            if on_step:
                on_step(self.step, self.descent.steps, self.loss)
        if self.state:
            self.state.unlink(missing_ok=True)
        self.net.eval().requires_grad_(False)

    def _save(self, path: Path) -> None:
        """Write weights, the optimizer's moments, and where training stands."""
        tensors = {f"net.{k}": v.contiguous() for k, v in self.net.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{k}": v.contiguous() for k, v in moments.items()}
        facts = {"step": str(self.step), "loss": str(self.loss), "config": self.identity}
        with atomic_file(path) as beside:
            beside.write_bytes(save_tensors(tensors, facts))

    def _load(self, path: Path) -> None:
        """Go on from what `_save` wrote."""
        try:
            with safe_open(path, "pt") as file:
                facts, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot read {path}: {error}") from None
        if facts.get("config") != self.identity:
            raise CheckpointError(f"{path} is of another training; remove it, or give another file")
        self.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, number, name = key.split(".")
                moments.setdefault(int(number), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.step, self.loss = int(facts["step"]), float(facts["loss"])
