"""Weights in 8 bits: within half a step, exact to read, and every fault named."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from unclip.checkpoints import int8, native
from unclip.checkpoints.archive import Tensors, open_tensors
from unclip.checkpoints.convert import convert, write_as
from unclip.checkpoints.format import open_model
from unclip.checkpoints.int8 import own_table, scale_name, to_int8
from unclip.checkpoints.keymap import check, translate
from unclip.checkpoints.lazy_tensor import LazyTensor
from unclip.checkpoints.tensors import save_tensors
from unclip.errors import CheckpointError, UsageError
from unclip.facade import Pipeline
from unclip.stages import STAGES, Stage

LARGE = "down.0.block.conv1.weight"


def lazy(value: Tensor) -> LazyTensor:
    return LazyTensor(Path("made"), value.dtype, tuple(value.shape), value.clone)


def stored(tensors: dict[str, Tensor], folder: Path) -> tuple[dict[str, Tensor], Tensors]:
    """What was written of them, as the safetensors library reads it, and as this package does."""
    names = save_tensors(folder, "w", to_int8({n: lazy(v) for n, v in tensors.items()}), 10_000)
    files = [folder / name for name in names]
    return {key: value for file in files for key, value in load_file(file).items()}, open_tensors(
        files
    )


def weights(folder: Path, stage: str = "decoder") -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in (folder / stage).glob("weights*.safetensors"):
        found |= load_file(file)
    return found


def decoded(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The oracle: int8 times scale, in double precision."""
    return {
        name: value.double() * found[f"{name}.scale"].double()
        if value.dtype == torch.int8
        else value.double()
        for name, value in found.items()
        if not name.endswith(".scale")
    }


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(int8.NARROWEST, 70),
    kernel=st.sampled_from([(), (1,), (3,), (1, 1), (3, 3), (2, 3)]),
    size=st.floats(-30, 30),
    outlier=st.floats(0, 1e4),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_every_number_comes_back_within_half_a_step(
    rows: int,
    columns: int,
    kernel: tuple[int, ...],
    size: float,
    outlier: float,
    dtype: torch.dtype,
    seed: int,
) -> None:
    rows = max(rows, -(-int8.FEWEST // columns))
    value = torch.randn(rows, columns, *kernel, generator=torch.Generator().manual_seed(seed))
    value[0, 0] *= outlier
    value[rows // 2] = 0
    value = (value * 10**size).to(dtype)
    with TemporaryDirectory() as folder:
        found, tensors = stored({"w": value, "bias": torch.ones(3)}, Path(folder))
        assert (found["w"].dtype, found["w.scale"].dtype) == (torch.int8, torch.bfloat16)
        assert found["w.scale"].shape == (rows, 1, *kernel) and found["bias"].dtype == torch.float16
        ours = translate(tensors, own_table({"w": value, "bias": torch.ones(3)}, tensors))
        assert (ours["w"].shape, ours["w"].dtype) == (value.shape, torch.float32)
        read = ours["w"].read()
        assert torch.equal(read.double(), decoded(found)["w"]), "to read adds no error"
        step = found["w.scale"].double()
        assert ((read.double() - value.double()).abs() <= step * 0.5001).all()
        largest = found["w"].abs().amax(1)
        assert ((largest >= 126) | (value == 0).all(1)).all(), "all of the range is used"
        again = to_int8({"w": ours["w"]})
        assert all(torch.equal(again[n].read(), found[n]) for n in ("w", "w.scale"))


def test_small_narrow_and_whole_tensors_are_not_in_8_bits(tmp_path: Path) -> None:
    tensors = {
        "large": torch.randn(64, 64),
        "small": torch.randn(63, 65),
        "narrow": torch.randn(999, 15, 3),
        "vector": torch.randn(5000),
        "whole": torch.arange(4096).reshape(64, 64),
    }
    found, _ = stored(tensors, tmp_path)
    assert {name: value.dtype for name, value in found.items()} == {
        "large": torch.int8,
        "large.scale": torch.bfloat16,
        "small": torch.float16,
        "narrow": torch.float16,
        "vector": torch.float16,
        "whole": torch.int64,
    }
    assert all(torch.equal(found[n], tensors[n].half()) for n in ("small", "narrow", "vector"))


@pytest.mark.parametrize("fault", [torch.nan, torch.inf, -torch.inf])
def test_what_8_bits_cannot_hold_is_named(fault: float, tmp_path: Path) -> None:
    value = torch.randn(64, 64)
    value[3, 4] = fault
    with pytest.raises(CheckpointError, match="'w' holds numbers that are not finite; int8 has"):
        stored({"w": value}, tmp_path)


@pytest.mark.parametrize("kind", STAGES.names())
def test_no_parameter_has_the_name_of_a_scale(kind: str, make_stage: Callable[..., Stage]) -> None:
    names = set(make_stage(kind).net.state_dict())
    assert not names & set(map(scale_name, names))


@pytest.fixture(scope="module")
def small(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with its decoder in 8 bits."""
    path = tmp_path_factory.mktemp("int8") / "small"
    convert(open_model(folder), path, dtypes={"decoder": torch.int8})
    return path


def test_the_file_says_what_it_holds(folder: Path, small: Path) -> None:
    raw = (small / "decoder" / "weights.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    told = json.loads(raw[8 : 8 + length])["__metadata__"]
    assert told == {"format": "pt", "int8": "W = NAME * NAME.scale, broadcast"}
    before, after = weights(folder), weights(small)
    whole = {name for name, value in after.items() if value.dtype == torch.int8}
    assert LARGE in whole
    assert set(after) == set(before) | set(map(scale_name, whole))
    assert native.verify(small) == []
    assert "int8" in (small / "README.md").read_text()
    assert open_model(small).digest != open_model(folder).digest
    for stage in ("clip", "prior"):
        assert all(
            torch.equal(v, weights(small, stage)[k]) for k, v in weights(folder, stage).items()
        )


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_stage_is_loaded_in_the_type_asked_for(
    small: Path, dtype: torch.dtype, low_memory: bool
) -> None:
    stages = open_model(small).load(dtype, low_memory=low_memory).stages
    assert all(stages[name].net for name in ("decoder", "clip"))
    loaded = stages["decoder"].net.state_dict()
    assert {value.dtype for value in loaded.values()} == {dtype}
    wanted = decoded(weights(small))
    assert all(torch.equal(loaded[name], value.to(dtype)) for name, value in wanted.items())


def test_there_and_back(small: Path, tmp_path: Path) -> None:
    wanted = decoded(weights(small))
    convert(open_model(small), tmp_path / "half", torch.float16)
    assert all(torch.equal(v.half(), weights(tmp_path / "half")[k]) for k, v in wanted.items())
    kept = convert(open_model(small), tmp_path / "kept")
    again = convert(open_model(small), tmp_path / "again", dtypes={"decoder": torch.int8})
    assert kept.files == again.files == native.read_manifest(small).files
    convert(open_model(small), tmp_path / "shards", shard_bytes=20_000)
    assert len(list((tmp_path / "shards" / "decoder").glob("weights*"))) > 3
    loaded = native.load_stage(tmp_path / "shards", "decoder").net.state_dict()
    assert all(torch.equal(loaded[name], value.float()) for name, value in wanted.items())


def test_a_patch_sees_the_weights_themselves(small: Path) -> None:
    part = replace(open_model(small).parts["decoder"], patch=lambda name, value: value + 1)
    wanted = decoded(weights(small))[LARGE].float() + 1
    assert torch.equal(part.translated("it")[LARGE].read(), wanted)
    assert torch.equal(part.stored("it")[LARGE].read(), wanted), "no longer what the file has"


@pytest.mark.parametrize("low_memory", [False, True])
def test_threads_share_its_weights(small: Path, low_memory: bool) -> None:
    alone = Pipeline(open_model(small).load(torch.float32)).generate("a fox", seed=3)[0].tobytes()
    pipe = Pipeline(open_model(small).load(torch.float32, low_memory=low_memory))
    with ThreadPoolExecutor(4) as pool:
        drawn = pool.map(lambda _: pipe.generate("a fox", seed=3)[0].tobytes(), range(4))
        assert set(drawn) == {alone}


Change = Callable[[dict[str, Tensor]], Any]
SCALE = scale_name(LARGE)
FAULTS: dict[str, tuple[Change, str]] = {
    "no scale": (lambda t: t.pop(SCALE), f"decoder does not fit: 1 missing: {SCALE}$"),
    "a scale of a tensor that is not in 8 bits": (
        lambda t: t.update({LARGE: t[LARGE].half()}),
        f"decoder does not fit: 1 not used: {SCALE}$",
    ),
    "a scale of nothing": (
        lambda t: t.update({"spare.scale": torch.ones(1)}),
        "decoder does not fit: 1 not used: spare.scale$",
    ),
    "a tensor that is small in 8 bits": (
        lambda t: t.update({"conv_in.bias": t["conv_in.bias"].to(torch.int8)}),
        r"decoder does not fit: 1 missing: conv_in\.bias\.scale$",
    ),
    "whole numbers of another type": (
        lambda t: t.update({"conv_in.bias": t["conv_in.bias"].to(torch.int16)}),
        r"decoder does not fit: 1 whole numbers, not weights: conv_in\.bias$",
    ),
    "one scale for every number of a row": (
        lambda t: t.update({SCALE: t[SCALE].flatten()}),
        rf"1 of another shape: {LARGE} \(.*\), {SCALE} \(\d+,\) cannot make {LARGE} \(",
    ),
    "too few scales": (
        lambda t: t.update({SCALE: t[SCALE][:-1]}),
        f"{SCALE} .* cannot make {LARGE}",
    ),
    "too many scales": (
        lambda t: t.update({SCALE: t[SCALE].repeat(2, 1, 1, 1)}),
        f"{SCALE} .* cannot make {LARGE}",
    ),
    "another shape": (lambda t: t.update({LARGE: t[LARGE][:, :5].clone()}), f"cannot make {LARGE}"),
    "NaN": (
        lambda t: t[SCALE][1:].fill_(torch.nan),
        f"weights.safetensors: '{SCALE}' holds numbers that are not finite$",
    ),
    "infinite": (
        lambda t: t[SCALE][0].fill_(torch.inf),
        f"weights.safetensors: '{SCALE}' holds numbers that are not finite$",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_names_the_thing(fault: str, small: Path, tmp_path: Path) -> None:
    change, message = FAULTS[fault]
    tensors = {name: value.clone() for name, value in weights(small).items()}
    change(tensors)
    broken = copytree(small, tmp_path / "broken")
    save_file(tensors, broken / "decoder" / "weights.safetensors")
    with pytest.raises(CheckpointError, match=message) as caught:
        native.load_stage(broken, "decoder")
    assert "\n" not in str(caught.value)


def test_nothing_is_read_for_a_check(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensors, "__getitem__", lambda *_: pytest.fail("a tensor was read"))
    part = open_model(small).parts["decoder"]
    net = part.build().net
    tensors = part.check(net, "it")
    wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    check(wanted, tensors, own_table(net.state_dict(), tensors), "it")
    assert part.translated("it").keys() == wanted.keys()


def test_an_unknown_stage_and_a_layout_without_8_bits(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tiny has no stage 'turbo'; its stages: clip, prior, dec"):
        convert(open_model(folder), tmp_path / "new", dtypes={"turbo": torch.int8})
    with pytest.raises(UsageError, match="diffusers has no 8-bit weights; take float16"):
        write_as("diffusers", open_model(folder), tmp_path / "new", torch.int8)
    assert not (tmp_path / "new").exists()
