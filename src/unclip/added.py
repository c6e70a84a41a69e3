"""What a person adds to a model: LoRA files and embeddings, by hash."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Added:
    """A file that a model was loaded with: a LoRA and its scale, or an embedding and its word."""

    kind: str  # as the option that takes it
    name: str
    hash: str
    scale: float = 1.0
    others_hash: str = field(default="", compare=False)  # other programs' of a LoRA; not recorded

    def dump(self) -> dict[str, Any]:
        """As a record has it."""
        values = asdict(self)
        del values["others_hash"]
        return values

    def __str__(self) -> str:
        scale = f":{self.scale:g}" if self.kind == "lora" else ""
        return f"--{self.kind} {self.name}{scale} ({self.hash})"

    def same(self, other: Added) -> bool:
        """Whether it does the same; a LoRA's file may have another name now."""
        return replace(self, name="") == replace(other, name="") and (
            self.kind == "lora" or self.name == other.name
        )
