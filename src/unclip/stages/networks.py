"""Which network a decoder's or an upsampler's settings mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator

from ..nn.conditioning import NETWORKS, NetConfig
from ..nn.unet import UNetConfig

USUAL = "unet"

OLDER: Mapping[str, Any] = {
    "low_res_level": True,
    "mask_of": "unknown",
    "unit_embed": True,
    "null_embed": True,
    "norm_embed": False,
    "context_dim": 0,
    "project_text": True,
    "clip_text": None,
}
"""Settings that once stood beside the usual network's own, and what they mean there."""


def chosen(values: Any, usual: ValidatorFunctionWrapHandler) -> NetConfig:
    """The network that `kind` names; without it the usual one.

    A model that was saved with other values of `OLDER` has the network that still knows them.
    """
    if isinstance(values, NetConfig):
        return values
    if not isinstance(values, Mapping):
        return usual(values)  # type: ignore[no-any-return]  # which says what is wrong
    older = {name: value for name, value in values.items() if name in OLDER}
    differs = any(value != OLDER[name] for name, value in older.items())
    kind = values.get("kind", "guided_unet" if differs else USUAL)
    if kind == USUAL:
        return usual({k: v for k, v in values.items() if k not in (*older, "kind")})  # type: ignore[no-any-return]
    return NETWORKS[str(kind)].model_validate(dict(values))


Network = Annotated[SerializeAsAny[UNetConfig], WrapValidator(chosen)]
"""Settings of any of `NETWORKS`, the usual U-Net's unless `kind` says otherwise."""
