"""From a sentence to pictures."""

from __future__ import annotations

from typing import ClassVar

from ..request import Count, Drawing, Prompt, Text, Work


class GenerateRequest(Drawing):
    """See `Pipeline.generate`."""

    ability: ClassVar[str] = "generate"
    method: ClassVar[str] = "generate"
    records_defaults: ClassVar[bool] = False
    prompt: Prompt
    n: Count = 1
    prior: Text | None = None
    best_of: Count = 1
    negative_prompt: Text = ""

    def work(self) -> Work:
        """Every candidate is drawn in full."""
        drawings = self.n * self.best_of
        return Work(self.n, self.settings, drawings, imagined=drawings)


REQUEST = GenerateRequest
