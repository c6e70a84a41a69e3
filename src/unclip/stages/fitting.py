"""Whether a stage's network can say what its parameterization wants of it."""

from __future__ import annotations

from ..errors import UsageError
from ..nn.conditioning import NetConfig
from .stage import DiffusionConfig


def check_network(config: DiffusionConfig, network: NetConfig) -> None:
    """Raise UsageError unless the network can say what the parameterization wants of it."""
    said = config.parameterization
    want = network.in_channels * (2 if said.learned_variance else 1)
    if network.out_channels != want:
        raise UsageError(
            f"{config.kind}: network.out_channels must be {want} with "
            f"learned_variance = {said.learned_variance}, got {network.out_channels}"
        )
    if network.says_x0 and said.kind != "x0":
        why = (
            "network.residual the network says a picture"
            if network.sees_noise
            else "network.noise_input = false the network does not see the noise"
        )
        raise UsageError(
            f"{config.kind}: parameterization.kind must be x0, got {said.kind}: with {why}"
        )
