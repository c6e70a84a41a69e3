"""Reading and writing tensors: strict, sharded, and clear about what is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unclip.checkpoints.archive import open_tensors
from unclip.checkpoints.tensors import cast, save_tensors, sha256
from unclip.errors import CheckpointError


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    made = {f"layer.{i}": torch.randn(10, 10) for i in range(5)}  # 400 bytes each
    return {**made, "big": torch.randn(50, 10), "half": torch.randn(3).half(), "n": torch.arange(3)}


@pytest.mark.parametrize(("limit", "count"), [(10**6, 1), (4100, 1), (2000, 3), (850, 5), (1, 8)])
def test_shards_hold_everything_and_no_more_than_their_size(
    limit: int, count: int, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    names = list(save_tensors(tmp_path, "weights", tensors, shard_bytes=limit))
    assert len(names) == count
    if count == 1:
        assert names == ["weights.safetensors"]
    else:
        assert names[0] == f"weights-00001-of-{count:05d}.safetensors"
    files = [tmp_path / name for name in names]
    assert sorted(tmp_path.iterdir()) == files
    for file in files:
        held = open_tensors([file])
        size = sum(value.numel() * value.element_size() for value in held.values())
        assert size <= limit or len(held) == 1
    loaded = open_tensors(files)
    assert loaded.keys() == tensors.keys()
    for name, value in tensors.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value)


def test_views_and_channels_last_are_written_as_they_read(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    save_tensors(tmp_path, "w", {"weight": weight, "turned": torch.randn(3, 5).T})
    assert torch.equal(open_tensors([tmp_path / "w.safetensors"])["weight"], weight)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights file .*none\.safetensors is missing"):
        open_tensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_named(keep: int, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    [name] = save_tensors(tmp_path, "weights", tensors)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is (damaged|empty)"):
        open_tensors(file)


def test_of_a_pickle_nothing_is_run(tmp_path: Path) -> None:
    """Whatever it is called: what would run is refused, and tensors are tensors."""
    file = tmp_path / "weights.safetensors"
    torch.save({"a": torch.ones(2)}, file)
    assert torch.equal(open_tensors(file)["a"], torch.ones(2))
    torch.save({"a": print}, file)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is refused: .* may run code"):
        open_tensors(file)


def test_a_key_in_two_files_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"same": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"'same' stands in .*a\.safetensors and in .*b\."):
        open_tensors([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])


def test_cast_leaves_whole_numbers_alone() -> None:
    net = nn.BatchNorm1d(2)
    done = cast(net, torch.float16)
    assert done["weight"].dtype == torch.float16
    assert done["num_batches_tracked"].dtype == torch.int64


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 10**6)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 10**6).hexdigest()
