"""Functions and files stay short enough to read at once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import unclip

FILES = sorted(Path(unclip.__file__).parent.rglob("*.py"))
LONGEST_FUNCTION, LONGEST_FILE = 60, 450  # lines


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_no_function_and_no_file_is_too_long(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, functions)]
    lengths = {node.lineno: (node.end_lineno or 0) - node.lineno + 1 for node in found}
    too_long = {line: lines for line, lines in lengths.items() if lines > LONGEST_FUNCTION}
    assert not too_long, f"functions of {file}, line: length"
