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
    kind = str(values.get("kind", _knows(values)))
    if kind != USUAL:
        return NETWORKS[kind].model_validate(dict(values))
    neutral = {name for name, value in OLDER.items() if values.get(name, "gone") == value}
    own = {name: value for name, value in values.items() if name not in (*neutral, "kind")}
    return usual(own)  # type: ignore[no-any-return]


def _knows(values: Mapping[str, Any]) -> str:
    """The network of settings without a `kind`."""
    if all(values[name] == neutral for name, neutral in OLDER.items() if name in values):
        return USUAL
    fits = (name for name in NETWORKS.names() if set(values) <= set(NETWORKS[name].model_fields))
    return next(fits, USUAL)


Network = Annotated[SerializeAsAny[UNetConfig], WrapValidator(chosen)]
"""Settings of any of `NETWORKS`, the usual U-Net's unless `kind` says otherwise."""
