"""The studio's build is of its source; what a check leaves out is said, or fails."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable

import pytest
import studio

ROUTES: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "npm": lambda patch: patch.setattr(shutil, "which", lambda name: None),
    "/none/chromium": lambda patch: patch.setattr(studio, "CHROMIUM", "/none/chromium"),
}


def test_the_build_is_of_this_source() -> None:
    told = "src/unclip/web is not what studio/ gives: run `make studio`"
    assert studio.DIGEST.read_text().strip() == studio.digest(), told


@pytest.mark.parametrize(("strict", "code"), [("1", 1), ("", 0), (None, 0)])
@pytest.mark.parametrize("missing", ROUTES)
def test_a_check_without_npm_or_chromium_fails_where_nothing_may_be_left_out(
    missing: str,
    strict: str | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(studio, "_run", lambda *command: steps.append(command[0]))
    monkeypatch.setattr(studio, "_install", lambda: 0)
    monkeypatch.setattr(studio, "_differences", lambda built, kept: iter(()))
    monkeypatch.setattr(sys, "argv", ["studio.py", "--check"])
    monkeypatch.delenv("STUDIO_STRICT", raising=False)
    if strict is not None:
        monkeypatch.setenv("STUDIO_STRICT", strict)
    ROUTES[missing](monkeypatch)
    with pytest.raises(SystemExit) as ended:
        studio.main()
    assert ended.value.code == code
    said = capsys.readouterr().out
    assert missing in said and "left out" in said
    assert bool(steps) is (missing != "npm")
