"""Tokenizers that are read from files: our own, and CLIP's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from unclip.checkpoints.tokenizers import clip_of_files, load_tokenizer
from unclip.errors import CheckpointError
from unclip.nn.tokenizer import Tokenizer


def write_clip_files(folder: Path) -> tuple[Path, Path, dict[str, int]]:
    """A vocabulary laid out as CLIP's: bytes, bytes that end a word, merges, special tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [chr(256 + i) for i in range(256 - len(printable))]  # GPT-2's stand-ins
    letters = [chr(byte) for byte in printable] + others
    merges = ["r e", "re d</w>", "c a", "ca r</w>", "1 2</w>"]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [merge.replace(" ", "") for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    ids = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return folder / "vocab.json", folder / "merges.txt", ids


def test_clips_own_bpe_is_read_from_its_files(tmp_path: Path) -> None:
    """openai/CLIP: lower-cased words, single digits and runs of signs; padded with "!" (id 0)."""
    vocab, merges, ids = write_clip_files(tmp_path)
    clip = clip_of_files(vocab, merges, context=12)
    words = ["a</w>", "red</w>", "car</w>", "1</w>", "2</w>", "!", "!</w>"]
    assert clip.pieces("A  Red car 12!!") == [ids[word] for word in words]
    assert clip.decode(torch.tensor(clip.pieces("A  Red car"))) == "a red car"
    tokens, mask = clip.encode(["car!"])
    start, end = ids["<|startoftext|>"], ids["<|endoftext|>"]
    assert tokens[0].tolist() == [start, ids["car</w>"], ids["!</w>"], end] + [0] * 8
    assert mask[0].tolist() == [True] * 4 + [False] * 8
    assert end not in clip.pieces("<|endoftext|>")
    clip.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json", 12)
    assert torch.equal(loaded.encode(["car!", "狐"])[0], clip.encode(["car!", "狐"])[0])


def test_clip_files_that_are_none_are_named(tmp_path: Path) -> None:
    vocab, merges, ids = write_clip_files(tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot read CLIP's .*none\.json and .*merges\.txt"):
        clip_of_files(tmp_path / "none.json", merges)
    vocab.write_text(json.dumps({token: i for token, i in ids.items() if "endof" not in token}))
    with pytest.raises(CheckpointError, match=r"vocab\.json is not CLIP's .* '<\|endoftext\|>'"):
        clip_of_files(vocab, merges)


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json", tokenizer.context)
    texts = ["a red car", "<end> 红色的汽车 🦊", ""]
    for mine, theirs in zip(loaded.encode(texts), tokenizer.encode(texts), strict=True):
        assert torch.equal(mine, theirs)
    assert loaded.to_json() == tokenizer.to_json()
    assert loaded.vocab_size == tokenizer.vocab_size


@pytest.mark.parametrize("content", [None, "", "{}", '{"model": 3}'])
def test_a_damaged_file_is_named(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CheckpointError, match=r"cannot read the tokenizer .*tokenizer\.json"):
        load_tokenizer(file, 8)
