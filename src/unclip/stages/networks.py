"""Which network a decoder's or an upsampler's settings mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator

from ..nn.conditioning import NETWORKS, NetConfig
from ..nn.unet import UNetConfig

USUAL = "unet"


def chosen(values: Any, usual: ValidatorFunctionWrapHandler) -> NetConfig:
    """The network that `kind` names; without it the usual one.

    Models that were saved before networks had kinds may hold settings that the usual network has no
    more. It is the usual one where they say nothing new, else the one that took them over: whose
    class has them as `once_usual`, and what they mean there.
    """
    if isinstance(values, NetConfig):
        return values
    if not isinstance(values, Mapping):
        return usual(values)  # type: ignore[no-any-return]  # which says what is wrong
    kind = str(values.get("kind", USUAL))
    if kind != USUAL:
        return NETWORKS[kind].model_validate(dict(values))
    own = {name: value for name, value in values.items() if name != "kind"}
    if own.keys() <= UNetConfig.model_fields.keys():
        return usual(own)  # type: ignore[no-any-return]
    heir, once = _heir()
    told = {name for name in own.keys() & once.keys() if own[name] != once[name]}
    if told and heir and "kind" not in values:
        return heir.model_validate(own)
    kept = {name: value for name, value in own.items() if name in told or name not in once}
    return usual(kept)  # type: ignore[no-any-return]


def _heir() -> tuple[type[NetConfig] | None, Mapping[str, Any]]:
    """The network that took over settings of the usual one, and their values in that."""
    for name in NETWORKS.names():
        network = NETWORKS[name]
        if "once_usual" in vars(network):  # its own, not that of what it is made from
            return network, vars(network)["once_usual"]
    return None, {}


Network = Annotated[SerializeAsAny[UNetConfig], WrapValidator(chosen)]
"""Settings of any of `NETWORKS`, the usual U-Net's unless `kind` says otherwise."""
