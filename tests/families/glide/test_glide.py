"""GLIDE's files: which they are, which are taken, and what is wrong with a folder of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import unclip
from unclip.checkpoints.format import Options, find_format, open_model
from unclip.checkpoints.tokenizers import gpt2_of_files, load_tokenizer
from unclip.errors import CheckpointError, UsageError
from unclip.families.glide import glide
from unclip.types import Cond

PARITY = Path(__file__).parents[2] / "parity"
SAID: dict[str, Any] = json.loads((PARITY / "fixtures" / "glide.json").read_text())
SHAPES: dict[str, dict[str, list[int]]] = SAID["shapes"]


def write(file: Path, name: str, **changes: Any) -> Path:
    """One of the networks; `changes` replaces tensors, and None leaves one out."""
    torch.manual_seed(0)
    tensors = {key: torch.randn(shape) * 0.1 for key, shape in SHAPES[name].items()} | changes
    torch.save({key: value for key, value in tensors.items() if value is not None}, file)
    return file


def alphabet(folder: Path, merges: list[str] | None = None) -> Path:
    """GPT-2's files with the 256 bytes, `merges` and the end of text."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in shown] + [chr(256 + i) for i in range(256 - len(shown))]
    words = [*letters, *(one.replace(" ", "") for one in merges or []), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(merges or []), ""]))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A decoder and an upsampler under names that say nothing, something else, a tokenizer."""
    write(tmp_path / "a.pt", "upsample")
    write(tmp_path / "b.pth", "base")
    torch.save({"weight": torch.ones(3)}, tmp_path / "c.pt")
    (tmp_path / "d.txt").write_bytes(b"none of torch's")
    return alphabet(tmp_path)


def test_a_folder_is_known_by_what_is_in_it(folder: Path) -> None:
    assert find_format(folder).name == "GLIDE"
    plan = open_model(folder)
    assert list(plan.parts) == ["decoder", "upsampler"]
    assert plan.licence == "MIT"
    assert {name: part.config.kind for name, part in plan.parts.items()} == {
        "decoder": "decoder",
        "upsampler": "upsampler",
    }


def test_a_damaged_network_is_not_taken_for_a_missing_one(folder: Path) -> None:
    file = folder / "a.pt"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"a\.pt is damaged or truncated: .* as GLIDE"):
        open_model(folder)


def test_the_published_settings(folder: Path) -> None:
    plan = open_model(folder)
    decoder, upsampler = (part.config.dump() for part in plan.parts.values())
    assert decoder["schedule"]["kind"] == "cosine"
    assert upsampler["schedule"]["kind"] == "linear"
    assert decoder["sampling"]["guidance_scale"] == 3.0
    assert (decoder["sampling"]["sampler"], decoder["sampling"]["steps"]) == ("ddpm", 100)
    assert (upsampler["sampling"]["sampler"], upsampler["sampling"]["steps"]) == ("ddim", 27)
    assert upsampler["low_res_size"] * 4 == upsampler["network"]["image_size"] == 32
    assert decoder["network"]["image_size"] == 16
    assert decoder["network"]["attention"] == [8]


def test_from_a_sentence_to_a_picture(folder: Path) -> None:
    pipe = unclip.load(folder, "cpu", torch.float32)
    steps = {"steps": 2, "upsampler_steps": 2}
    cat, again, dog = (pipe.generate(p, **steps)[0] for p in ("a cat", "a cat", "a dog"))
    assert cat.size == (64, 64)  # four times the decoder's
    assert cat.tobytes() == again.tobytes() != dog.tobytes()
    with pytest.raises(UsageError, match="no CLIP"):
        pipe.model.clip("an ability")


def test_a_lone_file_is_a_stage(tmp_path: Path) -> None:
    assert list(open_model(write(tmp_path / "x.pt", "base")).parts) == ["decoder"]
    assert list(open_model(write(tmp_path / "y.pt", "upsample-inpaint")).parts) == ["upsampler"]


def test_a_wrapped_file_is_a_stage(tmp_path: Path) -> None:
    state = torch.load(write(tmp_path / "x.pt", "base"))
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "x.pt")
    part = open_model(tmp_path / "x.pt").parts["decoder"]
    part.check(part.build().net, "it")


def test_inpainting_is_sampled_as_published(tmp_path: Path) -> None:
    for name, sampler, guidance in (("base", "ddpm", 5.0), ("upsample", "ddpm", 1.0)):
        plan = open_model(write(tmp_path / f"{name}.pt", f"{name}-inpaint"))
        (part,) = plan.parts.values()
        config: Any = part.config
        assert (config.sampling.sampler, config.sampling.guidance_scale) == (sampler, guidance)


def test_the_networks_for_inpainting_are_chosen(folder: Path) -> None:
    write(folder / "e.pt", "base-inpaint")
    for dialect, inpaints in ((None, False), ("generate", False), ("inpaint", True)):
        plan = open_model(folder, Options(dialect=dialect))
        config: Any = plan.parts["decoder"].config
        assert config.network.inpaint is inpaints
        assert list(plan.parts) == ["decoder", "upsampler"]
    with pytest.raises(UsageError, match=r"no dialect 'paint'; it has: generate, inpaint"):
        open_model(folder, Options(dialect="paint"))


def test_two_of_a_kind_are_refused(folder: Path) -> None:
    write(folder / "e.pt", "base")
    with pytest.raises(CheckpointError, match=r"b\.pth and .*e\.pt are both GLIDE's 'base'"):
        open_model(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"final_ln.weight": None}, r"1 missing: final_ln\.weight"),
        ({"other": torch.ones(2)}, r"1 not used: other"),
        (
            {"input_blocks.1.0.in_layers.2.weight": torch.ones(64, 64, 1, 1)},
            r"1 of another shape: input_blocks\.1\.0\.in_layers\.2\.weight is \(64, 64, 1, 1\)",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    plan = open_model(write(alphabet(tmp_path) / "base.pt", "base", **changes))
    with pytest.raises(CheckpointError, match=rf"base\.pt.*{message}"):
        plan.load(torch.float32)


@pytest.mark.parametrize(
    "gone", ["out.2.weight", "positional_embedding", "input_blocks.1.0.emb_layers.1.weight"]
)
def test_a_file_that_lacks_what_tells_its_size(gone: str, tmp_path: Path) -> None:
    file = write(tmp_path / "base.pt", "base", **{gone: None})
    with pytest.raises(CheckpointError, match=rf"base\.pt is not a whole .*{gone}"):
        open_model(file)


def test_another_number_of_channels_is_none_of_its_networks(tmp_path: Path) -> None:
    first = {"input_blocks.0.0.weight": torch.ones(64, 4, 3, 3)}
    file = write(tmp_path / "base.pt", "base", **first)
    with pytest.raises(CheckpointError, match=r"base\.pt: .* takes 4 channels; .* 3, 6, 7, 10"):
        open_model(file)


def test_a_missing_tokenizer_is_asked_for(folder: Path, tmp_path: Path) -> None:
    (folder / "vocab.json").unlink()
    with pytest.raises(UsageError, match=r"has no vocab\.json: .*--tokenizer"):
        unclip.load(folder, "cpu", torch.float32)
    (tmp_path / "other").mkdir()
    found = alphabet(tmp_path / "other")
    assert unclip.load(folder, "cpu", torch.float32, tokenizer=found).tokenizer.context == 6
    alphabet(found, ["a b"])
    with pytest.raises(CheckpointError, match=r"vocab\.json has 258 tokens; the network knows 257"):
        unclip.load(folder, "cpu", torch.float32, tokenizer=found)


def test_gpt2s_tokens_are_the_peers(tmp_path: Path) -> None:
    files = alphabet(tmp_path, SAID["merges"])
    tokenizer = gpt2_of_files(files / "vocab.json", files / "merges.txt", 32)
    for text, ids in SAID["tokens"]:
        assert tokenizer.pieces(text) == ids, text
        tokens, mask = tokenizer.encode([text])
        assert tokens[0].tolist() == ids + [tokenizer.vocab_size - 1] * (32 - len(ids))
        assert int(mask.sum()) == len(ids)
    assert tokenizer.encode(["the cat's " * 20])[1].all(), "nothing stands around a long caption"
    assert tokenizer.decode(torch.tensor(tokenizer.pieces("The cat's 狐"))) == "the cat's 狐"
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json", 32)
    for mine, its in zip(tokenizer.encode(["the cat"]), loaded.encode(["the cat"]), strict=True):
        assert torch.equal(mine, its)


def test_another_vocabulary_is_none_of_gpt2s(tmp_path: Path) -> None:
    files = alphabet(tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot read GPT-2's .*none\.json"):
        gpt2_of_files(files / "none.json", files / "merges.txt", 8)
    words = json.loads((files / "vocab.json").read_text())
    (files / "vocab.json").write_text(json.dumps({**words, "<|startoftext|>": 257}))
    with pytest.raises(CheckpointError, match=r"vocab\.json is not GPT-2's vocabulary"):
        gpt2_of_files(files / "vocab.json", files / "merges.txt", 8)


def test_the_table_leads_back_to_the_file(tmp_path: Path) -> None:
    """What is written from our weights is the file that they were read from, bit for bit."""
    from unclip.checkpoints.archive import open_tensors
    from unclip.checkpoints.keymap import translate, translate_back

    for name in SHAPES:
        file = write(tmp_path / f"{name}.pt", name)
        tensors, part = open_tensors(file), glide.glide_part(file)
        assert part.table is not None
        shapes = {key: tensors.shape(key) for key in tensors}
        ours = {key: one.read() for key, one in translate(tensors, part.table).items()}
        again = dict(translate_back(ours, part.table, shapes))
        assert again.keys() == tensors.keys()
        for key, value in again.items():
            assert torch.equal(value.reshape(shapes[key]), tensors[key]), key


def test_a_picture_is_enlarged_without_a_word(folder: Path) -> None:
    """The text-conditional upsampler then sees the caption that is all padding."""
    pipe = unclip.load(folder, "cpu", torch.float32)
    picture = Image.new("RGB", (8, 8), "red")
    (silent,) = pipe.upscale(picture, upsampler_steps=2)
    assert silent.size == (32, 32)
    stage, x = pipe.stages["upsampler"], torch.randn(1, 3, 32, 32)
    hidden = Cond(
        text_tokens=torch.ones(1, 6, dtype=torch.long),
        text_mask=torch.ones(1, 6, dtype=torch.bool),
        keep_text=torch.zeros(1, dtype=torch.bool),
        low_res=x,
    )
    outs = [stage.bind(one)(x, torch.ones(1)) for one in (hidden, Cond(low_res=x))]  # type: ignore[operator]
    assert torch.equal(*outs)
