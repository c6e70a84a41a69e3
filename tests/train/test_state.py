"""Saved states: whole or not there, the newest two kept."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unclip.errors import CheckpointError, OutputError, TrainingError
from unclip.train import state as module
from unclip.train.state import (
    Best,
    State,
    best_state,
    load_state,
    mark_best,
    newest_state,
    save_state,
    saved_states,
    step_of,
)


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


def test_as_many_are_kept_as_asked_for_and_the_best(tmp_path: Path) -> None:
    assert best_state(tmp_path) is None
    for step in (1, 2, 3, 4, 5, 6):
        save_state(tmp_path, make(step), keep=3)
        if step == 2:
            mark_best(tmp_path, Best(2, 0.25))
    assert [step_of(path) for path in saved_states(tmp_path)] == [2, 4, 5, 6]
    assert best_state(tmp_path) == Best(2, 0.25)
    (tmp_path / "step-00000002").rename(tmp_path / "elsewhere")
    assert best_state(tmp_path) is None


def damage(path: Path, how: str) -> str:
    """Damage one file of a state; returns its name."""
    file = path / ("hashes.json" if how == "hashes" else "net.safetensors")
    if how == "bit":  # in the numbers, behind the header: safetensors cannot know
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    elif how == "values":
        file = path / "state.json"
        file.write_text(file.read_text().replace('"step": 3', '"step": 5'))
    else:
        file.unlink()
    return file.name


@pytest.mark.parametrize("how", ["bit", "cut", "values", "gone", "hashes"])
def test_the_newest_whole_state_is_taken_and_a_damaged_one_is_named(
    how: str, tmp_path: Path
) -> None:
    for step in (2, 3):
        save_state(tmp_path, make(step))
    name, said = damage(tmp_path / "step-00000003", how), list[str]()
    found = newest_state(tmp_path, said.append)
    assert found is not None
    path, state = found
    assert (path.name, state.values["step"]) == ("step-00000002", 2)
    assert torch.equal(state.tensors["net"]["a"], make(2).tensors["net"]["a"])
    assert len(said) == 1
    assert "step-00000003" in said[0] and name in said[0] and "passed over" in said[0]
    assert newest_state(tmp_path, pytest.fail)[0] == path  # type: ignore[index]  # once is enough
    save_state(tmp_path, make(3))
    assert [step_of(one) for one in saved_states(tmp_path)] == [2, 3]


def test_where_no_state_is_whole_nothing_begins_anew(tmp_path: Path) -> None:
    assert newest_state(tmp_path, pytest.fail) is None
    damage(save_state(tmp_path, make(2)), "bit")
    damage(save_state(tmp_path, make(3)), "gone")
    with pytest.raises(TrainingError, match=r"is whole; the newest: .*step-00000003 is damaged"):
        newest_state(tmp_path, lambda line: None)


def test_a_state_of_before_there_were_hashes_is_read(tmp_path: Path) -> None:
    path = save_state(tmp_path, make(3))
    (path / "hashes.json").unlink()
    text = (path / "state.json").read_text()
    (path / "state.json").write_text(text.replace(',\n  "format": 2', ""))
    assert load_state(path).values == make(3).values


def test_nothing_is_written_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, make(1))
    state = State({"step": 2}, {"net": {"a": torch.zeros(10**6, dtype=torch.float64)}})
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    with pytest.raises(OutputError, match=r"it needs 9\.0 MB, and 5\.0 MB are free there"):
        save_state(tmp_path, state)
    assert names(tmp_path) == ["step-00000001"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_disk_that_fills_up_meanwhile_leaves_the_old_state(tmp_path: Path) -> None:
    """As with a quota: the system said that there was room."""
    import resource

    save_state(tmp_path, make(1))
    state = State({"step": 2}, {"net": {"a": torch.zeros(10**5)}})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"it needs 1\.4 MB, and .* MB are free"):
            save_state(tmp_path, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["step-00000001"]
    assert newest_state(tmp_path, pytest.fail) is not None


def test_hashes_are_written_when_all_else_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, write = module.sync, module.write_json

    def syncing(path: Path) -> None:
        done.append(f"sync {path.name}")
        sync(path)

    def writing(path: Path, value: Any) -> None:
        write(path, value)
        done.append(f"write {path.name}")

    monkeypatch.setattr(module, "sync", syncing)
    monkeypatch.setattr(module, "write_json", writing)
    save_state(tmp_path, make(1))
    assert done == [
        "write state.json",
        "sync net.safetensors",
        "sync optimizer.safetensors",
        "sync state.json",
        "write hashes.json",
    ]


def test_damage_is_named(tmp_path: Path) -> None:
    path = save_state(tmp_path, make(1))
    file = path / "net.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"step-00000001/net\.safetensors is damaged"):
        load_state(path)
    (path / "state.json").write_text("{")
    with pytest.raises(TrainingError, match=r"step-00000001/state\.json is damaged"):
        load_state(path)
