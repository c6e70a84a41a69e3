"""The text encoder: what a fresh one tells apart, and what padding is to it."""

from __future__ import annotations

import pytest
import torch

from unclip.nn.text import TextConfig, TextEncoder

CONFIG = TextConfig(width=128, depth=3, heads=2, vocab_size=50, context=12)


@pytest.fixture
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(CONFIG, causal=False).eval().requires_grad_(False)


def test_a_fresh_encoder_tells_words_apart(encoder: TextEncoder) -> None:
    """What a place says varies with its word, and not with the place alone: else words drown."""
    torch.manual_seed(1)
    tokens = torch.randint(50, (256, 12))
    mask = torch.arange(12).expand(256, 12) < 6
    out = encoder(tokens, mask)
    by_word = (out - out.mean(0)).square().mean((0, 2))  # (N,): what varies with the text
    share = by_word / out.square().mean((0, 2))
    assert share[:6].min() > 0.6


def test_padding_is_no_token(encoder: TextEncoder) -> None:
    mask = torch.tensor([[True] * 4 + [False] * 8])
    tokens = torch.arange(12)[None]
    other = torch.where(mask, tokens, 40)
    assert torch.equal(encoder(tokens, mask), encoder(other, mask))
