"""The native model folder: whole or not at all, and every fault is one clear line."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unclip.checkpoints import native
from unclip.checkpoints import part as part_module
from unclip.checkpoints.format import Options
from unclip.checkpoints.tensors import save_tensors
from unclip.errors import CheckpointError, OutputError
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.stages.model import Model
from unclip.vocabulary import Vocabulary

Make = Callable[..., Stage]


@pytest.fixture(scope="module")
def pristine(
    make_stage: Make,
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    stages = {"clip": make_stage("clip"), "prior": make_stage("prior")}
    save_model(folder, "tiny", tokenizer, stages, card="# Tiny\n", dtype=torch.float32)
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> Model:
    """Every stage of a folder."""
    return native.FORMAT.open(folder, Options()).load(dtype)


def weights(folder: Path) -> Path:
    return folder / "prior" / "weights.safetensors"


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    values = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def test_what_is_in_the_folder(folder: Path) -> None:
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert names == {
        "model.json",
        "tokenizer.json",
        "README.md",
        "clip/config.json",
        "clip/weights.safetensors",
        "prior/config.json",
        "prior/weights.safetensors",
    }
    manifest = native.read_manifest(folder)
    assert manifest.name == "tiny"
    assert manifest.stages == ("clip", "prior")
    assert set(manifest.files) == names - {"model.json", "README.md"}
    assert native.verify(folder) == []


def test_a_model_comes_back_whole(folder: Path, make_stage: Make, tokenizer: Tokenizer) -> None:
    model = load_model(folder)
    assert (model.name, model.hash) == ("tiny", native.read_manifest(folder).hash)
    assert len(model.hash) == 12
    assert list(model.stages) == ["clip", "prior"]
    assert model.tokenizer.to_json() == tokenizer.to_json()
    assert model.tokenizer.context == tokenizer.context
    for name, stage in model.stages.items():
        expected = make_stage(name).net.state_dict()
        assert all(torch.equal(v, expected[k]) for k, v in stage.net.state_dict().items())
        assert not any(p.requires_grad for p in stage.net.parameters())
    half = load_model(folder, torch.bfloat16).stages["prior"]
    assert {p.dtype for p in half.net.parameters()} == {torch.bfloat16}


def test_the_hash_names_these_very_weights(
    folder: Path, make_stage: Make, tokenizer: Tokenizer
) -> None:
    before = native.read_manifest(folder).hash
    stage = make_stage("prior")
    native.save_stage(folder / "prior", stage, torch.float32)
    again = native.write_manifest(folder, "tiny", ["clip", "prior"], tokenizer.context)
    assert again.hash == before
    with torch.no_grad():
        stage.net.query[0] += 1  # type: ignore[index, operator]
    native.save_stage(folder / "prior", stage, torch.float32)
    changed = native.write_manifest(folder, "tiny", ["clip", "prior"], tokenizer.context)
    assert changed.hash != before


def test_the_default_prior_is_written_where_it_is_chosen(
    folder: Path, make_stage: Make, tokenizer: Tokenizer, save_model: Callable[..., Any]
) -> None:
    assert load_model(folder).prior == "prior", "the first that makes an image embedding"
    values = json.loads((folder / "model.json").read_text())
    assert "prior" not in values, "so that hashes of models with one prior stay as they were"
    plain = native.read_manifest(folder)
    text = json.dumps(values, sort_keys=True)
    assert plain.hash == hashlib.sha256(text.encode()).hexdigest()[:12]
    stages = {name: make_stage(name) for name in ("clip", "prior", "linear_prior")}
    for prior in (None, "linear_prior"):
        save_model(folder, "tiny", tokenizer, stages, prior=prior)
        assert native.read_manifest(folder).prior == prior
        assert load_model(folder).prior == (prior or "prior")
    assert json.loads((folder / "model.json").read_text())["prior"] == "linear_prior"
    bare = {"clip": make_stage("clip")}
    save_model(folder, "tiny", tokenizer, bare)
    assert load_model(folder).prior is None


def test_the_bundled_models_hash_is_what_it_was() -> None:
    folder = Path(native.__file__).parent.parent / "weights" / "emoji-cpu"
    values = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    del values["vocabulary"]  # it came later, and says nothing of the weights
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    assert native.read_manifest(folder).hash == digest[:12]


def test_the_words_it_knows_are_written_and_leave_the_hash_as_it_was(
    folder: Path, tokenizer: Tokenizer
) -> None:
    plain = native.read_manifest(folder)
    assert not load_model(folder).vocabulary, "a folder of old lists none"
    assert "vocabulary" not in (folder / "model.json").read_text(encoding="utf-8")
    words = Vocabulary.of(["a fox", "a 狐狸"])
    native.write_manifest(folder, "tiny", plain.stages, tokenizer.context, vocabulary=words.counts)
    assert native.read_manifest(folder).hash == plain.hash
    assert load_model(folder).vocabulary.counts == {"a": 2, "fox": 1, "狐": 1, "狸": 1}


def test_weights_in_shards_are_one_model(folder: Path, make_stage: Make) -> None:
    tensors = load_file(weights(folder))
    weights(folder).unlink()
    names = list(save_tensors(folder / "prior", "weights", tensors, shard_bytes=5000))
    assert len(names) > 3
    loaded = native.load_stage(folder, "prior").net.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in tensors.items())
    (folder / "prior" / names[1]).unlink()
    with pytest.raises(CheckpointError, match=r"tiny/prior does not fit: \d+ missing"):
        native.load_stage(folder, "prior")


def truncate(folder: Path) -> None:
    file = weights(folder)
    file.write_bytes(file.read_bytes()[:-100])


def tensors_changed(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        held = {key: value.clone() for key, value in load_file(weights(folder)).items()}
        change(held)
        save_file(held, weights(folder))

    return do


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (
        lambda f: (f / "model.json").unlink(),
        r"tiny is not a model folder: it has no model\.json",
    ),
    "manifest not JSON": (
        lambda f: (f / "model.json").write_text("{"),
        r"model\.json is not valid JSON",
    ),
    "manifest a list": (
        lambda f: (f / "model.json").write_text("[1]"),
        r"model\.json is not a JSON object",
    ),
    "another format": (
        lambda f: edit(f / "model.json", format=99),
        r"model\.json has format 99; this reads 1: a later version of unclip wrote it, update",
    ),
    "a format that is no number": (
        lambda f: edit(f / "model.json", format="2"),
        r"model\.json has format '2'; this reads 1$",
    ),
    "manifest with an unknown key": (
        lambda f: edit(f / "model.json", signature="x"),
        r"unknown setting '.*model\.json\.signature'; if a later version of unclip wrote it",
    ),
    "manifest without stages": (
        lambda f: edit(f / "model.json", stages=None),
        r"setting '.*model\.json\.stages' is missing",
    ),
    "a default prior that is not there": (
        lambda f: edit(f / "model.json", prior="ar_prior"),
        r"model\.json': prior 'ar_prior' is none of its stages",
    ),
    "no stage folder": (
        lambda f: shutil.rmtree(f / "prior"),
        r"stage 'prior' of .*tiny is missing its config\.json",
    ),
    "config with an unknown key": (
        lambda f: edit(f / "prior" / "config.json", candidatez=2),
        r"prior/config\.json\.candidatez' \(did you mean 'candidates'\?\)",
    ),
    "config of an unknown kind": (
        lambda f: edit(f / "prior" / "config.json", kind="priro"),
        r"unknown stage 'priro' \(did you mean 'prior'\?\)",
    ),
    "config not JSON": (
        lambda f: (f / "prior" / "config.json").write_bytes(b"\xff\xfe"),
        r"prior/config\.json is not valid JSON",
    ),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").unlink(),
        r"cannot read the tokenizer .*tokenizer\.json",
    ),
    "no weights": (lambda f: weights(f).unlink(), r"prior/weights\.safetensors is missing"),
    "truncated weights": (truncate, r"prior/weights\.safetensors is damaged or truncated"),
    "wrong shape": (
        tensors_changed(lambda t: t.update(query=torch.ones(7))),
        r"tiny/prior does not fit: 1 of another shape: query is \(7,\), not \(16,\)",
    ),
    "extra key": (
        tensors_changed(lambda t: t.update(spare=torch.ones(7))),
        "tiny/prior does not fit: 1 not used: spare",
    ),
    "missing key": (
        tensors_changed(lambda t: t.pop("query")),
        "tiny/prior does not fit: 1 missing: query",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_names_the_thing(fault: str, folder: Path) -> None:
    spoil, message = FAULTS[fault]
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_verify_finds_one_changed_byte_and_a_missing_file(folder: Path) -> None:
    content = bytearray(weights(folder).read_bytes())
    content[-1] ^= 1
    weights(folder).write_bytes(content)
    assert native.verify(folder) == [
        "prior/weights.safetensors is not the file that model.json names"
    ]
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in native.verify(folder)


def test_a_failed_save_leaves_the_old_model_and_nothing_else(
    folder: Path,
    make_stage: Make,
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    stages = {"clip": make_stage("clip"), "decoder": make_stage("decoder")}
    save = native.save_tensors

    def full(beside: Path, *rest: Any) -> dict[str, str]:
        if "decoder" in beside.name:
            raise OSError(28, "No space left on device")
        return save(beside, *rest)

    monkeypatch.setattr(native, "save_tensors", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save_model(folder, "new", tokenizer, stages)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == old
    assert [file.name for file in folder.parent.iterdir()] == ["tiny"]
    with pytest.raises(OutputError):
        save_model(folder.parent / "fresh", "new", tokenizer, stages)
    assert [file.name for file in folder.parent.iterdir()] == ["tiny"]


def overwrite(file: Path, count: int = 100) -> None:
    """As a bad disk or copy does: other bytes, among the numbers, of the same length."""
    content = bytearray(file.read_bytes())
    content[-count:] = bytes(byte ^ 0x55 for byte in content[-count:])
    file.write_bytes(content)


@pytest.mark.parametrize("low_memory", [False, True])
def test_overwritten_weights_are_no_model(folder: Path, low_memory: bool) -> None:
    load_model(folder)  # what was hashed once is hashed again where it has changed
    overwrite(weights(folder))
    plan = native.FORMAT.open(folder, Options())
    message = r"prior/weights\.safetensors is not the file that model\.json names: its SHA-256"
    with pytest.raises(CheckpointError, match=message):
        for stage in plan.load(torch.float32, low_memory=low_memory).stages.values():
            stage.net.state_dict()
    with pytest.raises(CheckpointError, match=message):
        plan.parts["prior"].translated("it")


def trained_on(folder: Path, make_stage: Make, context: int, late: float = 0.0) -> Thread:
    """As a run exports a stage anew: its folder, then, so many seconds later, model.json."""
    stage = make_stage("prior")
    with torch.no_grad():
        stage.net.query += 1  # type: ignore[operator]
    known = native.save_stage(folder / "prior", stage, torch.float32)
    assert known == native.hashes(folder / "prior")
    write = partial(native.write_manifest, folder, "tiny", ["clip", "prior"], context, known=known)
    thread = Timer(late, write)
    thread.start()
    return thread


@pytest.mark.parametrize("late", [0.0, 0.2])
@pytest.mark.parametrize("low_memory", [False, True])
def test_a_stage_trained_on_since_the_model_was_loaded_is_read(
    low_memory: bool, late: float, folder: Path, make_stage: Make, tokenizer: Tokenizer
) -> None:
    before = make_stage("prior").net.query
    model = native.FORMAT.open(folder, Options()).load(torch.float32, low_memory=low_memory)
    writing = trained_on(folder, make_stage, tokenizer.context, late)
    if not late:
        writing.join()
    read = model.stages["prior"].net.query
    writing.join()
    assert torch.equal(read, before + 1)  # type: ignore[arg-type, operator]


def test_a_stage_replaced_while_it_is_read_is_wholly_the_new_one(
    folder: Path, make_stage: Make, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = native.FORMAT.open(folder, Options()).load(torch.float32)
    put, writing = part_module._put, list[Thread]()

    def spy(*args: Any) -> None:
        put(*args)
        if args[1] == "query" and not writing:
            writing.append(trained_on(folder, make_stage, tokenizer.context))
            writing[0].join()

    monkeypatch.setattr(part_module, "_put", spy)
    read = model.stages["prior"].net.query
    assert writing
    assert torch.equal(read, make_stage("prior").net.query + 1)  # type: ignore[arg-type, operator]


def test_a_stage_that_agrees_with_no_model_json_is_not_read(
    folder: Path, make_stage: Make, tokenizer: Tokenizer
) -> None:
    model = native.FORMAT.open(folder, Options()).load(torch.float32)
    trained_on(folder, make_stage, tokenizer.context).join()
    overwrite(weights(folder))
    with pytest.raises(CheckpointError, match=r"changed or damaged.*it is being trained: try ag"):
        _ = model.stages["prior"].net


def test_an_overwritten_tokenizer_is_none(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("[.!", "[.?"))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not the file that model\.json"):
        load_model(folder)


def test_weights_that_the_model_does_not_name_are_not_read(folder: Path) -> None:
    save_file({"spare": torch.ones(2)}, folder / "prior" / "weights-2.safetensors")
    with pytest.raises(CheckpointError, match=r"weights-2\.safetensors is not named in .*model\.j"):
        load_model(folder)


def test_settings_changed_by_hand_are_followed_under_another_hash(folder: Path) -> None:
    before = load_model(folder)
    sampling = json.loads((folder / "prior" / "config.json").read_text())["sampling"]
    edit(folder / "prior" / "config.json", sampling={**sampling, "steps": 7})
    plan = native.FORMAT.open(folder, Options())
    assert plan.notes == ("prior/config.json was changed since the model was written",)
    after = plan.load(torch.float32)
    assert after.stages["prior"].config.sampling.steps == 7  # type: ignore[attr-defined]
    assert after.hash != before.hash


@pytest.mark.parametrize("name", ["../other", "/etc", ".", "..", "a/b", "", "prior\n", "C:x"])
def test_a_stage_is_a_folder_of_the_model(name: str, folder: Path) -> None:
    shutil.copytree(folder / "prior", folder.parent / "other")
    edit(folder / "model.json", stages=["clip", name])
    with pytest.raises(CheckpointError, match=r"is no name of one folder inside the model's"):
        load_model(folder)


@pytest.mark.parametrize("name", ["/etc/passwd", "../tokenizer.json", "..\\x", ""])
def test_the_tokenizer_lies_in_the_model(name: str, folder: Path) -> None:
    shutil.copy(folder / "tokenizer.json", folder.parent)
    edit(folder / "model.json", tokenizer={"file": name, "context": 8})
    with pytest.raises(CheckpointError, match=r"model\.json names '.*', which leads out of its"):
        load_model(folder)


def test_links_lead_nowhere_else(folder: Path, tmp_path: Path) -> None:
    moved = weights(folder).rename(tmp_path / "elsewhere.safetensors")
    weights(folder).symlink_to(moved)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors', which leads out of its"):
        load_model(folder)


def test_a_manifest_hashes_no_file_elsewhere(folder: Path) -> None:
    files = native.read_manifest(folder).files
    edit(folder / "model.json", files={**files, "../../secret": "0" * 64})
    with pytest.raises(CheckpointError, match=r"'\.\./\.\./secret', which leads out"):
        native.verify(folder)


def test_the_length_of_captions_has_a_limit(folder: Path) -> None:
    edit(folder / "model.json", tokenizer={"file": "tokenizer.json", "context": 10**9})
    with pytest.raises(CheckpointError, match=r"tokenizer\.context' must be at most 65536"):
        load_model(folder)
