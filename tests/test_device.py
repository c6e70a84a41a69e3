"""One rule says where bfloat16 is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import unclip
from unclip.device import autocast, fast_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize("fast", [False, True])
def test_what_is_multiplied_in_follows_the_hardware_unless_it_is_said(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.device.cpu_has_bf16", lambda: fast)
    chosen = torch.bfloat16 if fast else torch.float32
    assert fast_dtype(CPU) == chosen
    x = torch.ones(2, 2)
    for wanted, used in ((None, chosen), (torch.float32,) * 2, (torch.bfloat16,) * 2):
        with autocast(CPU, wanted):
            assert (x @ x).dtype == used
    assert (x @ x).dtype == torch.float32


def test_nothing_else_casts() -> None:
    """What calls PyTorch's own autocast would have to ask the hardware itself."""
    files = Path(unclip.__file__).parent.rglob("*.py")
    calls = {file.name for file in files if "torch.autocast(" in file.read_text(encoding="utf-8")}
    assert calls == {"device.py"}
