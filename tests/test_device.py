"""One rule says where bfloat16 is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import unclip
from unclip.device import autocast, describe, fast_dtype, pick_device, pick_dtype
from unclip.errors import UsageError

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


def test_a_gpu_is_one_that_pytorch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [pick_device(name).index for name in ("cuda", "cuda:0", "cuda:1")] == [None, 0, 1]
    with pytest.raises(UsageError, match="'cuda:2' is not available: PyTorch sees 2 CUDA GPUs"):
        pick_device("cuda:2")


def test_nothing_else_casts() -> None:
    """What calls PyTorch's own autocast would have to ask the hardware itself."""
    files = Path(unclip.__file__).parent.rglob("*.py")
    calls = {file.name for file in files if "torch.autocast(" in file.read_text(encoding="utf-8")}
    assert calls == {"device.py"}


@pytest.mark.parametrize(("threads", "said"), [(1, "cpu, 1 thread"), (4, "cpu, 4 threads")])
def test_threads_are_counted(threads: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert describe(torch.device("cpu")) == said


@pytest.mark.parametrize(
    ("name", "meant"), [("bf16", "bfloat16"), ("fp16", "float16"), ("floatt32", "float32")]
)
def test_a_dtype_by_another_name_is_understood(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match=rf"did you mean '{meant}'"):
        pick_dtype(name, torch.device("cpu"))
