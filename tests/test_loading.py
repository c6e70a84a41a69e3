"""Where models are found, and what `load` is told is checked before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unclip
from unclip.device import pick_dtype
from unclip.errors import UsageError
from unclip.loading import find_model


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
        ("org/name", r"; on the Hugging Face hub it would be 'hub:org/name'$"),
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
