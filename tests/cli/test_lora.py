"""`unclip lora` and `unclip merge`: what is written is what `--lora` draws with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unclip import load
from unclip.checkpoints.lora import Change, save_lora
from unclip.checkpoints.native import read_manifest, verify

Run = Callable[..., Any]
NAME = "out.weight"


@pytest.fixture
def ink(tmp_path: Path) -> Path:
    """A LoRA of the tiny model's prior, which has learnt a word."""
    rng = torch.Generator().manual_seed(0)
    low, high = torch.randn(2, 16, generator=rng), torch.randn(16, 2, generator=rng)
    about = {"model": "tiny", "vocabulary": json.dumps({"zebra": 3})}
    save_lora(tmp_path / "ink.safetensors", "prior", {NAME: Change(low, high, 4.0)}, about)
    return tmp_path / "ink.safetensors"


def weight(model: Path, *loras: str) -> torch.Tensor:
    found: torch.Tensor = (
        load(model, "cpu", torch.float32, lora=loras).stages["prior"].net.state_dict()[NAME]
    )
    return found


def test_merged_it_is_what_the_option_draws_with(
    unclip: Run, tiny_model: Path, ink: Path, tmp_path: Path
) -> None:
    done = unclip("lora", "merge", tiny_model, f"{ink}:0.5", "-o", tmp_path / "inked")
    assert done.code == 0, done.err
    assert verify(tmp_path / "inked") == []
    want, found = weight(tiny_model, f"{ink}:0.5"), weight(tmp_path / "inked")
    assert not torch.equal(want, weight(tiny_model))
    assert torch.equal(found, want.half().float())  # in the type of the model's own file
    assert "merged into tiny" in (tmp_path / "inked" / "README.md").read_text()
    again = unclip("lora", "merge", tiny_model, ink, "-o", tmp_path / "inked")
    again.fails(1, "is a model already; --force replaces it")


def test_what_a_file_says(unclip: Run, ink: Path, tmp_path: Path) -> None:
    done = unclip("lora", "info", ink)
    assert done.code == 0, done.err
    assert "unclip.lora" in done.out and "changes 1 weights; rank 2" in done.out
    assert "stage: prior" in done.out and "model: tiny" in done.out
    many = json.dumps({f"word{n}": n for n in range(50)})
    change = {NAME: Change(torch.ones(2, 16), torch.ones(16, 2), 4.0)}
    save_lora(tmp_path / "wide.safetensors", "prior", change, {"vocabulary": many})
    assert "vocabulary: 50 entries\n" in unclip("lora", "info", tmp_path / "wide.safetensors").out
    (tmp_path / "no.safetensors").write_bytes(ink.read_bytes()[:40])
    unclip("lora", "info", tmp_path / "no.safetensors").fails(1, "no.safetensors")


def test_a_model_that_lists_its_words_learns_the_loras(
    unclip: Run, tiny_model: Path, ink: Path, tmp_path: Path
) -> None:
    """Else every prompt with a new word would be complained of."""
    known = Path(shutil.copytree(tiny_model, tmp_path / "known"))
    values = json.loads((known / "model.json").read_text())
    (known / "model.json").write_text(json.dumps({**values, "vocabulary": {"fox": 2}}))
    done = unclip("lora", "merge", known, ink, "-o", tmp_path / "inked")
    assert done.code == 0, done.err
    assert read_manifest(tmp_path / "inked").vocabulary == {"fox": 2, "zebra": 3}


def test_between_two_models(unclip: Run, tiny_model: Path, ink: Path, tmp_path: Path) -> None:
    assert unclip("lora", "merge", tiny_model, ink, "-o", tmp_path / "inked").code == 0
    words = ["merge", tiny_model, tmp_path / "inked", "--weight", "0.25", "-o", tmp_path / "some"]
    done = unclip(*words)
    assert done.code == 0, done.err
    want = 0.75 * weight(tiny_model) + 0.25 * weight(tmp_path / "inked")
    assert torch.allclose(weight(tmp_path / "some"), want, atol=2e-3)
    assert read_manifest(tmp_path / "some").name == "some"
    unclip(*words[:3], "--weight", "2", "-o", tmp_path / "x").fails(2, "from 0, the first model")
