"""How far two sets of pictures are apart, as numbers on their features.

Every function takes features (N, D), computes in float64 and names what it needs. `a` is the real
side and `b` the drawn one, where the two differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import DataError, UsageError, counted
from ..pages.intervals import Share

KID_SUBSETS, KID_SIZE = 100, 1000
PR_NEIGHBOURS, DC_NEIGHBOURS = 3, 5
HALVES = 40
"""Subsamples that a Fréchet distance's deviation is taken from."""
_ROWS = 1024  # distances are computed so many rows at a time


@dataclass(frozen=True)
class Estimate:
    """A number and how far off it may be: a standard deviation, or None where none is known."""

    value: float
    deviation: float | None = None


def needed(dims: int) -> dict[str, int]:
    """Metric -> the least number of pictures on each side, for features of `dims` numbers."""
    return {
        "frechet": dims + 1,  # with fewer the covariance is singular
        "kid": 2,
        "mmd": 1,
        "precision_recall": PR_NEIGHBOURS + 1,
        "density_coverage": DC_NEIGHBOURS + 1,
    }


def check(a: Tensor, b: Tensor, metric: str, least: int) -> tuple[Tensor, Tensor]:
    """Both as float64.

    Raises:
        DataError: too few of them, or one of them holds NaN or infinity.
        UsageError: they are no two sets of vectors of one width.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise UsageError(f"{metric} wants features (N, D) of one width, got {shapes}")
    for side, values in (("real", a), ("drawn", b)):
        if len(values) < least:
            raise DataError(
                f"{metric} needs at least {least} {side} pictures with features of "
                f"{values.shape[1]} numbers, got {len(values)}"
            )
        bad = int((~values.isfinite()).any(1).sum())
        if bad:
            raise DataError(
                f"{metric}: the features of {bad} of {counted(len(values), f'{side} picture')} "
                "hold NaN or infinity"
            )
    return a.double(), b.double()


def frechet(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians with the sets' means and covariances.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2) (Dowson & Landau 1982; for features of
    pictures Heusel et al. 2017, arXiv 1706.08500). Biased upwards the more the fewer pictures,
    which is why its name carries their number.
    """
    a, b = check(a, b, "the Fréchet distance", needed(a.shape[-1])["frechet"])
    return _frechet(a, b)


def _frechet(a: Tensor, b: Tensor) -> float:
    s1, s2 = (x.T.cov().reshape(x.shape[1], -1) for x in (a, b))  # (D, D), of D = 1 too
    root = _root(s1)
    inner = torch.linalg.eigvalsh(root @ s2 @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return max(float(apart + s1.trace() + s2.trace() - 2 * inner), 0.0)


def _root(s: Tensor) -> Tensor:
    """The square root of a symmetric positive matrix, which is symmetric itself."""
    values, vectors = torch.linalg.eigh(s)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def frechet_deviation(a: Tensor, b: Tensor, seed: int = 0) -> float:
    """Standard deviation of `frechet` as `b` varies, from halves of `b`.

    Halves are drawn without repetition, which would shrink the covariance. Given the whole, one
    half varies as much as the whole does itself: (2/N - 1/N) s^2 (Politis & Romano 1994).
    """
    a, b = check(a, b, "the Fréchet distance", 4)
    rng = torch.Generator().manual_seed(seed)
    half = len(b) // 2
    drawn = [_frechet(a, b[torch.randperm(len(b), generator=rng)[:half]]) for _ in range(HALVES)]
    return float(torch.tensor(drawn).double().std() * math.sqrt(half / (len(b) - half)))


def kid(
    a: Tensor, b: Tensor, subsets: int = KID_SUBSETS, size: int = KID_SIZE, seed: int = 0
) -> Estimate:
    """Kernel distance: the unbiased MMD^2 with k(x, y) = (x·y/D + 1)^3, over subsets.

    Bińkowski et al. 2018, arXiv 1801.01401, section 4. It may be below 0.

    Args:
        a: (N, D), the real ones.
        b: (M, D), the drawn ones.
        subsets: how many; the mean over them is the value, their spread the deviation.
        size: pictures of each side in a subset, or all there are.
        seed: of the subsets.
    """
    a, b = check(a, b, "KID", needed(1)["kid"])
    size = min(size, len(a), len(b))
    rng = torch.Generator().manual_seed(seed)

    def some(x: Tensor) -> Tensor:
        return x[torch.randperm(len(x), generator=rng)[:size]]

    values = torch.tensor([_mmd_unbiased(some(a), some(b)) for _ in range(subsets)])
    return Estimate(float(values.double().mean()), float(values.double().std(correction=0)))


def _mmd_unbiased(a: Tensor, b: Tensor) -> float:
    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


def mmd(a: Tensor, b: Tensor, bandwidth: float) -> float:
    """MMD^2 with k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)), every pair counted.

    The estimator of CMMD (Jayasumana et al. 2024, arXiv 2401.09603, section 4): 0 on itself, and
    never below.
    """
    a, b = check(a, b, "MMD", needed(1)["mmd"])
    if not bandwidth > 0:
        raise UsageError(f"bandwidth must be more than 0, got {bandwidth:g}")

    def mean(x: Tensor, y: Tensor) -> float:
        total = sum(
            float((-rows.square() / (2 * bandwidth**2)).exp().sum()) for rows in _distances(x, y)
        )
        return total / (len(x) * len(y))

    return max(mean(a, a) + mean(b, b) - 2 * mean(a, b), 0.0)


def precision_recall(a: Tensor, b: Tensor, k: int = PR_NEIGHBOURS) -> tuple[Share, Share]:
    """Precision: drawn pictures within reach of a real one. Recall: the other way round.

    Within reach is no farther than that one's k-th nearest neighbour among its own kind
    (Kynkäänniemi et al. 2019, arXiv 1904.06991, section 2).
    """
    a, b = check(a, b, "precision and recall", k + 1)

    def covered(of: Tensor, by: Tensor) -> Share:
        radii = _radii(by, k)
        hits = sum(int((rows <= radii).any(1).sum()) for rows in _distances(of, by))
        return Share(hits, len(of))

    return covered(b, a), covered(a, b)


def density_coverage(a: Tensor, b: Tensor, k: int = DC_NEIGHBOURS) -> tuple[float, Share]:
    """Density: by how many real neighbourhoods a drawn picture is covered, over k; 1 is like real.
    Coverage: real pictures with a drawn one nearer than their k-th real neighbour.

    Naeem et al. 2020, arXiv 2002.09797, section 3: an outlier's large reach counts once, not as a
    licence.
    """
    a, b = check(a, b, "density and coverage", k + 1)
    radii, inside, reached = _radii(a, k), 0, 0
    for rows, reach in zip(_distances(a, b), torch.split(radii, _ROWS), strict=True):
        near = rows < reach[:, None]
        inside += int(near.sum())
        reached += int(near.any(1).sum())
    return inside / (k * len(b)), Share(reached, len(a))


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """For each of `b` the distance to the nearest of `a` and which it is: two (M,)."""
    a, b = check(a, b, "the nearest picture", 1)
    found = [rows.min(1) for rows in _distances(b, a)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def _radii(x: Tensor, k: int) -> Tensor:
    """(N,): each vector's distance to its k-th nearest among the others."""
    found = []
    for number, rows in enumerate(_distances(x, x)):
        own = torch.arange(len(rows))
        rows[own, own + number * _ROWS] = torch.inf
        found.append(rows.kthvalue(k, dim=1).values)
    return torch.cat(found)


def _distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """(rows, M) Euclidean distances, exact where they are 0."""
    for rows in torch.split(a, _ROWS):
        yield torch.cdist(rows, b, compute_mode="donot_use_mm_for_euclid_dist")
