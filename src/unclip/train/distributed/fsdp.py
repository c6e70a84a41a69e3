"""Fully sharded data parallel: of weights, gradients, moments and average each holds a part."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from ...errors import UsageError
from ...stages import Stage
from ..blocks import repeated_blocks
from ..distillation import ConsistencyTask
from ..ema import Ema
from ..task import Task
from .engine import Engine, Forward
from .tensors import is_sharded, whole

CALLED = "keys_values"
"""A method of attention layers that networks call once a prompt, beside `forward`."""


class Fsdp(Engine):
    """PyTorch's FSDP2 (arXiv 2304.11277): a block's weights are whole while it computes."""

    def arrange(self, task: Task, ema: Ema) -> Forward:
        """See `Engine`. Raises UsageError for tasks of more than one network."""
        if isinstance(task, ConsistencyTask):  # and those with a critic
            raise UsageError(
                f"stages.{task.stage.kind}.train.engine is 'fsdp', and objective "
                f"'{task.stage.config.objective.kind}' needs several networks whole: set it to ddp"
            )
        # blocks give views, which nobody changes in place
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
        net = task.stage.net
        for parameter in net.parameters():
            parameter.data = parameter.data.contiguous()  # channels_last cannot be divided
        self.scalars = [one for one in net.parameters() if one.ndim == 0]  # nor can these
        mesh = init_device_mesh(self.device.type, (self.world.size,))
        ignored = {one for one in self.scalars if isinstance(one, nn.Parameter)}
        for unit in units(net):
            fully_shard(unit, mesh=mesh, ignored_params=ignored)
            if hasattr(unit, CALLED):
                register_fsdp_forward_method(unit, CALLED)
        fully_shard(task, mesh=mesh, ignored_params=ignored)
        for (module, name, _), mine in zip(_places(ema.average), net.parameters(), strict=True):
            own = mine.detach().clone() if mine.requires_grad else mine.detach()  # as `Ema` has it
            part = nn.Parameter(own, requires_grad=False)
            module.register_parameter(name, part)
        return task

    def finish(self) -> None:
        """See `Engine`: what is not sharded is averaged here."""
        for scalar in self.scalars:
            if scalar.grad is not None:
                dist.all_reduce(scalar.grad)
                scalar.grad /= self.world.size

    def averaged(self, stage: Stage, ema: Ema) -> Stage:
        """See `Engine`."""
        net = copy.deepcopy(ema.average)
        for module, name, held in _places(net):
            if is_sharded(held):
                gathered = whole(held)
                if self.world.is_first:
                    module.register_parameter(name, nn.Parameter(gathered, requires_grad=False))
        return stage.with_net(net)


def units(net: nn.Module) -> Iterator[nn.Module]:
    """What is gathered at once: repeated blocks, or the parts of those that are called apart."""
    for block in repeated_blocks(net):
        yield from _called(block)


def _called(module: nn.Module) -> Iterator[nn.Module]:
    apart = any(hasattr(one, CALLED) for one in module.modules())
    if isinstance(module, nn.ModuleList) or (apart and not hasattr(module, CALLED)):
        for child in module.children():
            yield from _called(child)
    elif any(True for _ in module.parameters()):
        yield module


def _places(net: nn.Module) -> list[tuple[nn.Module, str, Tensor]]:
    """Each parameter, the module that has it, and its name there, in `parameters`' order."""
    return [
        (module, name, parameter)
        for module in net.modules()
        for name, parameter in module.named_parameters(recurse=False)
    ]
