"""An ability is one file: what is defined here alone is a command, is run and replayed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unclip
import unclip.abilities
from unclip.abilities import ABILITIES
from unclip.abilities._capabilities import capabilities
from unclip.cli import main
from unclip.cli.app import COMMANDS as OTHER_COMMANDS
from unclip.errors import UsageError
from unclip.facade import Pipeline
from unclip.request import Drawing
from unclip.stages import Stage

COMMANDS = ["edit", "generate", "img2img", "interpolate", "outpaint", "probe", "reconstruct"]
COMMANDS += ["textdiff", "upscale", "vary"]

NEWCOMER = '''
"""Turn a picture, and draw one around it.

\\b
Examples:
  unclip turn fox.png "a fox" --quarters 1
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from unclip.abilities import Ability
from unclip.abilities._drawing import attach_record, check_request
from unclip.arguments import Count
from unclip.cost import Work
from unclip.media import digest, read_image
from unclip.request import Drawing, Option, Picture, Pictures, Prompt


class TurnRequest(Drawing):
    """See `turn`."""

    ability: ClassVar[str] = "turn"
    image: Picture
    prompt: Prompt
    n: Pictures = 1
    run: Annotated[int, Option("--quarters", "Q")] = Field(
        2, ge=1, le=3, description="Of a circle."
    )
    how: Literal["left", "right"] = Field("left", description="Which way round.")
    sizes: Annotated[tuple[Count, ...] | None, Option(metavar="W,H,...")] = Field(
        None, description="Of nothing."
    )

    def work(self) -> Work:
        return Work(self.n, self.settings, self.n, prior_runs=self.n)


def turn(pipe, image, prompt, n=1, run=2, how="left", sizes=None, seed=0, on_step=None, **settings):
    request = TurnRequest.of(
        image=image, prompt=prompt, n=n, run=run, how=how, sizes=sizes, seed=seed, settings=settings
    )
    check_request(pipe, request, request.work(), on_step)
    picture = read_image(image)
    drawn = pipe.generate(prompt, n=n, seed=seed, on_step=on_step, **settings)
    quarters = run if how == "left" else -run
    for one in drawn:
        one.paste(picture.rotate(90 * quarters).crop((0, 0, 8, 8)))
    return attach_record(pipe, drawn, request.record(image=digest(picture)))


ABILITY = Ability(TurnRequest, turn, frozenset({"prompt"}))
'''

TELLER = '''
"""Measure a picture."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from unclip.abilities import Ability
from unclip.media import read_image
from unclip.request import Picture, Request


class MeasureRequest(Request[list[float]]):
    """See `measure`."""

    ability: ClassVar[str] = "measure"
    reads_text: ClassVar[bool] = False
    image: Picture

    def shares(self, result: list[float]) -> dict[str, float]:
        return dict(zip(("red", "green", "blue"), result, strict=True))


def measure(pipe, image):
    return [float(one) / 255 for one in np.asarray(read_image(image)).mean((0, 1))]


ABILITY = Ability(MeasureRequest, measure)
'''


@pytest.fixture
def turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files of the package that were not there, and nothing else."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "turn.py").write_text(NEWCOMER)
    (tmp_path / "more" / "measure.py").write_text(TELLER)
    package = [*unclip.abilities.__path__, str(tmp_path / "more")]
    monkeypatch.setattr(unclip.abilities, "__path__", package)
    monkeypatch.chdir(tmp_path)
    Image.radial_gradient("L").resize((16, 16)).convert("RGB").save("fox.png")
    yield
    for name in ("turn", "measure"):
        sys.modules.pop(f"unclip.abilities.{name}", None)
        vars(unclip.abilities).pop(name, None)


@pytest.mark.usefixtures("turn")
def test_a_newcomers_fields_are_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["turn", "--help"]) == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    assert text.startswith("Usage: unclip turn [OPTIONS] IMAGE [PROMPT]\n")
    assert "Turn a picture, and draw one around it." in text
    assert '\n    unclip turn fox.png "a fox" --quarters 1\n' in text
    assert "IMAGE" in text.partition("Options:")[0]
    for part in (
        "--quarters Q Of a circle (1 to 3). [default: 2]",
        "--how HOW Which way round. [default: left]",
        "--sizes W,H,... Of nothing.",
        "-n N Number of pictures (at least 1). [default: 1]",
        "--steps STEPS Sampling steps of the decoder.",
    ):
        assert part in words
    for option in ("--seed", "-o, --output", "--set", "--model", "--strict-words", "--no-limit"):
        assert option in text


@pytest.mark.usefixtures("turn")
@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--quarters", "4"], "--quarters must be at most 3, got 4"),
        (["--how", "up"], "--how"),
        (["--sizes", "1,two"], "--sizes must be W,H,... in whole numbers, got '1,two'"),
        (["--sizes", "1,0"], "--sizes must be at least 1, got 0"),
        (["--set", "run=3"], "unknown setting 'run': it is not a setting of the sampling"),
    ],
)
def test_what_is_wrong_is_named_as_its_option(
    options: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["turn", "fox.png", "a fox", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line


@pytest.mark.usefixtures("turn")
@pytest.mark.parametrize("n", [1, 3])
def test_a_newcomers_picture_has_a_record_and_is_replayed(
    n: int, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["turn", "fox.png", "a fox", "-n", str(n), "--quarters", "1", "--sizes", "1,2"]
    more = ["--steps", "2", "--seed", "7", "-o", "out.png", "--model", model]
    assert main([*asked, *more]) == 0
    with Image.open("out.png") as picture:
        record = json.loads(picture.info["unclip"])
    assert (record["ability"], record["seed"], record["n"]) == ("turn", 7, n)
    assert record["settings"] == {"steps": 2, "run": 1, "how": "left", "sizes": [1, 2]}
    capsys.readouterr()
    assert main(["replay", "out.png", "fox.png", "--model", model]) == 0
    assert capsys.readouterr().out == "out-replay.png: identical to out.png\n"


@pytest.mark.usefixtures("turn")
def test_a_newcomer_is_listed_for_the_models_that_can(make_stage: Callable[[str], Stage]) -> None:
    whole = {name: make_stage(name) for name in ("clip", "prior", "decoder", "upsampler")}
    assert capabilities(whole) == sorted([*COMMANDS, "turn", "measure"])
    assert "turn" not in capabilities({"upsampler": whole["upsampler"]})
    assert capabilities({"clip": whole["clip"]}) == ["measure", "probe"]


@pytest.mark.parametrize("command", ["generate --help", "vary none.png", "generate a --best-of 0"])
def test_help_and_mistakes_need_no_pytorch(command: str) -> None:
    code = (
        "import sys; from unclip.cli import main; main(sys.argv[1:]); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("turn")
def test_a_newcomer_is_listed_without_being_imported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["turn", "Turn a picture, and draw one around it."] in lines
    assert "unclip.abilities.turn" not in sys.modules


@pytest.mark.usefixtures("turn")
def test_a_newcomers_request_is_run_by_any_pipeline(model: str) -> None:
    pipe = unclip.load(model, device="cpu")
    request = ABILITIES["turn"].request
    assert issubclass(request, Drawing)
    seen: list[str] = []
    asked = request.of(image="fox.png", prompt="a fox", n=2, seed=3, settings={"steps": 2})
    pictures = pipe.run(asked, lambda step: seen.append(step.stage))
    assert seen.count("decoder") == 2
    plain = pipe.generate("a fox", n=2, seed=3, steps=2)
    turned = Image.open("fox.png").rotate(180).crop((0, 0, 8, 8))
    for picture, one in zip(pictures, plain, strict=True):
        one.paste(turned)
        assert np.array_equal(np.asarray(picture), np.asarray(one))
    assert [json.loads(one.info["unclip"])["seed"] for one in pictures] == [3, 4]


@pytest.mark.usefixtures("turn")
def test_what_a_newcomer_tells_is_printed(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (4, 4), (51, 255, 0)).save("fox.png")
    assert main(["measure", "fox.png", "--model", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"green  100.0%  {'█' * 40}", f"red     20.0%  {'█' * 8}", "blue     0.0%"]
    assert main(["measure", "fox.png", "--model", model, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shares"] == {"green": 1.0, "red": 0.2, "blue": 0.0}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_ability_of_this_package_is_a_method(name: str) -> None:
    method = ABILITIES[name].function
    own = vars(Pipeline)[method.__name__]
    assert (own if name == "probe" else own.__wrapped__) is method


def test_run_refuses_what_is_no_request(model: str) -> None:
    pipe = unclip.load(model, device="cpu")
    with pytest.raises(UsageError, match=r"run takes a request, such as .*, got 'a fox'"):
        pipe.run("a fox")  # type: ignore[arg-type]


def test_every_module_of_abilities_is_one_and_no_other_command_has_its_name() -> None:
    assert ABILITIES.names() == sorted(ABILITIES.modules()) == COMMANDS
    assert not set(COMMANDS) & set(OTHER_COMMANDS.names())


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", [*COMMANDS, "sweep", "replay"])
def test_help_fits_the_terminal_and_is_in_groups(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= columns
    heads = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    wanted = ["Arguments:", "Options:", "Sampling:", "Model:", "Hardware and limits:"]
    assert heads == [one for one in wanted if one in heads]
    columns_of = {re.match(r"  (-\S.*?|[A-Z.]\S*)  +(?=\S)", line) for line in text.splitlines()}
    assert len({match.end() for match in columns_of if match}) == 1


def test_help_begins_with_what_is_asked_for_most(capsys: pytest.CaptureFixture[str]) -> None:
    picture, size = ["-n", "--seed", "-o"], ["--size", "--aspect", "--tile"]
    many = ["--grid", "--prompts", "--wildcards", "--combinatorial"]
    seeing = ["--preview", "--open", "--json"]
    for name, options in {
        "generate": [*picture, "--negative-prompt", *size, *many, *seeing, "-h", "--steps"],
        "edit": [*picture, "--negative-prompt", "--mask", "--box", *many, *seeing, "-h"],
        "textdiff": ["--from", "--to", *picture[1:], "--fps", "--frames", "--theta", *size],
    }.items():
        assert main([name, "--help"]) == 0
        found = re.findall(r"^  (--?[a-z-]+)", capsys.readouterr().out, re.MULTILINE)
        assert found[: len(options)] == options


def test_every_ability_has_its_own_name_and_describes_its_arguments() -> None:
    requests = [ABILITIES[name].request for name in ABILITIES.names()]
    assert len({request.ability for request in requests}) == len(requests) == 10
    for request in requests:
        described = request.model_json_schema()["properties"]
        for name in request.model_fields:
            assert described[name].get("description") or name in ("seed", "settings"), name
