"""One stage as it lies in files: checked before it is read, and cast as it is read."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unclip.checkpoints.archive import Tensors
from unclip.checkpoints.format import open_model
from unclip.checkpoints.part import Part
from unclip.errors import CheckpointError

CPU = torch.device("cpu")


class Unread(Tensors):
    """Tensors that may be looked at and not read."""

    def __getitem__(self, key: str) -> Tensor:
        raise AssertionError(f"{key} was read")


def test_a_check_reads_nothing(folder: Path) -> None:
    found = open_model(folder).parts["prior"]
    part = Part(found.config, lambda: Unread(found.tensors()._entries))
    part.check(part.build().net, "it")
    with pytest.raises(AssertionError, match="was read"):
        part.fill(part.build(), "it", torch.float32, CPU)


def test_weights_are_cast_as_they_are_read(folder: Path) -> None:
    part = open_model(folder).parts["decoder"]
    for dtype in (torch.float32, torch.bfloat16):
        stage = part.build()
        part.fill(stage, "it", dtype, CPU)
        assert {value.dtype for value in stage.net.parameters()} == {dtype}
        assert not any(value.is_meta or value.requires_grad for value in stage.net.parameters())


def test_a_file_that_does_not_fit_is_found_before_anything_is_used(
    folder: Path, tmp_path: Path
) -> None:
    broken = copytree(folder, tmp_path / "broken")
    save_file({"nothing": torch.zeros(1)}, broken / "prior" / "weights.safetensors")
    with pytest.raises(CheckpointError, match="prior does not fit"):
        open_model(broken).load(torch.float32)
