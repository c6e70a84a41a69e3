"""`unclip models` and `unclip doctor`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unclip.checkpoints.native import read_manifest
from unclip.cli._terminal import si
from unclip.loading import BUNDLED, load
from unclip.nn.layers import parameter_count

RunCli = Callable[..., Any]


def test_list(unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unclip.loading.bundled_models", lambda: {BUNDLED: model, "other": model})
    done = unclip("models")
    assert done.code == 0
    assert done.out.splitlines()[0] == f"{BUNDLED} (the default)"
    assert "other\n" in done.out
    assert "clip, prior, decoder, upsampler" in done.out
    assert str(model) in done.out


def test_list_of_nothing(unclip: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unclip.loading.bundled_models", dict)
    assert "no model is bundled" in unclip("models").out


def test_inspect(unclip: RunCli, model: Path) -> None:
    done = unclip("models", "inspect", model)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"tiny (unclip), {read_manifest(model).hash}\n")
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.split()}
    for name, stage in load(model, device="cpu").stages.items():
        assert si(parameter_count(stage)) in rows[name]
        assert "float16" in rows[name]
    assert "8×8" in rows["decoder"]
    assert "ddpm, 3 steps, guidance 2" in rows["prior"]
    assert "abilities: edit, generate, img2img, interpolate, outpaint, probe," in done.out
    assert "licence:   see its README.md" in done.out
    assert done.out.endswith("# tiny\n\nRandom weights.\n")
    assert unclip("models", "show", model).out == done.out, "its older name"


def test_inspect_lists_the_words_it_knows_the_most_frequent_of_many(
    unclip: RunCli, lettered: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = unclip("models", "inspect", lettered).out
    assert "words:     7 known" in out
    assert "a  car  fox  red\n           的  红色  车" in out
    monkeypatch.setattr("unclip.cli._inspect.ALL", 1)
    out = unclip("models", "inspect", lettered).out
    assert "words:     7 known, such as\n           a\n" in out
    assert "words:" not in unclip("models", "inspect", model).out


def test_inspect_warns_of_a_changed_file(unclip: RunCli, broken: Path) -> None:
    (broken / "tokenizer.json").write_text((broken / "tokenizer.json").read_text() + "\n")
    done = unclip("models", "inspect", broken)
    assert done.err.startswith("unclip: warning: tokenizer.json is not the file")


def test_inspect_what_is_not_there(unclip: RunCli) -> None:
    unclip("models", "inspect", "emojo").fails(2, "emojo")


def test_a_healthy_patient(unclip: RunCli, model: Path) -> None:
    done = unclip("doctor", "--model", model)
    assert done.code == 0, done.out
    marks = {line.split()[1]: line.split()[0] for line in done.out.splitlines()}
    needed = ("unclip", "torch", "device", "model", "picture")
    assert [marks[name] for name in needed] == ["ok"] * 5
    assert "16×16, loaded in" in done.out


def test_a_damaged_model(unclip: RunCli, broken: Path) -> None:
    (broken / "clip" / "weights.safetensors").write_bytes(b"nothing")
    done = unclip("doctor", "--model", broken)
    assert done.code == 1
    assert "broken model" in done.out
    assert "clip/weights.safetensors is not the file that model.json names" in done.out


def test_a_missing_model_and_device(unclip: RunCli) -> None:
    done = unclip("doctor", "--model", "emojo", "--device", "cuda:99")
    assert done.code == 1
    assert "broken device" in done.out
    assert "broken model" in done.out


def test_a_variant_is_chosen_and_said(unclip: RunCli, tmp_path: Path) -> None:
    fixtures = Path(__file__).parents[1] / "parity" / "fixtures"
    shutil.copy(fixtures / "clip_hf.json", tmp_path / "config.json")
    shutil.copy(fixtures / "clip_hf.safetensors", tmp_path / "model.ema.safetensors")
    done = unclip("models", "inspect", tmp_path)
    assert "variant ema are taken, as there are no plain ones" in " ".join(done.out.split())
    done = unclip("models", "inspect", tmp_path, "--variant", "ema")
    assert "are taken" not in done.out
    unclip("models", "inspect", tmp_path, "--variant", "fp16").fails(2, "it has: ema")


def test_options_of_models_are_plain(unclip: RunCli) -> None:
    words = " ".join(unclip("generate", "--help").out.split())
    assert "CLIP weights, if the model lacks them." in words


def test_a_models_name_and_card_command_no_terminal(
    unclip: RunCli, model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "evil"))
    values = json.loads((folder / "model.json").read_text())
    values["name"] = "nice\x1b[2J\x1b]0;owned\x07"
    (folder / "model.json").write_text(json.dumps(values))
    (folder / "README.md").write_text("# A card\n\x1b[8mhidden\x1b[0m")
    done = unclip("models", "inspect", str(folder))
    assert done.code == 0
    assert r"nice\x1b[2J\x1b]0;owned\x07" in done.out
    assert "# A card\n" in done.out
    assert not {"\x1b", "\x07"} & set(done.out + done.err)


def test_a_card_of_another_encoding_is_shown(unclip: RunCli, model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "old"))
    (folder / "README.md").write_bytes("# Modèle\n\nDrawn.".encode("latin-1"))
    done = unclip("models", "inspect", folder)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("# Mod\ufffdle\n\nDrawn.\n")


def test_a_card_that_lies_elsewhere_is_not_shown(
    unclip: RunCli, model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "evil"))
    (tmp_path / "secret").write_text("swordfish")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "secret")
    done = unclip("models", "inspect", folder)
    assert done.code == 0
    assert "swordfish" not in done.out + done.err
