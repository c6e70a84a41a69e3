"""Converting: to the bit, one tensor at a time, whole or not at all."""

from __future__ import annotations

import errno
import json
import shutil
import struct
import weakref
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unclip.checkpoints import convert as module
from unclip.checkpoints import native
from unclip.checkpoints.archive import open_tensors
from unclip.checkpoints.convert import check_target, convert, read_card, write_as
from unclip.checkpoints.format import Options, open_model
from unclip.checkpoints.lazy_tensor import LazyTensor
from unclip.checkpoints.tensors import cast_lazily, save_tensors
from unclip.errors import CheckpointError, OutputError, UsageError
from unclip.files import write_json
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import STAGES, Stage

Make = Callable[..., Stage]
CHAIN = ("clip", "prior", "decoder", "upsampler")


@pytest.fixture(scope="module")
def model(
    make_stage: Make,
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    stages = {kind: make_stage(kind) for kind in CHAIN}
    card = "# Tiny\n\nOf random numbers.\n"
    save_model(folder, "tiny", tokenizer, stages, card, torch.float32, prior="prior")
    return folder


def weights(folder: Path, stage: str) -> dict[str, Tensor]:
    """As the safetensors library reads them."""
    found: dict[str, Tensor] = {}
    for file in (folder / stage).glob("weights*.safetensors"):
        found |= load_file(file)
    return found


@pytest.mark.parametrize("kind", STAGES.names())
def test_every_kind_of_stage_is_carried_over(
    kind: str,
    make_stage: Make,
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path: Path,
) -> None:
    stage = make_stage(kind)
    save_model(tmp_path / "in", "it", tokenizer, {"it": stage}, dtype=torch.float32)
    convert(open_model(tmp_path / "in"), tmp_path / "out")
    assert open_model(tmp_path / "out").parts["it"].config == stage.config
    found = weights(tmp_path / "out", "it")
    assert all(torch.equal(found[key], value) for key, value in stage.net.state_dict().items())
    assert native.verify(tmp_path / "out") == []


def test_what_the_new_folder_says(model: Path, tmp_path: Path) -> None:
    plan = replace(open_model(model), licence="MIT", notes=("it is tiny",))
    manifest = convert(plan, tmp_path / "new", torch.float16, origin="hub:me/tiny")
    assert manifest == native.read_manifest(tmp_path / "new")
    assert (manifest.name, manifest.stages, manifest.prior) == ("tiny", CHAIN, "prior")
    assert native.verify(tmp_path / "new") == []
    again = open_model(tmp_path / "new")
    assert (again.licence, again.prior, again.digest) == ("MIT", "prior", manifest.hash)
    card = (tmp_path / "new" / "README.md").read_text()
    assert "Converted from hub:me/tiny (unclip)" in card
    assert "Licence: MIT." in card and "- it is tiny" in card and "float16" in card
    assert "> Of random numbers." in card
    tokenizers = [(folder / "tokenizer.json").read_text() for folder in (model, tmp_path / "new")]
    assert tokenizers[0] == tokenizers[1]


def test_the_older_card_may_be_of_any_encoding(model: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(model, tmp_path / "old"))
    (old / "README.md").write_bytes(b"# Mod\xe8le\n")
    convert(open_model(old), tmp_path / "new")
    assert "> # Mod\ufffdle\n" in (tmp_path / "new" / "README.md").read_text(encoding="utf-8")


def test_a_card_is_read_as_far_as_64_kib_and_only_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert read_card(folder) == ""
    for count, end in ((2**16, ""), (2**16 + 1, "\n…\n")):
        (folder / "README.md").write_bytes(b"a" * count)
        assert read_card(folder) == "a" * 2**16 + end
    (folder / "README.md").rename(folder / "card.txt")
    (folder / "README.md").symlink_to("card.txt")
    assert read_card(folder).startswith("aaa")
    (tmp_path / "secret").write_text("swordfish")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "secret")
    assert read_card(folder) == ""


def test_licences_come_along_from_the_models_folder_alone(model: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(model, tmp_path / "old"))
    (old / "LICENSE").write_text("MIT")
    (old / "LICENCE-weights").symlink_to("LICENSE")
    (old / "LICENSE.long").write_bytes(b"a" * (module.LICENCE_BYTES + 1))
    (tmp_path / "secret").write_text("swordfish")
    (old / "LICENSE.theirs").symlink_to(tmp_path / "secret")
    convert(open_model(old), tmp_path / "new")
    found = {file.name: file.read_text() for file in (tmp_path / "new").glob("LICEN*")}
    assert found == {"LICENSE": "MIT", "LICENCE-weights": "MIT"}


def test_a_model_without_a_licence_writes_the_manifest_of_old(model: Path) -> None:
    assert "licence" not in json.loads((model / "model.json").read_text())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_are_cast(dtype: torch.dtype, model: Path, tmp_path: Path) -> None:
    convert(open_model(model), tmp_path / "new", dtype)
    for stage in CHAIN:
        before, after = weights(model, stage), weights(tmp_path / "new", stage)
        assert set(before) == set(after)
        assert all(torch.equal(after[key], value.to(dtype)) for key, value in before.items())


def test_numbers_too_large_for_half_precision_are_named(tmp_path: Path) -> None:
    large = made({"fine": torch.ones(2), "large": torch.tensor([1.0, 7e4])})
    with pytest.raises(CheckpointError, match="'large' holds numbers too large for float16"):
        save_tensors(tmp_path, "weights", cast_lazily(large, torch.float16))
    infinite = made({"mask": torch.tensor([-torch.inf])})
    save_tensors(tmp_path, "other", cast_lazily(infinite, torch.float16))  # as it was


def test_shards_are_as_large_as_asked_for(model: Path, tmp_path: Path) -> None:
    convert(open_model(model), tmp_path / "new", shard_bytes=100_000)
    files = sorted((tmp_path / "new" / "decoder").glob("weights*.safetensors"))
    assert len(files) > 2
    assert files[0].name == f"weights-00001-of-{len(files):05d}.safetensors"
    for file in files:
        assert file.stat().st_size < 110_000 or len(load_file(file)) == 1
    before, after = weights(model, "decoder"), weights(tmp_path / "new", "decoder")
    assert all(torch.equal(after[key], value) for key, value in before.items())
    stage = native.load_stage(tmp_path / "new", "decoder")
    assert torch.equal(stage.net.state_dict()["conv_in.weight"], before["conv_in.weight"])


def made(tensors: dict[str, Tensor]) -> dict[str, LazyTensor]:
    """Tensors that are made when asked for; no two may live at once."""
    last: list[Callable[[], Any]] = [lambda: None]

    def read(key: str) -> Tensor:
        assert last[0]() is None, "the tensor before is still in memory"
        value = tensors[key].clone()
        last[0] = weakref.ref(value)
        return value

    return {
        key: LazyTensor(Path("made"), value.dtype, tuple(value.shape), partial(read, key))
        for key, value in tensors.items()
    }


TYPES = (torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.int64)


@pytest.mark.parametrize("shard_bytes", [None, 64])
def test_one_tensor_at_a_time_is_in_memory(shard_bytes: int | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {f"{t}": (torch.randn(3, 5) * 9).to(t) for t in TYPES}  # odd counts: narrow ones last
    tensors |= {"number": torch.tensor(3.5), "none": torch.zeros(0, 4)}
    seen: list[int] = []
    files = save_tensors(tmp_path, "weights", made(tensors), shard_bytes, seen.append)
    found: dict[str, Tensor] = {}
    for name in files:
        found |= load_file(tmp_path / name)
        raw = (tmp_path / name).read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        assert length % 8 == 0
        header = json.loads(raw[8 : 8 + length])
        assert header.pop("__metadata__") == {"format": "pt"}
        for key, entry in header.items():
            assert entry["data_offsets"][0] % tensors[key].dtype.itemsize == 0
    assert set(found) == set(tensors)
    assert all(torch.equal(found[key], value) for key, value in tensors.items())
    assert all(found[key].dtype == value.dtype for key, value in tensors.items())
    assert sum(seen) == sum(value.numel() * value.dtype.itemsize for value in tensors.values())
    for name, digest in files.items():
        assert digest == native.sha256(tmp_path / name)
    assert set(open_tensors([tmp_path / name for name in files])) == set(tensors)


def test_progress_ends_at_the_end(model: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    convert(open_model(model), tmp_path / "new", on_progress=lambda *both: told.append(both))
    done = [one for one, _ in told]
    assert done == sorted(done) and len({total for _, total in told}) == 1
    assert (
        done[-1]
        == told[-1][1]
        == sum(value.numel() * 4 for stage in CHAIN for value in weights(model, stage).values())
    )


def test_a_full_disk_is_seen_before_anything_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(1000))
    with pytest.raises(OutputError, match=r"new would take 0\.0 GB; its disk has 0\.0 GB left"):
        convert(open_model(model), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), "stop"])
def test_what_fails_half_way_leaves_nothing(
    fault: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt if fault == "stop" else fault

    expected = (KeyboardInterrupt, None) if fault == "stop" else (OutputError, "new: No space left")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "model.json").write_text("what was there")
    with pytest.raises(expected[0], match=expected[1]):
        convert(open_model(model), tmp_path / "new", on_progress=told)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (tmp_path / "new" / "model.json").read_text() == "what was there"


def test_where_it_may_be_written(model: Path, tmp_path: Path) -> None:
    check_target(tmp_path / "new", model)
    (tmp_path / "empty").mkdir()
    check_target(tmp_path / "empty", model)
    for place in (model, model / "inside", model.parent):
        with pytest.raises(UsageError, match=r"the model .* itself, in it or around it"):
            check_target(place, model, force=True)
    old = Path(shutil.copytree(model, tmp_path / "old"))
    with pytest.raises(OutputError, match="is a model already; --force replaces it"):
        check_target(old, model)
    check_target(old, model, force=True)
    (old / "model.json").unlink()
    with pytest.raises(OutputError, match="holds something that is no model"):
        check_target(old, model, force=True)
    with pytest.raises(OutputError, match="is a file"):
        check_target(old / "tokenizer.json", model, force=True)


def test_it_takes_the_place_of_the_model_that_was_there(model: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(model, tmp_path / "old"))
    (old / "left-over.txt").write_text("x")
    convert(open_model(model), old, torch.float16)
    assert native.verify(old) == []
    assert not (old / "left-over.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_the_words_it_knows_go_with_it(model: Path, tmp_path: Path) -> None:
    words = {"a": 2, "fox": 1}
    manifest = native.read_manifest(model).model_copy(update={"vocabulary": words})
    own = Path(shutil.copytree(model, tmp_path / "own"))
    write_json(own / "model.json", manifest.dump())
    assert convert(open_model(own), tmp_path / "out").vocabulary == words


def test_only_models_of_karlos_shape_go_to_diffusers(
    model: Path,
    make_stage: Make,
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match=r"tokenizer"):
        write_as("diffusers", open_model(model), tmp_path / "out")
    stages = {"clip": make_stage("clip"), "prior": make_stage("linear_prior")}
    save_model(tmp_path / "other", "other", tokenizer, stages)
    with pytest.raises(UsageError, match=r"its stages are clip \(clip\), prior \(linear_prior\)"):
        write_as("diffusers", open_model(tmp_path / "other"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_clip_takes_the_place_of_a_converted_models_own(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Path("the-clip")
    calls: list[Any] = []

    def completed(part: Any, clip: Any) -> Any:
        calls.append(clip)
        return part

    monkeypatch.setattr(native, "completed", completed)
    plan = open_model(model, Options(clip=named))
    assert calls == [named]
    assert plan.digest != open_model(model).digest
