"""Fully sharded data parallel: of weights, gradients, moments and average each holds a part."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from ...stages import Stage
from ..blocks import CALLED, sharded_units
from ..contrastive import ContrastiveTask
from ..ema import Ema
from ..sharded import is_sharded, whole
from ..task import Task
from .engine import Engine, compare
from .gradients import average_gradients


class Fsdp(Engine):
    """PyTorch's FSDP2 (arXiv 2304.11277): a block's weights are whole while it computes."""

    def arrange(self, task: Task, ema: Ema) -> None:
        """See `Engine`."""
        # blocks give views, which nobody changes in place
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
        net = task.stage.net
        self.copy = copy.deepcopy(ema.average) if task.asks_average else None
        for parameter in task.parameters():
            parameter.data = parameter.data.contiguous()  # channels_last cannot be divided
        apart = {parameter for module in task.whole for parameter in module.parameters()}
        self.whole = [one for one in task.parameters() if one.ndim == 0 or one in apart]
        policy = MixedPrecisionPolicy(cast_forward_inputs=False)
        if self.config.dtype(self.device) == torch.bfloat16:  # else autocast's copies stay whole
            policy = replace(policy, param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        mesh = init_device_mesh(self.device.type, (self.world.size,))
        ignored = set(self.whole)
        for unit in sharded_units(net):
            if ignored.issuperset(unit.parameters()):
                continue
            fully_shard(unit, mesh=mesh, ignored_params=ignored, mp_policy=policy)
            if hasattr(unit, CALLED):
                register_fsdp_forward_method(unit, CALLED)
        fully_shard(task, mesh=mesh, ignored_params=ignored, mp_policy=policy)
        if isinstance(task, ContrastiveTask):  # pieces of a batch are encoded beside `forward`
            register_fsdp_forward_method(task, "encoded")
        for (module, name, _), mine in zip(_places(ema.average), net.parameters(), strict=True):
            own = mine.detach().clone() if mine.requires_grad else mine.detach()  # as `Ema` has it
            part = nn.Parameter(own, requires_grad=False)
            module.register_parameter(name, part)
        compare(task, self.world)

    def finish(self) -> None:
        """See `Engine`: what is not sharded is averaged here."""
        average_gradients(self.whole, self.world)

    def average(self, ema: Ema) -> nn.Module:
        """See `Engine`: gathered anew, into a copy that stays where every step asks for it."""
        if self.copy is None:
            net = copy.deepcopy(ema.average)
            for module, name, held in _places(net):
                module.register_parameter(name, nn.Parameter(whole(held), requires_grad=False))
            return net
        pairs = zip(self.copy.parameters(), ema.average.parameters(), strict=True)
        with torch.no_grad():
            for mine, held in pairs:
                mine.copy_(whole(held))
        return self.copy

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
