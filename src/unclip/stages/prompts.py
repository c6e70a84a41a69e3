"""Prompts as a condition: their weights, their chunks, and what of them a model does not read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError, counted
from ..nn.tokenizer import Tokenizer
from ..types import Cond
from ..weighting import Text, Written, parse
from .guided import Conjunction
from .model import NO_PRIOR, Model
from .stage import DiffusionStage, Stage

TEXT = frozenset({"text_tokens", "text_embed", "text_encodings"})
"""What a stage may read of a text."""

ENCODED = frozenset({"text_tokens", "text_encodings"})
"""What of it there is a token each of, so that it can be weighted."""

MOST_CHUNKS = 32
"""Most chunks of a text: attention to them takes less memory than a picture's to itself."""

Chunk = tuple[list[int], list[float]]
"""Ids of tokens, and the weight of each."""


def parsed(prompt: str, negative: str) -> tuple[Written, Written]:
    """Both, of which the negative one is a single clause. Raises UsageError."""
    return parse(prompt), parse(negative, conjunction=False)


def read_prompt(model: Model, prompt: str, negative: str = "", conjunction: bool = True) -> Cond:
    """The condition (1, ...) of a prompt and of what guidance leads away from, on the CPU.

    Raises:
        UsageError: a weight is out of range, or there are more than `MOST_CHUNKS` chunks.
    """
    written, against = parsed(prompt, negative)
    long = reads_long(model)
    clauses = written.clauses if conjunction and composes(model) else (written.joined,)
    texts = [one.texts if long else (one.whole,) for one in (*clauses, *against.clauses)]
    chunked = [_chunks(model.tokenizer, one, long) for one in texts]
    length, weighs = max(map(len, chunked)), written.weighs or against.weighs
    if length > MOST_CHUNKS:
        raise UsageError(
            f"the prompt takes {length:,} chunks of {model.tokenizer.room} tokens: give at most "
            f"{MOST_CHUNKS}"
        )
    *framed, null = [_framed(model.tokenizer, one, length, weighs) for one in chunked]
    hidden = negative or model.null_is_text
    nulls = {f"null_{name}": value for name, value in null.items()} if hidden else {}
    pairs = zip(framed, clauses, strict=True)
    first, *others = [(Cond(**one, **nulls), clause.weight) for one, clause in pairs]
    if not others:
        return first[0]
    made: dict[str, Any] = dict(first[0].items())
    return Conjunction(**made, weight=first[1], others=tuple(others))


def _chunks(tokenizer: Tokenizer, texts: Iterable[Text], long: bool) -> list[Chunk]:
    """Tokens of texts, each text in as many chunks as it takes; else cut to one."""
    found: list[Chunk] = []
    for text in texts:
        spans = tokenizer.spans(text.letters)
        ids = [span.id for span in spans]
        weights = [_weight(text, span.start, span.end) for span in spans]
        last = max(len(ids), 1) if long else 1
        for start in range(0, last, max(tokenizer.room, 1)):
            part = slice(start, start + tokenizer.room)
            found.append((ids[part], weights[part]))
    return found


def _weight(text: Text, start: int, end: int) -> float:
    """Of the first letter of a token that is no space."""
    spaces = len(text.letters[start:end]) - len(text.letters[start:end].lstrip())
    place = start + spaces if start + spaces < end else start
    return text.weights[place] if place < len(text.weights) else 1.0


def _framed(
    tokenizer: Tokenizer, chunks: list[Chunk], length: int, weighs: bool
) -> dict[str, Tensor]:
    """(1, length·N) tokens and mask, with empty chunks behind, and weights where any differ."""
    chunks = chunks + [([], [])] * (length - len(chunks))
    tokens, mask = tokenizer.framed([ids for ids, _ in chunks])
    framed = {"text_tokens": tokens.reshape(1, -1), "text_mask": mask.reshape(1, -1)}
    if not weighs:
        return framed
    weights = torch.ones(tokens.shape, device="cpu")
    for row, (_, own) in enumerate(chunks):
        weights[row, tokenizer.frames : tokenizer.frames + len(own)] = torch.tensor(own)
    return {**framed, "text_weights": weights.reshape(1, -1)}


def reads_long(model: Model) -> bool:
    """Whether everything that reads the text reads one of any length, chunk by chunk."""
    networks = [
        one.config.network for one in model.stages.values() if "text_tokens" in one.consumes
    ]
    return bool(networks) and all(
        getattr(one, "reads_long", False) and one.text.context == model.tokenizer.context
        for one in networks
    )


def composes(model: Model) -> bool:
    """Whether a stage that draws can hold to several conditions at once."""
    return any(one.composes for one in model.image_stages.values())


def complaints(
    model: Model, written: Written, prior: str | None = None, conjunction: bool = True
) -> Iterator[str]:
    """What of a prompt a model does not read, one line each; `prior` is the one in use."""
    for clause in written.clauses if not reads_long(model) else ():
        if complaint := model.tokenizer.complaint(clause.whole.letters):
            yield complaint
    for text in written.left_out:
        kind = "--lora FILE:0.8" if text.startswith("<lora:") else "another program"
        yield f"'{text}' is left out of the prompt: it belongs to {kind}"
    if written.breaks and not reads_long(model):
        yield f"model '{model.name}' reads a text in one piece: BREAK is read as a space"
    if len(written.clauses) > 1 and not (conjunction and composes(model)):
        yield "AND is read as a comma: nothing that is guided draws from the text here"
    readers = [*model.image_stages.values()]
    if prior != NO_PRIOR and model.priors:
        readers.append(model.stages[prior or model.priors[0]])
    if written.weighs and not any(one.consumes & ENCODED for one in readers):
        yield (
            f"weights such as (word:1.3) have no effect: what draws with model '{model.name}' "
            "reads the embedding of the text as a whole"
        )


def unguided(model: Model, settings: Mapping[str, Mapping[str, Any]], runs: Collection[str]) -> str:
    """Why a negative prompt has no effect; empty where it has one.

    Args:
        model: what draws.
        settings: of the sampling, by stage.
        runs: the stages that run.
    """
    stages = {name: model.stages[name] for name in runs}
    readers = {name: one for name, one in stages.items() if one.consumes & TEXT}
    if any(_guided(one, settings.get(name, {})) for name, one in readers.items()):
        return ""
    if not any(_takes_guidance(one) for one in readers.values()):
        which = counted(len(stages), "stage")
        return f"of the {which} that draw ({', '.join(stages)}) none is guided by a text"
    name = next(name for name, one in readers.items() if _takes_guidance(one))
    setting = "guidance_scale" if name in model.image_stages else f"{name}_guidance_scale"
    return f"it needs {setting} other than 1"


def _guided(stage: Stage, settings: Mapping[str, Any]) -> bool:
    sampling = getattr(stage.config, "sampling", None)
    options = sampling.merge(dict(settings)) if sampling else None
    both = (getattr(options, "guidance_scale", 1.0), getattr(options, "image_guidance_scale", None))
    return both != (1.0, None)


def _takes_guidance(stage: Stage) -> bool:
    built_in = isinstance(stage, DiffusionStage) and stage.config.distilled
    return hasattr(getattr(stage.config, "sampling", None), "guidance_scale") and not built_in
