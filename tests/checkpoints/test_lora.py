"""LoRA files of this package's own layout: merged as weights are read, strict about what fits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import unclip
from unclip.checkpoints.convert import convert
from unclip.checkpoints.format import open_model
from unclip.checkpoints.lora import Lora, others_hash
from unclip.errors import CheckpointError, UsageError
from unclip.record import Record

LINEAR, KERNEL = "text.transformer.blocks.0.attention.qkv.weight", "conv_in.weight"


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def write(tmp_path: Path, model: Path) -> Callable[..., Path]:
    """`write(**changes)`: a LoRA of two weights of the decoder; None takes a tensor away."""
    state = unclip.load(model, "cpu").stages["decoder"].net.state_dict()
    linear, kernel = state[LINEAR], state[KERNEL]
    tensors: dict[str, Tensor] = {
        f"{LINEAR}.lora_down": randn(2, linear.shape[1]),
        f"{LINEAR}.lora_up": randn(len(linear), 2, seed=1),
        f"{LINEAR}.alpha": torch.tensor(3.0),
        f"{KERNEL}.lora_down": randn(2, *kernel.shape[1:], seed=2),
        f"{KERNEL}.lora_up": randn(len(kernel), 2, 1, 1, seed=3),
    }

    def make(changes: Any = None, name: str = "ink", stage: str = "decoder") -> Path:
        every = {**tensors, **(changes or {})}
        file = tmp_path / f"{name}.safetensors"
        metadata = {"format": "unclip.lora", "stage": stage}
        save_file({k: v for k, v in every.items() if v is not None}, file, metadata)
        return file

    return make


def weights(model: Path, *loras: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor] = (
        unclip.load(model, "cpu", torch.float32, lora=loras).stages["decoder"].net.state_dict()
    )
    return found


def test_it_adds_the_low_rank_product(write: Any, model: Path) -> None:
    file, plain = write(), weights(model)
    found = weights(model, f"{file}:0.5")
    down, up = randn(2, plain[LINEAR].shape[1]), randn(len(plain[LINEAR]), 2, seed=1)
    want = plain[LINEAR] + 0.5 * 3 / 2 * up @ down
    assert torch.allclose(found[LINEAR], want, atol=1e-5)
    kernel = plain[KERNEL]
    down, up = randn(2, *kernel.shape[1:], seed=2), randn(len(kernel), 2, seed=3)
    want = kernel + 0.5 * torch.einsum("or,rihw->oihw", up, down)
    assert torch.allclose(found[KERNEL], want, atol=1e-5)
    others = found.keys() - {LINEAR, KERNEL}
    assert all(torch.equal(found[name], plain[name]) for name in others)


def test_a_small_change_of_half_a_precision_is_kept(
    write: Any, model: Path, tmp_path: Path
) -> None:
    """Changes that are smaller than the steps between the numbers of the file."""
    convert(open_model(model), tmp_path / "half", torch.float16)
    file, plain = write(), weights(tmp_path / "half")
    found = weights(tmp_path / "half", f"{file}:1e-5")
    for name in (LINEAR, KERNEL):
        whole = weights(model, file)[name] - weights(model)[name]
        change = (found[name] - plain[name]) * 1e5
        assert (change - whole).abs().mean() < 0.01 * whole.abs().mean()


def test_several_add_up(write: Any, model: Path) -> None:
    file, plain = write(), weights(model)
    once = weights(model, (file, 1.0))
    twice = weights(model, file, (str(file), -0.25))
    for name in (LINEAR, KERNEL):
        want = plain[name] + 0.75 * (once[name] - plain[name])
        assert torch.allclose(twice[name], want, atol=1e-5)


def test_it_is_recorded_and_the_hash_is_another(write: Any, model: Path) -> None:
    file = write()
    pipe, plain = unclip.load(model, "cpu", lora=[f"{file}:0.5"]), unclip.load(model, "cpu")
    assert pipe.hash not in (plain.hash, unclip.load(model, "cpu", lora=[file]).hash)
    other = file.with_name("pen.safetensors")
    other.write_bytes(file.read_bytes())
    assert pipe.hash == unclip.load(model, "cpu", lora=[(other, 0.5)]).hash
    few = {"steps": 1, "prior_steps": 1}
    record = Record.of(pipe.generate("a red car", **few)[0])
    assert [(one.kind, one.name, one.scale) for one in record.added] == [("lora", "ink", 0.5)]
    assert Record.of(plain.generate("a red car", **few)[0]).added == ()
    assert Record.parse(record.to_json()) == record


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({f"{LINEAR}.lora_up": None}, f"'{LINEAR}.lora_down' has no 'up' beside it"),
        ({"x.weight.lora_down": randn(2, 2), "x.weight.lora_up": randn(2, 2)}, "fits nothing in"),
        ({f"{LINEAR}.lora_down": randn(2, 7)}, "make (48, 7), the weight is (48, 16)"),
        ({f"{LINEAR}.lora_down": randn(3, 16)}, "they make no low-rank matrix"),
        ({f"{KERNEL}.lora_up": randn(32, 2, 3, 3)}, "they make no low-rank matrix"),
        (
            {f"{LINEAR}.lora_down": randn(0, 16), f"{LINEAR}.lora_up": randn(48, 0)},
            "they make no low-rank matrix",
        ),
        ({f"{LINEAR}.alpha": randn(3)}, f"'{LINEAR}.alpha' is (3,), not one number"),
        ({"other": randn(2)}, "'other' ends in none of lora_down, lora_up and alpha"),
    ],
)
def test_what_does_not_fit_is_named(changes: Any, fault: str, write: Any, model: Path) -> None:
    file = write(changes, "wrong")
    with pytest.raises(CheckpointError) as caught:
        unclip.load(model, "cpu", lora=[file])
    assert str(caught.value).startswith(f"{file} ")
    assert fault in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [f"{LINEAR}.alpha", f"{LINEAR}.lora_up", f"{KERNEL}.lora_down"])
def test_numbers_that_are_not_finite_are_named(key: str, write: Any, model: Path) -> None:
    """When the file is given: a weight that no picture needs is read by none."""
    good = load_file(write())[key]
    file = write({key: good * float("nan")}, "wrong")
    with pytest.raises(CheckpointError) as caught:
        unclip.load(model, "cpu", lora=[file])
    assert str(caught.value) == f"{file} is damaged: '{key}' holds numbers that are not finite"


def test_a_file_that_is_changed_after_loading_is_not_drawn_with(write: Any, model: Path) -> None:
    """The record would name another."""
    file = write()
    pipe = unclip.load(model, "cpu", lora=[file])
    write({f"{LINEAR}.alpha": torch.tensor(4.0)})
    with pytest.raises(CheckpointError, match=r"ink\.safetensors was changed since it was given"):
        pipe.generate("a fox", steps=1, prior_steps=1)


def test_a_table_that_an_embedding_makes_longer(write: Any, model: Path) -> None:
    name, off = "text.embed.weight", dict.fromkeys(load_file(write()))
    more = {f"{name}.lora_down": randn(2, 16), f"{name}.lora_up": randn(330, 2)}
    file = write({**off, **more})
    word = file.with_name("toy.safetensors")
    save_file({stage: randn(2, 16) for stage in ("clip", "decoder")}, word)
    alone = weights(model, file)[name]
    pipe = unclip.load(model, "cpu", torch.float32, lora=[file], embedding=[word])
    both = pipe.stages["decoder"].net.state_dict()[name]
    assert torch.equal(both[:330], alone) and torch.equal(both[330:], randn(2, 16))


def test_a_file_of_another_stage_or_kind(write: Any, model: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="of a stage 'unet', the model has clip, prior, dec"):
        unclip.load(model, "cpu", lora=[write(stage="unet")])
    kohya = tmp_path / "kohya.safetensors"
    save_file({"lora_unet_x.lora_down.weight": randn(2, 2)}, kohya)
    with pytest.raises(CheckpointError, match=r"no LoRA of model 'small': 'lora_unet_x\.lora_down"):
        unclip.load(model, "cpu", lora=[kohya])
    save_file({"lora_unet_x.hada_w1_a": randn(2, 2)}, kohya)
    with pytest.raises(CheckpointError, match="is of LoHa; only plain LoRA is read"):
        unclip.load(model, "cpu", lora=[kohya])


def test_other_programs_know_it_by_a_hash_of_its_tensors(write: Any, model: Path) -> None:
    """Or by the one that kohya's scripts wrote; the model's own hash knows the whole file."""
    file = write()
    data = file.read_bytes()
    body = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert others_hash(file) == body[:12] != hashlib.sha256(data).hexdigest()[:12]
    (one,) = unclip.load(model, "cpu", lora=[file]).model.added
    assert (one.hash, one.others_hash) == (hashlib.sha256(data).hexdigest()[:12], body[:12])
    kohya = file.with_name("kohya.safetensors")
    for said, wanted in (("ab" * 32, "ab" * 6), ("no hash", others_hash(file))):
        save_file(load_file(file), kohya, {"sshs_model_hash": said})
        assert others_hash(kohya) == wanted
    pickled = file.with_name("ink.pt")
    torch.save(load_file(file), pickled)
    assert others_hash(pickled) == hashlib.sha256(pickled.read_bytes()).hexdigest()[:12]


def test_how_it_is_asked_for(write: Any) -> None:
    file = write()
    assert Lora.of(file) == Lora.of(f"{file}:1") == Lora.of((file, 1)) == Lora(file, 1.0)
    assert Lora.of(f"{file}:-.5").scale == -0.5
    for wrong, fault in (
        ("no.safetensors:0.8", r"lora no\.safetensors: there is no such file"),
        (f"{file}:nan", "must have a finite number as its scale"),
        ((file, "1"), "must have a finite number as its scale"),
        (3, "lora must be a file or 'FILE:0.8', got 3"),
    ):
        with pytest.raises(UsageError, match=fault):
            Lora.of(wrong)
    with pytest.raises(UsageError, match="lora must be a list of files, got"):
        unclip.load(lora="ink.safetensors")  # type: ignore[arg-type]
