"""x-clip against itself, as DALLE2-pytorch's adapter runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.checkpoints.companions import open_clip_part
from unclip.checkpoints.tokenizers import load_tokenizer
from unclip.families.clip.clip import clip_tokenizer
from unclip.families.clip.x_clip import XClip

Off = Callable[[Tensor, Tensor], float]


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("x_clip")


@pytest.fixture(scope="module")
def net(peer: Any, tmp_path_factory: pytest.TempPathFactory) -> XClip:
    file = tmp_path_factory.mktemp("x") / "clip.pth"
    torch.save({**peer.weights("x_clip"), "temperature": torch.tensor(1.5)}, file)
    part = open_clip_part(file)
    stage = part.build()
    part.fill(stage, "it", torch.float32, torch.device("cpu"))
    assert isinstance(stage.net, XClip)
    return stage.net


def test_texts(peer: Any, net: XClip, off: Off) -> None:
    tokens = peer["tokens"]
    z_t, encodings = net.encode_text(tokens, tokens != 0)
    assert off(z_t, peer["text_embed"]) < 1e-4
    assert off(encodings, peer["text_encodings"]) < 1e-4
    assert float(net.log_scale) == 1.5


def test_pictures(peer: Any, net: XClip, off: Off) -> None:
    z_i = net.encode_image(peer["image"] * 2 - 1)
    assert off(z_i, peer["image_embed"]) < 1e-4


def test_captions_have_neither_start_nor_end(peer: Any) -> None:
    tokenizer = clip_tokenizer(24, frames=False)
    assert tokenizer.vocab_size == 49408
    for text, theirs in peer.said["tokens"]:
        tokens, mask = tokenizer.encode([text])
        assert tokens[0].tolist() == theirs
        assert mask[0].tolist() == [one != 0 for one in theirs]


def test_a_saved_tokenizer_stays_so(tmp_path: Path) -> None:
    tokenizer = clip_tokenizer(8, frames=False)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json", 8)
    assert torch.equal(loaded.encode(["a fox"])[0], tokenizer.encode(["a fox"])[0])
