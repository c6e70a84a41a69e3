"""Distances whose answer is known, and those of torchmetrics on the same features."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unclip.errors import DataError, UsageError
from unclip.evaluate import metrics
from unclip.pages.intervals import Share

PARITY = Path(__file__).parents[1] / "parity"


def _peer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_metrics", PARITY / "peers" / "metrics.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PEER = _peer()


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(mean: Tensor, deviations: Tensor) -> Tensor:
    """Vectors whose mean and diagonal covariance are exactly these."""
    x = randn(3, 50, len(mean))
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    return x * deviations + mean


def rotation(seed: int, width: int) -> Tensor:
    return torch.linalg.qr(randn(seed, width, width)).Q


def test_frechet_of_two_gaussians() -> None:
    """|m1 - m2|^2 + sum of (s1 - s2)^2 where the covariances share their axes."""
    m1, m2 = torch.tensor([1.0, -2, 0, 4]).double(), torch.tensor([0.0, 0, 0, 1]).double()
    s1, s2 = torch.tensor([1.0, 2, 3, 0.5]).double(), torch.tensor([2.0, 2, 1, 1.5]).double()
    want = float((m1 - m2).square().sum() + (s1 - s2).square().sum())
    turn = rotation(1, 4)
    got = metrics.frechet(exact(m1, s1) @ turn, exact(m2, s2) @ turn)
    assert got == pytest.approx(want, rel=1e-10)


def test_frechet_of_covariances_that_do_not_commute() -> None:
    """In two dimensions tr (S1 S2)^1/2 = sqrt(tr S1 S2 + 2 sqrt(det S1 S2))."""
    a, b = randn(1, 40, 2) @ randn(2, 2, 2), randn(3, 40, 2) @ randn(4, 2, 2)
    s1, s2 = a.T.cov(), b.T.cov()
    product = s1 @ s2
    inner = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    means = float((a.mean(0) - b.mean(0)).square().sum())
    want = means + float(s1.trace() + s2.trace()) - 2 * inner
    assert metrics.frechet(a, b) == pytest.approx(want, rel=1e-10)


def test_frechet_of_a_shift() -> None:
    a, d = randn(0, 60, 8), randn(1, 8)
    assert metrics.frechet(a, a + d) == pytest.approx(float(d.square().sum()), rel=1e-9)


@pytest.mark.parametrize("case", list(PEER.CASES))
def test_torchmetrics_gets_the_same(case: str) -> None:
    want = json.loads((PARITY / "fixtures" / "metrics.json").read_text())["cases"][case]
    seed, real, drawn, width, size = PEER.CASES[case]
    a = torch.from_numpy(PEER.features(seed, real, width, False))
    b = torch.from_numpy(PEER.features(seed, drawn, width, True))
    kid = metrics.kid(a, b, 20, size, seed)
    if len(b) > width:
        assert metrics.frechet(a, b) == pytest.approx(want["fid"], rel=1e-6)
    assert kid.value == pytest.approx(want["kid"], rel=1e-6)
    assert kid.deviation == pytest.approx(want["kid_std"], rel=1e-6, abs=1e-9)


def test_frechet_deviation_foretells_the_spread() -> None:
    """Of fresh samples of the same size, from one of them alone."""
    real, turn = randn(99, 400, 4), torch.diag(torch.tensor([1.0, 2, 0.5, 1]).double())
    fresh = [metrics.frechet(real, randn(seed, 200, 4) @ turn) for seed in range(60)]
    told = [metrics.frechet_deviation(real, randn(seed, 200, 4) @ turn, seed) for seed in range(8)]
    spread = float(torch.tensor(fresh).std())
    assert 0.7 * spread < sum(told) / len(told) < 1.4 * spread


def test_kid_is_unbiased() -> None:
    """Its mean over many draws from one distribution is 0; the biased estimate's is not."""
    values = [
        metrics.kid(randn(2 * n, 20, 3), randn(2 * n + 1, 20, 3), 1).value for n in range(300)
    ]
    drawn = torch.tensor(values)
    assert abs(float(drawn.mean())) < 3 * float(drawn.std()) / math.sqrt(300)
    assert float(drawn.min()) < 0


def test_mmd_of_two_points() -> None:
    """One vector against another: 2 - 2 exp(-d^2 / 2 s^2)."""
    a, b = torch.zeros(1, 2), torch.tensor([[3.0, 4]])
    assert metrics.mmd(a, b, 5.0) == pytest.approx(2 - 2 * math.exp(-0.5), rel=1e-12)


def test_precision_and_recall_of_points_on_a_line() -> None:
    real = torch.tensor([[0.0], [1], [2], [3], [100]])
    drawn = torch.tensor([[0.5], [3.4], [50], [7], [400]])
    precision, recall = metrics.precision_recall(real, drawn, k=1)
    # reach: 1 for the first four, 97 for the last; of the drawn 2.9, 2.9, 43, 3.6, 350
    assert (precision.right, precision.total) == (4, 5)
    assert (recall.right, recall.total) == (5, 5)


def test_density_and_coverage_of_points_on_a_line() -> None:
    real = torch.tensor([[0.0], [1], [2], [3], [100]])
    drawn = torch.tensor([[0.5], [0.6], [3.4], [400]])
    density, coverage = metrics.density_coverage(real, drawn, k=1)
    # 0.5 and 0.6 lie in the reach of 0 and 1, 3.4 in that of 3 and of 100 (97), 400 in none
    assert density == pytest.approx(6 / 4)
    assert (coverage.right, coverage.total) == (4, 5)


def test_a_set_against_itself() -> None:
    x = randn(5, 64, 6)
    assert metrics.frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert metrics.mmd(x, x, 2.0) == pytest.approx(0, abs=1e-12)
    assert [share.value for share in metrics.precision_recall(x, x)] == [1, 1]
    density, coverage = metrics.density_coverage(x, x)
    assert density == pytest.approx(1) and coverage.value == 1


def test_sets_far_apart() -> None:
    a, b = randn(5, 64, 6), randn(6, 64, 6) + 100
    assert [share.value for share in metrics.precision_recall(a, b)] == [0, 0]
    assert metrics.density_coverage(a, b) == (0, Share(0, 64))


def test_blocks_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = randn(7, 50, 3), randn(8, 41, 3)
    whole = (metrics.precision_recall(a, b), metrics.density_coverage(a, b), metrics.mmd(a, b, 1))
    monkeypatch.setattr(metrics, "_ROWS", 7)
    parts = (metrics.precision_recall(a, b), metrics.density_coverage(a, b), metrics.mmd(a, b, 1))
    assert parts[:2] == whole[:2]
    assert parts[2] == pytest.approx(whole[2], rel=1e-12)


SEEDS = st.integers(0, 10_000)


@given(seed=SEEDS, width=st.integers(1, 6), n=st.integers(12, 30), m=st.integers(12, 30))
def test_distances_are_symmetric_and_never_negative(seed: int, width: int, n: int, m: int) -> None:
    a, b = randn(seed, n, width), 2 * randn(seed + 1, m, width) + 1
    assert metrics.frechet(a, b) == pytest.approx(metrics.frechet(b, a), rel=1e-7, abs=1e-9)
    assert metrics.mmd(a, b, 1.5) == pytest.approx(metrics.mmd(b, a, 1.5), rel=1e-9)
    assert metrics.frechet(a, b) >= 0 <= metrics.mmd(a, b, 1.5)
    precision, recall = metrics.precision_recall(a, b)
    assert (recall, precision) == metrics.precision_recall(b, a)


@given(seed=SEEDS, width=st.integers(2, 6))
def test_a_rotation_and_a_shift_of_both_change_nothing(seed: int, width: int) -> None:
    a, b = randn(seed, 24, width), 1.5 * randn(seed + 1, 24, width) + 0.5
    turn, shift = rotation(seed + 2, width), randn(seed + 3, width)
    c, d = a @ turn + shift, b @ turn + shift
    assert metrics.frechet(c, d) == pytest.approx(metrics.frechet(a, b), rel=1e-6, abs=1e-9)
    assert metrics.mmd(c, d, 2.0) == pytest.approx(metrics.mmd(a, b, 2.0), rel=1e-9)
    assert metrics.precision_recall(c, d) == metrics.precision_recall(a, b)
    assert metrics.density_coverage(c, d) == metrics.density_coverage(a, b)


@given(seed=SEEDS)
def test_nearest_finds_a_copy(seed: int) -> None:
    a = randn(seed, 30, 4)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    distance, which = metrics.nearest(a, a[order])
    assert which.tolist() == order.tolist() and float(distance.max()) == 0


def test_too_few_pictures() -> None:
    a, b = randn(0, 100, 64), randn(1, 64, 64)
    with pytest.raises(DataError, match=r"at least 65 drawn pictures .* 64 numbers, got 64"):
        metrics.frechet(a, b)
    with pytest.raises(DataError, match="at least 4 real pictures"):
        metrics.precision_recall(a[:3], b)
    assert metrics.needed(64)["frechet"] == 65


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_no_numbers(bad: float) -> None:
    a, b = randn(0, 20, 4), randn(1, 20, 4)
    b[3, 1] = b[5, 0] = bad
    with pytest.raises(DataError, match="2 of 20 drawn pictures hold NaN or infinity"):
        metrics.kid(a, b)
    with pytest.raises(DataError, match="2 of 20 real"):
        metrics.mmd(b, a, 1.0)


def test_widths_that_differ() -> None:
    with pytest.raises(UsageError, match="one width"):
        metrics.frechet(randn(0, 20, 4), randn(1, 20, 5))


def test_a_share_has_its_interval() -> None:
    """The ends p of a score interval solve (x/n - p)^2 = z^2 p (1 - p) / n."""
    one = Share(7, 9)
    assert one.value == pytest.approx(7 / 9)
    for p in one.interval:
        assert (7 / 9 - p) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / 9, rel=1e-4)
