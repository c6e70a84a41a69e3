"""What can be done with a set of stages, found out from what they are: no weights are needed."""

from __future__ import annotations

from collections.abc import Mapping

from ..stages import Stage
from ..stages.clip import ClipStage


def capabilities(stages: Mapping[str, Stage]) -> list[str]:
    """Names of the commands that such a model serves."""
    every = list(stages.values())
    clips = [one.config.network for one in every if isinstance(one, ClipStage)]
    sees = any(clip.vision for clip in clips)
    reads = any(clip.text for clip in clips)
    image_stages = [one for one in every if "image" in one.produces]
    draws = [one for one in image_stages if "image" not in one.consumes]
    by_embedding = any("image_embed" in one.consumes for one in draws)
    has_prior = any("image_embed" in one.produces for one in every)
    from_text = bool(draws) and (has_prior or not by_embedding)
    likewise = by_embedding and sees
    able = {
        "generate": from_text,
        "edit": from_text,
        "outpaint": from_text,
        "img2img": from_text,
        "vary": likewise,
        "interpolate": likewise,
        "textdiff": likewise and reads,
        "reconstruct": likewise,
        "probe": sees and reads,
        "upscale": any(one.factor > 1 for one in image_stages),
    }
    return [name for name, can in able.items() if can]
