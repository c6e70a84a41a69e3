"""Optimizers and their learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..device import fast_dtype
from ..errors import TrainingError
from ..nn.lora import LowRank
from .config import TrainConfig
from .sharded import assign, clip_grad_norm, is_sharded, local, part_of, whole

EDGES = ("conv_in", "conv_out", "patch", "unpatch")
"""Layers at a network's edge, whose weights are no map from features to features."""

LONGEST_WARMUP = 0.2
"""Largest share of a stage's steps in which the learning rate rises."""


def make_optimizers(net: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """What `config.optimizer` names: AdamW for everything, or Muon with AdamW for the rest.

    Weights of two or more dimensions decay, biases, norms and single vectors do not. Muon
    multiplies in the recipe's `precision`, as networks do.
    """
    matrices = hidden_matrices(net) if config.optimizer == "muon" else []
    taken = {id(parameter) for parameter in matrices}
    rest = [p for p in net.parameters() if p.requires_grad and id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim == 1], "weight_decay": 0.0},
        {"params": [p for p in rest if p.ndim == 0], "weight_decay": 0.0},  # are never sharded
    ]
    groups = [group for group in groups if group["params"]]
    known = all(parameter.device.type in ("cpu", "cuda") for parameter in rest)
    fast = {"fused": True} if known else {"foreach": True}
    adamw = AdamW(groups, lr=config.learning_rate, betas=config.betas, **fast)
    if not matrices:
        return [adamw]
    dtype = config.dtype(matrices[0].device)
    return [Muon(matrices, config.learning_rate, config.weight_decay, dtype=dtype), adamw]


class AdamW(torch.optim.AdamW):
    """PyTorch's, without the copies that its fused kernel makes of kernels laid out channels_last.

    The kernel wants contiguous memory. An update is the same whatever the order of the numbers, so
    it gets views whose last axis is the channels.
    """

    def _init_group(self, group: dict[str, Any], params: list[Tensor], *rest: Any) -> Any:
        found = super()._init_group(group, params, *rest)  # type: ignore[no-untyped-call]
        if group["fused"] and params and params[0].device.type == "cpu":
            last = [_is_last(one) for one in params]
            for tensors in (params, *rest[:3]):  # and gradients, means, mean squares
                tensors[:] = map(_dense, tensors, last)
        return found


def _is_last(x: Tensor) -> bool:
    """Whether a kernel is laid out channels_last, and in no other way."""
    held, last = local(x), torch.channels_last
    return x.ndim == 4 and held.is_contiguous(memory_format=last) and not held.is_contiguous()


def _dense(x: Tensor, last: bool) -> Tensor:
    """A kernel laid out channels_last as contiguous memory."""
    if not last:
        return x
    return x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


class Learner:
    """A network that learns, and its optimizers."""

    def __init__(self, net: nn.Module, config: TrainConfig) -> None:
        self.net, self.config = net, config
        self.optimizers = make_optimizers(net, config)
        self._sharded = any(map(is_sharded, net.parameters()))  # whose kernels take no flag

    def clip(self) -> Tensor:
        """Clip the gradients there are; returns their norm () before that."""
        return clip_grad_norm(self.net.parameters(), self.config.clip_grad)

    def update(self, step: int, skip: Tensor | None = None) -> None:
        """Step `step` (from 0), by the gradients there are, unless `skip` () says not to.

        A GPU is not waited for: its optimizers ask themselves.
        """
        on_gpu = skip is not None and skip.device.type == "cuda" and not self._sharded
        made = skip is None or on_gpu or not skip
        for optimizer in self.optimizers:
            if skip is not None and on_gpu:
                optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.config, step)
            if made:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def critic_config(config: TrainConfig, rate: float) -> TrainConfig:
    """How a critic is trained: AdamW, as its rival's vectors are, and without weight decay."""
    adamw = {"optimizer": "adamw", "weight_decay": 0.0, "learning_rate": rate}
    return config.model_copy(update=adamw)


def hidden_matrices(net: nn.Module) -> list[Tensor]:
    """What learns of linear layers and convolutions, those at the network's edge left out."""
    return [
        module.weight
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and name.rpartition(".")[2] not in EDGES
        and not isinstance(module, LowRank)
        and module.weight.requires_grad
    ]


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal: every direction of a weight matrix moves by the same amount.

    Where `found_inf`, (), is not zero a step does nothing, as in PyTorch's fused optimizers.

    After Jordan et al., "Muon" (2024), with `orthogonal` for their five steps and the scale of Liu
    et al. (arXiv 2502.16982, section 2.2), which gives updates AdamW's size, so that both use one
    learning rate. A kernel counts as the matrix (out, in · height · width). `dtype` is what
    `orthogonal` multiplies in.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.95,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        self.found_inf: Tensor | None = None
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "dtype": dtype}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update; matrices of one shape are made orthogonal together."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(_size(parameter), []).append(parameter)
            for parameters in alike.values():
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Move parameters whose matrices have one shape."""
        directions = self._directions(parameters, group["momentum"])
        turned = orthogonal(directions, group["dtype"])  # (K, m, n)
        scale = group["lr"] * 0.2 * max(turned.shape[1:]) ** 0.5
        pairs = list(zip(turned, parameters, strict=True))
        updates = [part_of(_kernel(one, like), like) for one, like in pairs]
        held = [local(one) for one in parameters]
        kept: Any = 1 - group["lr"] * group["weight_decay"]
        if self.found_inf is not None:
            skip = self.found_inf > 0
            updates = [one.masked_fill(skip, 0.0) for one in updates]
            kept = torch.where(skip, 1.0, kept)
        torch._foreach_mul_(held, kept)
        torch._foreach_add_(held, updates, alpha=-scale)

    def _directions(self, parameters: list[Tensor], momentum: float) -> Tensor:
        """Nesterov momentum of the gradients, as matrices: (K, m, n). Each is gathered whole."""
        stack = local(parameters[0]).new_empty((len(parameters), *_size(parameters[0])))
        for parameter, direction in zip(parameters, stack, strict=True):
            assert parameter.grad is not None
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            kept, grad = local(state["momentum"]), local(parameter.grad)
            kept.lerp_(self._unless_skipped(grad, kept), 1 - momentum)
            if is_sharded(parameter):
                kept, grad = whole(state["momentum"]), whole(parameter.grad)
            grad = self._unless_skipped(grad, kept)
            start, end = (_matrix(one, parameter) for one in (grad, kept))
            torch.lerp(start, end, momentum, out=direction)
        return stack

    def _unless_skipped(self, grad: Tensor, momentum: Tensor) -> Tensor:
        """A gradient; of a step that does nothing the momentum, which then stays what it is."""
        if self.found_inf is None:
            return grad
        return torch.where(self.found_inf > 0, momentum, grad)


def _size(kernel: Tensor) -> tuple[int, int]:
    """Of a kernel's matrix."""
    return len(kernel), kernel.numel() // len(kernel)


def _matrix(values: Tensor, like: Tensor) -> Tensor:
    """A kernel's (out, in, ...) values as (out, rest), columns in the order of `like`'s memory.

    Which order that is changes nothing: who exchanges columns gets the same update, exchanged.
    """
    return (values.permute(0, 2, 3, 1) if _is_last(like) else values).flatten(1)


def _kernel(matrix: Tensor, like: Tensor) -> Tensor:
    """Undo `_matrix`."""
    if _is_last(like):
        out, channels, height, width = like.shape
        return matrix.view(out, height, width, channels).permute(0, 3, 1, 2)
    return matrix.view(like.shape)


POLYNOMIALS = (
    (8.300667, -24.037544, 17.466134),
    (4.003387, -2.92284, 0.541871),
    (3.470862, -2.549404, 0.500204),
    (2.490116, -1.834275, 0.436835),
)
"""(a, b, c) of aX + bX^3 + cX^5, step by step, for singular values from 3e-3 to 1.

Polar Express (Amsel et al., arXiv 2505.16932, section 3): of all compositions of odd quintics the
one nearest to 1 there. All but the last are for X / 1.01, as in its Algorithm 1, so that what
rounding brings above 1 does not grow.
"""

FACTOR, POLES = 0.9619399, ((0.009583580, 1.896081e-5), (0.1926082, 0.009186060))
"""Zolotarev's function X (1 + sum of weight / (X^2 + pole)) FACTOR for values from 2e-3 to 1.

Of all rational functions of its degrees (5, 4) the one nearest to 1 there, to within .155
(Nakatsukasa and Freund, SIAM Review 58(3), 2016, eq. 3.6 and 3.10).
"""


def orthogonal(matrices: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(K, m, n) -> (K, m, n) with singular values near 1.

    It multiplies in `dtype`, where None is `fast_dtype`: in float32 by a rational function, which
    needs two inverses on the smaller side and nothing but G = X X^T and the last product on the
    wide one; else, and where a factorisation fails, by products alone, which can be coarse. To
    learn of failures it waits for a GPU once a shape.

    First each X is divided by the fourth root of the sum of its singular values' fourth powers,
    of which none is above 1 then: by the square root of G's Frobenius norm.
    """
    x = matrices.to(dtype or fast_dtype(matrices.device))
    tall = x.shape[1] > x.shape[2]
    gram = _gram(x, tall)  # (K, m, m) on the smaller side
    trace = gram.diagonal(dim1=1, dim2=2).float().sum(1)[:, None, None]
    unit = (gram / trace.clamp(min=1e-30)).flatten(1).norm(dim=1)[:, None, None]
    scale = (1 / ((trace * unit).sqrt() + 1e-7)).to(x.dtype)
    gram = gram * scale**2
    inverts = x.dtype == torch.float32 and x.device.type != "mps"
    turn = _rational(gram) if inverts else None
    if turn is not None:
        return _times(turn * scale, x, tall)
    first, *later = POLYNOMIALS
    x = _times(_polynomial(gram, *first), x * scale, tall)
    for coefficients in later:
        x = _times(_polynomial(_gram(x, tall), *coefficients), x, tall)
    return x


def _gram(x: Tensor, tall: bool) -> Tensor:
    return x.mT @ x if tall else x @ x.mT


def _times(turn: Tensor, x: Tensor, tall: bool) -> Tensor:
    return x @ turn if tall else turn @ x


def _polynomial(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """aI + bG + cG^2."""
    turn = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    turn.diagonal(dim1=1, dim2=2).add_(a)
    return turn


def _rational(gram: Tensor) -> Tensor | None:
    """FACTOR (I + sum of weight (G + pole I)^-1); None where one has no Cholesky factor."""
    failed = gram.new_zeros((), dtype=torch.bool)
    turn = torch.zeros_like(gram)
    turn.diagonal(dim1=1, dim2=2).fill_(FACTOR)
    for weight, pole in POLES:
        shifted = gram.clone()
        shifted.diagonal(dim1=1, dim2=2).add_(pole)
        factor, info = torch.linalg.cholesky_ex(shifted)
        failed |= info.any()
        turn.add_(torch.cholesky_inverse(factor), alpha=FACTOR * weight)
    return None if not failed.is_meta and failed else turn


def _moments(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Names of what an optimizer keeps for a parameter."""
    return ("momentum",) if isinstance(optimizer, Muon) else ("step", "exp_avg", "exp_avg_sq")


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then constant, then linearly down over the last `decay` of the steps.

    The warm-up of a short run is `LONGEST_WARMUP` of its steps. The constant stretch does not know
    where training ends, so a run can be prolonged.
    """
    warmup = min(config.warmup, int(LONGEST_WARMUP * config.steps))
    rise = min(1.0, (step + 1) / (warmup + 1))
    tail = config.decay * config.steps
    fall = min(1.0, (config.steps - step) / tail) if tail else 1.0
    return config.learning_rate * rise * max(fall, 0.0)


def optimizer_tensors(
    optimizers: Iterable[torch.optim.Optimizer], net: nn.Module
) -> dict[str, Tensor]:
    """The optimizers' state as flat tensors, `moment/parameter name`."""
    tensors = {}
    for optimizer in optimizers:
        for name, parameter in net.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = torch.as_tensor(value)
    return tensors


def restore_optimizers(
    optimizers: Iterable[torch.optim.Optimizer], net: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Undo `optimizer_tensors`.

    Raises:
        TrainingError: the tensors are another optimizer's, or of another network.
    """
    parameters = dict(net.named_parameters())
    owners = {
        id(parameter): optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for key, value in tensors.items():
        moment, _, name = key.partition("/")
        parameter = parameters.get(name)
        owner = owners.get(id(parameter))
        if parameter is None or owner is None or moment not in _moments(owner):
            raise TrainingError(f"the saved optimizer state does not fit the recipe: '{key}'")
        # strides as the parameter's: in another layout kernels may round otherwise, and are slower
        like = value if moment == "step" else torch.empty_like(parameter.detach())
        owner.state[parameter][moment] = assign(like, value)
