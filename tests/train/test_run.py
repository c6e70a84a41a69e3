"""A run: from a recipe to a model folder, stage by stage."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from unclip.checkpoints import native
from unclip.config import override
from unclip.data.shapes import COLOURS, SHAPES
from unclip.errors import DataError, TrainingError, UnclipError, UsageError
from unclip.loading import load
from unclip.stages.ar_prior import ArPriorStage
from unclip.train.clock import Clock
from unclip.train.cost import step_cost, task_on_meta
from unclip.train.distillation import ConsistencyTask
from unclip.train.previews import SMALLEST, chain_of
from unclip.train.recipe import Recipe, load_recipe
from unclip.train.run import Run
from unclip.train.state import load_state, saved_states
from unclip.train.watch import RunWatcher

CPU = torch.device("cpu")


def test_a_trained_run_is_a_model_folder(trained: Run) -> None:
    manifest = native.read_manifest(trained.model)
    assert manifest.name == "tiny"
    assert manifest.stages == ("clip", "prior", "decoder", "upsampler")
    assert native.verify(trained.model) == []
    assert (trained.model / "README.md").read_text() == trained.recipe.settings.card
    assert json.loads((trained.folder / "recipe.json").read_text()) == trained.recipe.dump()
    for name in trained.recipe.stages:
        assert trained.finished(name)
        assert trained.saved.steps_done(name) == trained.recipe.trained[name].steps


def test_the_model_holds_the_average_in_half_precision(trained: Run) -> None:
    state = load_state(saved_states(trained.folder / "decoder" / "states")[-1])
    weights = native.load_stage(trained.model, "decoder").net.state_dict()
    for name, value in state.tensors["ema"].items():
        assert torch.equal(weights[name], value.half().float())
    assert any(not torch.equal(v, state.tensors["net"][k]) for k, v in state.tensors["ema"].items())


def test_previews_show_the_prompts_at_the_start_and_the_end(trained: Run) -> None:
    for name, config in trained.recipe.trained.items():
        first, *_, final = sorted((trained.folder / name / "previews").iterdir())
        assert (first.name, final.name) == ("step-00000000.png", f"step-{config.steps:08d}.png")
        with Image.open(final) as sheet:
            assert len(sheet.convert("RGB").getcolors(10**6)) > 50  # type: ignore[arg-type]
            assert sheet.width >= 2 * SMALLEST, "16 pixels are enlarged"


def test_the_tokenizer_is_learnt_once(trained: Run) -> None:
    before = (trained.folder / "tokenizer.json").read_bytes()
    tokenizer = trained.tokenizer()
    assert (trained.folder / "tokenizer.json").read_bytes() == before
    assert (trained.model / "tokenizer.json").read_bytes() == before
    assert len(tokenizer.pieces("a red circle")) == 3


def test_a_run_is_not_begun_twice(trained: Run) -> None:
    with pytest.raises(UsageError, match="holds a run already; go on with --resume"):
        trained.begin(resume=False)
    trained.begin(resume=True)


def test_a_run_of_which_no_stage_began_is_begun_anew_and_with_its_own_words(tmp_path: Path) -> None:
    """A budget that was refused has left both files, of other data perhaps."""
    first = Run(load_recipe("tiny", [], "1h"), tmp_path / "run", CPU)
    first.begin(resume=False)
    before = first.tokenizer().to_json()
    first.end()
    other = load_recipe("tiny", ["tokenizer.vocab_size=300"])
    again = Run(other, tmp_path / "run", CPU)
    assert not again.exists()
    again.begin(resume=False)
    assert again.recipe.settings.budget is None
    assert again.tokenizer().to_json() != before
    again.end()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds a run already"):
        again.begin(resume=False)


def test_a_lock_alone_is_no_run_and_what_was_half_written_goes(tmp_path: Path) -> None:
    run = Run(load_recipe("tiny"), tmp_path / "run", CPU)
    run.folder.mkdir()
    (run.folder / ".lock").write_text("process 1 on another machine")
    run.begin(resume=False)
    assert run.is_locked
    left = run.folder / "clip" / "states" / ".step-00000003.abcd_123.part"
    left.mkdir(parents=True)
    run.end()
    run.begin(resume=True)
    assert not left.exists()
    run.end()


def test_what_another_process_may_be_writing_stays_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.train.lock._try_lock", lambda _: False)
    run = Run(load_recipe("tiny"), tmp_path / "run", CPU)
    left = run.folder / "clip" / "states" / ".step-00000003.abcd_123.part"
    left.mkdir(parents=True)
    run.begin(resume=True)
    assert not run.is_locked
    assert left.is_dir()
    run.end()


def test_nothing_is_hashed_between_a_stages_folder_and_the_manifest(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(trained.recipe, Path(shutil.copytree(trained.folder, tmp_path / "run")), CPU)
    stage = native.load_stage(run.model, "prior")
    hashed: list[Path] = []
    sha256, save_stage = native.sha256, native.save_stage

    def spy(file: Path) -> str:
        hashed.append(file)
        return sha256(file)

    def save(*args: Any) -> dict[Path, str]:
        known = save_stage(*args)
        hashed.clear()
        return known

    monkeypatch.setattr(native, "sha256", spy)
    monkeypatch.setattr(native, "save_stage", save)
    run.export("prior", stage)
    assert [file.name for file in hashed] == ["tokenizer.json"]
    assert native.verify(run.model) == []


def test_going_on_with_a_finished_stage_finds_its_state(trained: Run) -> None:
    trainer = trained.trainer("prior")
    assert trainer.step == trained.recipe.trained["prior"].steps
    assert trainer.loader.state_dict()["position"] == 80 * 32


def test_stages_wait_for_clip(tmp_path: Path) -> None:
    run = Run(load_recipe("tiny"), tmp_path / "run", CPU)
    run.begin(resume=False)
    for name in ("prior", "decoder"):
        with pytest.raises(TrainingError, match=f"train stage 'clip' first: '{name}' needs it"):
            run.trainer(name)
    assert run.saved.steps_done("decoder") == 0
    assert not run.finished("decoder")


def test_a_decoder_that_reads_as_clip_does_starts_with_the_trained_one(
    trained: Run, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "decoder")
    clip = native.load_stage(trained.model, "clip")
    text = clip.config.network.text.dump()  # type: ignore[attr-defined]
    values = trained.recipe.dump()
    values["stages"]["decoder"]["network"] |= {"text": text, "text_of_clip": True}
    run = Run(Recipe.parse(values), tmp_path / "run", CPU)
    theirs = clip.net.float().text.state_dict()
    ours = run.trainer("decoder").net.text.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_networks_that_cannot_be_are_found_before_any_work(tmp_path: Path) -> None:
    recipe = load_recipe("tiny", ["stages.decoder.network.out_channels=6"])
    with pytest.raises(UsageError, match=r"network\.out_channels must be 3"):
        Run(recipe, tmp_path / "run", CPU).check()
    assert not (tmp_path / "run").exists()


def test_an_upsampler_that_enlarges_another_size_is_found_before_any_work(tmp_path: Path) -> None:
    recipe = load_recipe("tiny", ["stages.upsampler.low_res_size=8"])
    with pytest.raises(UsageError, match=r"stages\.upsampler\.low_res_size' must be 16, .* got 8"):
        Run(recipe, tmp_path / "run", CPU).check()
    values = recipe.dump()
    del values["stages"]["decoder"]
    Run(Recipe.parse(values), tmp_path / "run", CPU).check()


@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        (["stages.decoder.network.channels=64"], "stages.decoder.network.channels = 32, .* is 64"),
        (["stages.clip.network.vision.depth=3"], r"stages.clip.network.vision.depth = \d, .* is 3"),
        (["stages.prior.train.optimizer=muon"], "stages.prior.train.optimizer = adamw, .* is muon"),
        (
            ["stages.decoder.network.dropout=0.3", "stages.decoder.sampling.steps=9"],
            None,  # no tensor is another
        ),
        (["stages.clip.train.steps=99", "prompts=['x']"], None),
    ],
)
def test_a_changed_network_is_found_before_the_training_goes_on(
    assignments: list[str], told: str | None, trained: Run
) -> None:
    before = (trained.folder / "recipe.json").read_bytes()
    recipe = Recipe.parse(override(trained.recipe.dump(), assignments))
    run = Run(recipe, trained.folder, CPU)
    if told is None:
        run.check_states()
        return
    stage = assignments[0].split(".")[1]
    with pytest.raises(
        TrainingError, match=f"^stage '{stage}' in .* begun with {told}: set .*--out"
    ):
        run.begin(resume=True)
    assert not run.is_locked
    assert (trained.folder / "recipe.json").read_bytes() == before


STUDENT = [
    "stages.student.kind=decoder",
    "stages.student.objective.kind=consistency",
    "stages.student.sampling={guidance_scale=1.0, steps=2}",
    "stages.student.train.steps=2",
    "stages.student.train.batch_size=4",
]


@pytest.fixture
def with_student(trained: Run) -> Callable[..., Recipe]:
    """`with_student("key=value", ...)`: the tiny recipe, and a student of its decoder."""

    def make(*assignments: str) -> Recipe:
        values = trained.recipe.dump()
        upsampler = values["stages"].pop("upsampler")
        values = override(override(values, STUDENT), assignments)
        values["stages"]["student"].setdefault("from", str(trained.model))
        values["stages"]["upsampler"] = upsampler
        return Recipe.parse(values)

    return make


def test_a_student_of_what_it_is_taken_from_is_trained_and_chosen(
    with_student: Callable[..., Recipe], trained: Run, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "run")
    run = Run(with_student("decoder=student"), tmp_path / "run", CPU)
    run.check()
    trainer = run.trainer("student")
    assert isinstance(trainer.task, ConsistencyTask)
    theirs = native.load_stage(trained.model, "decoder").net.state_dict()
    (teacher,) = trainer.task.teacher
    assert all(torch.equal(v, theirs[k]) for k, v in teacher.net.state_dict().items())
    assert all(torch.equal(v, theirs[k]) for k, v in trainer.net.state_dict().items())
    task = task_on_meta(run.recipe, "student", torch.float32)
    usual = task_on_meta(run.recipe, "decoder", torch.float32)
    # forward and backward as usual, and forward alone of the teacher, twice, and of the average
    assert 1.5 < step_cost(task, 4, 8)[0] / step_cost(usual, 4, 8)[0] < 2.5
    run.export("student", trainer.task.stage)
    model = load(run.model, device="cpu").model
    assert model.decoders == ["student", "decoder"]
    assert list(model.inverting().image_stages) == ["decoder", "upsampler"]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["stages.student.objective.guidance_scale=1.0"], "must be above 1, got 1"),
        (["stages.student.network.embed_dim=0"], r"teacher': it reads image_embed, which"),
        (["stages.student.objective.levels=2000"], r"objective\.levels' must be at most 1000"),
        (["stages.student.schedule.kind=linear"], "need the same schedule"),
        (["stages.student.objective.kind=adversarial", "stages.student.objective.teacher=clip"],
         "only a stage that diffuses"),
    ],
)  # fmt: skip
def test_a_teacher_that_cannot_teach_is_found_before_any_work(
    assignments: list[str], message: str, with_student: Callable[..., Recipe], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        Run(with_student(*assignments), tmp_path / "run", CPU).check()
    assert not (tmp_path / "run").exists()


def test_a_student_of_another_shape_cannot_begin_as_its_teacher(
    with_student: Callable[..., Recipe], trained: Run, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "run")
    recipe = with_student("stages.student.network.channels=64")
    with pytest.raises(UnclipError, match=r"student\.from does not fit: .* of another shape"):
        Run(recipe, tmp_path / "run", CPU).trainer("student")


def test_a_critic_that_a_saved_state_lacks_is_found_before_the_training_goes_on(
    with_student: Callable[..., Recipe], trained: Run, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "run")
    run = Run(with_student(), tmp_path / "run", CPU)
    run.begin(resume=True)
    trainer = run.trainer("student")
    trainer.step = 1
    trainer.save()
    run.end()
    judged = with_student("stages.student.objective.kind=adversarial")
    told = "student' in .* begun with .*objective.kind = consistency, and now it is adversarial"
    with pytest.raises(TrainingError, match=told):
        Run(judged, tmp_path / "run", CPU).check_states()
    Run(with_student("stages.student.objective.levels=16"), tmp_path / "run", CPU).check_states()


def test_an_objective_taken_from_a_model_is_changed_or_replaced_never_mixed(
    with_student: Callable[..., Recipe],
) -> None:
    def objective(**given: Any) -> dict[str, Any]:
        own = {"stages": {"decoder": {"objective": given}}}
        recipe = with_student().dump()
        recipe["stages"]["student"] |= own["stages"]["decoder"]
        found = Recipe.parse(recipe).stages["student"].config.dump()["objective"]
        return {key: value for key, value in found.items() if key in ("kind", *given)}

    # the model's is diffusion's
    assert objective(v_gamma=3.0)["kind"] == "diffusion"
    assert objective(kind="consistency", v_gamma=3.0) == {"kind": "consistency", "v_gamma": 3.0}


def test_stages_that_have_not_begun_may_change(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_bytes((trained.folder / "recipe.json").read_bytes())
    values = override(trained.recipe.dump(), ["stages.decoder.network.channels=64"])
    Run(Recipe.parse(values), tmp_path, CPU).check_states()


def test_data_that_are_not_there_are_found_before_any_work(tmp_path: Path) -> None:
    recipe = load_recipe("tiny", ["data={source='folder', path='/nowhere'}"])
    run = Run(recipe, tmp_path / "run", CPU)
    with pytest.raises(DataError, match="no dataset folder at /nowhere"):
        run.check()
    Run(load_recipe("tiny"), tmp_path / "run", CPU).check()
    assert not (tmp_path / "run").exists()


def test_fresh_weights_depend_on_the_recipes_seed(tmp_path: Path) -> None:
    def weights(seed: int, folder: str) -> torch.Tensor:
        run = Run(load_recipe("tiny", [f"seed={seed}"]), tmp_path / folder, CPU)
        run.begin(resume=False)
        net = run.trainer("upsampler").net
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert torch.equal(weights(0, "a"), weights(0, "b"))
    assert not torch.equal(weights(0, "c"), weights(1, "d"))


AR = (
    "stages.ar_prior={network={embed_dim=32, text_width=32, context=8, width=16, depth=1, heads=1, "
    "dims=4, buckets=8}, train={steps=3, batch_size=8, workers=0, warmup=0}}"
)


def test_a_second_prior_is_prepared_once_trained_and_chosen(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    prepare = ArPriorStage.prepare

    def spy(stage: ArPriorStage, conds: Any) -> None:
        shown = list(conds)
        fitted.append(sum(len(cond) for cond in shown))
        prepare(stage, shown)

    monkeypatch.setattr(ArPriorStage, "prepare", spy)
    monkeypatch.setattr(ArPriorStage, "prepare_samples", 100)
    recipe = Recipe.parse(override(trained.recipe.dump(), [AR, "prior=ar_prior"]))
    folder = Path(shutil.copytree(trained.folder, tmp_path / "run"))
    run = Run(recipe, folder, CPU)
    run.begin(resume=True)
    run.export("prior", native.load_stage(run.model, "prior"))
    assert native.read_manifest(run.model).prior is None, "not before it is there"
    trainer = run.trainer("ar_prior")
    assert fitted == [104]
    trainer.config = trainer.config.model_copy(update={"steps": 2})
    trainer.run(Silent())
    again = run.trainer("ar_prior")
    assert fitted == [104], "a resumed run keeps what was fitted"
    assert torch.equal(again.net.pca.basis, trainer.net.pca.basis)  # type: ignore[union-attr, arg-type]
    assert again.step == 2
    again.run(Silent())
    run.export("ar_prior", again.averaged())
    assert native.read_manifest(run.model).prior == "ar_prior"
    model = load(run.model, device="cpu", dtype="float32").model
    assert model.prior == "ar_prior"
    assert list(model.stages) == ["clip", "prior", "ar_prior", "decoder", "upsampler"]
    held = model.stages["ar_prior"].net.pca.basis
    assert torch.allclose(held, again.net.pca.basis, atol=1e-3)  # type: ignore[union-attr, arg-type]


class Silent:
    """Told how training goes, and keeps it to itself."""

    def scalars(self, step: int, values: dict[str, float]) -> None: ...
    def saving(self, step: int) -> None: ...
    def note(self, line: str) -> None: ...
    def preview(self, step: int, stage: Any) -> None: ...


class Killed(BaseException):
    """As a process ends that is killed: nothing may catch it."""


def killed(*_: object) -> None:
    raise Killed


@pytest.mark.parametrize("at", ["unclip.train.saving.save_state", "unclip.train.run.Run.export"])
def test_a_kill_around_the_last_save_loses_nothing(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes first, the stage is not finished before weights and state are both there."""
    monkeypatch.setattr("unclip.train.watch._board", lambda _: None)  # slow to import
    short = {"steps": 4, "batch_size": 2, "workers": 0}
    recipe = load_recipe("tiny", [f"stages.upsampler.train.{k}={v}" for k, v in short.items()])

    def go(folder: str, deadline: float = inf) -> Run:
        run = Run(recipe, tmp_path / folder, CPU, Clock(deadline))
        run.begin(resume=True)
        trainer = run.trainer("upsampler")
        with RunWatcher(run, "upsampler", trainer, Console(file=io.StringIO())) as watcher:
            trainer.run(watcher)
        return run

    whole = go("whole")
    assert not go("cut", deadline=0.0).finished("upsampler")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(at, killed)
        go("cut")
    assert not Run(recipe, tmp_path / "cut", CPU).finished("upsampler")
    cut = go("cut")
    assert cut.finished("upsampler")
    assert native.verify(cut.model) == []
    weights = [native.load_stage(run.model, "upsampler").net.state_dict() for run in (whole, cut)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@pytest.mark.parametrize(
    ("every", "line", "log", "told"),
    [
        (1, 3600.0, 3600.0, ["upsampler 1/4", "upsampler 4/4"]),  # the first and the last
        (2, 0.0, 3600.0, ["upsampler 2/4", "upsampler 4/4"]),  # every `log_every`
        (2, 0.0, -1.0, [f"upsampler {step}/4" for step in (1, 2, 3, 4)]),  # every slow step
    ],
)
def test_a_log_is_told_how_training_goes(
    every: int,
    line: float,
    log: float,
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("unclip.train.watch._board", lambda _: None)
    monkeypatch.setattr("unclip.train.watch.LINE_SECONDS", line)
    monkeypatch.setattr("unclip.train.trainer.LOG_SECONDS", log)
    short = {"steps": 4, "batch_size": 2, "workers": 0, "log_every": every}
    recipe = load_recipe("tiny", [f"stages.upsampler.train.{k}={v}" for k, v in short.items()])
    run = Run(recipe, tmp_path / "run", CPU)
    run.begin(resume=False)
    trainer = run.trainer("upsampler")
    said = io.StringIO()
    with RunWatcher(run, "upsampler", trainer, Console(file=said, width=110)) as watcher:
        trainer.run(watcher)
    lines = said.getvalue().splitlines()
    assert [one.partition("  ")[0] for one in lines] == told
    assert all("loss" in one and "images/s" in one for one in lines)


def test_a_stage_that_the_manifest_lacks_is_not_finished(trained: Run, tmp_path: Path) -> None:
    run = Run(trained.recipe, Path(shutil.copytree(trained.folder, tmp_path / "run")), CPU)
    assert run.finished("upsampler")
    native.write_manifest(run.model, "tiny", ["clip", "prior"], 8)
    assert [name for name in run.recipe.stages if run.finished(name)] == ["clip", "prior"]
    (run.model / "model.json").unlink()
    assert not run.finished("clip")


def test_the_model_lists_the_words_that_its_data_taught_it(trained: Run) -> None:
    words = native.read_manifest(trained.model).vocabulary
    assert set(words) == {"a", *COLOURS, *SHAPES}
    assert words["a"] == len(COLOURS) * len(SHAPES)


def test_words_of_the_models_that_readers_of_text_come_from_are_known_too(
    trained: Run, tmp_path: Path
) -> None:
    """A folder of other words, on a CLIP that has learnt shapes; then on one that lists none."""
    (tmp_path / "data").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "1.png")
    (tmp_path / "data" / "1.txt").write_text("a fox\n")
    data = {"source": "folder", "path": str(tmp_path / "data")}

    def words(model: Path, taken: str = "clip") -> set[str]:
        values = {**trained.recipe.dump(), "data": data}
        values["stages"][taken]["from"] = str(model)
        return set(Run(Recipe.parse(values), tmp_path / "run", CPU).vocabulary.counts)

    assert words(trained.model) == {"a", "fox", *COLOURS, *SHAPES}
    old = Path(shutil.copytree(trained.model, tmp_path / "old"))
    plain = native.read_manifest(old).model_copy(update={"vocabulary": {}})
    (old / "model.json").write_text(json.dumps(plain.dump()))
    assert words(old) == set(), "nobody can say what it knows"
    assert words(old, "upsampler") == {"a", "fox"}, "it reads no text"


def test_a_preview_that_comes_to_nothing_does_not_end_the_training(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.train.watch._board", lambda _: None)  # slow to import
    stage = native.load_stage(trained.model, "decoder")
    for weight in stage.net.parameters():
        weight.data.fill_(torch.nan)
    before = sorted((trained.folder / "decoder" / "previews").iterdir())
    said = Console(file=io.StringIO(), width=200)
    untrained, warned = trained.untrained("decoder"), list[str]()
    with RunWatcher(trained, "decoder", untrained, said) as watcher:
        watcher.preview(9, stage)
    quiet = Console(file=io.StringIO(), quiet=True)
    with RunWatcher(trained, "decoder", untrained, quiet, warned.append) as watcher:
        watcher.preview(9, stage)
    assert warned[0].startswith("no preview at step 9: stage 'decoder' gave numbers")
    assert isinstance(said.file, io.StringIO)
    assert "no preview at step 9: stage 'decoder' gave numbers" in said.file.getvalue()
    assert sorted((trained.folder / "decoder" / "previews").iterdir()) == before


def test_a_preview_is_of_the_decoder_that_is_trained(trained: Run) -> None:
    values = trained.recipe.dump()
    student = {"kind": "decoder", "from": str(trained.model), "objective": "consistency"}
    student |= {"sampling": {"guidance_scale": 1.0}, "train": {"steps": 1}}  # type: ignore[dict-item]
    values["stages"] = {**values["stages"], "student": student}
    run = Run(Recipe.parse(values), trained.folder, CPU)
    for name in ("decoder", "student"):
        chain = chain_of(run, name, run.build(name))
        assert chain is not None
        assert chain.model.decoders[0] == name
