"""Foreign weight files: read as what they hold, lazily, and nothing in them is run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from unclip.checkpoints.archive import open_pickle, open_tensors
from unclip.checkpoints.tensors import save_tensors
from unclip.errors import CheckpointError

State = dict[str, Tensor]
Write = Callable[[State, Path], Path]

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool,
    torch.complex64,
]  # fmt: skip


def to_safetensors(state: State, folder: Path) -> Path:
    file = folder / "w.bin"  # its name says nothing
    save_file(state, file)
    return file


def to_zip(state: State, folder: Path) -> Path:
    torch.save(OrderedDict(state), folder / "w.zip")
    return folder / "w.zip"


def to_legacy(state: State, folder: Path) -> Path:
    file = folder / "w.legacy"
    torch.save(state, file, _use_new_zipfile_serialization=False)
    return file


def to_shards(state: State, folder: Path) -> Path:
    names = save_tensors(folder, "w", state, shard_bytes=64)
    places = {}
    for name in names:
        places |= dict.fromkeys(open_tensors(folder / name), name)
    return index_of(folder, places)


def index_of(folder: Path, places: dict[str, str]) -> Path:
    index = folder / "w.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def to_script(state: State, folder: Path) -> Path:
    net = nn.Module()
    for name, value in state.items():
        net.register_buffer(name, value)
    net.forward = lambda x: x  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(net, torch.ones(1)).save(str(folder / "w.script"))
    return folder / "w.script"


WRITERS: list[Write] = [to_safetensors, to_zip, to_legacy, to_shards]


@st.composite
def states(draw: st.DrawFn) -> State:
    """State dicts of all types and shapes, scalars and empty ones too."""
    names = draw(st.lists(st.text(min_size=1, max_size=8).filter(plain), unique=True, max_size=5))
    made = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        dtype = draw(st.sampled_from(DTYPES))
        seed = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        made[name] = torch.randint(0, 9, shape, generator=seed).to(dtype)
    return made


def plain(name: str) -> bool:
    return name != "__metadata__" and not re.search(r"[\ud800-\udfff]", name)


def same(a: Tensor, b: Tensor) -> bool:
    a, b = a.detach().contiguous(), b.detach().contiguous()
    return a.dtype == b.dtype and a.shape == b.shape and bytes_of(a) == bytes_of(b)


def bytes_of(tensor: Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


@pytest.mark.parametrize("write", WRITERS)
@given(state=states())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read(
    write: Write, state: State, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = write(state, tmp_path_factory.mktemp("state"))
    read = open_tensors(file)
    assert set(read) == set(state)
    assert len(read) == len(state)
    for name, value in state.items():
        assert read.shape(name) == tuple(value.shape)
        assert read.dtype(name) == value.dtype
        assert same(read[name], value)
        assert Path(read.where(name)).parent == file.parent
    assert "not there" not in read
    with pytest.raises(KeyError):
        read["not there"]


@pytest.mark.parametrize("write", [to_zip, to_legacy])
def test_views_parameters_and_shared_storages(write: Write, tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "turned": base.T,
        "part": base[1:3, ::2],
        "row": base[2],
        "repeated": torch.tensor([5.0]).expand(3, 4),
        "parameter": nn.Parameter(torch.ones(2)),
        "channels_last": torch.randn(2, 3, 2, 2).to(memory_format=torch.channels_last),
        "nothing": base[:0],
    }
    read = open_tensors(write(state, tmp_path))
    for name, value in state.items():
        assert same(read[name], value), name


def test_reading_is_lazy_and_apart_from_the_file(tmp_path: Path) -> None:
    file = to_safetensors({"a": torch.ones(4), "b": torch.ones(4)}, tmp_path)
    read = open_tensors(file)
    read["a"].zero_()
    assert read["a"].tolist() == [1] * 4
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 1)
    assert read["a"].tolist() == [1] * 4
    with pytest.raises(CheckpointError, match=r"w\.bin is truncated"):
        read["b"]
    file.unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*w\.bin: No such file"):
        read["a"]


def test_prefixes(tmp_path: Path) -> None:
    state = {"model.a.w": torch.ones(1), "model.b": torch.ones(2), "other": torch.ones(3)}
    save_file(state, tmp_path / "w", {"format": "pt"})
    read = open_tensors(tmp_path / "w").under("model.")
    assert list(read) == ["a.w", "b"]
    assert list(read.behind("x.")) == ["x.a.w", "x.b"]
    assert read.under("a.").shape("w") == (1,)
    assert read.where("b") == str(tmp_path / "w")
    assert dict(read.under("none")) == {}


def test_several_files_are_one(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "one")
    torch.save({"b": torch.ones(2)}, tmp_path / "two")
    assert set(open_tensors([tmp_path / "one", str(tmp_path / "two")])) == {"a", "b"}
    with pytest.raises(CheckpointError, match=r"'a' stands in .*one and in .*one"):
        open_tensors([tmp_path / "one", tmp_path / "one"])


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"model": {"w": torch.ones(1)}, "step": 3}, "'model' is a dict .it holds model, step"),
        ({"w": torch.ones(1), "step": 3}, "'step' is of type int"),
        ({3: torch.ones(1)}, "'3' is"),
        ([torch.ones(1)], "holds of type list, not a state dict"),
    ],
)
def test_what_is_no_state_dict_is_named(saved: Any, message: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=message):
        open_tensors(tmp_path / "w.pth")


# Damage.


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], State]:
    folder = tmp_path_factory.mktemp("originals")
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4).half(), "c": torch.ones(())}
    writers = (*WRITERS[:3], to_script)
    return {write.__name__: write(state, folder).read_bytes() for write in writers}, state


@pytest.mark.parametrize("kind", ["to_safetensors", "to_zip", "to_legacy", "to_script"])
@given(data=st.data())
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_damage_is_an_error_of_one_line_or_harmless(
    kind: str, originals: tuple[dict[str, bytes], State], data: st.DataObject, tmp_path: Path
) -> None:
    originally, state = originals
    original = originally[kind]
    raw = bytearray(original)
    if data.draw(st.booleans(), label="cut"):
        del raw[data.draw(st.integers(0, len(raw) - 1), label="at") :]
    else:
        for _ in range(data.draw(st.integers(1, 3), label="flips")):
            place = data.draw(st.integers(0, len(raw) - 1), label="place")
            raw[place] ^= data.draw(st.integers(1, 255), label="by")
    file = tmp_path / "damaged"
    file.write_bytes(raw)
    try:
        read = dict(open_tensors(file))
    except CheckpointError as error:
        said = str(error)
        read = {}
    else:
        said = ""
    assert (str(file) in said and "\n" not in said) or not said
    assert said or len(raw) == len(original) or same_all(read, state)


def same_all(read: State, state: State) -> bool:
    return read.keys() == state.keys() and all(same(read[key], state[key]) for key in state)


@pytest.mark.parametrize("write", WRITERS[:3])
def test_every_truncation_is_noticed(write: Write, tmp_path: Path) -> None:
    state = {"a": torch.arange(20.0), "b": torch.arange(7)}
    raw = write(state, tmp_path).read_bytes()
    for size in {*range(0, len(raw), 7), *range(len(raw) - 40, len(raw))}:
        (tmp_path / "cut").write_bytes(raw[:size])
        with pytest.raises(CheckpointError, match="cut"):
            open_tensors(tmp_path / "cut")


def header(entries: dict[str, Any] | str, size: int = 8) -> bytes:
    text = (entries if isinstance(entries, str) else json.dumps(entries)).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


def entry(shape: Any = (2,), offsets: Any = (0, 8), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (header({"a": entry(shape=(3,))}), "damaged or truncated"),
        (header({"a": entry(shape=(1,))}), "damaged or truncated"),
        (header({"a": entry(offsets=(0, 16), shape=(4,))}), "damaged or truncated"),
        (header({"a": entry()}, size=12), "damaged or truncated"),
        (header({"a": entry(offsets=(-8, 0))}), "damaged or truncated"),
        (header({"a": entry(), "b": entry()}), "damaged or truncated"),
        (header({"a": entry(offsets=(4, 12))}, 12), "damaged or truncated"),
        (header({"a": entry(shape=(-1, -2))}), "damaged or truncated"),
        (header({"a": entry(shape=(2.0,))}), "damaged or truncated"),
        (header({"a": entry(shape=(True, 2))}), "damaged or truncated"),
        (header({"a": entry(dtype="F4")}), "damaged or truncated"),
        (header({"a": {"dtype": "F32"}}), "damaged or truncated"),
        (header({"a": 3}), "damaged or truncated"),
        (header('{"a": ' + "[" * 100_000), "damaged or truncated"),
        (header('{"a": 1, "a": 2}'), "damaged or truncated"),
        (header(f'{{"a": {json.dumps(entry())}, "a": {json.dumps(entry())}}}'), "'a' twice"),
        (header({"a": entry(dtype="F8_E8M0", shape=(8,))}), "type F8_E8M0, which this cannot read"),
        (b"\xff" * 7 + b"\x00{" + bytes(9), "damaged or truncated"),
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"BZh91AY", "neither safetensors nor"),
        (b"PK\x03\x04", "is damaged or truncated"),
        (b"\x80\x02K\x01.", "a pickle, but none that torch wrote"),
        (b'{"a": 1}', "is no index of weights"),
        (b'{"weight_map": [1]}', "is no index of weights"),
    ],
)
def test_what_is_wrong_is_said(raw: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(raw)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors.*{message}"):
        open_tensors(file)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights file .*none is missing"):
        open_tensors(tmp_path / "none")
    with pytest.raises(CheckpointError, match="is a folder"):
        open_tensors(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "w")
    with pytest.raises(CheckpointError, match="w is safetensors, not a file of torch's"):
        open_pickle(tmp_path / "w")
    with zipfile.ZipFile(tmp_path / "zip", "w") as made:
        made.writestr("readme.txt", "no weights")
    with pytest.raises(CheckpointError, match=r"none that torch wrote: it has no data\.pkl"):
        open_tensors(tmp_path / "zip")


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path: Path) -> None:
    """Offsets, strides and sizes in a pickle are anybody's: what lies behind stays unread."""
    file = to_zip({"a": torch.arange(3.0)}, tmp_path)
    with zipfile.ZipFile(file) as good:
        entries = {name: good.read(name) for name in good.namelist()}
    [name] = [name for name in entries if name.endswith("data.pkl")]
    shape = b"K\x03\x85"
    assert entries[name].count(shape) == 1
    entries[name] = entries[name].replace(shape, b"K\x63\x85")
    with zipfile.ZipFile(tmp_path / "bad", "w") as bad:
        for entry_name, data in entries.items():
            bad.writestr(entry_name, data)
    with pytest.raises(CheckpointError, match=r"shape \(99,\) reaches beyond its data"):
        open_tensors(tmp_path / "bad")


def test_a_compressed_storage_is_refused(tmp_path: Path) -> None:
    file = to_zip({"a": torch.zeros(300)}, tmp_path)
    with (
        zipfile.ZipFile(file) as good,
        zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in good.namelist():
            packed.writestr(name, good.read(name))
    with pytest.raises(CheckpointError, match="storage 0 is compressed"):
        open_tensors(tmp_path / "packed")


# Indexes.


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"a": "one", "b": "two", "c": "two"}, r"promises 'c' in two, where it is not"),
        ({"a": "one"}, None),
        ({"a": "one", "b": "one"}, "promises 'b' in one"),
        ({"a": "one", "b": "two", "d": "none"}, "names none, which is missing"),
        ({"b": "two", "a": "two"}, "promises 'a' in two"),
        ({"a": "w.safetensors.index.json"}, "names .*json, which is an index too"),
        ({"x": "one", "b": "two"}, "'a' of .*one is not in"),
        ({"a": "w-00001-of-00003.safetensors"}, "names 1 shard of 3"),
    ],
)
def test_an_index_and_its_shards_agree(
    places: dict[str, str], message: str | None, tmp_path: Path
) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "one")
    torch.save({"b": torch.ones(1)}, tmp_path / "two")
    index = index_of(tmp_path, places)
    if message is None:
        assert set(open_tensors(index)) == set(places)
    else:
        with pytest.raises(CheckpointError, match=message):
            open_tensors(index)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../secret", "link", "C:\\x", "..\\secret", "", "a\0"]
)
def test_an_index_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    why = "NUL byte" if "\0" in name else "leads out of its folder"
    with pytest.raises(CheckpointError, match=why):
        open_tensors(index_of(folder, {"a": name}))


@pytest.mark.parametrize("blobs", ["models--org--name/blobs", "blobs/ab"])
def test_links_into_the_hub_cache_are_followed(blobs: str, tmp_path: Path) -> None:
    (tmp_path / blobs).mkdir(parents=True)
    folder = tmp_path / "models--org--name" / "snapshots" / "0123" / "unet"
    folder.mkdir(parents=True)
    save_file({"a": torch.ones(1)}, tmp_path / blobs / "ff")
    (folder / "shard").symlink_to(os.path.relpath(tmp_path / blobs / "ff", folder))
    assert set(open_tensors(index_of(folder, {"a": "shard"}))) == {"a"}


def test_a_shard_in_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "below" / "one")
    assert set(open_tensors(index_of(tmp_path, {"a": "below/one"}))) == {"a"}


# Memory.

MEASURE = """
import resource, sys
from unclip.checkpoints.archive import open_tensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in sys.argv[1:]:
    read = open_tensors(file)
    print(sum(float(read[name][0, 0]) for name in read))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_file_is_never_in_memory(tmp_path: Path) -> None:
    state = {f"layer{i}": torch.full((1024, 2048), float(i)) for i in range(24)}  # 192 MiB
    files = [str(write(state, tmp_path)) for write in WRITERS[:3]]
    command = [sys.executable, "-c", MEASURE, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *totals, mebibytes = done.stdout.split()
    assert totals == ["276.0"] * 3
    assert int(mebibytes) < 48  # two tensors of 8 MiB, and the reader itself
