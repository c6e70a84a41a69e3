"""Loading: where models are found, what is read of them, and what that imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unclip
from unclip.device import pick_dtype
from unclip.errors import UsageError
from unclip.loading import find_model

COMPILER = """
import sys
from unclip.stages import STAGES, on_meta

def check(when):
    heavy = {name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))}
    heavy |= {"sympy"} & set(sys.modules)
    assert not heavy, f"{when}: {len(heavy)} modules of PyTorch's compiler"
"""


def run(code: str, given: str = "") -> None:
    """Run code in a process of its own, which has imported nothing yet."""
    command = [sys.executable, "-c", COMPILER + code]
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_stage_is_built_with_the_compiler(tiny: dict[str, dict[str, object]]) -> None:
    every = {kind: {"kind": kind, **values} for kind, values in tiny.items()}
    code = """
import json
for kind, values in json.load(sys.stdin).items():
    on_meta(STAGES[kind].Config.parse(values))
    check(kind)
"""
    run(code, json.dumps(every))


def test_drawing_needs_no_compiler() -> None:
    code = """
import unclip
pipe = unclip.load()
check("load")
pipe.generate("a red car", steps=2, prior_steps=2, upsampler_steps=1)
check("generate")
"""
    run(code)


def test_priors_that_nobody_uses_are_not_read() -> None:
    pipe = unclip.load("emoji-cpu", "cpu")
    assert all(stage.source for stage in pipe.stages.values())
    pipe.generate("a red car", prior="linear_prior", steps=1, upsampler_steps=1)
    unread = {name for name, stage in pipe.stages.items() if stage.source}
    assert unread == {"prior", "ar_prior", "eclipse_prior", "turbo", "upsampler_1024"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"model": 3}, "model must be a path or a name, got 3"),
        ({"model": ["a"]}, "model must be a path or a name, got ('a',)"),
        ({"device": 1.5}, "unknown device '1.5'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"dtype": "float31"}, "dtype must be one of float32, bfloat16, float16, float64"),
        ({"dtype": 32}, "dtype must be one of float32, bfloat16, float16, float64, got 32"),
        ({"dtype": torch.int8}, "got torch.int8"),
        ({"low_memory": "yes"}, "low_memory must be true or false, got 'yes'"),
        ({"clip": 3}, "clip must be a path or a name, got 3"),
        ({"tokenizer": b"x"}, "tokenizer must be a path or a name, got b'x'"),
        ({"dialect": 3}, "dialect must be text, got 3"),
        ({"variant": 16}, "variant must be text, got 16"),
    ],
)
def test_what_is_wrong_is_named(
    arguments: dict[str, Any], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.loading.plan", lambda *_, **__: pytest.fail("something was read"))
    with pytest.raises(UsageError) as caught:
        unclip.load(**arguments)
    assert part in str(caught.value)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64"])
def test_a_dtype_by_its_name(name: str) -> None:
    cpu = torch.device("cpu")
    assert pick_dtype(name, cpu) == pick_dtype(getattr(torch, name), cpu) == getattr(torch, name)


def test_a_device_and_a_dtype_as_torch_has_them(trained: Any) -> None:
    model: Path = trained.model
    pipe = unclip.load(str(model), torch.device("cpu"), "bfloat16", low_memory=np.bool_(True))
    assert pipe.device == torch.device("cpu")
    assert next(pipe.stages["clip"].net.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("org/name", r"; for the Hugging Face hub write 'hub:org/name'$"),
        ("emoji-cp", r"'emoji-cp' \(did you mean 'emoji-cpu'\?\)"),
        ("./org/name", r"\(bundled: emoji-cpu\)$"),
        ("nothing", r"\(bundled: emoji-cpu\)$"),
    ],
)
def test_a_name_that_is_not_there_is_told_what_it_could_be(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        find_model(name)
