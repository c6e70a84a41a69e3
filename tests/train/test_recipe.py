"""Recipes: typed, complete, and mistakes found before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from unclip.checkpoints.format import open_model
from unclip.config import Config
from unclip.errors import SettingWarning, UsageError
from unclip.loading import PRESETS
from unclip.stages import STAGES, Stage
from unclip.train.cost import task_on_meta
from unclip.train.recipe import Recipe, load_recipe
from unclip.train.run import Run


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_every_preset_is_sound(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.settings.name == name
    assert Recipe.parse(recipe.dump()) == recipe
    assert recipe.trained
    for stage, one in recipe.stages.items():
        assert one.train.steps > 0 if one.train else one.part
        assert recipe.stage(stage).config.kind in STAGES.names()


def test_stages_may_stand_in_any_order(make_stage: Callable[[str], Stage]) -> None:
    """Each is trained, and run, after those that make what it reads."""
    values = load_recipe("tiny").dump()
    values["stages"]["upsampler"]["corruption"] = {"redrawn_by": "decoder"}
    again = {**values["stages"]["prior"], "kind": "prior"}
    for order in permutations(values["stages"]):
        tables = {"again": again} | {name: values["stages"][name] for name in order}
        recipe = Recipe.parse({**values, "stages": tables})
        assert list(recipe.stages) == ["clip", "again", "prior", "decoder", "upsampler"]
        assert list(recipe.trained) == list(recipe.stages)


def test_set_reaches_stage_and_training() -> None:
    recipe = load_recipe(
        "tiny",
        ["stages.prior.train.steps=7", "stages.prior.candidates=5", "name=mine", "seed=3"],
    )
    assert recipe.trained["prior"].steps == 7
    assert recipe.stage("prior").config.candidates == 5  # type: ignore[attr-defined]
    assert (recipe.settings.name, recipe.settings.seed) == ("mine", 3)
    assert load_recipe("tiny").trained["prior"].steps != 7


def test_a_clip_of_any_kind_is_the_clip(make_stage: Callable[[str], Stage]) -> None:
    recipe = load_recipe("tiny")
    name = recipe.clip()
    assert name is not None
    other = replace(recipe.stages[name], config=make_stage("x_clip").config)
    assert replace(recipe, stages={**recipe.stages, name: other}).clip() == name


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stages.prior.train.stepz=7", r"'stages\.prior\.train\.stepz' \(did you mean 'steps'\?\)"),
        ("stages.prior.candidate=7", r"'stages\.prior\.candidate' \(did you mean 'candidates'\?\)"),
        (
            "stages.decoder.network.chanels=64",
            r"'stages\.decoder\.network\.chanels' \(did you mean 'channels'\?\)",
        ),
        ("sead=1", r"unknown setting 'sead' \(did you mean 'seed'\?\)"),
        ("data.sourse=1", r"unknown setting 'data\.sourse'"),
        ("data.sourc=x", r"unknown setting 'data\.sourc' \(did you mean 'source'\?\)"),
        ("dta.source=x", r"unknown section 'dta' \(did you mean 'data'\?\)"),
        ("stages.prior.trian.steps=7", r"unknown section 'stages.prior.trian' .* 'train'\?\)"),
        ("stages.prior.frm=x", r"unknown setting 'stages.prior.frm' \(did you mean 'from'\?\)"),
        (
            "stages.decoder.network.text.contxt=7",
            r"setting 'stages\.decoder\.network\.text\.contxt' \(did you mean 'context'\?\)",
        ),
        ("stages.clip.network.vison.width=7", r"section 'stages.clip.network.vison' .* 'vision'"),
        ("stages=7", r"^setting 'stages' must be a section, got 7$"),
        ("stages.prior.train.betas=[1,2,3]", r"betas' must have at most 2 values, got \[1, 2, 3\]"),
        ("stages.prior.train.betas=7", r"betas' must be a list, got 7"),
        ("data.source=shape", r"unknown data source 'shape' \(did you mean 'shapes'\?\)"),
        ("stages.prior.kind=priors", r"unknown stage 'priors' \(did you mean 'prior'\?\)"),
        ("stages.prior.train.steps=0", r"'stages\.prior\.train\.steps' must be at least"),
        ("stages.prior.train=7", r"'stages\.prior\.train' must be a section, got 7"),
        ("stages.prior.schedule={kind='cosin'}", r"stages\.prior\.schedule"),
        ("tokenizer.context=2", r"'tokenizer\.context' must be at least 4"),
        (
            "tokenizer.context=16",
            r"'stages\.clip.*\.context' must be tokenizer\.context, 16, got 8",
        ),
        ("stages.prior.network.context=9", r"'stages\.prior.*\.context' must be .* 8, got 9"),
        ("stages.decoder.network.text.vocab_size=300", r"must be at least .*, 320, got 300"),
        ("stages.prior.network.embed_dim=16", r"'stages\.prior.*\.embed_dim' must be CLIP's"),
        ("stages.decoder.network.embed_dim=16", r"'stages\.decoder.*\.embed_dim' must be CLIP's"),
        (
            "prior=decoder",
            r"'prior' must name a stage that makes an image embed.*, got 'decoder'; .* has: prior",
        ),
        ("prior=priro", r"'prior' must name .*, got 'priro' \(did you mean 'prior'\?\)"),
        ("stages.prior.network.text_width=16", r"'stages\.prior.*\.text_width' must be CLIP's"),
    ],
)
def test_mistakes_are_one_line_before_any_work(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe("tiny", [assignment])
    assert "\n" not in str(caught.value)


def test_a_recipe_may_hold_several_priors_and_names_one() -> None:
    assert load_recipe("tiny").settings.prior is None
    linear = "stages.linear_prior.network.embed_dim=32"
    second = "stages.second={kind='linear_prior', network={embed_dim=32}}"
    recipe = load_recipe("tiny", [linear, second, "prior=second"])
    assert recipe.settings.prior == "second"
    assert [recipe.stage(name).config.kind for name in ("second", "linear_prior")] == [
        "linear_prior"
    ] * 2
    assert Recipe.parse(recipe.dump()) == recipe
    with pytest.raises(UsageError, match=r"'stages\.second.*\.embed_dim' must be CLIP's .* 32"):
        load_recipe("tiny", ["stages.second={kind='linear_prior', network={embed_dim=16}}"])


def test_a_decoder_may_do_without_the_embedding() -> None:
    assert load_recipe("tiny", ["stages.decoder.network.embed_dim=0"]).stage("decoder")


def test_unknown_recipes_and_stages_name_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no recipe 'tiney' \(did you mean 'tiny'\?\); presets:"):
        load_recipe("tiney")
    with pytest.raises(UsageError, match=r"no stage 'decode' \(did you mean 'decoder'\?\)"):
        load_recipe("tiny").stage("decode")


def test_a_file_is_read_and_needs_its_data(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text((PRESETS / "tiny.toml").read_text())
    assert load_recipe(file) == load_recipe("tiny")
    file.write_text('name = "x"\n[data]\npath = "y"\n[stages.clip]\n')
    with pytest.raises(UsageError, match=r"^setting 'data\.source' is missing$"):
        load_recipe(file)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("[data]", "[dta]", "unknown section 'dta' (did you mean 'data'?)"),
        ("[stages.clip]", "[stage.clip]", "unknown section 'stage' (did you mean 'stages'?)"),
        ("source", "sourse", "unknown setting 'data.sourse' (did you mean 'source'?)"),
        ("[stages.clip.train]", "[stages.clip.trian]", "unknown section 'stages.clip.trian' (did "
         "you mean 'train'?)"),
    ],
)  # fmt: skip
def test_a_mistyped_key_of_a_file_is_named_before_what_it_leaves_missing(
    right: str, wrong: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    text = 'name = "x"\n[data]\nsource = "shapes"\n[stages.clip]\n[stages.clip.train]\nsteps = 2\n'
    file.write_text(text.replace(right, wrong))
    with pytest.raises(UsageError) as caught:
        load_recipe(file)
    assert str(caught.value) == message


def test_a_budget_is_given_once() -> None:
    wanted = r"^--budget 1h and --set budget=2h set the same: give only one of them$"
    with pytest.raises(UsageError, match=wanted):
        load_recipe("tiny", ["budget=2h"], "1h")
    assert load_recipe("tiny", [], "1h").settings.budget == 60
    assert load_recipe("tiny", ["budget=2h"]).settings.budget == 120


def test_data_are_given_once(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("black")
    wanted = rf"^--data {tmp_path} and --set data\.source=folder set the same"
    with pytest.raises(UsageError, match=wanted):
        load_recipe("folder", ["data.source=folder"], data=tmp_path)
    recipe = load_recipe("tiny", ["data.flip=true"], data=tmp_path)
    assert recipe.settings.data == {"source": "folder", "path": str(tmp_path), "flip": True}
    with pytest.raises(UsageError, match=r"'data\.path' is missing: name it, or give --data DIR$"):
        load_recipe("tiny", ["data.source=folder"])


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What has been parsed, and how often."""
    counts: Counter[str] = Counter()
    parse = Config.parse.__func__  # type: ignore[attr-defined]

    def counting(cls: Any, values: Any, where: str = "", strict: bool = False) -> Any:
        counts[where] += 1
        return parse(cls, values, where, strict)

    monkeypatch.setattr(Config, "parse", classmethod(counting))
    return counts


def test_every_section_is_parsed_once(parsed: Counter[str], tmp_path: Path) -> None:
    """Whatever is asked of the recipe afterwards."""
    recipe = load_recipe("tiny", ["tokenizer.captions=50"])
    run = Run(recipe, tmp_path / "run", torch.device("cpu"))
    run.check()
    run.begin(resume=False)
    run.trainer("upsampler").save()
    assert not any(run.finished(name) for name in recipe.stages)
    task_on_meta(recipe, "decoder", torch.float32)
    assert recipe.shares() == {}
    stages = [f"stages.{name}" for name in recipe.stages]
    once = dict.fromkeys(["", *stages, *(f"{one}.train" for one in stages)], 1)
    assert parsed == {**once, "data": 2}  # its source's settings, and those of every source


def test_a_model_that_stages_are_taken_from_is_opened_once(
    trained: Run, parsed: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For configurations, tokenizer, weights and vocabulary of all stages."""
    opened: list[Path] = []
    monkeypatch.setattr(
        "unclip.loading.open_model", lambda path, *more: opened.append(path) or open_model(path)
    )
    values = trained.recipe.dump()
    values["tokenizer"]["model"] = str(trained.model)
    for name, table in values["stages"].items():
        train = {"train": table["train"]} if name != "clip" else {}
        values["stages"][name] = {"from": str(trained.model), **train}
    run = Run(Recipe.parse(values), tmp_path / "run", torch.device("cpu"))
    run.check()
    run.begin(resume=False)
    run.export_frozen("clip")
    for name in run.recipe.trained:
        run.trainer(name)
    assert opened == [trained.model]
    assert run.vocabulary.counts == (trained.vocabulary | trained.vocabulary).counts
    assert max(parsed[f"stages.{name}"] for name in values["stages"]) == 1
    assert {name: one.config for name, one in run.recipe.stages.items()} == {
        name: one.config for name, one in trained.recipe.stages.items()
    }


def test_other_values_of_a_train_table_parse_that_one_alone(parsed: Counter[str]) -> None:
    recipe = load_recipe("tiny")
    parsed.clear()
    other = recipe.with_train("prior", steps=7, share=2.0)
    assert parsed == {"stages.prior.train": 1}
    assert (other.trained["prior"].steps, other.trained["prior"].share) == (7, 2.0)
    assert other.dump()["stages"]["prior"]["train"]["steps"] == 7
    assert Recipe.parse(other.dump()) == other != recipe
    assert recipe.dump() == load_recipe("tiny").dump()


def test_another_source_has_none_of_the_settings_of_the_first(tmp_path: Path) -> None:
    """Of `emoji-cpu`, whose `styles` and `path` say nothing to a folder of pictures."""
    given = ["data.source=folder", f"data.path={tmp_path}", "data.max_skipped=0.1"]
    with pytest.warns(SettingWarning) as told:
        recipe = load_recipe("emoji-cpu", given)
    assert recipe.settings.data == {
        "source": "folder", "path": str(tmp_path), "max_skipped": 0.1
    }  # fmt: skip
    assert [str(one.message) for one in told] == [
        "data.source is 'folder' now: the recipe's settings of 'emoji' do not count "
        "(path, styles, languages, wrong, mix, nouns)"
    ]
    with pytest.warns(SettingWarning), pytest.raises(UsageError, match=r"'data\.path' is missing"):
        load_recipe("emoji-cpu", ["data.source=folder"])


def test_a_setting_that_is_another_sources_is_told_what_this_one_takes() -> None:
    wanted = (
        r"^unknown setting 'data\.styles'; the source 'folder' takes: path, seed, picture_column, "
        r"caption_column, .*max_skipped, crop"
    )
    with pytest.raises(UsageError, match=wanted):
        load_recipe("tiny", ["data={source='folder', path='x', styles=['noto']}"])
    assert load_recipe("emoji-cpu", ["data.source=emoji"]).settings.data["styles"] == ["noto"]


def test_the_upsampler_trained_anew_is_that_of_the_whole_recipe() -> None:
    """Recipes cannot include one another, so the same table stands in both."""
    whole, anew = (load_recipe(name).dump()["stages"] for name in ("emoji-cpu", "emoji-upsampler"))
    one, other = whole["upsampler"], anew["upsampler"]
    for table in (one, other):
        for key in ("share", "preview_every"):
            table["train"].pop(key, None)
    assert one == other
