"""Where models are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from unclip.errors import UsageError
from unclip.loading import find_model


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("org/name", r"; on the Hugging Face hub it would be 'hub:org/name'$"),
        ("emoji-cp", r"'emoji-cp' \(did you mean 'emoji-cpu'\?\)"),
        ("./org/name", r"\(bundled: emoji-cpu\)$"),
        ("nothing", r"\(bundled: emoji-cpu\)$"),
    ],
)
def test_a_name_that_is_not_there_is_told_what_it_could_be(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        find_model(name)
