"""The public pipeline: a chain of stages with every ability as a method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from PIL.Image import Image

from .abilities import ability_of
from .abilities._preview import SHARE, Previews, preview
from .abilities._several import batches
from .abilities.edit import edit
from .abilities.generate import generate
from .abilities.img2img import image_to_image
from .abilities.interpolate import interpolate
from .abilities.outpaint import outpaint
from .abilities.probe import probe
from .abilities.reconstruct import reconstruct
from .abilities.textdiff import text_diff
from .abilities.upscale import upscale
from .abilities.vary import variations
from .config import shown
from .cost import Cost
from .errors import UsageError
from .keywords import outputs
from .pipeline import Chain
from .request import Request, Result
from .types import OnStep
from .vocabulary import Vocabulary


class Pipeline(Chain):
    """Draws pictures with a model. `unclip.load` gives one.

    `run` does what any ability's request asks; abilities of this package are methods too. They
    understand diffusers' keywords (`keywords.py`): `num_inference_steps`, `output_type="np"`, ...
    """

    def run(self, request: Request[Result], on_step: OnStep | None = None) -> Result:
        """Do what a request asks.

        Args:
            request: of any ability, such as `GenerateRequest.of(prompt="a red car", n=4)`; the
                class is in the ability's file.
            on_step: as in `generate`; of abilities that draw.

        Raises:
            UsageError: no request, one of no ability, or what the ability raises.
        """
        asked: object = request
        if not isinstance(asked, Request):
            example = "GenerateRequest.of(prompt='a red car')"
            raise UsageError(f"run takes a request, such as {example}, got {shown(asked)}")
        more = {} if on_step is None else {"on_step": on_step}
        result: Result = ability_of(request.ability)(self, request, **more)
        return result

    def run_many(
        self, requests: Sequence[Request[Result]], on_step: OnStep | None = None
    ) -> list[Result]:
        """What `run` gives for each request; those that differ in prompts alone share batches.

        Their pictures are those of `run` to one level of 255, in float32.
        """
        results: dict[int, Result] = {}
        for batch in batches(requests):
            chosen = [requests[index] for index in batch]
            together = ability_of(chosen[0].ability).together if len(batch) > 1 else None
            drawn = together(self, chosen, on_step) if together else [self.run(chosen[0], on_step)]
            results.update(zip(batch, drawn, strict=True))
        return [results[index] for index in range(len(requests))]

    generate = outputs(generate)
    variations = outputs(variations)
    image_to_image = outputs(image_to_image)
    edit = outputs(edit)
    outpaint = outputs(outpaint)
    interpolate = outputs(interpolate)
    text_diff = outputs(text_diff)
    reconstruct = outputs(reconstruct)
    probe = probe
    upscale = outputs(upscale)
    preview = preview

    def previews(self, show: Callable[[Sequence[Image]], None], share: float = SHARE) -> OnStep:
        """An `on_step` that calls `show` with a batch's `preview`, now and then.

        Args:
            show: gets PIL pictures, and may raise `Cancelled`.
            share: most of the time that previews take.
        """
        return Previews(self, show, share)

    def __repr__(self) -> str:
        """Such as <Pipeline 'emoji-cpu': clip, prior, decoder 64×64; float32 on cpu>."""
        sizes = {name: one.image_size for name, one in self.model.image_stages.items()}
        drawn = {name: f" {size[1]}×{size[0]}" for name, size in sizes.items() if size}
        stages = ", ".join(f"{name}{drawn.get(name, '')}" for name in self.stages)
        number = str(self.model.dtype).removeprefix("torch.")
        return f"<Pipeline '{self.name}': {stages}; {number} on {self.device}>"

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
