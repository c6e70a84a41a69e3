"""Pickles and TorchScript archives: read as data, and nothing in them is run."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import warnings
import zipfile
from argparse import Namespace
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.version import Version
from torch import Tensor, nn

from unclip.checkpoints._unpickler import Inert, Name
from unclip.checkpoints.archive import open_pickle, open_tensors, tensors_of, version_text
from unclip.checkpoints.lazy_tensor import LazyTensor
from unclip.errors import CheckpointError


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


# TorchScript.


class Scripted(nn.Module):
    """Like OpenAI's CLIP files: half precision, bare parameters, numbers as buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4).half())
        self.conv = nn.Conv2d(3, 2, 2)
        self.text_projection = nn.Parameter(torch.randn(2, 3))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.neither = torch.ones(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[1](self.layers[0](x)) + self.neither[0]
        return x * self.text_projection.sum()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `torch.jit.save` writes, which warns that it is old."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("script") / "clip.pt"
    net = Scripted().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(net, torch.randn(2, 3)).save(str(path))
    return path


def test_a_script_gives_the_state_dict_of_its_module(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    wanted = Scripted().state_dict()
    monkeypatch.setattr("torch.jit.load", None)
    monkeypatch.setattr("torch._C.import_ir_module", None)
    read = open_tensors(script)
    assert set(read) == set(wanted)
    assert "input_resolution" in read
    assert read.dtype("layers.2.weight") == torch.float16
    for name, value in wanted.items():
        assert same(read[name], value), name


# Nested data, and objects in it.


class Outside:
    """No module of this name is known to be harmless."""


def test_of_torch_itself_types_of_number_alone_are_inert() -> None:
    """Its functions load files, compile and call: none may pass for harmless."""
    passed = {name for name in vars(torch) if Name("torch", name).is_harmless(script=True)}
    types = {name for name, it in vars(torch).items() if isinstance(it, torch.dtype)}
    others = passed - types
    assert types < passed
    assert others - {"Tensor", "Size", "device"} == {n for n in passed if n.endswith("Storage")}
    assert {"load", "compile", "hub", "ops", "nn", "jit"} & passed == set()


@pytest.mark.parametrize(
    "name",
    [
        "torch.load", "torch.serialization.load", "torch.hub.load", "torch.jit._script.load",
        "torch.utils.data.DataLoader", "torch.optimizers.Adam", "torch_optim.Adam",
        "torch.nn.Linear", "builtins.eval", "builtins.exec", "builtins.getattr",
        "builtins.__import__", "builtins.open",
        "collectionsx.OrderedDict", "typingx.Any", "os.system", "posix.system", "subprocess.Popen",
        "numpy.load", "numpy.ndarrays", "numpy.randomly.x", "pathlibx.Path", "__torch__x.Net",
    ],
)  # fmt: skip
def test_what_is_not_listed_is_refused(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    assert not Name(module, attribute).is_harmless(script=True)
    file = tmp_path / "asks.pt"
    program = b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"X\x01\x00\x00\x00a\x85R."
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("asks/data.pkl", program)
        archive.writestr("asks/version", b"3\n")
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        open_pickle(file)


@pytest.mark.parametrize("name", ["torch.optim.adam.Adam", "typing.Any", "pathlib.PosixPath"])
def test_what_is_listed_is_read_and_never_made(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    wanted = Name(module, attribute)
    assert wanted.is_harmless(script=False)
    made = wanted(1, 2)
    assert isinstance(made, Inert)
    assert (made.name, made.args) == (name, (1, 2))
    assert Name("__torch__.models", "Net").is_harmless(script=True)
    assert not Name("__torch__.models", "Net").is_harmless(script=False)


def test_nested_data_is_plain(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    saved = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": torch.optim.lr_scheduler.StepLR(optimizer, 2),
        "version": Version("1.15.6"),
        "arguments": Namespace(width=3, names=["a"]),
        "numbers": [1, -(2**40), 2.5, True, None, 1 + 2j, b"raw", {1, 2}, frozenset("a"), (1, "é")],
        "numpy": [np.float32(0.5), np.int64(7), np.bool_(True)],
        "array": np.arange(3),
        "dtype": torch.float16,
        "size": torch.Size([2, 3]),
        "dicts": [defaultdict(list, a=[1]), OrderedDict(b=2)],
        "time": timedelta(days=1),
        "shared": [saved_twice := {"x": 1}, saved_twice],
    }
    for way in (True, False):
        file = tmp_path / f"nested{way}"
        torch.save(saved, file, _use_new_zipfile_serialization=way)
        data = open_pickle(file)
        assert data.keys() == saved.keys()
        assert data["numbers"] == saved["numbers"]
        assert data["arguments"].state == {"width": 3, "names": ["a"]}
        assert [one.name.split(".")[-1] for one in data["numpy"]] == ["scalar"] * 3
        assert data["dicts"] == [{"a": [1]}, {"b": 2}]
        assert data["size"] == (2, 3)
        assert data["shared"][0] is data["shared"][1]
        assert version_text(data["version"]) == "1.15.6"
        assert same(tensors_of(data["model"], "it")["weight"], net.weight)
        moments = data["optimizer"]["state"][0]["exp_avg"]
        assert isinstance(moments, LazyTensor)
        assert same(moments.read(), optimizer.state_dict()["state"][0]["exp_avg"])
        for name in ("schedule", "array", "time", "arguments"):
            assert type(data[name]).__name__ == "Inert"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("way", [True, False])
def test_pickles_of_every_protocol_are_read(protocol: int, way: bool, tmp_path: Path) -> None:
    saved = {
        "w": torch.arange(6.0).reshape(2, 3).T,
        "s": {frozenset({1}), "é"},
        "b": b"raw",
        "n": 3,
    }
    saved["long"] = [2**40, -1, "x" * 300, {n: n for n in range(300)}]
    file = tmp_path / "w.pt"
    torch.save(saved, file, pickle_protocol=protocol, _use_new_zipfile_serialization=way)
    data = open_pickle(file)
    assert same(data.pop("w").read(), saved.pop("w"))
    assert data == saved


@pytest.mark.parametrize("name", ["torch Tensor", "builtins bytearray", "builtins bytes"])
def test_nothing_is_made_as_large_as_a_pickle_asks(name: str, tmp_path: Path) -> None:
    program = (
        f"c{name.replace(' ', chr(10))}\n".encode() + b"\x8a\x06" + b"\x00" * 5 + b"\x40\x85R."
    )
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as made:
        made.writestr("w/data.pkl", program)
    data = open_pickle(tmp_path / "w.pt")
    assert (data.name, data.args) == (name.replace(" ", "."), (2**46,))


def test_version_text() -> None:
    assert version_text("1.1.0") == "1.1.0"
    before_26 = inert({"_version": inert(None, (0, (1, 1, 0), None)), "_key": ()})
    assert version_text(before_26) == "1.1.0"
    with pytest.raises(CheckpointError, match="neither a text nor a Version"):
        version_text(3)


def inert(state: Any, args: tuple[Any, ...] = ()) -> Inert:
    return Inert("packaging.version.Version", args, state)


# Pickles that would run code.


class Evil:
    """Makes the file `ran` where it is unpickled."""

    def __init__(self, call: Callable[..., Any], *args: Any) -> None:
        self.call = call
        self.args = args

    def __reduce__(self) -> Any:
        return self.call, self.args


def attacks(ran: Path) -> dict[str, tuple[Any, str]]:
    return {
        "system": (Evil(os.system, f"touch {ran}"), "system"),
        "eval": (Evil(eval, f"open({str(ran)!r}, 'w')"), "builtins.eval"),
        "getattr": (Evil(getattr, Evil(__import__, "os"), "system"), "builtins.getattr"),
        "load": (Evil(torch.load, io.BytesIO(b"")), "torch.serialization.load"),
        "class": (Outside(), "Outside"),
        "network": (nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        "popen": (Evil(subprocess.Popen, ["touch", str(ran)]), "Popen"),
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
@pytest.mark.parametrize("way", ["zip", "legacy", "script"])
def test_a_pickle_that_would_run_code_is_refused(
    name: str, way: str, script: Path, tmp_path: Path
) -> None:
    ran, file = tmp_path / "ran", tmp_path / "evil.pt"
    attack, wanted = attacks(ran)[name]
    saved = {"w": torch.ones(1), "deep": [{"deeper": attack}]}
    if way == "script":
        with zipfile.ZipFile(script) as good, zipfile.ZipFile(file, "w") as bad:
            for entry in good.namelist():
                evil = pickle.dumps(saved["deep"], protocol=2)
                data = evil if entry.endswith("/data.pkl") else good.read(entry)
                bad.writestr(entry, data)
    else:
        torch.save(saved, file, _use_new_zipfile_serialization=way == "zip")
    for read in (open_tensors, open_pickle):
        message = rf"evil\.pt is refused: .*{wanted}'.* may run code.*convert it to safetensors"
        with pytest.raises(CheckpointError, match=message):
            read(file)
    assert not ran.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'touch ran'\ntR.",
        b"(S'touch ran'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch ran'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",
        b"\x80\x02\x82\x01.",
        b"Pos.system\n.",
        b"ccollections\nOrderedDict\n(S'touch ran'\ntRcos\nsystem\nb.",
        b"\x80\x02}(X\x01\x00\x00\x00ac__builtin__\nexec\nX\x01\x00\x00\x00x\x85Ru.",
    ],
)
def test_programs_by_hand(program: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("w.pt", "w") as archive_file:
        archive_file.writestr("w/data.pkl", program)
    with pytest.raises(CheckpointError, match=r"w\.pt is (refused|damaged)"):
        open_pickle("w.pt")
    assert os.listdir() == ["w.pt"]


def test_state_changes_no_object_of_ours(tmp_path: Path) -> None:
    """BUILD sets attributes in Python's machine. Here a state dict's are dropped."""
    state = b"}X\x03\x00\x00\x00getX\x01\x00\x00\x00xsb."
    made, named = tmp_path / "made", tmp_path / "named"
    for file, call in ((made, b")R"), (named, b"")):
        with zipfile.ZipFile(file, "w") as archive_file:
            program = b"ccollections\nOrderedDict\n" + call + state
            archive_file.writestr("w/data.pkl", program)
    data = open_pickle(made)
    assert data == {}
    assert data.get("x") is None
    with pytest.raises(CheckpointError, match=r"named is damaged: .* changes what is no object"):
        open_pickle(named)


def test_these_attacks_are_real(tmp_path: Path) -> None:
    """Python's own machine falls for one, so that what is refused above is worth refusing."""
    attack, _ = attacks(tmp_path / "ran")["system"]
    assert pickle.loads(pickle.dumps(attack)) == 0
    assert (tmp_path / "ran").exists()
