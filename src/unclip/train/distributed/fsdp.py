"""Fully sharded data parallel: of weights, gradients, moments and average each holds a part."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from ...errors import UsageError
from ...stages import Stage
from ..blocks import CALLED, sharded_units
from ..distillation import ConsistencyTask
from ..ema import Ema
from ..task import Task
from .engine import Engine, Forward
from .tensors import is_sharded, whole


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
        policy = MixedPrecisionPolicy(cast_forward_inputs=False)
        if self.config.dtype(self.device) == torch.bfloat16:  # else autocast's copies stay whole
            policy = replace(policy, param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        mesh = init_device_mesh(self.device.type, (self.world.size,))
        ignored = {one for one in self.scalars if isinstance(one, nn.Parameter)}
        for unit in sharded_units(net):
            fully_shard(unit, mesh=mesh, ignored_params=ignored, mp_policy=policy)
            if hasattr(unit, CALLED):
                register_fsdp_forward_method(unit, CALLED)
        fully_shard(task, mesh=mesh, ignored_params=ignored, mp_policy=policy)
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


def _places(net: nn.Module) -> list[tuple[nn.Module, str, Tensor]]:
    """Each parameter, the module that has it, and its name there, in `parameters`' order."""
    return [
        (module, name, parameter)
        for module in net.modules()
        for name, parameter in module.named_parameters(recurse=False)
    ]
