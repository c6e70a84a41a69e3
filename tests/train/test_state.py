"""Saved states: whole or not there, the newest two kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from unclip.errors import CheckpointError, OutputError, TrainingError
from unclip.train import state as module
from unclip.train.state import State, load_state, save_state, saved_states, step_of


def make(step: int) -> State:
    torch.manual_seed(step)
    tensors = {"net": {"a": torch.randn(3)}, "optimizer": {"step/a": torch.tensor(float(step))}}
    return State({"step": step, "seconds": 1.5, "data": {"position": 8}}, tensors)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_state_comes_back(tmp_path: Path) -> None:
    path = save_state(tmp_path, make(7))
    assert path == tmp_path / "step-00000007"
    state, expected = load_state(path), make(7)
    assert state.values == expected.values
    assert state.tensors.keys() == expected.tensors.keys()
    for group, tensors in expected.tensors.items():
        assert tensors.keys() == state.tensors[group].keys()
        assert all(torch.equal(value, state.tensors[group][key]) for key, value in tensors.items())


def test_an_empty_group_and_many_shards_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = module.save_tensors
    monkeypatch.setattr(module, "save_tensors", lambda f, n, t, shard_bytes: save(f, n, t, 4))
    many = {f"k{i}": torch.full((2,), float(i)) for i in range(4)}
    path = save_state(tmp_path, State({"step": 1}, {"net": many, "optimizer": {}}))
    state = load_state(path)
    assert state.tensors["optimizer"] == {}
    assert {key: float(value[0]) for key, value in state.tensors["net"].items()} == {
        "k0": 0,
        "k1": 1,
        "k2": 2,
        "k3": 3,
    }


def test_an_old_state_is_gone_before_its_first_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it is removed, no half of it is left that passes for a state."""
    for step in (1, 2):
        save_state(tmp_path, make(step))
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed before it begins
    save_state(tmp_path, make(3))
    assert [step_of(path) for path in saved_states(tmp_path)] == [2, 3]


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 5, 9, 10, 200):
        save_state(tmp_path, make(step))
    assert names(tmp_path) == ["step-00000010", "step-00000200"]
    assert [path.name for path in saved_states(tmp_path)] == names(tmp_path)
    save_state(tmp_path, make(200))
    assert names(tmp_path) == ["step-00000010", "step-00000200"]
    for step in (99_999_999, 100_000_000):  # by number, not by name
        save_state(tmp_path, make(step))
    assert [step_of(path) for path in saved_states(tmp_path)] == [99_999_999, 100_000_000]


@pytest.mark.parametrize("fails_at", ["net", "optimizer", "state.json"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_no_half_state(
    fails_at: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, make(1))
    save_state(tmp_path, make(2))
    tensors, json = module.save_tensors, module.write_json

    def failing_tensors(folder: Path, name: str, *rest: Any, **more: Any) -> Any:
        if name == fails_at:
            raise error
        return tensors(folder, name, *rest, **more)

    def failing_json(path: Path, value: Any) -> None:
        if path.name == fails_at:
            raise error
        json(path, value)

    monkeypatch.setattr(module, "save_tensors", failing_tensors)
    monkeypatch.setattr(module, "write_json", failing_json)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        save_state(tmp_path, make(3))
    assert names(tmp_path) == ["step-00000001", "step-00000002"]
    assert load_state(saved_states(tmp_path)[-1]).values["step"] == 2


def test_a_folder_without_its_values_is_no_state(tmp_path: Path) -> None:
    save_state(tmp_path, make(1))
    (tmp_path / "step-00000002").mkdir()
    assert [path.name for path in saved_states(tmp_path)] == ["step-00000001"]
    assert saved_states(tmp_path / "nowhere") == []


def test_damage_is_named(tmp_path: Path) -> None:
    path = save_state(tmp_path, make(1))
    file = path / "net.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"step-00000001/net\.safetensors is damaged"):
        load_state(path)
    (path / "state.json").write_text("{")
    with pytest.raises(TrainingError, match=r"step-00000001/state\.json is damaged"):
        load_state(path)
