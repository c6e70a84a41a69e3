"""Numbers in words, and bars that count what they are told."""

from __future__ import annotations

import pytest

from unclip.cli._terminal import complain, duration, printable, say, si, size


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (999, "999"), (1500, "1.5 k"), (13_836_428, "13.8 M"), (999_600, "1 M")],
)
def test_si(value: float, words: str) -> None:
    assert si(value) == words


def test_si_with_a_unit() -> None:
    assert si(3.2e12, "FLOP") == "3.2 TFLOP"
    assert si(12, "FLOP") == "12 FLOP"


@pytest.mark.parametrize(
    ("count", "words"),
    [(12, "12 B"), (1536, "1.5 KiB"), (14 * 2**20, "14.0 MiB"), (3 * 2**40, "3.0 TiB")],
)
def test_size(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3.21, "3.2 s"),
        (600, "10 min"),
        (7500, "2 h 05 min"),
        (3.5 * 86400, "3.5 days"),
        (4 * 365.25 * 86400, "4 years"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        (
            "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
            r"\x1b]8;;http://evil.example\x07clic",
        ),
        ("over\rwritten\x08", r"over\rwritten\x08"),
        ("\x9b2J", r"\x9b2J"),
        ("gpj\u202egnp.exe", r"gpj\u202egnp.exe"),
        ("half \ud800", r"half \ud800"),
        ("a fox 🦊 👩‍🚀 naïve\tin\ntwo lines [bold]", "a fox 🦊 👩‍🚀 naïve\tin\ntwo lines [bold]"),
    ],
)
def test_no_text_commands_the_terminal(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printable(text).startswith(shown)
    say(text)
    assert capsys.readouterr().out.startswith(shown)
    complain(text)
    assert not set(capsys.readouterr().err) & {"\x1b", "\x07", "\x9b", "\u202e", "\r", "\x08"}


def test_an_error_is_one_line_of_bounded_length(capsys: pytest.CaptureFixture[str]) -> None:
    complain("a\n" * 10**6)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert len(said) < 2100
