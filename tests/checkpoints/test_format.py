"""What every format shares: found by content, opened with options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import unclip
from unclip.checkpoints.format import FORMATS, Options, find_format, open_model
from unclip.errors import CheckpointError, UsageError
from unclip.facade import Pipeline
from unclip.media import to_pictures
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage
from unclip.types import Cond


@pytest.mark.parametrize("name", FORMATS.names())
def test_no_format_takes_what_is_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "model_index.json").write_text('{"_class_name": "Unheard"}')
    (tmp_path / "empty.pt").write_bytes(b"")
    assert not FORMATS[name].matches(tmp_path)
    for file in tmp_path.iterdir():
        assert not FORMATS[name].matches(file)


@pytest.mark.parametrize("name", FORMATS.names())
def test_no_other_format_takes_a_native_folder(name: str, folder: Path) -> None:
    assert FORMATS[name].matches(folder) == (name == "native")


def test_every_format_has_a_name_of_its_own() -> None:
    names = [FORMATS[name].name for name in FORMATS.names()]
    assert len(set(names)) == len(names) and all(names)


def test_what_is_no_model_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is an empty folder \(known formats: .*unclip"):
        find_format(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        find_format(tmp_path / "nothing")


def test_a_dialect_of_none_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"unclip has no dialect '1\.1\.0'; it has no dialects"):
        open_model(folder, Options(dialect="1.1.0"))


def test_a_negative_prompt_is_read_as_a_null(folder: Path) -> None:
    pipe = Pipeline(open_model(folder).load(torch.float32))
    plain, negative = pipe.read(["a fox"]), pipe.read(["a fox"], "the dog")
    assert plain.null_text_tokens is None, "this model's null is learnt"
    cond: Cond = pipe.model.clip("reading").encode_text(negative)
    alone = pipe.model.clip("reading").encode_text(pipe.read(["the dog"]))
    assert cond.null_text_embed is not None and alone.text_embed is not None
    assert torch.allclose(cond.null_text_embed, alone.text_embed, atol=1e-6)


def test_a_model_without_clip_is_judged_by_another(
    folder: Path,
    make_stage: Callable[..., Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path: Path,
) -> None:
    decoder = make_stage(
        "decoder", network={**make_stage("decoder").config.dump()["network"], "embed_dim": 0}
    )
    save_model(tmp_path / "blind", "blind", tokenizer, {"decoder": decoder})
    alone = unclip.load(tmp_path / "blind", "cpu", torch.float32)
    with pytest.raises(UsageError, match="has no CLIP, which re-ranking needs"):
        alone.generate("a fox", best_of=3)
    judged = unclip.load(tmp_path / "blind", "cpu", torch.float32, clip=folder)
    (best,) = judged.generate("a fox", seed=4, best_of=3)
    drawn = alone.sample(alone.read(["a fox"] * 3), [4, "4/candidate1", "4/candidate2"])
    whole = unclip.load(folder, "cpu", torch.float32)
    clip = whole.model.clip("judging")
    z_t = clip.encode_text(whole.read(["a fox"])).text_embed
    assert z_t is not None
    score = clip.net.encode_image(drawn) @ z_t[0]
    assert to_pictures(drawn)[int(score.argmax())].tobytes() == best.tobytes()
