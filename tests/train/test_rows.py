"""Rows by key on disk."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unclip.train.rows import KEY, RowStore, key_of


def rows(*numbers: float) -> dict[str, np.ndarray]:
    return {
        "a": np.array([[number, -number] for number in numbers], np.float32),
        "b": np.array([np.full((2, 3), number) for number in numbers], np.float32),
    }


def test_what_was_added_is_found_by_whoever_looks_afterwards(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "new" / "cache")
    keys = [key_of("picture", str(number)) for number in range(6)]
    assert len(store) == 0 and keys[0] not in store
    store.add(keys[:4], rows(0, 1, 2, 3))
    RowStore(tmp_path / "new" / "cache").add(keys[4:], rows(4, 5))  # another process
    store.refresh()
    assert len(store) == 6
    for number, key in enumerate(keys):
        assert store[key]["a"].tolist() == [number, -number]
        assert (store[key]["b"] == number).all() and store[key]["b"].shape == (2, 3)
    other = pickle.loads(pickle.dumps(store))
    assert other[keys[5]]["a"].tolist() == [5, -5]
    assert key_of("other") not in other


def test_what_is_damaged_or_half_written_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    store.add([key_of("a")], rows(1))
    (whole,) = tmp_path.glob("*.safetensors")
    data = whole.read_bytes()
    store.add([key_of("b")], rows(2))
    for cut in (0, 5, 40, len(data) - 1):
        whole.write_bytes(data[:cut])
        store.refresh()
        assert key_of("a") not in store and store[key_of("b")]["a"][0] == 2
    whole.write_bytes(data)
    (tmp_path / ".x.safetensors.0a1b2c3d.part").write_bytes(data)
    store.refresh()
    assert len(store) == 2


@given(st.lists(st.binary(max_size=9), max_size=4), st.lists(st.binary(max_size=9), max_size=4))
def test_other_parts_have_another_key(one: list[bytes], other: list[bytes]) -> None:
    """Also where the parts joined are the same."""
    assert (key_of(*one) == key_of(*other)) == (one == other)
    assert len(key_of(*one)) == KEY


def test_a_key_that_ends_in_zeros_is_its_own(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    keys = [b"\1" * (KEY - n) + b"\0" * n for n in range(4)]
    store.add(keys, rows(0, 1, 2, 3))
    store.refresh()
    assert [store[key]["a"][0] for key in keys] == [0, 1, 2, 3]


def test_how_an_array_lies_in_memory_does_not_matter(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    turned = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2)
    store.add([key_of("a")], {"a": turned})
    store.refresh()
    assert np.array_equal(store[key_of("a")]["a"], turned[0])
