"""One rule says where bfloat16 is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import unclip
from unclip.device import (
    ACCELERATORS,
    autocast,
    describe,
    fast_dtype,
    give_back,
    no_autocast,
    pick_device,
    pick_dtype,
)
from unclip.diffusion.guidance import within
from unclip.diffusion.samplers import SAMPLERS
from unclip.diffusion.schedule import Cosine, Edm
from unclip.errors import UsageError
from unclip.nn.pca import Pca
from unclip.rng import Rng, drawing_device
from unclip.types import Level, Prediction

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


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`machine(xpu=1)` is one with so many devices of each type; gives the calls to them."""

    def stand_in(bf16: bool = True, fp64: bool = True, **counts: int) -> list[str]:
        calls: list[str] = []
        for kind in ACCELERATORS:
            count = counts.get(kind, 0)
            module = getattr(torch, kind)
            said = {
                "is_available": lambda count=count: count > 0,
                "device_count": lambda count=count: count,
                "empty_cache": lambda kind=kind: calls.append(f"{kind}.empty_cache"),
                "get_device_name": lambda device, kind=kind: (
                    f"the {kind} number {device.index or 0}"
                ),
                "is_bf16_supported": lambda including_emulation=True: including_emulation or bf16,
                "get_device_properties": lambda device: SimpleNamespace(has_fp64=fp64),
            }
            for name, answer in said.items():
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, answer)
        return calls

    return stand_in


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ({}, "cpu"),
        ({"mps": 1}, "mps"),
        ({"xpu": 2}, "xpu"),
        ({"cuda": 1}, "cuda"),
        ({"cuda": 1, "xpu": 1}, "cuda"),
        ({"xpu": 1, "mps": 1}, "xpu"),
    ],
)
def test_the_first_device_that_is_there_is_chosen(
    counts: dict[str, int], chosen: str, machine: Callable[..., list[str]]
) -> None:
    machine(**counts)
    assert pick_device() == torch.device(chosen)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "rocm", "hip", "xpu", "xpu:1", "mps"])
def test_a_device_that_is_not_there_is_refused(
    name: str, machine: Callable[..., list[str]]
) -> None:
    kind = name.partition(":")[0]
    kind = kind if kind in ACCELERATORS else "cuda"
    machine()
    with pytest.raises(UsageError, match=f"device '{name}' is not available: PyTorch sees 0"):
        pick_device(name)
    machine(**{kind: 2})
    assert pick_device(name).type == kind
    with pytest.raises(UsageError, match=f"'{kind}:2' is not available: PyTorch sees 2"):
        pick_device(f"{kind}:2")


def test_devices_that_nobody_asked_for_are_refused() -> None:
    with pytest.raises(UsageError, match="'meta' is not supported; try cpu, cuda, xpu or mps"):
        pick_device("meta")
    with pytest.raises(UsageError, match="unknown device 'gpu'; try cpu, cuda, cuda:0, xpu or mps"):
        pick_device("gpu")


@pytest.mark.parametrize(
    ("kind", "bf16", "expected"),
    [
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float32),
        ("xpu", True, torch.bfloat16),
        ("xpu", False, torch.float32),  # emulated
        ("mps", True, torch.float32),
    ],
)
def test_the_number_format_of_a_device(
    kind: str, bf16: bool, expected: torch.dtype, machine: Callable[..., list[str]]
) -> None:
    machine(bf16, **{kind: 1})
    device = pick_device()
    assert pick_dtype(None, device) == expected
    for name in ("float32", "bfloat16", "float16"):
        assert pick_dtype(name, device) == getattr(torch, name)
    with autocast(device):
        assert torch.is_autocast_enabled(kind) == (expected == torch.bfloat16)
        with no_autocast(device):
            assert not torch.is_autocast_enabled(kind)


@pytest.mark.parametrize(
    ("kind", "fp64", "has"),
    [("cuda", False, True), ("xpu", True, True), ("xpu", False, False), ("mps", True, False)],
)
def test_float64_where_a_device_has_it(
    kind: str, fp64: bool, has: bool, machine: Callable[..., list[str]]
) -> None:
    machine(fp64=fp64, **{kind: 1})
    device = torch.device(kind)
    if has:
        assert pick_dtype("float64", device) == torch.float64
        return
    with pytest.raises(UsageError, match="has no float64; take float32"):
        pick_dtype("float64", device)


def test_every_device_gives_its_memory_back(machine: Callable[..., list[str]]) -> None:
    calls = machine(cuda=1, mps=1)
    give_back()
    assert calls == ["cuda.empty_cache", "mps.empty_cache"]


def test_a_device_by_its_name(machine: Callable[..., list[str]]) -> None:
    machine(cuda=1, xpu=2)
    assert describe(torch.device("cuda")) == "the cuda number 0"
    assert describe(torch.device("xpu:1")) == "the xpu number 1"
    assert describe(torch.device("mps")) == "mps"


@pytest.mark.parametrize("kind", ["cpu", "meta", *ACCELERATORS])
def test_training_draws_its_numbers_on_the_device(kind: str) -> None:
    assert drawing_device(torch.device(kind)).type == (kind if kind in ACCELERATORS else "cpu")


class NoFloat64(Tensor):
    """A stand-in for a tensor on a device without float64, and what is computed from it.

    It computes as the CPU does, until it is moved there.
    """

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = super().__torch_function__(func, types, args, kwargs)
        moved = func is Tensor.cpu or (func is Tensor.to and "cpu" in (*map(str, args[1:]),))
        if moved:
            return out.as_subclass(Tensor)
        if isinstance(out, cls) and out.dtype == torch.float64:
            raise TypeError("cannot convert a tensor to float64 on a device that has none")
        return out


def there(value: Tensor) -> Tensor:
    return value.as_subclass(NoFloat64)


def test_the_stand_in_refuses_float64() -> None:
    x = there(torch.ones(3))
    for wrong in (Tensor.double, lambda one: one.to(torch.float64), lambda one: (2 * one).double()):
        with pytest.raises(TypeError, match="float64"):
            wrong(x)
    assert x.cpu().double().dtype == torch.float64


def test_what_takes_tensors_of_any_device_makes_no_float64_there() -> None:
    z = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    one, other = Pca(6, 3), Pca(6, 3)
    one.fit(z)
    other.fit(there(z))
    assert torch.equal(one.basis, other.basis)
    for schedule in (Cosine(), Edm()):
        t = torch.tensor([1.0, 40.0])
        level = schedule.level(t)
        assert torch.equal(schedule.level(there(t)).sigma, level.sigma)
        assert torch.equal(schedule.at(there(t)).sigma, schedule.at(t).sigma)
        moved = Level(*(there(value) for value in (level.t, level.alpha, level.sigma)))
        assert torch.equal(within(0.1, 0.9)(moved), within(0.1, 0.9)(level))


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_sampler_makes_float64_of_a_picture(name: str) -> None:
    """And its result is the CPU's."""
    levels = Cosine().grid(4)
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def denoise(x: Tensor, level: Level) -> Prediction:
        alpha, sigma = level.like(x)
        x0 = (0.3 * x).clamp(-1, 1)
        return Prediction(x0, (x - alpha * x0) / sigma, torch.full_like(x, 0.5))

    plain = SAMPLERS[name](denoise, x, levels, Rng([0]))
    far = SAMPLERS[name](denoise, there(x), levels, Rng([0]))
    assert isinstance(far, NoFloat64)
    assert torch.equal(plain, far)
