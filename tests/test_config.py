"""A configuration reads what it writes and names what is wrong with it in one line."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, field_validator

from unclip.config import Config, UserPath, override, read_toml
from unclip.errors import UsageError, counted, nearest
from unclip.train.recipe import load_recipe


class Inner(Config):
    channels: int = 64
    widths: tuple[int, ...] = (1, 2)


class Outer(Config):
    steps: int = Field(default=10, ge=1)
    guidance_scale: float | None = None
    net: Inner = Inner()


class Needs(Config):
    folder: str


def test_round_trip() -> None:
    config = Outer.parse({"steps": 3, "net": {"widths": [1, 2, 4]}})
    assert config.dump() == {
        "steps": 3,
        "guidance_scale": None,
        "net": {"channels": 64, "widths": [1, 2, 4]},
    }
    assert Outer.parse(config.dump()) == config
    assert config.net.widths == (1, 2, 4)


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer().steps = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "where", "message"),
    [
        ({"stepz": 3}, "", "unknown setting 'stepz' (did you mean 'steps'?)"),
        (
            {"net": {"chanels": 3}},
            "recipe.toml",
            "unknown setting 'recipe.toml.net.chanels' (did you mean 'channels'?)",
        ),
        ({"zzz": 1}, "", "unknown setting 'zzz'"),
        (
            {"steps": 0},
            "decoder",
            "setting 'decoder.steps' must be at least 1, got 0",
        ),
    ],
)
def test_a_fault_is_one_line_that_names_it(
    values: dict[str, Any], where: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Outer.parse(values, where)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(UsageError, match=r"^setting 'data.folder' is missing$"):
        Needs.parse({}, "data")


def test_a_tuple_that_is_too_short_is_named_as_a_whole() -> None:
    class Pair(Config):
        interval: tuple[float, float] = (0, 1)

    wanted = r"^setting 'decoder.interval' has too few values, got \[0.5\]$"
    with pytest.raises(UsageError, match=wanted):
        Pair.parse({"interval": [0.5]}, "decoder")


def test_a_section_is_named_where_its_own_check_fails_and_an_argument_is_not() -> None:
    class Refusing(Config):
        settings: int = 0

        @field_validator("settings")
        @classmethod
        def _never(cls, value: int) -> int:
            raise ValueError("no such thing")

    class Called(Refusing):
        called: ClassVar[str] = "{}"

    for cls, text in ((Refusing, "section 'settings': no such thing"), (Called, "no such thing")):
        with pytest.raises(UsageError) as caught:
            cls.parse({"settings": 1})
        assert str(caught.value) == text


def test_override_syntax() -> None:
    values = {"steps": 1, "net": {"channels": 64}}
    assignments = [
        "steps=5",
        "net.channels = 32",
        "net.widths=[1, 2]",
        "new.deep.flag=true",
        "scale=1e-4",
        'quoted="a = b"',
        "bare=red car",
        "url=a=b",
        "empty=",
    ]
    assert override(values, assignments) == {
        "steps": 5,
        "net": {"channels": 32, "widths": [1, 2]},
        "new": {"deep": {"flag": True}},
        "scale": 1e-4,
        "quoted": "a = b",
        "bare": "red car",
        "url": "a=b",
        "empty": "",
    }
    assert values == {"steps": 1, "net": {"channels": 64}}, "the original is left alone"


@pytest.mark.parametrize("assignment", ["steps", "=3", " = 3"])
def test_override_wants_key_and_value(assignment: str) -> None:
    with pytest.raises(UsageError, match="--set needs key=value"):
        override({}, [assignment])


def test_override_does_not_go_through_a_value() -> None:
    with pytest.raises(UsageError, match=r"--set steps\.more: 'steps' is a value, not a section"):
        override({"steps": 1}, ["steps.more=2"])


@settings(deadline=None)
@given(value=st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.lists(st.integers(0, 9)))
def test_override_reads_back_what_toml_writes(value: object) -> None:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    assert override({}, [f"a.b={text}"]) == {"a": {"b": value}}


def test_read_toml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('steps = 3\n[net]\nwidths = [1]\nname = "σ"\n', encoding="utf-8")
    assert read_toml(path) == {"steps": 3, "net": {"widths": [1], "name": "σ"}}
    assert read_toml(str(path)) == read_toml(path)


def test_read_toml_names_the_file_and_the_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.toml: No such file or directory"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        read_toml(tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_text("fine = 1\nsteps 3\n")
    with pytest.raises(UsageError, match=r"bad\.toml is not valid TOML: .*line 2"):
        read_toml(bad)
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"bad\.toml is not valid TOML"):
        read_toml(bad)


def test_a_byte_order_mark_is_no_part_of_the_toml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("steps = 3\n", encoding="utf-8-sig")
    assert read_toml(path) == {"steps": 3}
    path.write_text("steps = 3\n", encoding="utf-16")
    with pytest.raises(UsageError, match=r"recipe\.toml is not valid TOML: it is UTF-16"):
        read_toml(path)


class Somewhere(Config):
    path: UserPath


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Somewhere.parse({"path": "~/data"}).path == tmp_path / "data"
    assert Somewhere.parse({"path": "a~/~"}).path == Path("a~/~")
    with pytest.raises(UsageError, match=r"'path': no home folder '~no-such-person'"):
        Somewhere.parse({"path": "~no-such-person/x"})


@pytest.mark.parametrize(
    ("assignments", "taken", "message"),
    [
        (["steps=3", "steps = 4"], {}, "--set steps=3 and --set steps = 4 set the same"),
        (["net.a=3", "net={b=4}"], {}, "--set net.a=3 and --set net={b=4} set the same"),
        (["steps=3"], {"steps": "--steps 4"}, "--steps 4 and --set steps=3 set the same"),
    ],
)
def test_what_is_set_twice_is_refused_and_both_are_named(
    assignments: list[str], taken: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        override({"steps": 1}, assignments, taken=taken)
    assert str(caught.value) == f"{message}: give only one of them"


def test_a_part_of_a_section_may_be_set_after_the_section() -> None:
    assert override({}, ["net={ a = 1, b = 2 }", "net.a=3"]) == {"net": {"a": 3, "b": 2}}
    assert override({}, ["net=1", "network=2"]) == {"net": 1, "network": 2}


def test_counted() -> None:
    assert [counted(n, "file") for n in (0, 1, 2, 2000)] == ["0 files", "1 file", "2 files",
                                                             "2,000 files"]  # fmt: skip
    assert counted(2, "text file has", "text files have") == "2 text files have"


def test_too_few_and_too_many_values_are_counted() -> None:
    class Some(Config):
        values: list[int] = Field([0], min_length=1, max_length=2)

    for values, reason in (([], "at least 1 value, got []"), ([1] * 3, "at most 2 values, got")):
        with pytest.raises(UsageError) as caught:
            Some.parse({"values": values})
        assert str(caught.value).startswith(f"setting 'values' must have {reason}")


def test_nearest() -> None:
    assert nearest("decodr", ["prior", "decoder"]) == " (did you mean 'decoder'?)"
    assert nearest("xyz", ["prior", "decoder"]) == ""
    assert nearest("prior", []) == ""
    assert nearest("prior", ["prior"]) == "", "that is what was written"
    assert nearest("prior", ["prior", "priors"]) == " (did you mean 'priors'?)"


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (
            "{kind='consistency', adversarial_weight=1}",
            r"unknown setting '{}\.adversarial_weight'$",
        ),
        ("{kind='consistency', hubber=1}", r"unknown setting '{}\.hubber' \(did you mean 'huber'"),
        ("{kind='consistency', consistency=1}", r"unknown setting '{}\.consistency'$"),
        ("{kind='consistency', levels=1}", r"setting '{}\.levels' must be at least 2, got 1"),
        ("{kind='consistency', own_level=0.99}", r"section '{}': own_level 0\.99 of 32"),
        ("{kind='adversarial', limits={pateince=1}}", r"'{}\.limits\.pateince'.*'patience'"),
        ("{kind='gan'}", r"setting '{}' must have as 'kind' one of"),
    ],
)
def test_the_kind_of_a_section_is_no_key_of_it(objective: str, told: str) -> None:
    """The path is what `--set` takes."""
    where = r"stages\.decoder\.objective"
    with pytest.raises(UsageError, match=told.replace("{}", where)):
        load_recipe("tiny", [f"stages.decoder.objective={objective}"])
