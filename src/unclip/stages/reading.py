"""Who reads prompts: a model, its policy, and the device where tokens go."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from ..config import shown
from ..cost import Policy
from ..errors import SettingWarning, UsageError, warn
from ..nn.tokenizer import Tokenizer
from ..types import Cond
from ..weighting import Written
from . import prompts as written_prompts
from .model import Model


class Reader:
    """Reads prompts for a model, and says what of them it does not know or read."""

    model: Model
    policy: Policy
    device: torch.device
    tokenizer: Tokenizer
    name: str

    def read(self, prompts: Sequence[str], negative: str = "") -> Cond:
        """Tokens of prompts, on the chain's device.

        With a `negative` prompt, or where the model's null is a text, its tokens too. Warns and
        raises as `check_words` does.

        Raises:
            UsageError: one text in place of a list of them.
        """
        if isinstance(prompts, str) or not isinstance(prompts, Sequence):
            raise UsageError(f"prompts must be a list of texts, got {shown(prompts)}")
        self.check_words(*prompts, negative)
        tokens, mask = self.tokenizer.encode(list(prompts))
        cond = Cond(text_tokens=tokens.to(self.device), text_mask=mask.to(self.device))
        if not negative and not self.model.null_is_text:
            return cond
        tokens, mask = self.tokenizer.encode([negative] * len(prompts))
        return cond.replace(
            null_text_tokens=tokens.to(self.device), null_text_mask=mask.to(self.device)
        )

    def read_prompt(
        self, prompt: str, negative: str = "", prior: str | None = None, conjunction: bool = True
    ) -> Cond:
        """The condition of one prompt, on the chain's device, with what `weighting` reads in it.

        Args:
            prompt: with weights, `BREAK` and `AND`.
            negative: what guidance leads away from, with weights and `BREAK`.
            prior: the one in use, if not the first.
            conjunction: whether what draws may hold to several prompts (`AND`) at once.

        Raises:
            UsageError: a weight is out of range; as `check_words`.

        Warns:
            PromptWarning: the model does not know, or does not read, a part of it.
        """
        for written in self.check_prompt(prompt, negative):
            for complaint in written_prompts.complaints(self.model, written, prior, conjunction):
                warn(complaint)
        cond = written_prompts.read_prompt(self.model, prompt, negative, conjunction)
        return cond.map(lambda value: value.to(self.device))

    def check_prompt(self, prompt: str, negative: str = "") -> tuple[Written, Written]:
        """Say which of its words the model does not know, weights and other syntax aside.

        Returns:
            Both, as they are written.

        Raises:
            UsageError: a weight is out of range; as `check_words`.
        """
        both = written_prompts.parsed(prompt, negative)
        for written in both:
            self.check_words(written.plain, cuts=False)
        return both

    def check_words(self, *texts: str, cuts: bool = True) -> None:
        """Say what of a text the model does not know, or (`cuts`) read, as a `PromptWarning`.

        Raises:
            UsageError: a word is not known, and the policy is strict.
        """
        for text in dict.fromkeys(texts):
            unknown = self.model.vocabulary.complaint(self.tokenizer.without(text), self.name)
            if unknown and self.policy.strict_words:
                raise UsageError(unknown)
            for complaint in (unknown, self.tokenizer.complaint(text) if cuts else ""):
                if complaint:
                    warn(complaint)

    def check_negative(self, settings: Mapping[str, Any], runs: Collection[str]) -> None:
        """Warn where a negative prompt has no effect on what these stages draw."""
        if why := written_prompts.unguided(self.model, self.model.by_stage(settings), runs):
            warn(f"setting 'negative_prompt' has no effect: {why}", SettingWarning)
