"""x-clip as a stage: what CLIP is to a model, of another architecture."""

from __future__ import annotations

from typing import Literal

from ..nn.x_clip import XClip, XClipConfig
from .clip import ClipStage, ClipStageConfig
from .stage import Stage


class XClipStageConfig(ClipStageConfig):
    """x-clip's configuration."""

    kind: Literal["x_clip"] = "x_clip"  # type: ignore[assignment]
    network: XClipConfig


class XClipStage(ClipStage):
    """See `unclip.nn.x_clip`."""

    Config = XClipStageConfig
    kind = "x_clip"

    def __init__(self, config: XClipStageConfig) -> None:
        Stage.__init__(self)
        self.config = config
        self.net = XClip(config.network)


STAGE = XClipStage
