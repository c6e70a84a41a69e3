"""Weights & Biases: a run of its service for each stage; offline with WANDB_MODE=offline."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...files import write_text
from . import Place


class WandB:
    """A resumed stage goes on in the same run, which is told by the folder's and stage's names."""

    def __init__(self, place: Place) -> None:
        try:
            import wandb
        except ImportError:
            raise UsageError("the logger 'wandb' needs W&B: pip install 'unclip[wandb]'") from None
        folder = place.folder / place.stage
        kept = folder / "wandb-run.txt"
        if not kept.is_file():
            write_text(kept, secrets.token_hex(8))
        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project="unclip", name=f"{place.run}/{place.stage}", group=place.run, dir=str(folder),
            id=kept.read_text().strip(), resume="allow", config=place.recipe,
        )  # fmt: skip
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """See `Logger`. The step is a number like others: W&B's own cannot go back."""
        self._run.log({**values, "step": step})

    def note(self, step: int, line: str) -> None:
        """See `Logger`."""
        self._run.alert(title="unclip train", text=f"step {step}: {line}")

    def picture(self, step: int, file: Path) -> None:
        """See `Logger`."""
        self._run.log({"preview": self._wandb.Image(str(file)), "step": step})

    def close(self) -> None:
        """See `Logger`."""
        self._run.finish()


LOGGER = WandB
