"""Enlarge a picture with the model's upsamplers.

The picture may have any size and shape.

\b
Examples:
  unclip upscale fox.png -o large.png
  unclip upscale fox.png --set upsampler_sharpen=0  # softer edges
  unclip upscale photos/ -o large/                  # all of a folder
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Unpack

from PIL import Image
from pydantic import Field

from ..arguments import Text
from ..cost import Work
from ..errors import SettingWarning, UsageError, warn
from ..media import Source, digest, read_image, to_pictures, to_tensor
from ..request import Drawing, Option, Picture, Pictures
from . import Ability
from ._drawing import attach_record, check_request
from ._settings import UpscaleSettings

if TYPE_CHECKING:
    from ..pipeline import Chain
    from ..stages import Stage
    from ..types import OnStep


UNIT = 8
"""Small pictures are padded to a multiple of this, and the result is cropped."""

LARGEST = 2048
"""Longest side that is drawn in one piece; memory grows with its square."""

WINDOWED = 8192
"""Longest side that is drawn in windows, in which alone a network then looks at the picture."""


UpsamplerSteps = Annotated[
    int | None,
    Field(description="Sampling steps of the stage called upsampler."),
    Option("--steps", "STEPS"),
]


UpsamplerSampler = Annotated[
    Text | None,
    Field(description="How it is sampled, such as 'euler a'; see `unclip samplers`."),
    Option("--sampler", "NAME"),
]


class UpscaleRequest(Drawing):
    """See `upscale`."""

    ability: ClassVar[str] = "upscale"
    example: ClassVar[str] = "upsampler_sharpen=0"
    reads_text: ClassVar[bool] = False
    common: ClassVar[dict[str, Any]] = {
        "upsampler_steps": UpsamplerSteps,
        "upsampler_sampler": UpsamplerSampler,
    }
    image: Picture
    n: Pictures = 1

    def work(self, size: tuple[int, int], settings: Mapping[str, Any]) -> Work:
        """Once a picture.

        Args:
            size: (height, width) of what comes out.
            settings: those of every upsampler.
        """
        return Work(self.n, settings, self.n, size=size, upscales_only=True)


def upscale(
    pipe: Chain,
    image: Source,
    n: int = 1,
    seed: int = 0,
    on_step: OnStep | None = None,
    **settings: Unpack[UpscaleSettings],
) -> list[Image.Image]:
    """Run a picture through the model's upsamplers, whatever its size and shape.

    They have no attention and know no text, so they work at any size (paper, section 2.1).

    Args:
        image: a path, bytes, a file or a PIL picture.
        n: how many; picture i uses `seed + i`.
        seed: 0 or more.
        on_step: as in `generate`.
        settings: as in `generate`, those of the upsamplers.

    Raises:
        UsageError: no such picture, one too large, or a model without an upsampler.
    """
    from torch.nn import functional as F

    from ..types import Cond

    request = UpscaleRequest.of(image=image, n=n, seed=seed, settings=settings)
    seed = request.seed
    picture = read_image(image)
    factor = pipe.model.upscaling
    if factor == 1:
        raise UsageError(f"model '{pipe.name}' has no upsampler, which upscaling needs")
    longest, most = factor * max(picture.size), _largest(pipe)
    if longest > most:
        raise UsageError(
            f"the picture would come out {longest} pixels long, {factor} times its size; at most "
            f"{most} can be drawn: make it {most // factor} pixels long at most"
        )
    if request.n > 1 and not any(_draws_noise(one) for one in _upsamplers(pipe).values()):
        warn(
            f"n = {request.n} gives equal pictures: no upsampler of '{pipe.name}' sees noise",
            SettingWarning,
        )
    width, height = picture.size
    sampling = _everywhere(pipe, request.settings)
    check_request(pipe, request, request.work((height * factor, width * factor), sampling), on_step)
    even = (0, -width % UNIT, 0, -height % UNIT)  # networks halve their input a few times
    small = F.pad(to_tensor([picture]), even, mode="replicate").to(pipe.device)

    cond, seeds = Cond(image=small).expand(request.n), range(seed, seed + request.n)
    drawn = pipe.sample(cond, seeds, settings=sampling, on_step=on_step)
    drawn = drawn[..., : height * factor, : width * factor]
    made, last = request.record(image=digest(picture)), [*_upsamplers(pipe)][-1]
    return attach_record(pipe, to_pictures(drawn), made, stage=last)


def _draws_noise(stage: Any) -> bool:
    return bool(stage.config.sees_noise or stage.level_at_sampling > 0)


def _upsamplers(pipe: Chain) -> dict[str, Stage]:
    return {name: stage for name, stage in pipe.model.image_stages.items() if stage.factor > 1}


def _largest(pipe: Chain) -> int:
    """Longest side that can be drawn."""
    networks = [stage.config.network for stage in _upsamplers(pipe).values()]
    return LARGEST if any(one.reach is None for one in networks) else WINDOWED


def _everywhere(pipe: Chain, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without a stage's name as those of every upsampler."""
    owned = tuple(f"{name}_" for name in pipe.stages)
    own = {key: value for key, value in settings.items() if key.startswith(owned)}
    plain = [key for key in settings if key not in own]
    return {f"{name}_{key}": settings[key] for name in _upsamplers(pipe) for key in plain} | own


ABILITY = Ability(UpscaleRequest, upscale, frozenset({"upsampler"}))
