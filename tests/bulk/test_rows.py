"""Files of prompts: what each row sets, and that faults name file, line and column."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from unclip.abilities.edit import EditRequest
from unclip.abilities.generate import GenerateRequest
from unclip.bulk.rows import Row, read_rows
from unclip.errors import UsageError


def written(tmp_path: Path, name: str, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(data)
    return str(tmp_path / name)


def test_a_line_is_a_prompt(tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path, "p.txt", "\ufeffa fox\r\n\n  a car, red \n"))
    assert [(row.values, row.line) for row in rows] == [
        ({"prompt": "a fox"}, 1),
        ({"prompt": "a car, red"}, 3),
    ]
    assert rows[1].where.endswith("p.txt, line 3")


TABLES = {
    "p.csv": 'Prompt,seed,steps,guidance-scale,sampler,prior,output\n"a fox, red",7,,3.5,ddim,3,'
    "fox.png\na car,,4,,,,\n",
    "p.jsonl": '{"prompt": "a fox, red", "seed": 7, "guidance_scale": 3.5, "sampler": "ddim", '
    '"prior": "3", "output": "fox.png", "steps": null}\n\n{"prompt": "a car", "steps": 4}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_fields_and_settings_of_a_row(name: str, tmp_path: Path) -> None:
    first, second = read_rows(written(tmp_path, name, TABLES[name]))
    fields, settings = first.split(GenerateRequest)
    assert fields == {"prompt": "a fox, red", "seed": 7, "prior": "3"}
    assert settings == {"guidance_scale": 3.5, "sampler": "ddim"}
    assert (first.output, second.output) == ("fox.png", "")
    assert second.split(GenerateRequest) == ({"prompt": "a car"}, {"steps": 4})


def test_a_field_of_another_ability_and_what_no_row_sets() -> None:
    row = Row({"prompt": "a", "box": "[0, 0, 8, 8]"}, written=True)
    assert row.split(EditRequest)[0] == {"prompt": "a", "box": [0, 0, 8, 8]}
    for name in ("image", "mask", "settings"):
        with pytest.raises(UsageError, match=f"column '{name}' cannot be set"):
            Row({"prompt": "a", name: "x"}).split(EditRequest)


@pytest.mark.parametrize(
    "content", ["a fox\n{red|blue} car\n", '{"prompt": "a fox"}\n{"prompt": "b"}']
)
def test_stdin_is_text_or_json_lines(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    rows = read_rows("-")
    assert rows[0].values["prompt"] == "a fox"
    assert rows[1].where == "stdin, line 2"


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("p.txt", "\n \n", ["p.txt has no prompts"]),
        ("p.txt", b"a fox\ncaf\xe9\n", ["p.txt", "line 2 is not UTF-8"]),
        ("p.md", "a fox", ["p.md: give a .txt, .csv or .jsonl file"]),
        ("p.csv", "text,seed\na fox,7\n", ["p.csv, line 1: needs one column 'prompt'"]),
        ("p.csv", "prompt,seed\na fox,7\n,8\n", ["p.csv, line 3: prompt is missing or empty"]),
        ("p.csv", "prompt,seed\na fox, red,7\n", ["p.csv, line 2: 3 fields but 2 columns"]),
        ("p.csv", "prompt,seed,seed\na,1,2\n", ["p.csv, line 1", "two columns are called 'seed'"]),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": \n', ["p.jsonl, line 2 is not JSON"]),
        ("p.jsonl", '["a fox"]\n', ["p.jsonl, line 1: prompt is missing", '{"prompt": "a fox"']),
        ("p.jsonl", '{"seed": 7}\n', ["p.jsonl, line 1: prompt is missing"]),
    ],
)
def test_faults_name_file_and_line(
    name: str, content: Any, parts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        read_rows(written(tmp_path, name, content))
    for part in parts:
        assert part in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"cannot read prompts from none\.txt: No such file"):
        read_rows("none.txt")
