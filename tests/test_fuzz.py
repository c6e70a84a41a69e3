"""Mutated files of every format that is read: an error of ours or none, soon, in little memory.

Each format runs in a process of its own, which a crash or the system's limits end, and not the
test's. Every day has a seed of its own, and one that ever failed is kept.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from unclip.checkpoints import native
from unclip.checkpoints.archive import open_pickle, open_tensors
from unclip.checkpoints.format import Options, find_format
from unclip.checkpoints.tokenizers import load_tokenizer
from unclip.config import read_toml
from unclip.errors import UnclipError
from unclip.loading import bundled_models
from unclip.nn.tokenizer import Tokenizer

COUNT, SECONDS, MEMORY = 400, 10, 4 * 2**30
KEPT = (0,)
"""Seeds that are tried every day: add one that failed."""

STATE = {"a": torch.ones(3, 4), "b.c": torch.arange(5).half()}
NESTED = {"state_dict": STATE, "epoch": 3, ("k", 1): [1.5, None, {"x"}, frozenset("y")]}
RECIPE = """
name = "fuzz"
[stages.prior.network]
width = 64 # a comment
sizes = [1, 2.5, 0x1f, true]
text = "a \\u00e9 b"
inline = {a = {b = [[1], [2]]}, c = 1979-05-27T07:32:00Z}
"""


def zip_seed(folder: Path) -> Path:
    torch.save(NESTED, folder / "w.pt")
    return folder / "w.pt"


def legacy_seed(folder: Path) -> Path:
    torch.save(NESTED, folder / "w.pt", _use_new_zipfile_serialization=False)
    return folder / "w.pt"


def safetensors_seed(folder: Path) -> Path:
    save_file(STATE, folder / "w.safetensors", metadata={"format": "pt"})
    return folder / "w.safetensors"


def index_seed(folder: Path) -> Path:
    safetensors_seed(folder)
    index = folder / "w.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(STATE, "w.safetensors")}))
    return index


def tokenizer_seed(folder: Path) -> Path:
    Tokenizer.train(["a red car", "two blue apples"], 300, 8).save(folder / "tokenizer.json")
    return folder / "tokenizer.json"


def toml_seed(folder: Path) -> Path:
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


def model_seed(name: str) -> Callable[[Path], Path]:
    """A file of a model of our own, the bundled one's as links beside it."""

    def make(folder: Path) -> Path:
        bundled = bundled_models()["emoji-cpu"]
        for file in filter(Path.is_file, bundled.rglob("*")):
            beside = folder / file.relative_to(bundled)
            beside.parent.mkdir(exist_ok=True)
            beside.write_bytes(file.read_bytes())
        return folder / name

    return make


def check_model(file: Path) -> None:
    """All that is read of a model before its weights are."""
    folder = file.parent if file.name == "model.json" else file.parent.parent
    plan = find_format(folder).open(folder, Options())
    for name, part in plan.parts.items():
        part.check(part.build().net, plan.place_of(name))
    native.verify(folder)


Read = Callable[[Path], Any]
FORMATS: dict[str, tuple[Callable[[Path], Path], Read]] = {
    "zip": (zip_seed, open_pickle),
    "legacy": (legacy_seed, open_pickle),
    "safetensors": (safetensors_seed, lambda file: [v.sum() for v in open_tensors(file).values()]),
    "index": (index_seed, open_tensors),
    "tokenizer": (tokenizer_seed, lambda file: load_tokenizer(file, 8).encode(["a red fox é"])),
    "toml": (toml_seed, read_toml),
    "model.json": (model_seed("model.json"), check_model),
    "config.json": (model_seed("prior/config.json"), check_model),
}


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or put elsewhere; numbers made large; brackets many."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        end = min(end, at + rng.choice((1, 4, 64, 4096)))
        piece = bytes(data[at:end])
        way = rng.randrange(8)
        if way == 0:
            data[at:end] = bytes(rng.randrange(256) for _ in piece)
        elif way == 1:
            del data[at:end]
        elif way == 2:
            data[at:at] = piece * rng.choice((1, 10, 1000))
        elif way == 3:
            data[at:end] = b"\xff" * len(piece)
        elif way == 4:
            data[at:at] = rng.choice((b"[", b"{", b'{"a":', b"(", b"\x85", b"]")) * 5000
        elif way == 5:
            place = data.find(rng.choice(b"123456789"), at)
            data[place : place + 1] = rng.choice(
                (b"9" * 9, b"9" * 19, b"9" * 5000, b"-1", b"1e999")
            )
        elif way == 6:
            data[at:] = b""
        elif piece:
            data[at] ^= 1 << rng.randrange(8)
        data = data or bytearray(b"\0")
    return bytes(data)


def fuzz(name: str, folder: Path, seed: int) -> None:
    """Read mutations of one format; ends with what went wrong on the first that goes wrong."""
    make, read = FORMATS[name]
    file = make(folder)
    good = file.read_bytes()
    read(file)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def too_long(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(f"{name}, seed {seed}: more than {SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    rng = random.Random(seed)
    for number in range(COUNT):
        file.write_bytes(mutated(good, rng))
        signal.alarm(SECONDS)
        try:
            read(file)
        except UnclipError as error:
            if "\n" in str(error):
                raise AssertionError(f"{name}, seed {seed}, {number}: {error}") from error
        except BaseException as error:
            raise AssertionError(f"{name}, seed {seed}, {number}: {error!r}") from error
        signal.alarm(0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*KEPT, date.today().toordinal()])
@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_are_read_or_refused(name: str, seed: int, tmp_path: Path) -> None:
    start = time.monotonic()
    command = [sys.executable, __file__, name, str(tmp_path), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert time.monotonic() - start < 900


if __name__ == "__main__":
    fuzz(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
