"""Fréchet and kernel distances of torchmetrics on features that both sides can make.

    python -m venv peer && peer/bin/pip install torch numpy packaging lightning-utilities scipy
    peer/bin/pip install --no-deps torchmetrics
    peer/bin/python tests/parity/peers/metrics.py

writes tests/parity/fixtures/metrics.json. torchmetrics 1.9.0 was asked.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).parent.parent / "fixtures" / "metrics.json"
CASES = {  # name: (seed, real, drawn, width, size of a subset)
    "as many": (0, 300, 300, 16, 100),
    "fewer drawn": (1, 400, 150, 32, 150),
    "wide": (2, 260, 270, 192, 50),
}


def features(seed: int, count: int, width: int, drawn: bool) -> np.ndarray:
    """(count, width) float64, correlated; the drawn ones are off by a little in every way."""
    rng = np.random.RandomState(seed)
    mix = rng.standard_normal((width, width)) / width**0.5
    shift = 0.3 * rng.standard_normal(width)
    draw = np.random.RandomState(seed + 1000 + drawn).standard_normal((count, width)) @ mix
    return draw * 1.1 + shift if drawn else draw


def main() -> None:
    import torch
    import torchmetrics
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    class Given(torch.nn.Module):
        """Features are what it is given."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.num_features = width

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    found = {}
    for name, (seed, real, drawn, width, size) in CASES.items():
        fid = FrechetInceptionDistance(Given(width))
        kid = KernelInceptionDistance(Given(width), subsets=20, subset_size=size)
        for count, is_drawn in ((real, False), (drawn, True)):
            given = torch.from_numpy(features(seed, count, width, is_drawn))
            fid.update(given, real=not is_drawn)
            kid.update(given, real=not is_drawn)
        torch.manual_seed(seed)
        mean, std = kid.compute()
        found[name] = {"fid": float(fid.compute()), "kid": float(mean), "kid_std": float(std)}
    version = {"torchmetrics": torchmetrics.__version__, "torch": torch.__version__}
    FIXTURE.write_text(json.dumps({"versions": version, "cases": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
