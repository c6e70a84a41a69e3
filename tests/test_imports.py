"""Modules import each other without a cycle, imports for type checking counted."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import unclip

ROOT = Path(unclip.__file__).parent


def modules() -> dict[str, Path]:
    """Every module's dotted name and its file."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run when a module is loaded, or that a type checker follows.

    Those in functions come later, when both modules are there.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(node)


def imported(name: str, source: str, known: Mapping[str, object], package: bool) -> set[str]:
    """The modules of this package that a module's text imports."""
    found = set()
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = name.split(".") if package else name.split(".")[:-1]
        up = base[: len(base) - (node.level - 1)] if node.level else []
        target = ".".join([*up, *filter(None, [node.module])])
        inner = {alias.name: f"{target}.{alias.name}" for alias in node.names}
        found |= {one if one in known else target for one in inner.values()}
    return {one for one in found if one in known} - {name}


def graph() -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    known = modules()
    return {
        name: imported(name, file.read_text("utf-8"), known, file.name == "__init__.py")
        for name, file in known.items()
    }


def cycles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that reach each other, by Tarjan's strongly connected components."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(edges.get(name, ())):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            at = stack.index(name)
            group = sorted(stack[at:])
            del stack[at:]
            if len(group) > 1 or name in edges.get(name, ()):
                found.append(group)

    for name in sorted(edges):
        if name not in order:
            visit(name)
    return found


@pytest.mark.parametrize(
    ("edges", "groups"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
        ({"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"c", "a"}}, [["a", "b"], ["c", "d"]]),
    ],
)
def test_cycles_by_hand(edges: dict[str, set[str]], groups: list[list[str]]) -> None:
    assert cycles(edges) == groups


def test_imports_for_type_checking_count_and_those_in_functions_do_not() -> None:
    source = """
import unclip.rng
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from ..types import Cond
    from . import LOCKS, loader
try:
    from ..files import Lock
except ImportError:
    pass
def later():
    from ..errors import UsageError
class Holder:
    from .ema import Ema
"""
    names = {"unclip.rng", "unclip.types", "unclip.train.loader", "unclip.files", "unclip.errors"}
    known = dict.fromkeys([*names, "unclip.train", "unclip.train.ema"])
    found = imported("unclip.train.run", source, known, package=False)
    assert found == names - {"unclip.errors"} | {"unclip.train", "unclip.train.ema"}


def test_no_module_imports_itself_through_others() -> None:
    edges = graph()
    assert len(edges) > 100
    assert "unclip.train.optim" in edges["unclip.train.trainer"]
    assert cycles(edges) == []
