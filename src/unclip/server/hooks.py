"""What an operator adds to refuse prompts or pictures: functions named by `--hook MODULE:NAME`.

A hook is called as `hook("prompt", text)` before anything is drawn, and as `hook("picture", image)`
with each finished PIL picture. It returns why it refuses, or None. It runs in the worker's process.

    unclip serve --hook unclip.server.hooks:refuse_words     # with UNCLIP_REFUSED_WORDS=words.txt
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ..errors import UnclipError, UsageError
from ..files import text_of

Hook = Callable[[str, Any], str | None]

WORDS = "UNCLIP_REFUSED_WORDS"
"""Environment variable: the file of `refuse_words`, a word or phrase a line, # begins a comment."""


class ContentPolicyError(UnclipError):
    """A hook refuses a prompt or a picture."""


def split_hook(name: str) -> tuple[str, str]:
    """Module and function of `MODULE:NAME`. Raises UsageError where it is not so."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise UsageError(f"hook '{name}' must be MODULE:FUNCTION, such as mypackage.policy:check")
    return module, function


def load_hook(name: str) -> Hook:
    """The function that `MODULE:NAME` names. Raises UsageError where there is none."""
    module, function = split_hook(name)
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"hook '{name}' cannot be imported: {error}") from None
    if not callable(found):
        raise UsageError(f"hook '{name}' is not a function")
    hook: Hook = found
    return hook


def check_texts(hooks: Sequence[Hook], fields: Mapping[str, Any]) -> None:
    """Raise ContentPolicyError where a hook refuses a text of a request, such as its prompt."""
    texts = [(name, one) for name, value in fields.items() for one in _texts(value)]
    for name, text in texts:
        _ask(hooks, "prompt", text, name)


def check_pictures(hooks: Sequence[Hook], pictures: Sequence[Any]) -> None:
    """Raise ContentPolicyError where a hook refuses a picture."""
    for picture in pictures:
        _ask(hooks, "picture", picture, "prompt")


def _ask(hooks: Sequence[Hook], kind: str, value: Any, field: str) -> None:
    for hook in hooks:
        if reason := hook(kind, value):
            raise ContentPolicyError(f"the {kind} is refused: {reason}").about(field)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else []


def refuse_words(kind: str, value: Any) -> str | None:
    """Refuse prompts that hold a word of the file `UNCLIP_REFUSED_WORDS`: an example of a hook."""
    if kind != "prompt":
        return None
    found = _pattern(os.environ.get(WORDS, "")).search(value)
    return f"it holds '{found[0]}'" if found else None


@lru_cache(maxsize=4)
def _pattern(file: str) -> re.Pattern[str]:
    """Any of a file's words, as whole words, in any case."""
    try:
        lines = text_of(file).splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{WORDS} must name a file of words, got '{file}': {error}") from None
    words = [line.partition("#")[0].strip() for line in lines]
    escaped = [re.escape(word) for word in sorted(words, key=len, reverse=True) if word]
    return re.compile(rf"\b(?:{'|'.join(escaped)})\b" if escaped else r"(?!)", re.IGNORECASE)
