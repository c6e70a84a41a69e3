"""The report of `unclip data check`: what a source's pictures and captions are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from PIL import Image

from ..data import Item
from ..data.check import Findings, Look, median_size, quantile
from ..errors import UsageError, beginning, counted
from ..media import fit_image, read_image
from ..pages.report import Cell, Grid, Report, Section, Table, row

SHEET, COLUMNS = 48, 8
"""Pictures of the contact sheet, and of a row."""

GROUPS, OF_GROUP, NAMED = 12, 4, 200
"""Groups of duplicates that are shown, pictures of each, and most names in a table."""

THUMB = 144
"""Pixels of a side: the middles of pictures."""

_SIDES = (0, 64, 128, 256, 512, 768, 1024, 2048)
_WORDS = (0, 1, 4, 8, 16, 32, 64, 128)
_ASPECTS = tuple(map(Fraction, ("0", "9/16", "3/4", "9/10", "10/9", "4/3", "16/9")))
_SHAPES = ("narrower than 9:16", "9:16 to 3:4", "3:4 to 9:10", "about square", "10:9 to 4:3",
           "4:3 to 16:9", "wider than 16:9")  # fmt: skip


@dataclass(frozen=True)
class Hard:
    """A picture that a model finds hard."""

    name: str
    caption: str
    loss: float


def wanted(findings: Findings, hard: Sequence[Hard] = ()) -> list[str]:
    """The pictures that the report shows, by name."""
    sheet = [one.name for one in _spread(findings.sound, SHEET)]
    groups = findings.duplicates[:GROUPS]
    return [*sheet, *(one.name for group in groups for one in group[:OF_GROUP]),
            *(one.name for one in hard)]  # fmt: skip


def thumbnails(items: Iterable[Item], names: Iterable[str]) -> dict[str, Image.Image]:
    """Small pictures of those items; one pass, and what cannot be read is left out."""
    left, found = set(names), {}
    for item in items:
        if not left:
            break
        if item.name in left:
            left.discard(item.name)
            try:
                found[item.name] = fit_image(read_image(item.picture), (THUMB, THUMB))
            except (UsageError, OSError):
                continue
    return found


def data_report(
    name: str,
    findings: Findings,
    size: int,
    pictures: Mapping[str, Image.Image],
    hard: Sequence[Hard] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> Report:
    """All of it.

    Args:
        name: of the source.
        size: side of a training picture.
        pictures: those of `wanted`, small.
        hard: pictures with the highest loss, the highest first.
        facts: the command, the versions.
    """
    sections = [_sheet(findings, pictures), _sizes(findings, size), _captions(findings)]
    left_out = []
    if findings.hashed:
        sections.append(_duplicates(findings, pictures))
    else:
        left_out.append(("duplicates", "they need: pip install 'unclip[data]'"))
    if hard:
        sections.append(_hard(hard, pictures))
    if findings.unreadable:
        sections.insert(0, _unreadable(findings))
    if findings.unused:
        sections.append(_unused(findings.unused))
    return Report(
        title=f"Data check: {name}",
        lead=_lead(findings, size),
        headline=_headline(findings),
        sections=tuple(sections),
        left_out=tuple(left_out),
        facts=tuple(facts),
        values=findings.to_json(size),
    )


def _lead(findings: Findings, size: int) -> str:
    faults = []
    if findings.unreadable:
        faults.append(f"{counted(len(findings.unreadable), 'picture')} cannot be read")
    if findings.unused:
        faults.append(f"{counted(len(findings.unused), 'file has', 'files have')} no match")
    if extra := _extra(findings):
        faults.append(f"{counted(extra, 'picture is a duplicate', 'pictures are duplicates')}")
    if small := findings.smaller_than(size):
        faults.append(f"{counted(small, 'picture is', 'pictures are')} smaller than {size} pixels")
    if mend := sum(findings.faulty_captions.values()):
        faults.append(f"{counted(mend, 'caption')} can be mended by `unclip data prepare`")
    return f"{'; '.join(faults)}." if faults else "Every picture can be read, and none comes twice."


def _extra(findings: Findings) -> int:
    return sum(len(group) - 1 for group in findings.duplicates)


def _headline(findings: Findings) -> tuple[tuple[str, Cell], ...]:
    height, width = median_size(findings.sound)
    bad = len(findings.unreadable)
    return (
        ("pictures", Cell(f"{len(findings.looks):,}")),
        ("captions of what can be read", Cell(f"{len(findings.captions):,}")),
        ("cannot be read", Cell(f"{bad:,}", f"{findings.unreadable_share:.2%}")),
        ("duplicates", Cell(f"{_extra(findings):,}" if findings.hashed else "–")),
        ("median size", Cell(f"{width}×{height}")),
    )


def _spread(looks: Sequence[Look], count: int) -> list[Look]:
    """As many of them, evenly over all."""
    if len(looks) <= count:
        return list(looks)
    return [looks[place * len(looks) // count] for place in range(count)]


def _grid(
    title: str, labelled: Iterable[tuple[str, str]], pictures: Mapping[str, Image.Image],
    columns: int = COLUMNS, note: str = "",
) -> Grid:  # fmt: skip
    there = [(pictures[name], label) for name, label in labelled if name in pictures]
    images, labels = [image for image, _ in there], [label for _, label in there]
    return Grid(title, tuple(images), tuple(labels), columns, note)


def _sheet(findings: Findings, pictures: Mapping[str, Image.Image]) -> Section:
    chosen = _spread(findings.sound, SHEET)
    labelled = [(one.name, beginning(one.captions[0] if one.captions else "no caption", 70))
                for one in chosen]  # fmt: skip
    text = f"{counted(len(chosen), 'picture')}, evenly spread over the data; of each the middle."
    return Section("sheet", "Contact sheet", text, (_grid("", labelled, pictures),))


def _bars(title: str, head: str, rows: Sequence[tuple[str, int]], note: str = "") -> Table:
    """Counts with a bar each, of all."""
    total = max(1, sum(count for _, count in rows))
    cells = [
        (Cell(name), Cell(f"{count:,}"), Cell(f"{count / total:.1%}", "", (count / total, 0, 0)))
        for name, count in rows
    ]
    return Table(title, (head, "pictures" if head != "words" else "captions", "share"),
                 tuple(cells), note)  # fmt: skip


def _binned(values: Iterable[int], edges: Sequence[int]) -> list[tuple[str, int]]:
    counts = dict.fromkeys(range(len(edges)), 0)
    for value in values:
        counts[max(place for place, edge in enumerate(edges) if value >= edge)] += 1
    spans = pairwise(edges)
    names = [f"{low}" if high == low + 1 else f"{low} to {high - 1}" for low, high in spans]
    return list(zip([*names, f"{edges[-1]} and more"], counts.values(), strict=True))


def _sizes(findings: Findings, size: int) -> Section:
    sides = _binned((min(one.size) for one in findings.sound), _SIDES)
    aspects = dict.fromkeys(_SHAPES, 0)
    for one in findings.sound:
        ratio = Fraction(one.size[1], one.size[0])
        aspects[_SHAPES[max(n for n, edge in enumerate(_ASPECTS) if ratio >= edge)]] += 1
    kinds: dict[str, int] = {}
    for one in findings.looks:
        kinds[one.kind] = kinds.get(one.kind, 0) + 1
    small = findings.smaller_than(size)
    text = (
        f"{counted(small, 'picture has', 'pictures have')} a side below {size} pixels, and would "
        "be enlarged in training; with aspect buckets nothing is."
        if small
        else f"Every picture has {size} pixels a side or more."
    )
    parts = (
        _bars("Shorter side, pixels", "pixels", _trimmed(sides)),
        _bars("Width to height", "shape", list(aspects.items())),
        _bars("File formats", "format", sorted(kinds.items(), key=lambda pair: -pair[1])),
    )
    return Section("sizes", "Sizes and aspects", text, parts)


def _trimmed(rows: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Without empty rows at either end."""
    full = [place for place, (_, count) in enumerate(rows) if count]
    return rows[full[0] : full[-1] + 1] if full else rows


def _captions(findings: Findings) -> Section:
    half, most, top = (quantile(findings.words, share) for share in (0.5, 0.95, 1.0))
    text = (
        f"Half of the captions have {counted(half, 'word')} or fewer, 95 % have {most} or fewer, "
        f"the longest has {top}. Texts without spaces count by letters."
    )
    scripts = _bars(
        "Scripts", "words", findings.scripts.most_common(),
        "The script of most letters of a caption, not its language.",
    )  # fmt: skip
    parts: list[Table] = [_bars("Length", "words", _trimmed(_binned(findings.words, _WORDS)))]
    parts.append(Table(scripts.title, ("script", *scripts.head[1:]), scripts.rows, scripts.note))
    if findings.faulty_captions:
        rows = tuple(row(name, f"{count:,}") for name, count in findings.faulty_captions.items())
        parts.append(Table("To mend", ("what", "captions"), rows, "`unclip data prepare` does it."))
    if findings.repeated_captions:
        often = findings.repeated_captions[:10]
        rows = tuple(row(beginning(text, 90), f"{count:,}") for text, count in often)
        parts.append(Table("Captions of several pictures", ("caption", "pictures"), rows))
    return Section("captions", "Captions", text, tuple(parts))


def _duplicates(findings: Findings, pictures: Mapping[str, Image.Image]) -> Section:
    found = findings.duplicates
    if not found:
        return Section("duplicates", "Duplicates", "No two pictures look the same.", ())
    text = (
        f"{counted(len(found), 'group')} of pictures that look the same (perceptual hashes that "
        "differ in 4 of 64 bits at most, and alike colours). A model sees them more often than "
        "others, and learns them by heart first."
    )
    labelled = [
        (one.name, f"{number}: {os.path.basename(one.name)}")
        for number, group in enumerate(found[:GROUPS], 1)
        for one in group[:OF_GROUP]
    ]
    rows = tuple(
        (Cell(str(number)), Cell(f"{len(group)}"), Cell(_names(group)))
        for number, group in enumerate(found[:NAMED], 1)
    )
    more = f"{len(found) - NAMED:,} more groups are not listed." if len(found) > NAMED else ""
    table = Table("Groups", ("group", "pictures", "files"), rows, more)
    return Section("duplicates", "Duplicates", text, (_grid("", labelled, pictures), table))


def _names(group: Sequence[Look]) -> str:
    names = [one.name for one in group[:6]]
    return ", ".join(names) + (", …" if len(group) > len(names) else "")


def _unreadable(findings: Findings) -> Section:
    bad = findings.unreadable
    text = f"{counted(len(bad), 'file')} of {len(findings.looks):,}. Training skips them."
    table = _reasons([(one.name, one.fault) for one in bad])
    return Section("unreadable", "Files that cannot be read", text, (table,))


def _unused(unused: Sequence[tuple[str, str]]) -> Section:
    text = (
        f"{counted(len(unused), 'file is', 'files are')} not used: no sample can be made of them."
    )
    return Section("unused", "Files without a match", text, (_reasons(unused),))


def _reasons(files: Sequence[tuple[str, str]]) -> Table:
    more = f"{len(files) - NAMED:,} more are not listed." if len(files) > NAMED else ""
    return Table("", ("file", "why"), tuple(row(*one) for one in files[:NAMED]), more, words=True)


def _hard(hard: Sequence[Hard], pictures: Mapping[str, Image.Image]) -> Section:
    labelled = [(one.name, f"{one.loss:.4g}: {beginning(one.caption, 60)}") for one in hard]
    text = (
        "The pictures with the highest loss of the model, at the same noise for all: what is "
        "rare, what is broken, and what its caption does not say."
    )
    return Section("hardest", "Hardest pictures", text, (_grid("", labelled, pictures),))
