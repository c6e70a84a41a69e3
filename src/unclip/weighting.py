r"""The syntax of prompts, as of Stable Diffusion's web UI (A1111).

(word)         1.1 times the weight, ((word)) 1.21 times
[word]         1/1.1 of it
(word:1.3)     1.3 times
a BREAK b      `b` begins a new chunk of the text encoder
a AND b:0.5    both at once, `b` with half the weight (composable diffusion, arXiv 2206.01714)
\( \[ \\ \AND  the letters themselves

A bracket without its counterpart is a letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter

from .errors import UsageError

STEP = 1.1
"""What one pair of brackets multiplies or divides by."""

LARGEST = 10.0
"""Largest weight that can be written, and least with a minus."""

LONGEST = 100_000
"""Most letters of a prompt."""

MOST_CLAUSES = 8
"""Most prompts that `AND` joins: each is one more run of the network in every step."""

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_MARK = re.compile(
    r"\\(?P<escaped>[\\()\[\]]|<(?=(?:lora|lyco|hypernet):)|(?:AND|BREAK)(?!\w))"
    r"|(?P<extra><(?:lora|lyco|hypernet):[^<>]*>)"
    r"|(?P<open>[(\[])"
    rf"|(?P<close>:\s*(?P<number>{NUMBER})\s*\)|[)\]])"
    r"|(?P<keyword>(?<!\w)(?:AND|BREAK)(?!\w))"
)
_WEIGHT = re.compile(rf"\s*({NUMBER})\s*")


Piece = tuple[str, float]
"""Letters of one weight."""


@dataclass(frozen=True)
class Text:
    """Letters, with the weight of each."""

    letters: str = ""
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, pieces: list[Piece]) -> Text:
        """The pieces as one."""
        weights = (weight for text, weight in pieces for _ in text)
        return cls("".join(text for text, _ in pieces), tuple(weights))

    def __getitem__(self, part: slice) -> Text:
        return Text(self.letters[part], self.weights[part])

    def stripped(self) -> Text:
        """Without space around it."""
        start = len(self.letters) - len(self.letters.lstrip())
        return self[start : max(start, len(self.letters.rstrip()))]


def _joined(texts: Sequence[Text], by: str) -> Text:
    pieces = [((text.letters, text.weights), (by, (1.0,) * len(by))) for text in texts]
    letters, weights = zip(*[piece for pair in pieces for piece in pair][:-1], strict=True)
    return Text("".join(letters), tuple(chain.from_iterable(weights)))


@dataclass(frozen=True)
class Clause:
    """What stands between two `AND`s: its texts between `BREAK`s, and its own weight."""

    texts: tuple[Text, ...]
    weight: float = 1.0

    @property
    def whole(self) -> Text:
        """Its texts as one, with a space for each `BREAK`."""
        return _joined(self.texts, " ")


@dataclass(frozen=True)
class Written:
    """A prompt, parsed. `left_out` holds what is no part of the text, such as <lora:name:1>."""

    clauses: tuple[Clause, ...]
    left_out: tuple[str, ...] = ()

    @property
    def joined(self) -> Clause:
        """All of it as one clause, with a comma for each `AND`."""
        if len(self.clauses) == 1:
            return self.clauses[0]
        return Clause((_joined([clause.whole for clause in self.clauses], ", "),))

    @property
    def plain(self) -> str:
        """The words alone."""
        return self.joined.whole.letters

    @property
    def weighs(self) -> bool:
        """Whether any letter has a weight other than 1."""
        texts = (text for clause in self.clauses for text in clause.texts)
        return any(weight != 1 for text in texts for weight in text.weights)

    @property
    def breaks(self) -> bool:
        """Whether there is a `BREAK`."""
        return any(len(clause.texts) > 1 for clause in self.clauses)


@dataclass
class _Mark:
    """A piece of a prompt: text, a bracket, a keyword."""

    kind: str
    text: str
    number: float | None = None
    pair: float | None = None  # what a pair of brackets multiplies by


def parse(prompt: str, conjunction: bool = True) -> Written:
    """Read a prompt.

    Args:
        prompt: any text; one without brackets and keywords is one clause of one text.
        conjunction: whether `AND` is a keyword.

    Raises:
        UsageError: a weight is out of range, or there are more than `LONGEST` letters or
            `MOST_CLAUSES` clauses.
    """
    if len(prompt) > LONGEST:
        raise UsageError(f"the prompt has {len(prompt):,} letters: give at most {LONGEST:,}")
    marks = list(_marks(prompt, conjunction))
    _pair(marks)
    clauses: list[list[list[Piece]]] = [[[]]]
    weight = [1.0]
    for mark in marks:
        here = clauses[-1]
        if mark.kind == "AND" and len(weight) == 1:
            clauses.append([[]])
        elif mark.kind == "BREAK":
            here.append([])
        elif mark.pair is not None and mark.kind == "open":
            weight.append(weight[-1] * mark.pair)
        elif mark.pair is not None:
            weight.pop()
        elif mark.kind != "extra":
            here[-1].append((mark.text, weight[-1]))
    left_out = tuple(mark.text for mark in marks if mark.kind == "extra")
    kept = tuple(_clauses(clauses)) or (Clause((Text(),)),)
    if len(kept) > MOST_CLAUSES:
        raise UsageError(
            f"the prompt joins {len(kept):,} prompts by AND: give at most {MOST_CLAUSES}"
        )
    return Written(kept, left_out)


def plain(prompt: str) -> str:
    """The words of a prompt, without its syntax. Raises UsageError."""
    return parse(prompt).plain


def further(prompt: str) -> int:
    """How many clauses it has besides the first."""
    return len(parse(prompt).clauses) - 1


def escaped(text: str) -> str:
    r"""The prompt that stands for exactly this text: `a (b)` -> `a \(b\)`."""
    text = re.sub(r"[\\()\[\]]|<(?=(?:lora|lyco|hypernet):)", r"\\\g<0>", text)
    return re.sub(r"(?<!\w)(?:AND|BREAK)(?!\w)", r"\\\g<0>", text)


def weighted(pieces: Iterable[Piece]) -> str:
    """The prompt that stands for exactly these letters and weights."""
    groups = groupby(pieces, itemgetter(1))
    each = (("".join(text for text, _ in group), weight) for weight, group in groups)
    return "".join(
        escaped(text) if weight == 1 else f"({escaped(text)}:{weight:.4f})" for text, weight in each
    )


def without_extras(prompt: str) -> tuple[str, list[str]]:
    """A prompt without what is no part of its text, such as <lora:name:1>; and that."""
    extras = [found["extra"] for found in _MARK.finditer(prompt) if found["extra"]]
    return _MARK.sub(lambda found: "" if found["extra"] else found[0], prompt), extras


def has_syntax(text: str) -> bool:
    """Whether a prompt says more than its letters."""
    return escaped(text) != text


def _marks(prompt: str, conjunction: bool) -> Iterator[_Mark]:
    done = 0
    for found in _MARK.finditer(prompt):
        if found.start() > done:
            yield _Mark("text", prompt[done : found.start()])
        done, kind, text = found.end(), found.lastgroup or "", found[0]
        if found["escaped"]:
            yield _Mark("text", found["escaped"])
        elif found["keyword"]:
            yield _Mark(text if conjunction or text != "AND" else "text", text)
        elif found["close"]:
            yield _Mark("close", text, float(found["number"]) if found["number"] else None)
        else:
            yield _Mark(kind, text)
    if done < len(prompt):
        yield _Mark("text", prompt[done:])


def _pair(marks: list[_Mark]) -> None:
    """Tell brackets that match what they multiply by; the others stay letters."""
    waiting: list[_Mark] = []
    for mark in marks:
        if mark.kind == "open":
            waiting.append(mark)
        elif mark.kind == "close" and waiting and _match(waiting[-1], mark):
            factor = 1 / STEP if mark.text == "]" else STEP
            factor = factor if mark.number is None else _checked(mark.number)
            waiting.pop().pair = mark.pair = factor


def _match(opened: _Mark, closed: _Mark) -> bool:
    return (opened.text == "[") == (closed.text == "]")


def _checked(weight: float) -> float:
    if abs(weight) > LARGEST:
        raise UsageError(
            f"the prompt has the weight {weight:g}: it must be -{LARGEST:g} to {LARGEST:g}"
        )
    return weight


def _clauses(found: list[list[list[Piece]]]) -> Iterator[Clause]:
    """Without empty ones; those of several have a weight at their end, if any."""
    alone = len(found) == 1
    for pieces in found:
        texts = [Text.of(one) for one in pieces]
        before, colon, last = texts[-1].letters.rpartition(":")
        weight = None if alone or not colon else _WEIGHT.fullmatch(last)
        if weight:
            texts[-1] = texts[-1][: len(before.rstrip())]
        kept = texts if alone and len(texts) == 1 else [text.stripped() for text in texts]
        kept = [text for text in kept if text.letters] or kept[:1]
        if alone or kept[0].letters:
            yield Clause(tuple(kept), _checked(float(weight[1])) if weight else 1.0)
