"""`unclip evaluate`: a page and its numbers, or one clear line and nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from unclip.cli.evaluate import _sizes
from unclip.emoji import extractors
from unclip.emoji.corpus import build
from unclip.emoji.detector import Detector, DetectorNet
from unclip.emoji.options import EmojiSizes
from unclip.evaluate import features, run
from unclip.evaluate.options import FULL
from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage

Run = Callable[..., Any]
ASSETS = Path(__file__).parents[1] / "fixtures" / "assets"
SMALL = (
    "--pictures", "7", "--set", "pool=6", "--set", "sample=2", "--anyway",
    "--set", "prompts=2", "--set", "seeds=2", "--set", "reference_steps=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus"
    build(path, ASSETS, "everyday", styles=("noto",))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty pictures with captions."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        shade = (number * 6, 255 - number * 5, number * 37 % 256)
        Image.new("RGB", (16, 16), shade).save(folder / f"{number:02}.png")
        (folder / f"{number:02}.txt").write_text(f"picture {number}\n")
    return folder


@pytest.fixture
def eye(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A net of four numbers in the place of the model's own CLIP."""
    text = {"width": 12, "depth": 1, "heads": 2, "vocab_size": 320, "context": 8}
    config = {"kind": "clip", "size": 16, "channels": (8,), "dims": 4, "text": text}
    extractors.save(
        tmp_path / "eye", extractors.build(extractors.ExtractorConfig.parse(config)), tokenizer
    )
    net = extractors.open_extractor("own-clip", tmp_path / "eye")
    monkeypatch.setattr(features, "of_pipeline", lambda pipe: net)


@pytest.mark.usefixtures("eye")
def test_a_folder_of_ones_own(unclip: Run, model: Path, photos: Path) -> None:
    result = unclip("evaluate", model, "--data", photos, "-o", "out/report.html", *SMALL)
    assert result.code == 0, result.err
    assert "FD-own-clip@7" in result.out and "left out: memorisation: " in result.out
    assert result.err == ""
    page = Path("out/report.html").read_text()
    values = json.loads(Path("out/report.json").read_text())
    assert "FD-own-clip@7" in page and "Failures" in page
    assert values["distribution"]["pictures"] == 7
    assert values["left_out"]["science"]
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "report.html", "report.json", "report.work",
    ]  # fmt: skip


@pytest.mark.usefixtures("eye", "at_once")
def test_a_log_is_told_of_every_part(unclip: Run, model: Path, photos: Path) -> None:
    result = unclip("evaluate", model, "--data", photos, *SMALL)
    assert result.code == 0, result.err
    for part in ("reading 14/14", "drawing, as it comes 7/7", "own-clip looks "):
        assert f"\nunclip: {part}" in f"\n{result.err}", result.err


@pytest.mark.usefixtures("eye")
def test_memorisation_with_the_training_pictures(
    unclip: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    trained = Path(shutil.copytree(photos, tmp_path / "trained"))
    arguments = ("--data", photos, "--trained-on", trained, "--only", "memorisation")
    result = unclip("evaluate", model, *arguments, *SMALL)
    assert result.code == 0, result.err
    assert "nearer to training:" in result.out
    assert json.loads(Path("report.json").read_text())["memorisation"]["pool"] == 6


def test_too_few_pictures(unclip: Run, model: Path, photos: Path) -> None:
    """The model's own CLIP makes features of 16 numbers."""
    unclip("evaluate", model, "--data", photos, *SMALL).fails(
        1, "FD-own-clip needs at least 17 pictures", "there are 7"
    )
    assert list(Path().iterdir()) == []


def test_a_model_and_data_that_do_not_fit(unclip: Run, model: Path, photos: Path) -> None:
    for number in range(40, 140):
        Image.new("RGB", (16, 16), (number, 5, 9)).save(photos / f"{number}.png")
        (photos / f"{number}.txt").write_text(f"picture {number} of {number * 7}\n")
    unclip("evaluate", model, "--data", photos, "--pictures", 70).fails(
        2, "'tiny' and photos do not fit each other", "--anyway"
    )


@pytest.mark.usefixtures("eye")
def test_few_unreadable_pictures_are_counted_and_skipped(
    unclip: Run, model: Path, photos: Path
) -> None:
    for number in range(40, 120):
        Image.new("RGB", (16, 16), (number, 5, 9)).save(photos / f"{number:03}.png")
        (photos / f"{number:03}.txt").write_text(f"picture {number}\n")
    (photos / "07.png").write_bytes(b"no picture")
    arguments = ("--only", "distribution", "--set", "sample=2", "--anyway")
    result = unclip("evaluate", model, "--data", photos, "--pictures", 60, *arguments)
    assert result.code == 0, result.err
    assert "left out: pictures: 1 of 120 files of " in result.out
    values = json.loads(Path("report.json").read_text())
    assert values["distribution"]["pictures"] == 59
    assert "1 of 120 files" in values["left_out"]["pictures"]


def test_a_clip_for_features_that_is_none(
    unclip: Run, model: Path, photos: Path, tmp_path: Path, make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer, save_model: Callable[..., Any],
) -> None:  # fmt: skip
    """A folder of pictures, an empty one, a model without a CLIP, a file of something else."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.pt").write_text("no weights")
    save_model(tmp_path / "blind", "blind", tokenizer, {"decoder": make_stage("decoder")})
    for name, part in (("empty", "empty"), ("photos", "photos"), ("words.pt", "words.pt"),
                       ("blind", "holds no CLIP")):  # fmt: skip
        result = unclip(
            "evaluate", model, "--data", photos, "--clip-features", tmp_path / name, *SMALL
        )
        assert result.code in (1, 2)
        result.fails(result.code, part, "--clip-features")
        assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("eye")
def test_nan_in_features(
    unclip: Run, model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def see(images: Tensor) -> Tensor:
        return torch.full((len(images), 4), torch.nan)

    net = features.of_pipeline(None)  # type: ignore[arg-type]
    monkeypatch.setattr(features, "of_pipeline", lambda pipe: replace(net, see=see))
    unclip("evaluate", model, "--data", photos, *SMALL).fails(
        1, "feature extractor 'own-clip' gives NaN or infinity for 7 of 7 pictures"
    )
    assert [path.name for path in Path().iterdir()] == ["report.work"]


def test_a_model_without_a_clip_and_a_folder(
    unclip: Run, photos: Path, tmp_path: Path, make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer, save_model: Callable[..., Any],
) -> None:  # fmt: skip
    stages = {name: make_stage(name) for name in ("prior", "decoder")}
    save_model(tmp_path / "blind", "blind", tokenizer, stages)
    unclip("evaluate", tmp_path / "blind", "--data", photos, *SMALL).fails(2, "'blind' has no CLIP")
    assert list(Path().iterdir()) == []


def test_a_corpus_that_does_not_fit(
    unclip: Run, model: Path, photos: Path, tmp_path: Path, corpus: Path
) -> None:
    """Other nouns, eyes that are missing, judges that are none."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\nsource = "emoji"\nnouns = ["fox", "pengui"]\n')
    asked = ("evaluate", model, "--data", corpus)
    unclip(*asked, "--recipe", recipe).fails(2, "has no 'pengui'", "did you mean 'penguin'")
    recipe.write_text('[data]\nsource = "shapes"\n')
    unclip(*asked, "--recipe", recipe).fails(2, "trained on source 'shapes'", "--anyway")
    recipe.write_text('[data]\nsource = "emoji"\n')
    unclip("evaluate", model, "--data", photos, "--recipe", recipe).fails(
        2, "trained on an emoji corpus", "corpus.json"
    )
    unclip(*asked, "--anyway").fails(
        2, "no feature extractor 'classifier'", "scripts/features.py", "--features"
    )
    assert list(Path().iterdir()) == []


def test_judges_that_are_none(
    unclip: Run, model: Path, corpus: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    text = {"width": 12, "depth": 1, "heads": 2, "vocab_size": 320, "context": 8}
    small = {"size": 16, "channels": (8,), "dims": 4}
    one = extractors.ExtractorConfig.parse({"kind": "classifier", "nouns": ("a", "b"), **small})
    two = extractors.ExtractorConfig.parse({"kind": "clip", "text": text, **small})
    extractors.save(tmp_path / "eyes" / "classifier", extractors.build(one))
    extractors.save(tmp_path / "eyes" / "clip", extractors.build(two), tokenizer)
    asked = ("evaluate", model, "--data", corpus, "--eyes", tmp_path / "eyes", *SMALL)
    unclip(*asked, "--detector", tmp_path / "nothing").fails(2, "--detector: there is no")
    unclip(*asked, "--decoder", "turbo").fails(2, "no decoder 'turbo'", "it has: decoder")
    unclip(*asked, "--detector", corpus, "--only", "languages").fails(
        1, "cannot read the detector in", corpus.name
    )
    net = DetectorNet(2, 8)
    Detector(net, ("fox", "unheard of"), {}).save(tmp_path / "eyes" / "detector")
    unclip(*asked, "--only", "verifier").fails(1, "does not know", "of the corpus' nouns")
    assert list(Path().iterdir()) == []


def test_an_unreadable_picture(unclip: Run, model: Path, photos: Path) -> None:
    (photos / "07.png").write_bytes(b"no picture")
    unclip("evaluate", model, "--data", photos, "--pictures", 20, "--anyway").fails(
        1, "1 of 40 pictures cannot be read, more than 1 %", "07.png"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["-o", "report.pdf"], 2, ["report.pdf should end in .html"]),
        (["--only", "distribution,ablation"], 2, ["no 'ablation'", "did you mean 'ablations'"]),
        (["--size", "pool"], 2, ["--size needs key=value, got 'pool'"]),
        (["--size", "scenes=3"], 2, ["unknown setting 'scenes'"]),  # which only emoji have
        (["--size", "poool=3"], 2, ["unknown setting 'poool'", "did you mean 'pool'"]),
        (["--pictures", "0"], 2, ["setting 'pictures'", "must be at least 1"]),
        (["--seed", "-1"], 2, ["--seed must be at least 0"]),
        (["--eye", "nothing.pt"], 2, ["no model 'nothing.pt'"]),
        (["--clip-features", "nothing"], 2, ["no model 'nothing'"]),
        (["--recipe", "nothing.toml"], 2, ["--recipe: there is no nothing.toml"]),
        (["--trained-on", "nothing"], 2, ["--trained-on: there is no nothing"]),
        (
            ["--pictures", "3", "--size", "pictures=4"],
            2,
            ["--pictures 3 and --size pictures=4 set the same"],
        ),
    ],
)
def test_what_is_asked_for_wrongly(
    unclip: Run, model: Path, dataset: Path, arguments: list[str], code: int, parts: list[str]
) -> None:
    unclip("evaluate", model, "--data", dataset, *arguments).fails(code, *parts)
    assert list(Path().iterdir()) == []


def test_a_folder_that_is_not_there_or_empty(unclip: Run, model: Path, tmp_path: Path) -> None:
    unclip("evaluate", model, "--data", "data/emoji").fails(2, "data/emoji", "unclip data emoji")
    (tmp_path / "empty").mkdir()
    unclip("evaluate", model, "--data", tmp_path / "empty").fails(1, "empty has no pictures")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nope"], ["no model 'nope'"]),
        (["--only", "foo"], ["--only knows no 'foo'"]),
        (["--size", "poool=3"], ["unknown setting 'poool'"]),
        (["--size", "pool=x"], ["setting 'pool' must be a whole number"]),
        (["--pictures", "0"], ["setting 'pictures' must be at least 1"]),
        (["--seed", "-1"], ["--seed must be at least 0"]),
        (["--clip-features", "nope"], ["no model 'nope'"]),
        (["--device", "tpu"], ["unknown device 'tpu'"]),
        (["--dtype", "int3"], ["int3"]),
        (["--detector", "none"], ["--detector: there is no none"]),
        (["--size", "scenes=3"], ["no folder data/emoji to evaluate on"]),  # emoji data have it
        ([], ["no folder data/emoji to evaluate on"]),
    ],
)
def test_what_is_mistyped_is_told_before_what_is_missing(
    unclip: Run, arguments: list[str], parts: list[str]
) -> None:
    unclip("evaluate", *arguments).fails(2, *parts)


def test_a_model_that_is_not_there(unclip: Run, dataset: Path) -> None:
    unclip("evaluate", "nomodel", "--data", dataset).fails(2, "no model 'nomodel'")


def test_old_names_of_options_work_and_are_not_shown(unclip: Run) -> None:
    shown = unclip("evaluate", "--help").out
    assert "--features" in shown and "--clip-features" in shown and "ablations" in shown
    assert "--eye" not in shown and "--set" not in shown


def test_help_explains_every_part_and_size() -> None:
    """Those of every benchmark, without the wait for PyTorch."""
    code = (
        "import sys; from unclip.cli.app import main; main(['evaluate', '--help']); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    lines = [line.split() for line in done.stdout.splitlines()]
    explained = {line[0] for line in lines if len(line) > 2}
    assert {*run.parts(), *EmojiSizes.model_fields} <= explained
    assert "[default: 1000; --quick: 96]" in " ".join(done.stdout.split())


def test_sizes_by_their_old_and_new_names(corpus: Path, photos: Path) -> None:
    """They are those of the data's benchmark."""
    old = _sizes(corpus, True, 7, ["science=5", "ways=6", "admission=8", "scales=[1,2]"])
    new = _sizes(
        corpus, True, None,
        ["pictures=7", "ablations=5", "source_prompts=6", "calibration=8", "scales=[1,2]"],
    )  # fmt: skip
    assert old == new and isinstance(old, EmojiSizes)
    assert (old.ablations, old.source_prompts, old.calibration, old.each) == (5, 6, 8, 1)
    assert _sizes(photos, False, None, []) == FULL


def test_settings_to_compare_are_typed_as_one_size(corpus: Path) -> None:
    asked = _sizes(corpus, True, None, ['settings=["steps=5","sampler=ddpm; steps=20"]', "seeds=4"])
    assert asked.settings == ("steps=5", "sampler=ddpm; steps=20") and asked.seeds == 4
    assert (asked.prompts, _sizes(corpus, False, None, []).prompts) == (8, 32)
