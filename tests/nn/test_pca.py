"""Principal components against numpy, buckets against counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unclip.nn.pca import Pca, Quantiles

D, M = 12, 4000


@pytest.fixture(scope="module")
def z() -> Tensor:
    """Unit vectors with a mean and a falling spectrum, turned in space."""
    rng = torch.Generator().manual_seed(0)
    spread = torch.randn(M, D, generator=rng) * 0.7 ** torch.arange(D)
    turn = torch.linalg.qr(torch.randn(D, D, generator=rng)).Q
    return torch.nn.functional.normalize(spread @ turn + 0.2, dim=-1)


def test_components_are_numpys(z: Tensor) -> None:
    pca = Pca(D, 5)
    pca.fit(z)
    data = z.double().numpy()
    _, singular, rows = np.linalg.svd(data - data.mean(0), full_matrices=False)
    assert np.allclose(pca.mean, data.mean(0), atol=1e-6)
    assert np.allclose(pca.std, singular[:5] / M**0.5, atol=1e-5)
    assert np.allclose(np.abs(pca.basis.numpy() @ rows[:5].T), np.eye(5), atol=1e-3)
    largest = pca.basis.gather(1, pca.basis.abs().argmax(1, keepdim=True))
    assert (largest > 0).all(), "of the two directions always the same"


def test_coefficients_have_unit_variance_and_go_back(z: Tensor) -> None:
    pca = Pca(D, D)
    pca.fit(z)
    coefficients = pca.encode(z)
    assert coefficients.shape == (M, D)
    assert torch.allclose(coefficients.mean(0), torch.zeros(D), atol=1e-4)
    covariance = coefficients.T @ coefficients / M
    assert torch.allclose(covariance, torch.eye(D), atol=1e-2)
    assert torch.allclose(pca.decode(coefficients), z, atol=1e-5)


def test_projection_keeps_the_first_components(z: Tensor) -> None:
    pca = Pca(D, 6)
    pca.fit(z)
    assert torch.allclose(
        pca.project(z[:3], 0), torch.nn.functional.normalize(pca.mean, dim=0).expand(3, -1)
    )
    data = z.double().numpy()
    rows = np.linalg.svd(data - data.mean(0), full_matrices=False)[2]
    for k in (1, 3, 6):
        rebuilt = data.mean(0) + (data - data.mean(0)) @ rows[:k].T @ rows[:k]
        rebuilt /= np.linalg.norm(rebuilt, axis=-1, keepdims=True)
        assert np.allclose(pca.project(z, k), rebuilt, atol=1e-4)
    errors = [float((pca.project(z, k) - z).square().sum()) for k in range(7)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 10


def test_it_is_exact_under_autocast(z: Tensor) -> None:
    pca = Pca(D, D)
    pca.fit(z)
    plain = pca.encode(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pca.encode(z), plain)


@pytest.mark.parametrize("buckets", [2, 3, 16])
def test_buckets_are_met_equally_often_and_centres_are_their_means(buckets: int) -> None:
    torch.manual_seed(0)  # equal numbers share a bucket
    x = torch.stack([torch.randn(M), torch.rand(M) ** 3 + 5], dim=1)
    quantiles = Quantiles(2, buckets)
    quantiles.fit(x)
    index = quantiles.index(x)
    assert index.min() == 0
    assert index.max() == buckets - 1
    for number in range(2):
        counts = torch.bincount(index[:, number], minlength=buckets)
        assert (counts - M / buckets).abs().max() <= 1
        assert (quantiles.edges[number].diff() > 0).all()
        for bucket in range(buckets):
            mean = x[index[:, number] == bucket, number].mean()
            assert torch.isclose(quantiles.centres[number, bucket], mean, atol=1e-4)


def test_a_number_is_off_by_no_more_than_its_buckets_width() -> None:
    x = torch.rand(M, 3) * torch.tensor([1.0, 2.0, 10.0])
    quantiles = Quantiles(3, 32)
    quantiles.fit(x)
    index = quantiles.index(x)
    error = (quantiles.value(index) - x).abs()
    low = torch.cat([x.amin(0)[:, None], quantiles.edges], dim=1)
    high = torch.cat([quantiles.edges, x.amax(0)[:, None]], dim=1)
    assert (error <= (high - low)[torch.arange(3), index] + 1e-6).all()
    assert (error.mean(0) < torch.tensor([1.0, 2.0, 10.0]) / 32).all()
    assert torch.equal(quantiles.value(index[:, 1:], first=1), quantiles.value(index)[:, 1:])


def test_a_value_beyond_what_was_seen_goes_to_the_last_bucket() -> None:
    quantiles = Quantiles(1, 8)
    quantiles.fit(torch.rand(100, 1))
    assert quantiles.index(torch.tensor([[-9.0], [9.0]])).tolist() == [[0], [7]]


def test_where_many_numbers_are_equal_empty_buckets_have_finite_centres() -> None:
    quantiles = Quantiles(1, 8)
    quantiles.fit(torch.tensor([[0.0]] * 90 + [[1.0]] * 10))
    assert quantiles.centres.isfinite().all()
    both = torch.tensor([[0.0], [1.0]])
    assert torch.equal(quantiles.value(quantiles.index(both)), both)
