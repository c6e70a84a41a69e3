"""State dicts however they are wrapped: what is inside is what was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unclip.checkpoints import companions
from unclip.checkpoints._state_dicts import open_weights, state_dict
from unclip.checkpoints.archive import open_tensors
from unclip.checkpoints.format import open_model
from unclip.errors import CheckpointError
from unclip.families.clip.huggingface import prefixed

FIXTURES = Path(__file__).parents[1] / "parity" / "fixtures"
INSIDE = {"a.weight": torch.arange(4.0), "b.bias": torch.ones(2)}
OLDER = {name: value - 7 for name, value in INSIDE.items()}


def named(prefix: str, state: dict[str, Tensor] = INSIDE) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


LAYOUTS: dict[str, Any] = {
    "bare": INSIDE,
    "open_clip": {"epoch": 3, "name": "run", "state_dict": named("module."), "optimizer": {}},
    "model_state_dict": {"model_state_dict": INSIDE, "optimizer_state_dict": {"state": {}}},
    "model": {"model": INSIDE, "args": None},
    "compiled": {"model": named("_orig_mod.")},
    "compiled and spread": {"state_dict": named("module._orig_mod.")},
    "lightning": {"state_dict": named("model."), "pytorch-lightning_version": "2.0"},
    "averaged": {"model": OLDER, "ema": INSIDE},
    "averaged beside": {"state_dict": OLDER, "state_dict_ema": named("module.")},
    "averages that are no state dict": {"model": INSIDE, "ema": {"decay": 0.99, "shadow": [1.0]}},
    "wrapped twice": {"model": {"state_dict": INSIDE, "epoch": 1}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_inside_is_found(layout: str, tmp_path: Path) -> None:
    file = tmp_path / "it.pt"
    torch.save(LAYOUTS[layout], file)
    found = open_weights(file)
    assert set(found) == set(INSIDE)
    assert all(torch.equal(found[name], value) for name, value in INSIDE.items())


def test_safetensors_of_a_compiled_network(tmp_path: Path) -> None:
    save_file(named("_orig_mod."), tmp_path / "it.safetensors")
    assert set(open_weights(tmp_path / "it.safetensors")) == set(INSIDE)


def test_a_prefix_that_not_all_have_is_a_name(tmp_path: Path) -> None:
    mixed = {**named("module."), "c": torch.ones(1)}
    torch.save(mixed, tmp_path / "it.pt")
    assert set(open_weights(tmp_path / "it.pt")) == set(mixed)


def test_what_holds_none_is_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {"a": "text"}}, tmp_path / "it.pt")
    with pytest.raises(CheckpointError, match=r"it\.pt is not a state dict: 'epoch' is"):
        open_weights(tmp_path / "it.pt")
    nested: Any = INSIDE
    for _ in range(9):
        nested = {"model": nested}
    assert state_dict(nested) is None, "wrappers without end are not followed"


def test_open_clips_own_checkpoint_is_a_clip(tmp_path: Path) -> None:
    """`epoch_N.pt` as open_clip's training leaves it; its settings lie beside it, or do not."""
    plain = dict(open_tensors(FIXTURES / "clip_openai.pt"))
    for number in ("input_resolution", "context_length", "vocab_size"):
        del plain[number]
    file = tmp_path / "epoch_4.pt"
    torch.save({"epoch": 4, "name": "it", "state_dict": named("module.", plain)}, file)
    plan = open_model(file)
    part = plan.parts["clip"]
    part.check(part.build().net, "it")
    assert part.config == companions.open_clip_part(FIXTURES / "clip_openai.pt").config
    assert "quick_gelu" in plan.notes[0] and "open_clip_config.json" in plan.notes[0]
    assert open_model(tmp_path).parts["clip"].config == part.config
    assert open_model(FIXTURES / "clip_openai.pt").notes == ()


def test_open_clips_checkpoint_takes_the_settings_beside_it(tmp_path: Path) -> None:
    state = load_file(FIXTURES / "clip_open.safetensors")
    torch.save({"state_dict": named("module.", state)}, tmp_path / "epoch_1.pt")
    (tmp_path / "open_clip_config.json").write_text((FIXTURES / "clip_open.json").read_text())
    for path in (tmp_path, tmp_path / "epoch_1.pt"):
        plan = open_model(path)
        part = plan.parts["clip"]
        part.check(part.build().net, "it")
        assert plan.notes == ()
        assert part.config.network.vision.heads == 2  # type: ignore[attr-defined]


def test_it_computes_the_same(tmp_path: Path) -> None:
    plain = dict(open_tensors(FIXTURES / "clip_openai.pt"))
    torch.save({"model_state_dict": named("_orig_mod.", plain)}, tmp_path / "it.pt")
    picture, made = torch.rand(1, 3, 8, 8), []
    for file in (FIXTURES / "clip_openai.pt", tmp_path / "it.pt"):
        part = open_model(file).parts["clip"]
        stage = part.build()
        part.fill(stage, "it", torch.float32, torch.device("cpu"))
        made.append(stage.net.encode_image(picture))  # type: ignore[operator]
    assert torch.equal(*made)


def test_text_encoders_of_transformers_5(tmp_path: Path) -> None:
    """Saved by hand they have no `text_model.` before their names; both read alike."""
    whole = load_file(FIXTURES / "clip_hf.safetensors")
    tower = {k: v for k, v in whole.items() if k.startswith("text_")}
    flat = {k.removeprefix("text_model."): v for k, v in tower.items()}
    for tensors in (tower, flat):
        save_file(tensors, tmp_path / "it.safetensors")
        found = prefixed(open_weights(tmp_path / "it.safetensors"), "text_model")
        assert set(found) == set(tower)
        assert all(torch.equal(found[name], value) for name, value in tower.items())
