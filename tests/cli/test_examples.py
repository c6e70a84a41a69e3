"""Every command that help and documentation show can be pasted: its words are understood."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_group

from unclip.cli.app import make_app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINE = re.compile(r"^(?: +|until )?(?P<line>unclip (?:[^;\n\\]|\\\n)+)", re.MULTILINE)
GROUP = get_group(make_app())


def helps(group: TyperGroup) -> Iterator[str]:
    """The help of a group of commands, and of all below it."""
    yield group.help or ""
    for command in group.commands.values():
        yield from helps(command) if isinstance(command, TyperGroup) else (command.help or "",)


def commands(text: str) -> list[str]:
    """The lines of a text that are commands of ours."""
    return [match["line"].replace("\\\n", " ").strip() for match in LINE.finditer(text)]


def fenced(page: Path) -> str:
    """What a page shows as code: its blocks."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}.*\n", text, re.MULTILINE)
    return "".join([*blocks, *indented])


SHOWN = sorted(
    {line for text in helps(GROUP) for line in commands(text)}
    | {line for page in PAGES for line in commands(fenced(page))}
)


def test_they_are_found() -> None:
    assert 'unclip generate "a fox" --steps 50 --guidance-scale 4' in SHOWN  # of a help
    assert any(line.startswith("unclip vary fox.png -n 4 --eta 0.8") for line in SHOWN)  # README
    assert len(SHOWN) > 120


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_that_is_shown_is_understood(line: str) -> None:
    """Options, and the number of arguments; nothing is run."""
    group, words = GROUP, shlex.split(line, comments=True)[1:]
    while True:
        context = group.make_context("unclip", ["--help"], resilient_parsing=True)
        context.resilient_parsing = False
        name, command, rest = group.resolve_command(context, words)
        assert name and command
        if not isinstance(command, TyperGroup):
            break
        group, words = command, rest
        if not words:
            return
    command.make_context(name, rest)


def test_one_that_is_not_is_found_out() -> None:
    for line in ('unclip generate "a fox" --sed 7', "unclip vary a.png b.png", "unclip modles"):
        with pytest.raises(Exception, match=r"--sed|unexpected extra argument|modles"):
            test_a_command_that_is_shown_is_understood(line)
