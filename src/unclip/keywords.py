"""Keywords of diffusers' pipelines, in this package's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from PIL import Image
from pydantic.fields import FieldInfo

from .config import shown
from .errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

RENAMED: Mapping[str, str] = {
    "num_inference_steps": "steps",
    "num_images_per_prompt": "n",
    "generator": "seed",
    "decoder_num_inference_steps": "steps",
    "decoder_guidance_scale": "guidance_scale",
    "super_res_num_inference_steps": "upsampler_steps",
    "prior_num_inference_steps": "prior_steps",
}
"""Keyword -> ours of the same meaning."""

COUNTS = ("n", "seed", "size")
"""Of ours, those that are no settings of the sampling."""

ON_STEP = "on_step=, a function that is called with a `Step` after each"
EMBEDS = "a text: prompt= and negative_prompt="
INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(("callback", "callback_steps", "callback_on_step_end"), ON_STEP),
    "callback_on_step_end_tensor_inputs": ON_STEP,
    "output_type": "it as an argument of a method: pipe.generate(..., output_type='np')",
    "return_dict": "nothing: a list of pictures comes back",
    "latents": "seed=, which the noise follows from",
    "timesteps": "steps= and spacing=",
    "sigmas": "steps= and spacing=",
    "scheduler": "sampler= and spacing=",
    "prompt_embeds": EMBEDS,
    "negative_prompt_embeds": EMBEDS,
    "mask_image": "pipe.edit(image, mask, prompt)",
    "ip_adapter_image": "pipe.variations(image)",
    "ip_adapter_image_embeds": "pipe.variations(image)",
    "clip_skip": "nothing: a model's own layer of CLIP is read",
    "lora": "unclip.load(lora=['FILE:0.8']); on the command line --lora, for all pictures",
    "embedding": "unclip.load(embedding=['FILE']); on the command line --embedding",
    "cross_attention_kwargs": "unclip.load(lora=['FILE:0.8']), where 0.8 is the scale",
    "enable_safety_checker": "nothing: there is no safety checker",
}
"""Keyword without a meaning here -> what does its work."""

OUTPUTS = ("pil", "np", "pt")
"""Kinds of `output_type`."""


def translated(values: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """A request's values with diffusers' keywords as this package's own.

    Args:
        values: of fields by name, and `settings`; a keyword may be in either.
        fields: the request's own, whose names are never taken for a keyword.

    Raises:
        UsageError: a keyword is given beside what it stands for, or it means nothing here.
    """
    if not isinstance(values.get("settings", {}), Mapping):
        return dict(values)
    own, settings = dict(values), dict(values.get("settings", {}))
    said: dict[str, str] = {}  # what is set -> by which keyword
    for place in (own, settings):
        for name, ours, value in list(_taken(place, fields)):
            if ours in COUNTS and ours not in fields:
                raise UsageError(f"'{name}' means nothing here: there is no {ours}")
            home = own if ours in fields else settings
            usual = fields[ours].default if ours in fields else None
            if ours in said or home.get(ours, usual) not in (None, usual):
                before = said.get(ours, ours)
                raise UsageError(f"{before} and {name} set the same: give only one of them")
            home[ours], said[ours] = value, name
    return own | ({"settings": settings} if settings or "settings" in values else {})


def _taken(
    place: dict[str, Any], fields: Mapping[str, FieldInfo]
) -> Iterator[tuple[str, str, Any]]:
    """(keyword, ours, value) of every keyword in `place`, taken out of it. Raises UsageError."""
    for name in [one for one in place if one not in fields]:
        if name in INSTEAD:
            use = INSTEAD[name]
            how = use.removeprefix("nothing") if use.startswith("nothing: ") else f"; use {use}"
            raise UsageError(f"'{name}' means nothing here{how}")
        if name in RENAMED and (value := place.pop(name)) is not None:
            yield name, RENAMED[name], _seed(value) if name == "generator" else value
    sides = {one: place.pop(one, None) for one in ("height", "width") if one not in fields}
    if any(side is not None for side in sides.values()):
        if None in sides.values():
            raise UsageError("height and width belong together: give both")
        yield "height and width", "size", f"{sides['width']}x{sides['height']}"


def _seed(generator: Any) -> int:
    """Of the first picture: a generator's `initial_seed()`, however much was drawn from it."""
    every = list(generator) if isinstance(generator, list | tuple) else [generator]
    if not every or not all(hasattr(one, "initial_seed") for one in every):
        raise UsageError(f"generator must be a torch.Generator, got {shown(generator)}")
    seeds = [int(one.initial_seed()) for one in every]
    if seeds != list(range(seeds[0], seeds[0] + len(seeds))):
        raise UsageError(
            f"generator: picture i uses the first one's seed + i, got seeds {shown(seeds)}; call "
            "once for each"
        )
    return seeds[0]


def outputs(draw: Callable[P, R]) -> Callable[P, R]:
    """`draw` with diffusers' `output_type`.

    "pil" is what it returns, a list of pictures; "np" is (B, H, W, 3) of numpy, and "pt"
    (B, 3, H, W) of PyTorch, both float32 from 0 to 1. Arrays carry no record.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Any:
        kind = kwargs.pop("output_type", OUTPUTS[0])
        if kind not in OUTPUTS:
            raise UsageError(f"output_type must be 'pil', 'np' or 'pt', got {shown(kind)}")
        pictures: Any = draw(*args, **kwargs)
        return pictures if kind == OUTPUTS[0] else _arrays(pictures, kind)

    return cast(Callable[P, R], drawn)


def _arrays(pictures: list[Image.Image], kind: object) -> Any:
    from .media import to_tensor

    tensor = to_tensor(pictures) / 2 + 0.5  # (B, 3, H, W)
    return tensor if kind == "pt" else tensor.permute(0, 2, 3, 1).numpy()
