"""One stage as it lies in files: checked before it is read, and cast as it is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unclip.checkpoints.archive import Tensors
from unclip.checkpoints.convert import convert
from unclip.checkpoints.format import Plan, open_model
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


def low_rank(
    plan: Plan, stage: str, dtype: torch.dtype
) -> tuple[Plan, list[str], dict[str, Tensor]]:
    """The plan with W + scale * B A for the matrices of a stage; names read; what comes of it."""
    seen: list[str] = []
    part, random = plan.parts[stage], torch.Generator().manual_seed(0)
    truth = {name: one.read() for name, one in part.translated("it").items()}
    more = {
        name: 0.5
        * torch.randn(value.shape[0], 2, generator=random)
        @ torch.randn(2, value.shape[1], generator=random)
        for name, value in truth.items()
        if value.ndim == 2
    }

    def patch(name: str, value: Tensor) -> Tensor:
        seen.append(name)
        return value + more[name] if name in more else value

    assert more
    wanted = {
        n: (v.float() + more[n]).to(dtype) if n in more else v.to(dtype) for n, v in truth.items()
    }
    assert {value.dtype for value in truth.values()} == {torch.float16}
    parts = {**plan.parts, stage: replace(part, patch=patch)}
    return replace(plan, parts=parts), seen, wanted


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_patch_changes_weights_as_they_are_read(
    folder: Path, low_memory: bool, dtype: torch.dtype
) -> None:
    plan, seen, wanted = low_rank(open_model(folder), "prior", dtype)
    stages = plan.load(dtype, low_memory=low_memory).stages
    assert stages["clip"].net and not seen, "nothing is patched before the stage is used"
    found = stages["prior"].net.state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert sorted(seen) == sorted(wanted), "each once"


def test_a_patched_model_can_be_written(folder: Path, tmp_path: Path) -> None:
    """In the type of its file, or in one that is asked for, rounded once."""
    for dtype, kept in ((None, torch.float16), (torch.float32, torch.float32)):
        plan, _, wanted = low_rank(open_model(folder), "prior", kept)
        convert(plan, tmp_path / str(kept), dtype)
        found = open_model(tmp_path / str(kept)).parts["prior"].translated("it")
        assert all(torch.equal(found[name].read(), value) for name, value in wanted.items())
