"""The public pipeline: a chain of stages with every ability as a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .abilities.edit import edit
from .abilities.generate import generate
from .abilities.image_to_image import image_to_image
from .abilities.interpolate import interpolate
from .abilities.outpaint import outpaint
from .abilities.probe import probe
from .abilities.reconstruct import reconstruct
from .abilities.text_diff import text_diff
from .abilities.upscale import upscale
from .abilities.vary import variations
from .cost import Cost
from .pipeline import Chain
from .vocabulary import Vocabulary


class Pipeline(Chain):
    """Draws pictures with a model. `unclip.load` gives one."""

    generate = generate
    variations = variations
    image_to_image = image_to_image
    edit = edit
    outpaint = outpaint
    interpolate = interpolate
    text_diff = text_diff
    reconstruct = reconstruct
    probe = probe
    upscale = upscale

    @property
    def side(self) -> int:
        """The larger side of its pictures. Raises UsageError where it draws none."""
        return max(self.model.size)

    @property
    def priors(self) -> list[str]:
        """See `Model`."""
        return self.model.priors

    @property
    def vocabulary(self) -> Vocabulary:
        """See `Model`."""
        return self.model.vocabulary

    @property
    def limit(self) -> int | None:
        """See `Policy`."""
        return self.policy.limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self.policy = replace(self.policy, limit=limit)

    @property
    def strict_words(self) -> bool:
        """See `Policy`."""
        return self.policy.strict_words

    @strict_words.setter
    def strict_words(self, strict: bool) -> None:
        self.policy = replace(self.policy, strict_words=strict)

    @property
    def on_cost(self) -> Callable[[Cost], None] | None:
        """See `Policy`."""
        return self.policy.on_cost

    @on_cost.setter
    def on_cost(self, on_cost: Callable[[Cost], None] | None) -> None:
        self.policy = replace(self.policy, on_cost=on_cost)
