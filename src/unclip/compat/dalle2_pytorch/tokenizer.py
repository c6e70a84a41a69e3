"""`tokenizer.tokenize(texts)`: CLIP's tokens of texts without start and end, padded with 0."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from torch import Tensor

from ...errors import UsageError
from ...families.clip.clip import clip_tokenizer
from ...nn.tokenizer import Tokenizer


@cache
def unframed(context: int) -> Tokenizer:
    """For texts of so many tokens."""
    return clip_tokenizer(context, frames=False)


class SimpleTokenizer:
    """What x-clip's `CLIP` is trained on in the peer's scripts."""

    vocab_size = 49408

    def tokenize(
        self, texts: str | Sequence[str], context_length: int = 256, truncate_text: bool = False
    ) -> Tensor:
        """(B, context_length) token ids. Raises UsageError where a text is too long."""
        every = [texts] if isinstance(texts, str) else list(texts)
        found = unframed(context_length)
        for text in every:
            if not truncate_text and (complaint := found.complaint(text)):
                raise UsageError(complaint)
        return found.encode(every)[0]


tokenizer = SimpleTokenizer()
