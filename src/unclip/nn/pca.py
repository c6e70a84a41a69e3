"""Principal components as part of a network, and numbers as buckets: both fitted, not trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..device import no_autocast
from .layers import identity_


class Pca(nn.Module):
    """The first `dims` principal components, largest variance first.

    Buffers, so that weights files hold them: `mean` (D,), `basis` (dims, D) with orthonormal
    rows, `std` (dims,). Coefficients are in units of `std`. Not fitted, it keeps the first `dims`
    numbers as they are.
    """

    mean: Tensor
    basis: Tensor
    std: Tensor

    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        self.dims = dims
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("basis", torch.empty(dims, width))
        self.register_buffer("std", torch.ones(dims))
        identity_(self.basis)

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        """Fit to (M, D) samples; of the two directions of a component, one is always the same."""
        z = z.cpu().double()  # some devices have no float64, or no eigh
        mean = z.mean(0)
        centred = z - mean
        variance, vectors = torch.linalg.eigh(centred.T @ centred / len(z))  # ascending
        basis = vectors.flip(1)[:, : self.dims].T  # (dims, D)
        largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
        self.mean.copy_(mean)
        self.basis.copy_(basis * largest.sign())
        self.std.copy_(variance.flip(0)[: self.dims].clamp(min=1e-12).sqrt())

    def encode(self, z: Tensor) -> Tensor:
        """(B, D) -> (B, dims) coefficients."""
        with no_autocast(z.device):  # small coefficients of large numbers
            out: Tensor = (z.float() - self.mean.float()) @ self.basis.float().T
            return out / self.std.float()

    def decode(self, coefficients: Tensor) -> Tensor:
        """(B, k) of the first k coefficients -> (B, D) of unit norm."""
        k = coefficients.shape[1]
        scaled = coefficients.float() * self.std[:k].float()
        return F.normalize(self.mean.float() + scaled @ self.basis[:k].float(), dim=-1)

    def project(self, z: Tensor, k: int) -> Tensor:
        """(B, D) -> (B, D) of unit norm, rebuilt from the first `k` components."""
        return self.decode(self.encode(z)[:, :k])


class Quantiles(nn.Module):
    """Each of `dims` numbers in one of `buckets` buckets that are met equally often.

    Buffers: `edges` (dims, buckets - 1), rising, and `centres` (dims, buckets), the mean of what
    fell into each. Not fitted, the buckets divide -2 to 2 evenly.
    """

    edges: Tensor
    centres: Tensor

    def __init__(self, dims: int, buckets: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.register_buffer("edges", torch.empty(dims, buckets - 1))
        self.register_buffer("centres", torch.empty(dims, buckets))
        if not self.edges.is_meta:
            line = torch.linspace(-2, 2, 2 * buckets + 1, dtype=torch.float32, device="cpu")
            self.edges.copy_(line[2:-1:2])
            self.centres.copy_(line[1::2])

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Fit to (M, dims) samples. A bucket that nothing falls into gets its edges' middle."""
        shares = torch.arange(1, self.buckets, dtype=torch.float32, device=x.device) / self.buckets
        self.edges.copy_(torch.quantile(x.float(), shares.to(x.device), dim=0).T)
        index = self.index(x).T  # (dims, M)
        zeros = torch.zeros_like(self.centres)
        count = zeros.scatter_add(1, index, torch.ones_like(index, dtype=zeros.dtype))
        total = zeros.scatter_add(1, index, x.T.to(zeros.dtype))
        low, high = (F.pad(self.edges, pad, value=0.0) for pad in ((1, 0), (0, 1)))
        self.centres.copy_(torch.where(count > 0, total / count.clamp(min=1), (low + high) / 2))

    def index(self, x: Tensor) -> Tensor:
        """(B, dims) -> (B, dims) int64, 0 to buckets - 1."""
        return (x.float()[..., None] > self.edges.float()).sum(-1)

    def value(self, index: Tensor, first: int = 0) -> Tensor:
        """(B, k) buckets of the numbers from `first` on -> (B, k) float32, their centres."""
        rows = torch.arange(first, first + index.shape[1], device=index.device)
        return self.centres[rows, index].float()
