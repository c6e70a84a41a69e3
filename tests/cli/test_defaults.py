"""Defaults of a user: which goes before which, and what is said of a wrong one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunCli = Callable[..., Any]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the configuration file is: there is none yet."""
    path = tmp_path / "home" / "config.toml"
    monkeypatch.setenv("UNCLIP_CONFIG", str(path))
    return path


@pytest.fixture
def told(unclip: RunCli) -> Callable[..., Any]:
    """What an option of a command is, and where from, if it is not typed."""

    def tell(key: str, *command: str) -> tuple[Any, str]:
        done = unclip("config", "show", *(command or ["generate"]), "--json")
        assert done.code == 0, done.err
        one = json.loads(done.out)["values"][key]
        return one["value"], one["from"]

    return tell


def write(path: Path, text: str) -> None:
    """Make a configuration."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_nearer_goes_before_the_farther(
    config: Path, told: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told("steps") == (None, "")
    write(config, "steps = 5\n")
    assert told("steps") == (5, str(config)) == told("steps", "vary")
    write(config, "steps = 5\n\n[generate]\nsteps = 6\n")
    assert told("steps") == (6, str(config)) and told("steps", "vary") == (5, str(config))
    monkeypatch.setenv("UNCLIP_STEPS", "7")
    assert told("steps") == (7, "UNCLIP_STEPS") == told("steps", "vary")
    monkeypatch.setenv("UNCLIP_GENERATE_STEPS", "8")
    assert told("steps") == (8, "UNCLIP_GENERATE_STEPS") and told("steps", "vary")[0] == 7


def test_pictures_are_drawn_with_them_and_records_hold_what_they_were(
    config: Path, unclip: RunCli, model: Path, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f'steps = 2\nmodel = "{model}"\noutput = "pictures/"\nguidance_scale = 1.5\n'
    write(config, lines + '[generate]\nset = ["upsampler_steps=1"]\n')
    monkeypatch.setenv("UNCLIP_SEED", "3")
    done = unclip("generate", "a fox", "--guidance-scale", 2.5)
    assert done.code == 0, done.err
    (drawn,) = Path("pictures").iterdir()
    assert drawn.name == "a-fox-3.png"
    settings = {"steps": 2, "guidance_scale": 2.5, "upsampler_steps": 1}
    assert record(drawn)["settings"] == settings

    write(config, 'steps = 3\nmodel = "none"\noutput = "elsewhere/"\nseed = 9\n')
    done = unclip("replay", drawn, "--model", model)
    assert done.code == 0, "other defaults change nothing of a replay" + done.err
    assert "identical to" in done.out and Path("a-fox-3-replay.png").is_file()
    unclip("replay", drawn).fails(2, "model 'tiny'", "give its folder with --model")


def test_what_is_typed_in_another_way_goes_before_them_too(
    config: Path, unclip: RunCli, model: Path, record: Any
) -> None:
    write(config, "steps = 2\n")
    asked = ("a fox", "--seed", 1, "--model", model, "--set", "upsampler_steps=1")
    assert unclip("generate", *asked, "--set", "steps=1", "-o", "a.png").code == 0
    assert record(Path("a.png"))["settings"]["steps"] == 1
    done = unclip("sweep", *asked, "--x", "steps=1,3", "-o", "sheet/")
    assert done.code == 0, done.err
    assert {record(one)["settings"]["steps"] for one in Path("sheet").iterdir()} == {1, 3}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("stepz = 3\n", ["unknown key 'stepz' (did you mean 'steps'?)"]),
        ("[generat]\nsteps = 3\n", ["unknown key 'generat' (did you mean 'generate'?)"]),
        ("[generate]\nstep = 3\n", ["unknown key 'generate.step' (did you mean 'steps'?)"]),
        ("generate = 3\n", ["generate must be a section: write [generate]"]),
        ("steps = true\n", ["--steps must be a whole number"]),
        ('[generate]\nn = "two"\n', ["-n must be a whole number, got 'two'"]),
        ("n = 0\n", ["-n must be at least 1, got 0"]),
        ('model = "none"\n', ["no model 'none'"]),
        ('device = "gpu"\n', ["unknown device 'gpu'"]),
        ("[generate\n", ["is not valid TOML"]),
        ("strength = 0.5\n[evaluate]\nseeds = 1\n", []),  # other commands' affairs
    ],
)
def test_a_wrong_file_is_named_before_any_work(
    text: str, parts: list[str], config: Path, unclip: RunCli, model: Path
) -> None:
    write(config, text)
    own = [] if "model" in text else ["--model", model]
    done = unclip("generate", "a fox", "--steps" if "steps" not in text else "--seed", 1, *own)
    if parts:
        done.fails(2, str(config), *parts)
        assert list(Path().iterdir()) == []
    else:
        assert done.code == 0, done.err
    assert unclip("generate", "--help").code == 0, "help reads no defaults"
    assert unclip("config", "path").out == f"{config}\n", "nor does what mends them"


def test_a_wrong_variable_is_named(
    unclip: RunCli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNCLIP_STEPS", "many")
    unclip("generate", "a fox", "--model", model).fails(2, "got 'many' (from UNCLIP_STEPS)")
    monkeypatch.delenv("UNCLIP_STEPS")
    monkeypatch.setenv("UNCLIP_STEPZ", "3")
    done = unclip("config", "path", "--json")
    assert "UNCLIP_STEPZ stands for no option (did you mean 'UNCLIP_STEPS'?)" in done.err


@pytest.mark.parametrize("word", ["1", "true", "0", "false"])
def test_flags_are_true_or_false(
    word: str, told: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNCLIP_LOW_MEMORY", word)
    assert told("low_memory") == (word in ("1", "true"), "UNCLIP_LOW_MEMORY")


def test_an_option_of_the_same_name_and_another_meaning_is_left_alone(
    config: Path, told: Callable[..., Any]
) -> None:
    """`convert --dtype` is what weights are stored as, `evaluate --output` a report."""
    write(config, 'dtype = "bfloat16"\noutput = "pictures/"\ndevice = "cpu"\n')
    assert told("dtype") == ("bfloat16", str(config))
    assert told("dtype", "convert")[1] == "" == told("output", "evaluate")[1]
    assert told("device", "train") == ("cpu", str(config)) == told("device", "replay")


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {"XDG_CONFIG_HOME": "/etc/mine"}, "/etc/mine/unclip/config.toml"),
        ("linux", {"HOME": "/home/a"}, "/home/a/.config/unclip/config.toml"),
        ("darwin", {"HOME": "/u/a"}, "/u/a/Library/Application Support/unclip/config.toml"),
        ("win32", {"APPDATA": "/r"}, "/r/unclip/config.toml"),
        ("linux", {"UNCLIP_CONFIG": "/x.toml", "HOME": "/home/a"}, "/x.toml"),
    ],
)
def test_the_file_is_where_the_platform_keeps_them(
    platform: str,
    variables: dict[str, str],
    place: str,
    unclip: RunCli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("UNCLIP_CONFIG", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("unclip.cli._defaults.sys.platform", platform)
    assert unclip("config", "path").out == f"{place}\n"


def test_set_and_unset(config: Path, unclip: RunCli) -> None:
    assert unclip("config").out == f"nothing is set; the file is {config}\n"
    write(config, "# mine\nsteps = 5  # five\n")
    for words in (("generate.n", "2"), ("device", "cpu"), ("models.inspect.variant", "fp16")):
        assert unclip("config", "set", *words).code == 0
    assert unclip("config", "unset", "steps").code == 0
    assert config.read_text() == (
        '# mine\ndevice = "cpu"\n\n[generate]\nn = 2\n\n[models.inspect]\nvariant = "fp16"\n'
    )
    assert unclip("config", "show").out.splitlines() == [
        f"device = cpu  (from {config})",
        f"generate.n = 2  (from {config})",
        f"models.inspect.variant = fp16  (from {config})",
    ]
    before = config.read_text()
    for words, part in (
        (("stepz", "3"), "unknown key 'stepz' (did you mean 'steps'?)"),
        (("generate.model", "x", "y"), "unexpected argument"),
        (("generate.n", "two"), "-n must be a whole number, got 'two'"),
        (("generate.n", "0"), "-n must be at least 1, got 0"),
        (("steps", "0"), "setting 'steps' must be at least 1, got 0"),
        (("guidance_scale", "-1"), "setting 'guidance_scale' must be at least 0, got -1"),
        (("generate.prior_guidance_scale", "-1"), "'prior_guidance_scale' must be at least 0"),
        (("sampler", "eulr"), "unknown sampler 'eulr' (did you mean 'euler'?); known: "),
        (("generate.set", "upsampler_steps=0"), "'upsampler_steps' must be at least 1"),
        (("generate.set", "prior_spacing=karas"), "unknown spacing 'karas' (did you mean 'karras'"),
        (("img2img.strength", "2"), "--strength must be at most 1, got 2"),
        (("generate.size", "huge"), "--size must be WIDTHxHEIGHT"),
        (("seed", "-5"), "seed must be at least 0, got -5"),
        (("device", "gpu9"), "unknown device 'gpu9'; try cpu"),
        (("dtype", "half"), "dtype must be one of float32"),
        (("generate.image", "x"), "unknown key 'generate.image'"),
    ):
        unclip("config", "set", *words).fails(2, part)
    unclip("config", "unset", "steps").fails(2, "does not set steps")
    assert config.read_text() == before


def test_set_refuses_in_the_words_of_the_use(config: Path, unclip: RunCli, model: Path) -> None:
    for key, option, value in (
        ("steps", "--steps", "0"),
        ("sampler", "--sampler", "eulr"),
        ("device", "--device", "gpu9"),
        ("generate.size", "--size", "huge"),
        ("generate.best_of", "--best-of", "0"),
        ("preview", "--preview", "what"),
        ("preview", "--preview", "look.xyz"),
        ("seed", "--seed", "-5"),
    ):
        said = unclip("config", "set", key, value)
        used = unclip("generate", "a fox", "--model", model, option, value)
        assert (said.code, said.err) == (used.code, used.err) and said.code == 2
    for key, value in (("seed", "-1"), ("sampler", "Euler a"), ("generate.size", "512x256")):
        assert unclip("config", "set", key, value).code == 0
    assert not {"steps", "device"} & set(config.read_text().split())


def test_without_a_file_there_is_nothing_to_set(unclip: RunCli) -> None:
    unclip("config", "set", "steps", "3").fails(2, "UNCLIP_CONFIG is empty")
