"""What can be done with a set of stages, found out from what they are: no weights are needed."""

from __future__ import annotations

from collections.abc import Mapping

from ..stages import Stage
from ..stages.clip import ClipStage
from . import ABILITIES, Need


def capabilities(stages: Mapping[str, Stage]) -> list[str]:
    """Names of the commands that such a model serves."""
    has = _has(list(stages.values()))
    return [name for name in ABILITIES.names() if ABILITIES[name].needs <= has]


def _has(stages: list[Stage]) -> set[Need]:
    """What of an ability's needs a model meets."""
    clips = [stage.config.network for stage in stages if isinstance(stage, ClipStage)]
    image_stages = [stage for stage in stages if "image" in stage.produces]
    draws = [stage for stage in image_stages if "image" not in stage.consumes]
    by_embedding = any("image_embed" in stage.consumes for stage in draws)
    has_prior = any("image_embed" in stage.produces for stage in stages)
    met: dict[Need, bool] = {
        "prompt": bool(draws) and (has_prior or not by_embedding),
        "embedding": by_embedding,
        "text": any(clip.text for clip in clips),
        "vision": any(clip.vision for clip in clips),
        "upsampler": any(stage.factor > 1 for stage in image_stages),
    }
    return {need for need, is_met in met.items() if is_met}
