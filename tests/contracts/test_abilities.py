"""An ability is one file: what is defined here alone is a command, has a record, is replayed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from PIL import Image

import unclip.abilities
from unclip.abilities import ABILITIES, Ability
from unclip.abilities.capabilities import capabilities
from unclip.cli import main
from unclip.cli._ability import ability_command
from unclip.cli.app import COMMANDS as CLI_COMMANDS
from unclip.cli.app import make_app
from unclip.facade import Pipeline
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage

COMMANDS = ["edit", "generate", "img2img", "interpolate", "outpaint", "probe", "reconstruct"]
COMMANDS += ["textdiff", "upscale", "vary"]

NEWCOMER = '''
"""A picture turned, with a drawn one beside it."""

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


@pytest.fixture
def turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file of the package that was not there, and nothing else."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "turn.py").write_text(NEWCOMER)
    package = [*unclip.abilities.__path__, str(tmp_path / "more")]
    monkeypatch.setattr(unclip.abilities, "__path__", package)
    monkeypatch.chdir(tmp_path)

    command = ModuleType("commands.turn", "Turn a picture.")
    monkeypatch.setitem(sys.modules, "commands.turn", command)

    def with_turn() -> typer.Typer:
        app = make_app()
        ability_command("commands.turn", "turn")(app)
        return app

    monkeypatch.setattr("unclip.cli.app.make_app", with_turn)
    Image.radial_gradient("L").resize((16, 16)).convert("RGB").save("fox.png")
    vars(ABILITIES).pop("_modules", None)  # it has looked already
    yield
    vars(ABILITIES).pop("_modules", None)


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory,
    make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
) -> str:
    """A model folder whose pictures are 16 x 16 noise."""
    path = tmp_path_factory.mktemp("turn") / "model"
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder", "upsampler")}
    save_model(path, "tiny", tokenizer, stages)
    return str(path)


@pytest.mark.usefixtures("turn")
def test_a_newcomers_fields_are_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["turn", "--help"]) == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
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
    assert sorted(capabilities(whole)) == sorted([*COMMANDS, "turn"])
    assert "turn" not in capabilities({"upsampler": whole["upsampler"]})
    assert capabilities({"clip": whole["clip"]}) == ["probe"]


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


def forgotten(ability: Ability) -> list[str]:
    """What an ability lacks beside its own file."""
    method, command = ability.function.__name__, ability.command or ability.request.ability
    lacks = []
    if vars(Pipeline).get(method) is not ability.function:
        lacks.append(f"src/unclip/facade.py: the line '{method} = {method}' in Pipeline")
    if command not in CLI_COMMANDS.names():
        lacks.append(f"src/unclip/cli/{command}.py, whose docstring is its help")
    return lacks


@pytest.mark.parametrize("name", ABILITIES.names())
def test_an_ability_is_a_method_and_a_command(name: str) -> None:
    assert forgotten(ABILITIES[name]) == []


@pytest.mark.usefixtures("turn")
def test_a_forgotten_method_and_a_forgotten_command_are_named() -> None:
    assert forgotten(ABILITIES["turn"]) == [
        "src/unclip/facade.py: the line 'turn = turn' in Pipeline",
        "src/unclip/cli/turn.py, whose docstring is its help",
    ]


def test_every_ability_has_its_own_name_and_describes_its_arguments() -> None:
    requests = [ABILITIES[name].request for name in ABILITIES.names()]
    assert len({request.ability for request in requests}) == len(requests) == 10
    for request in requests:
        described = request.model_json_schema()["properties"]
        for name in request.model_fields:
            assert described[name].get("description") or name in ("seed", "settings"), name
