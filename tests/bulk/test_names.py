"""Names with fields."""

from __future__ import annotations

from typing import Any

import pytest

from unclip.abilities.generate import GenerateRequest
from unclip.abilities.vary import VariationsRequest
from unclip.bulk.layout import NamedLayout
from unclip.bulk.names import NameTemplate
from unclip.errors import UsageError


def named(text: str, request: Any, count: int = 2, **more: Any) -> list[str]:
    template = NameTemplate.of(text)
    assert template is not None
    layout = NamedLayout(
        request, "a-fox", template=template, command="generate", model="tiny", **more
    )
    return [str(template.folder / name) for name in layout.names(count)]


def test_fields_of_a_name() -> None:
    fox = GenerateRequest.of(prompt="A fox/../!", seed=7, settings={"steps": 4, "sampler": "a/b"})
    for text, wanted in {
        "out/{prompt}-{seed}-{model}.png": ["out/a-fox-7-tiny", "out/a-fox-8-tiny"],
        "out/{prompt}-{seed}": ["out/a-fox-7", "out/a-fox-8"],
        "{name}/": ["a-fox/a-fox-7", "a-fox/a-fox-8"],
        "{prompt}/{index:03}.webp": ["a-fox/001", "a-fox/002"],
        "{seed:05}-{steps}-{sampler}.jpg": ["00007-4-a-b", "00008-4-a-b"],
        "{{{seed}}}.png": ["{7}", "{8}"],
        "{best_of}-{command}.png": ["1-generate"] * 2,
    }.items():
        assert named(text, fox) == wanted, text
    assert named("{row}.png", fox, row=12) == ["12", "12"]
    image = VariationsRequest.of(image="photos/cat.jpg", eta=0.5)
    assert named("{image}-{eta}.png", image, 1) == ["cat-0.5"]
    assert named("../{prompt}..{index}/a..b.png", fox, 1) == ["../a-fox..1/a..b"]
    assert NameTemplate.of("out/fox.png") is None


def test_home_is_read_in_the_template_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    fox = GenerateRequest.of(prompt="root", seed=7)
    assert named("~/{prompt}/{seed}.png", fox, 1) == ["/home/me/root/7"]
    assert named("~{prompt}/{seed}.png", fox, 1) == ["~root/7"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{prmpt}.png", "there is no field 'prmpt' (did you mean 'prompt'?); known: "),
        ("{steps}.png", "there is no field 'steps'"),
        ("{prompt.__class__}.png", "'{prompt.__class__}' is no field, such as {prompt}"),
        ("{0}.png", "'{0}' is no field"),
        ("{prompt!r}.png", "'{prompt}' is no field"),
        ("{seed:9999999}.png", "'9999999' is no width"),
        ("{prompt.png", "write {{ for a brace"),
        ("t/{prompt}/../../../esc-{seed}.png", "'..' after a field leads out of t, the folder"),
        ("{prompt}/../{seed}.png", "'..' after a field leads out of ., the folder"),
        ("t/{prompt}/..", "'..' after a field"),
        ("prompt}.png", "write {{ for a brace"),
    ],
)
def test_a_wrong_field_is_named(text: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        named(text, GenerateRequest.of(prompt="a fox"))
    assert part in str(caught.value) and text in str(caught.value)
