"""Parts of a network that do not learn."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ..errors import UsageError, nearest


def freeze(net: nn.Module, names: Iterable[str], where: str) -> None:
    """Keep modules and weights as they are, by their names in the network, such as `vision`.

    Raises:
        UsageError: the network has no such part, or nothing is left to learn; `where` is the
            stage's section.
    """
    for name in names:
        part = [one for own, one in net.named_parameters() if f"{own}.".startswith(f"{name}.")]
        if not part:
            known = dict.fromkeys(own.partition(".")[0] for own, _ in net.named_parameters())
            raise UsageError(
                f"setting '{where}.train.freeze': the network has no '{name}'"
                f"{nearest(name, known)}; it has: {', '.join(known)}"
            )
        for one in part:
            one.requires_grad_(False)
    if not any(one.requires_grad for one in net.parameters()):
        raise UsageError(
            f"setting '{where}.train.freeze' leaves nothing to learn; leave out the stage's train"
        )
