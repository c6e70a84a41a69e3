"""x-clip as a stage: what CLIP is to a model, of another architecture."""

from __future__ import annotations

from typing import Literal

from ...stages.clip import ClipStage, ClipStageConfig
from ...stages.stage import Stage
from ._x_clip_net import XClip, XClipConfig


class XClipStageConfig(ClipStageConfig):
    """x-clip's configuration."""

    kind: Literal["x_clip"] = "x_clip"  # type: ignore[assignment]
    network: XClipConfig


class XClipStage(ClipStage):
    """See `unclip.families.clip._x_clip_net`."""

    Config = XClipStageConfig
    kind = "x_clip"

    def __init__(self, config: XClipStageConfig) -> None:
        Stage.__init__(self)
        self.config = config
        self.net = XClip(config.network)


STAGE = XClipStage
