"""Embeddings of models with several text encoders, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import unclip
from unclip.checkpoints.convert import convert
from unclip.checkpoints.embeddings import Embedding, read
from unclip.checkpoints.format import open_model
from unclip.errors import CheckpointError, UsageError
from unclip.record import Record


def rows(seed: int, count: int = 2) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "toy.safetensors"
    save_file({"clip": rows(0), "decoder": rows(1)}, made)
    return made


def test_a_word_has_rows_in_each_text_encoder(model: Path, file: Path) -> None:
    pipe = unclip.load(model, "cpu", torch.float32, embedding=[file])
    plain = unclip.load(model, "cpu", torch.float32)
    for name, own, seed in (("clip", 320, 0), ("decoder", 330, 1)):
        before, after = (
            one.stages[name].net.state_dict()["text.embed.weight"] for one in (plain, pipe)
        )
        assert torch.equal(after[:own], before) and after.shape == (332, 16)
        assert torch.equal(after[330:], rows(seed))
        assert not after[own:330].any()
    cond = pipe.read_prompt("a (Toy:1.5) car")
    assert cond.text_tokens is not None and cond.text_weights is not None
    (place,) = (cond.text_tokens[0] == 330).nonzero()
    assert cond.text_tokens[0, place + 1] == 331
    assert cond.text_weights[0, place : place + 2].tolist() == [1.5, 1.5]
    assert 330 not in pipe.read_prompt("a toys car").text_tokens  # type: ignore[operator]
    few = {"steps": 1, "prior_steps": 1}
    picture = pipe.generate("a toy car", **few)[0]
    assert picture.tobytes() != plain.generate("a toy car", **few)[0].tobytes()
    (added,) = Record.of(picture).added
    assert (added.kind, added.name) == ("embedding", "toy")


def test_its_rows_are_not_rounded_to_the_type_of_the_file(model: Path, file: Path) -> None:
    half = file.parent / "half"
    convert(open_model(model), half, torch.float16)
    net = unclip.load(half, "cpu", torch.float32, embedding=[file]).stages["clip"].net
    assert torch.equal(net.state_dict()["text.embed.weight"][330:], rows(0))


def test_another_word(model: Path, file: Path) -> None:
    pipe = unclip.load(model, "cpu", embedding=[f"<my toy>={file}", file])
    tokens = pipe.read_prompt("<my toy> toy").text_tokens
    assert tokens is not None
    assert [one for one in tokens[0].tolist() if one >= 330] == [330, 331, 332, 333]
    with pytest.raises(UsageError, match="two embeddings are called 'toy': give one as WORD=FILE"):
        unclip.load(model, "cpu", embedding=[file, file])


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ({"emb_params": rows(0)}, "several text encoders: it must have vectors for each, called"),
        ({"clip_l": rows(0), "clip_g": rows(1)}, "it has vectors for clip_g, clip_l, the text enc"),
        ({"clip": rows(0), "decoder": rows(1, 3)}, "it has not as many vectors for each encoder"),
        ({"clip": rows(0)[:, :7], "decoder": rows(1)}, "7 numbers, stage 'clip' reads 16"),
        ({"clip": rows(0) / 0, "decoder": rows(1)}, "its vectors are not finite"),
        ({"clip": rows(0)[None], "decoder": rows(1)}, "holds no embedding"),
    ],
)
def test_what_does_not_fit_is_named(
    tensors: dict[str, Tensor], fault: str, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "other.safetensors"
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    with pytest.raises(CheckpointError) as caught:
        unclip.load(model, "cpu", embedding=[file])
    assert str(caught.value).startswith(f"{file} ") and fault in str(caught.value)


def test_a_parameter_dict_of_the_paper_s_code_is_read(tmp_path: Path) -> None:
    held = torch.nn.ParameterDict({"*": torch.nn.Parameter(rows(0))})
    torch.save({"string_to_token": {"*": 265}, "string_to_param": held}, tmp_path / "cat.pt")
    word, vectors = read(Embedding(tmp_path / "cat.pt"))
    assert word == "cat" and torch.equal(vectors[""], rows(0))


def test_how_it_is_asked_for(file: Path) -> None:
    assert Embedding.of(str(file)) == Embedding(file)
    assert Embedding.of(f"<x>={file}") == Embedding(file, "<x>")
    for wrong in ("no.pt", f"={file}", "x=no.pt"):
        with pytest.raises(UsageError, match="there is no such file; it must be FILE or WORD=FILE"):
            Embedding.of(wrong)
    with pytest.raises(UsageError, match="embedding must be a file or 'WORD=FILE', got 3"):
        Embedding.of(3)
