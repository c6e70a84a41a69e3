"""The learning rate's shape, what decays, and the optimizer's state as flat tensors."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unclip.train import optim
from unclip.train.optim import (
    FACTOR,
    POLES,
    POLYNOMIALS,
    Learner,
    Muon,
    hidden_matrices,
    learning_rate,
    make_optimizers,
    optimizer_tensors,
    orthogonal,
    restore_optimizers,
)
from unclip.train.recipe import TrainConfig


def test_the_learning_rate_rises_stays_and_falls() -> None:
    config = TrainConfig(steps=100, learning_rate=1.0, warmup=9, decay=0.2)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:81] == [1.0] * 71
    assert rates[80:] == pytest.approx([1 - i / 20 for i in range(21)])
    assert rates[99] > 0, "no step is wasted"


def test_without_decay_it_stays_and_never_turns_negative() -> None:
    config = TrainConfig(steps=10, learning_rate=2.0, warmup=0, decay=0.0)
    assert [learning_rate(config, step) for step in (0, 5, 9, 50)] == [2.0] * 4
    assert learning_rate(TrainConfig(steps=10, decay=1.0), 50) == 0


def test_a_longer_run_has_the_same_constant_stretch() -> None:
    short, long = TrainConfig(steps=400, warmup=10), TrainConfig(steps=4000, warmup=10)
    for step in (0, 9, 10, 299):
        assert learning_rate(short, step) == learning_rate(long, step)


BOTH = pytest.mark.parametrize("optimizer", ["adamw", "muon"])


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def step(net: nn.Module, optimizers: list[torch.optim.Optimizer], seed: int) -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
    net.zero_grad()
    net(x).pow(2).sum().backward()
    for optimizer in optimizers:
        optimizer.step()


@BOTH
def test_matrices_decay_and_vectors_do_not(optimizer: Any) -> None:
    mine = net()
    mine[0].bias.requires_grad_(False)  # type: ignore[index]
    config = TrainConfig(learning_rate=0.1, weight_decay=0.5, optimizer=optimizer)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    for parameter in mine.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    for one in make_optimizers(mine, config):
        one.step()
    for name, value in mine.state_dict().items():
        factor = 1 - 0.1 * 0.5 if value.ndim == 2 else 1.0
        assert torch.allclose(value, factor * before[name]), name


@BOTH
def test_every_parameter_has_one_optimizer(optimizer: Any, make_stage: Any) -> None:
    mine = make_stage("decoder").net
    optimizers = make_optimizers(mine, TrainConfig(optimizer=optimizer))
    held = [p for one in optimizers for group in one.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, mine.parameters()))


def test_muon_takes_the_hidden_matrices(make_stage: Any) -> None:
    mine = make_stage("decoder").net
    by_muon = {id(parameter) for parameter in hidden_matrices(mine)}
    names = {name for name, p in mine.named_parameters() if id(p) in by_muon}
    assert {"down.0.block.conv1.weight", "time.fc1.weight", "text_context.weight"} <= names
    rest = {name for name, _ in mine.named_parameters()} - names
    assert {"conv_in.weight", "conv_out.weight", "text.embed.weight", "text.positions"} <= rest
    assert not any(name.endswith("bias") or "norm" in name for name in names)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (1, 20, 6)])
def test_singular_values_come_near_one_and_keep_their_vectors(
    shape: tuple[int, int, int],
) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(0.2, 5, u.shape[2])
    near = orthogonal(u * values @ v).float()
    assert near.shape == shape
    turned = u.mT @ near @ v.mT  # diagonal where the vectors are kept
    diagonal = turned.diagonal(dim1=1, dim2=2)
    assert 0.6 < float(diagonal.min()) < float(diagonal.max()) < 1.3
    assert (turned - torch.diag_embed(diagonal)).abs().max() < 0.1


def normalised(values: Tensor) -> Tensor:
    """(K, m) singular values by the fourth root of the sum of their fourth powers."""
    return values / (values.pow(4).sum(1, keepdim=True) ** 0.25 + 1e-7)


def by_polynomials(values: Tensor) -> Tensor:
    """What becomes of normalised singular values in bfloat16, step by step."""
    for a, b, c in POLYNOMIALS:
        values = a * values + b * values**3 + c * values**5
    return values


def by_zolotarev(values: Tensor) -> Tensor:
    """The same in float32."""
    return FACTOR * values * (1 + sum(weight / (values**2 + pole) for weight, pole in POLES))


def jordan(values: Tensor) -> Tensor:
    """What five steps of Jordan et al. (2024) make of singular values, from Frobenius' norm."""
    values = values / values.norm(dim=1, keepdim=True)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


BOTH_WAYS = pytest.mark.parametrize("after", [by_polynomials, by_zolotarev])


@BOTH_WAYS
@pytest.mark.parametrize("size", [64, 128, 192, 256])
def test_it_is_nearer_to_orthogonal_than_muons_five_steps(size: int, after: Any) -> None:
    """Spectra as of gradients, down to a thousandth."""
    rng = torch.Generator().manual_seed(size)
    normal = torch.randn(2, size, 3 * size, generator=rng, dtype=torch.float64)
    spectra = [
        torch.linalg.svdvals(normal),
        torch.linalg.svdvals(normal[:, :, :size]),
        torch.logspace(0, -3, size, dtype=torch.float64)[None],
        torch.linspace(1, 1e-3, size, dtype=torch.float64)[None],
        1 / torch.arange(1, size + 1, dtype=torch.float64)[None],
    ]
    for values in spectra:
        ours, theirs = after(normalised(values)), jordan(values)
        assert (ours - 1).abs().mean() < (theirs - 1).abs().mean()
        assert ours.max() < 1.2


def swings(off: Tensor) -> int:
    """How often an error reaches its bounds in turn."""
    ends = [int(one) for one in (off.abs() > 0.999 * off.abs().max()).nonzero()]
    signs = [bool(off[at] > 0) for at in ends]
    return 1 + sum(a != b for a, b in pairwise(signs))


def test_zolotarevs_function_is_the_nearest_to_one() -> None:
    """Chebyshev's theorem: degrees (5, 4) are the best where the error swings 6 times."""
    off = by_zolotarev(torch.logspace(math.log10(2e-3), 0, 100_000, dtype=torch.float64)) - 1
    assert float(off.abs().max()) == pytest.approx(0.155, abs=1e-3)
    assert swings(off) == 6


def test_each_polynomial_is_the_nearest_to_one_on_what_the_last_one_left() -> None:
    """Odd quintics are the best where the error swings 4 times; 1.01 is the safety factor."""
    low, high = 3e-3, 1.0
    for number, (a, b, c) in enumerate(POLYNOMIALS, start=1):
        safety = 1.01 if number < len(POLYNOMIALS) else 1.0
        x = torch.linspace(low, high, 1_000_000, dtype=torch.float64)
        off = a * (x * safety) + b * (x * safety) ** 3 + c * (x * safety) ** 5 - 1
        assert swings(off) == 4
        low, high = 1 - float(off.abs().max()), 1 + float(off.abs().max())
    assert high - 1 == pytest.approx(0.198, abs=1e-3)


def reference(matrices: Tensor, after: Any) -> Tensor:
    """A function of singular values, by their decomposition in float64."""
    u, s, v = torch.linalg.svd(matrices.double(), full_matrices=False)
    return u * after(normalised(s))[:, None] @ v


def hard(kind: str, shape: tuple[int, int, int]) -> Tensor:
    """Matrices that are hard for the iteration in one way."""
    rng = torch.Generator().manual_seed(0)
    full = torch.randn(shape, generator=rng)
    u, s, v = torch.linalg.svd(full.double(), full_matrices=False)
    falling = torch.logspace(0, -8, s.shape[1], dtype=torch.float64)
    return {
        "full": full,
        "rank 3": (u[..., :3] * s[:, None, :3] @ v[:, :3]).float(),
        "falling": (u * falling @ v).float(),
        "tiny": 1e-12 * full,
        "huge": 1e12 * full,
        "zero": torch.zeros(shape),
        "one of them zero": full * torch.tensor([1.0, 0.0]).view(2, 1, 1),
    }[kind]


KINDS = ("full", "rank 3", "falling", "tiny", "huge", "zero", "one of them zero")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 32, 288), (2, 200, 24), (2, 40, 40), (2, 48, 64)])
def test_orthogonal_takes_singular_values_through_its_functions(kind: str, shape: Any) -> None:
    matrices = hard(kind, shape)
    before = matrices.clone()
    for dtype, after, tolerance in (
        (torch.float32, by_zolotarev, 2e-3),
        (torch.bfloat16, by_polynomials, 0.2),
    ):
        wanted, found = reference(matrices, after), orthogonal(matrices, dtype)
        assert found.dtype == dtype
        assert found.isfinite().all()
        assert torch.equal(matrices, before)
        if dtype == torch.float32 or kind in ("full", "tiny", "huge", "zero"):
            size = wanted.norm(dim=(1, 2), keepdim=True).clamp(min=1e-30)
            off = (found.double() - wanted).norm(dim=(1, 2), keepdim=True)
            assert (off / size).max() < tolerance


def test_where_a_factorisation_fails_it_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with products that a GPU rounds: a G of low rank has eigenvalues below -pole."""
    exact = optim._gram
    monkeypatch.setattr(optim, "_gram", lambda x, tall: exact(x, tall).bfloat16().float())
    matrices = hard("rank 3", (2, 48, 64))
    assert optim._rational(-torch.eye(4)[None]) is None
    found = torch.linalg.svdvals(orthogonal(matrices, torch.float32))
    assert float(found.max()) < 1.3
    assert float(found[:, :3].min()) > 0.6


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("fast", [False, True])
def test_muon_multiplies_in_the_recipes_precision(
    precision: Any, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def watched(matrices: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        seen.add(orthogonal(matrices, dtype).dtype)
        return matrices

    monkeypatch.setattr("unclip.device.cpu_has_bf16", lambda: fast)
    monkeypatch.setattr(optim, "orthogonal", watched)
    mine, config = net(), TrainConfig(optimizer="muon", precision=precision)
    step(mine, make_optimizers(mine, config), 0)
    usual = torch.bfloat16 if fast else torch.float32
    assert seen == {usual if precision == "auto" else getattr(torch, precision)}


def test_float32_costs_two_products_and_two_inverses() -> None:
    """FLOPs by hand: 2 m^2 n for G and for the last product, and nothing else on the wide side."""
    for shape in ((1, 8, 80), (1, 80, 8)):
        with FlopCounterMode(display=False) as counter:
            orthogonal(torch.ones(shape), torch.float32)
        assert counter.get_total_flops() == 2 * 10 * 2 * 8**3
        with FlopCounterMode(display=False) as counter:
            orthogonal(torch.ones(shape), torch.bfloat16)
        assert counter.get_total_flops() == 4 * (2 * 10 + 1) * 2 * 8**3


def test_a_kernel_moves_the_same_however_it_lies_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("unclip.device.cpu_has_bf16", lambda: False)
    rng = torch.Generator().manual_seed(0)
    weight, gradient = (torch.randn(6, 5, 3, 3, generator=rng) for _ in range(2))
    moved = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = nn.Parameter(weight.clone(memory_format=layout))
        alike = nn.Parameter(torch.zeros(6, 45))  # a matrix of the same shape, stacked with it
        alike.grad = torch.ones(6, 45)
        muon = Muon([parameter, alike], lr=0.1, weight_decay=0.1)
        for sign in (1, -0.3):
            parameter.grad = sign * gradient.contiguous(memory_format=layout)
            muon.step()
        moved.append(parameter.detach())
    assert torch.allclose(moved[0], moved[1], atol=1e-5)
    assert moved[1].is_contiguous(memory_format=torch.channels_last)


def test_a_muon_step_is_the_orthogonal_gradient_with_adamws_size() -> None:
    """arXiv 2502.16982, section 2.2: 0.2 sqrt(max(m, n)) times the orthogonal direction."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(6, 3, 2, 2))
    before, gradient = weight.detach().clone(), torch.randn(6, 3, 2, 2)
    weight.grad = gradient.clone()
    Muon([weight], lr=0.1, weight_decay=0.0).step()
    moved = (before - weight.detach()).flatten(1)  # (6, 12)
    # the first momentum is 0.05 g, Nesterov's is 0.05 g + 0.95 * 0.05 g: the same direction
    u, _, v = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
    values = (u.T @ moved @ v.T).diagonal() / (0.1 * 0.2 * 12**0.5)
    assert 0.6 < float(values.min()) < float(values.max()) < 1.3


def test_muon_looks_ahead_by_nesterovs_momentum() -> None:
    """Three gradients of one row, whose direction tells how they were mixed."""
    weight = nn.Parameter(torch.zeros(1, 3))
    muon, momentum = Muon([weight], lr=0.1, weight_decay=0.0), torch.zeros(3)
    for row in torch.eye(3):
        before = weight.detach().clone()
        weight.grad = row[None].clone()
        muon.step()
        momentum = 0.95 * momentum + 0.05 * row
        ahead = 0.05 * row + 0.95 * momentum
        moved = (before - weight.detach())[0]
        assert torch.allclose(moved / moved.norm(), ahead / ahead.norm(), atol=0.01)
    assert torch.allclose(muon.state[weight]["momentum"][0], momentum)


def test_adamw_takes_its_betas_from_the_recipe() -> None:
    for optimizer in make_optimizers(net(), TrainConfig(betas=(0.5, 0.6))):
        assert {group["betas"] for group in optimizer.param_groups} == {(0.5, 0.6)}


@BOTH
def test_state_goes_through_flat_tensors_exactly(optimizer: Any) -> None:
    config = TrainConfig(betas=(0.8, 0.9), optimizer=optimizer)
    mine, theirs = net(), net()
    optimizers = make_optimizers(mine, config)
    for seed in range(3):
        step(mine, optimizers, seed)
    tensors = optimizer_tensors(optimizers, mine)
    theirs.load_state_dict(mine.state_dict())
    others = make_optimizers(theirs, config)
    restore_optimizers(others, theirs, {key: value.clone() for key, value in tensors.items()})
    assert optimizer_tensors(others, theirs).keys() == tensors.keys()
    for seed in range(3, 6):
        step(mine, optimizers, seed)
        step(theirs, others, seed)
    for ours, its in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(ours, its)


@BOTH
def test_a_restored_moment_lies_in_memory_as_its_parameter_does(optimizer: Any) -> None:
    """Else kernels round otherwise, and a resumed run is another run."""
    mine = nn.Sequential(nn.Conv2d(3, 4, 3)).to(memory_format=torch.channels_last)
    config = TrainConfig(optimizer=optimizer)
    optimizers, others = make_optimizers(mine, config), make_optimizers(mine, config)
    mine(torch.ones(1, 3, 3, 3)).sum().backward()
    for one in optimizers:
        one.step()
    tensors = optimizer_tensors(optimizers, mine)
    restore_optimizers(others, mine, {key: value.contiguous() for key, value in tensors.items()})
    again = optimizer_tensors(others, mine)
    moments = [again[key] for key in again if key.endswith("weight") and again[key].ndim == 4]
    assert moments
    assert all(one.stride() == mine[0].weight.stride() for one in moments)


def test_every_parameter_has_its_moments() -> None:
    mine = net()
    optimizers = make_optimizers(mine, TrainConfig())
    assert optimizer_tensors(optimizers, mine) == {}
    step(mine, optimizers, 0)
    assert set(optimizer_tensors(optimizers, mine)) == {
        f"{key}/{name}"
        for key in ("step", "exp_avg", "exp_avg_sq")
        for name, _ in mine.named_parameters()
    }


def test_adamw_moves_kernels_laid_out_channels_last_as_pytorchs_does() -> None:
    """To the bit, whatever the layouts of weights and gradients are."""
    ends = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        convolution = nn.Conv2d(3, 5, 3).to(memory_format=layout)
        (mine,) = make_optimizers(convolution, TrainConfig())
        plain = torch.optim.AdamW(mine.param_groups, fused=True)
        for optimizer in (plain,) if layout is torch.contiguous_format else (mine,):
            for seed in range(3):
                generator = torch.Generator().manual_seed(seed)
                for parameter in convolution.parameters():
                    parameter.grad = torch.randn(parameter.shape, generator=generator)
                optimizer.step()
        ends.append([parameter.detach().clone() for parameter in convolution.parameters()])
    assert all(map(torch.equal, *ends))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert mine.state[convolution.weight]["exp_avg"].shape == convolution.weight.shape


def test_who_has_no_gradients_yet_is_left_alone() -> None:
    """Its norm is 0 where its weights are, beside the loss; its first update is that of a start."""
    config = TrainConfig(learning_rate=1e-3, warmup=0, betas=(0.5, 0.99), weight_decay=0.0)
    with torch.device("meta"):
        away = Learner(net(), config).clip()
    assert away.device.type == "meta" and away.shape == ()
    late, fresh = (Learner(net(), config) for _ in range(2))
    for _ in range(20):
        assert late.clip() == 0
        late.update(0, torch.tensor(False))
    for learner in (late, fresh):
        learner.net(torch.ones(2, 4)).sum().backward()
        learner.clip()
        learner.update(0)
    pairs = zip(late.net.parameters(), fresh.net.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
