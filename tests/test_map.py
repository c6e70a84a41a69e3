"""ARCHITECTURE.md and its map name what there is; `scripts/map.py` draws and counts."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]

PAGE = """# A page

## From a prompt to a picture

1. **Ask**: `door.py:knock`, then
   `room/table.py:Table.lay`.
2. **Wait** at `room/`; not `room` and not `a + b`.

## Layers

| package | holds |
|---|---|
| `door` | what opens. And `closes` |
| `room` | tables |
| the rest | `nails` |

## In an evening

| read | files | lines | minutes |
|---|---|---:|---:|
| both | `door.py` `room/table.py` | 1 | 1 |
| again | `room/` | 1,234 | 1 |
| **all** | | **1** | **1** |
"""
SETTINGS = """
[[tool.importlinter.contracts]]
type = "forbidden"
[[tool.importlinter.contracts]]
type = "layers"
layers = ["(door) | (planned)", "room", "(nails) : glue"]
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        patch.delitem(sys.modules, "map", raising=False)
        return importlib.import_module("map")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    package = tmp_path / "src/unclip"
    (package / "room").mkdir(parents=True)
    (package / "door.py").write_text("def knock():\n    pass\n" + "\n" * 38)
    (package / "room/table.py").write_text("class Table:\n    legs: int = 4\n    lay = print\n")
    (package / "room/chair.py").write_text("\n" * 77)
    (package / "nails.py").write_text("\n")
    (package / "glue.py").write_text("\n")
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    (tmp_path / "ARCHITECTURE.md").write_text(PAGE)
    return tmp_path


def test_the_map_is_up_to_date(script: ModuleType) -> None:
    """Else: `make map`, or mend what ARCHITECTURE.md says."""
    assert list(script.problems(ROOT)) == []


def test_an_evening_is_enough(script: ModuleType) -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert len(page.splitlines()) <= 150
    total = script.measured(page, ROOT).splitlines()[-1]
    lines, minutes = (int(cell.strip(" *").replace(",", "")) for cell in total.split("|")[3:5])
    assert 4000 < lines <= 8000
    assert minutes == round(lines / script.PACE)


def test_every_layer_and_step_is_drawn(script: ModuleType) -> None:
    svg = (ROOT / "docs/architecture.svg").read_text("utf-8")
    texts = ["".join(one.itertext()) for one in ElementTree.fromstring(svg).iter() if one.text]
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    steps = [step.title for part in (script.WALK, script.LOOP) for step in script.items(page, part)]
    packages = [name for layer in script.layers(ROOT) for name in layer.names]
    assert len(steps) == 16
    assert {path.stem for path in (ROOT / "src/unclip").glob("[a-z]*.py")} <= {*packages}
    assert {*steps, *packages} <= {*texts}


def test_names_are_looked_up_in_their_files(script: ModuleType, house: Path) -> None:
    walk = script.items(PAGE, "From a prompt to a picture")
    assert [step.title for step in walk] == ["Ask", "Wait"]
    assert [(one.path, one.name) for step in walk for one in step.references] == [
        ("door.py", "knock"),
        ("room/table.py", "Table.lay"),
        ("room/", ""),
    ]
    assert script.missing(house) == []
    wrong = (
        "`door.py:open` `room/table.py:lay` `room/table.py:Table.legs` `pyproject.toml` `attic/`"
    )
    (house / "ARCHITECTURE.md").write_text(wrong)
    found = [(one.path, one.name) for one in script.missing(house)]
    assert found == [("door.py", "open"), ("room/table.py", "lay"), ("attic/", "")]


def test_layers_are_those_that_are_enforced(script: ModuleType, house: Path) -> None:
    rows = [(layer.names, layer.free) for layer in script.layers(house)]
    assert rows == [(["door"], False), (["room"], False), (["nails", "glue"], True)]
    assert script.words(PAGE) == {"door": "what opens", "room": "tables", "the rest": "nails"}


def test_lines_are_counted_and_minutes_reckoned(script: ModuleType, house: Path) -> None:
    page = script.measured(PAGE, house)
    assert page == script.measured(page, house)
    assert page.splitlines()[-3:] == [
        "| both | `door.py` `room/table.py` | 43 | 1 |",
        "| again | `room/` | 80 | 2 |",
        "| **all** | | **123** | **3** |",
    ]


def test_line_counts_are_no_part_of_the_structure(script: ModuleType) -> None:
    svg = (ROOT / "docs/architecture.svg").read_text("utf-8")
    grown = svg.replace("00 lines", "01 lines").replace('" height="2.5"/>', '1" height="2.5"/>')
    assert grown != svg
    assert script.structure(grown) == script.structure(svg)
    assert script.structure(svg.replace(">cli<", ">cly<")) != script.structure(svg)
