"""From a sentence to a picture, with a model that was really trained, if only for seconds."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unclip
from unclip import Cancelled, Pipeline
from unclip.data.shapes import COLOURS
from unclip.errors import SamplingError, UsageError
from unclip.loading import find_model
from unclip.media import to_pictures, to_tensor
from unclip.record import Record
from unclip.rng import Rng
from unclip.stages.model import Model
from unclip.train.run import Run
from unclip.types import Control, Step


@pytest.fixture(scope="module")
def pipe(trained: Run) -> Pipeline:
    return unclip.load(trained.model, device="cpu", dtype=torch.float32)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def chain(pipe: Pipeline, *names: str) -> Pipeline:
    """A shorter chain of the same stages."""
    return Pipeline(Model(pipe.tokenizer, {name: pipe.stages[name] for name in names}, "short"))


def test_four_pictures(pipe: Pipeline) -> None:
    pictures = pipe.generate("a red circle", n=4, seed=7)
    assert [(picture.size, picture.mode) for picture in pictures] == [((16, 16), "RGB")] * 4
    assert len({picture.tobytes() for picture in pictures}) == 4


@pytest.mark.parametrize("colour", COLOURS)
def test_a_picture_has_the_colour_that_was_asked_for(colour: str, pipe: Pipeline) -> None:
    """The mean of the eighth of the picture that is least white."""
    for picture in chain(pipe, "clip", "prior", "decoder").generate(f"a {colour} circle", n=3):
        flat = pixels(picture).reshape(-1, 3)
        mean = flat[np.argsort(flat.sum(1))[: len(flat) // 8]].mean(0)
        nearest = min(COLOURS, key=lambda name: float(np.square(COLOURS[name] - mean).sum()))
        assert nearest == colour


def test_the_same_seed_gives_the_same_pixels_in_any_batch(pipe: Pipeline) -> None:
    many = pipe.generate("a blue square", n=4, seed=40)
    again = pipe.generate("a blue square", n=4, seed=40)
    assert [picture.tobytes() for picture in many] == [picture.tobytes() for picture in again]
    for index, picture in enumerate(many):
        (alone,) = pipe.generate("a blue square", seed=40 + index)
        assert np.abs(pixels(picture) - pixels(alone)).max() <= 1
    assert np.abs(pixels(many[0]) - pixels(many[1])).max() > 20


@pytest.mark.parametrize("seed", [-1, -(2**100)])
def test_a_negative_seed_is_refused(seed: int, pipe: Pipeline) -> None:
    for draw in (pipe.generate, pipe.variations):
        with pytest.raises(UsageError, match=rf"^seed must be at least 0, got {seed}; --seed -1"):
            draw("a", seed=seed)


@pytest.mark.parametrize("seed", [0, 2**63, 2**100])
def test_any_other_whole_number_is_a_seed(seed: int, pipe: Pipeline) -> None:
    first, second = (chain(pipe, "clip", "prior", "decoder").generate("a", seed=seed) for _ in "ab")
    assert first[0].tobytes() == second[0].tobytes()
    assert json.loads(first[0].info["unclip"])["seed"] == seed


@pytest.mark.parametrize("prompt", ["红色的圆", "🔴", "<end> a red <pad>", "a red " * 50, "\x00"])
def test_any_text_is_a_prompt(prompt: str, pipe: Pipeline) -> None:
    assert len(pipe.generate(prompt, steps=1, prior_steps=1, upsampler_steps=1)) == 1


def test_a_stage_draws_the_same_whatever_comes_after(pipe: Pipeline) -> None:
    seen: list[torch.Tensor] = []

    def keep(step: Step) -> None:
        if step.stage == "decoder" and step.index == step.total:
            seen.append(step.x0)

    pipe.generate("a red circle", n=2, seed=3, on_step=keep)
    chain(pipe, "clip", "prior", "decoder").generate("a red circle", n=2, seed=3, on_step=keep)
    assert torch.equal(seen[0], seen[1])


def test_each_stage_draws_from_its_own_fork_of_the_seed(pipe: Pipeline) -> None:
    names = ("clip", "prior", "decoder")
    cond = pipe.read(["a red circle"])
    for name in names:
        cond = pipe.stages[name].sample(cond, Rng([f"7/{name}"]))
    assert cond.image is not None
    (picture,) = chain(pipe, *names).generate("a red circle", seed=7)
    assert to_pictures(cond.image)[0].tobytes() == picture.tobytes()


def test_a_picture_tells_how_to_make_it_again(pipe: Pipeline, trained: Run, tmp_path: Path) -> None:
    pictures = pipe.generate(
        "a green triangle", n=2, seed=5, steps=3, prior_guidance_scale=2.0, eta=0.5, sampler=None
    )
    record = Record.of(pictures[1])
    assert record.prompt == "a green triangle"
    assert record.seed == 6
    assert record.settings == {"steps": 3, "prior_guidance_scale": 2.0, "eta": 0.5}
    assert (record.model, record.model_hash) == ("tiny", pipe.hash)
    assert record.version == unclip.__version__
    (again,) = pipe.generate(record.prompt, seed=record.seed, **record.settings)
    assert np.abs(pixels(again) - pixels(pictures[1])).max() <= 1
    assert again.info["unclip"] == pictures[1].info["unclip"]


def test_numbers_of_numpy_and_torch_draw_the_same_picture(pipe: Pipeline) -> None:
    few = {"prior_steps": 2, "upsampler_steps": 1}
    plain = pipe.generate("a red circle", n=2, seed=5, steps=3, guidance_scale=2.0, **few)
    other = pipe.generate(
        np.str_("a red circle"),
        n=np.int64(2),
        seed=torch.tensor(5),
        steps=np.int32(3),
        guidance_scale=np.float32(2),
        **few,
    )
    assert [one.tobytes() for one in other] == [one.tobytes() for one in plain]
    assert [one.info for one in other] == [one.info for one in plain]


def test_a_record_of_a_later_version_is_read_past_what_is_unknown(pipe: Pipeline) -> None:
    (picture,) = pipe.generate("a red circle", steps=1, prior_steps=1, upsampler_steps=1)
    known = Record.of(picture)
    later = json.loads(picture.info["unclip"]) | {"moons": 2, "mood": "good"}
    picture.info["unclip"] = json.dumps(later)
    assert Record.of(picture) == known
    assert Record.of(picture).unknown == ("mood", "moons")
    assert known.unknown == ()


def test_a_picture_without_a_record_says_so() -> None:
    picture = Image.new("RGB", (2, 2))
    with pytest.raises(UsageError, match="has no record"):
        Record.of(picture)
    whole = json.loads(Record("x", 1, {}).to_json())
    wrong = [{"seed": True}, {"n": "2"}, {"settings": []}, {"inputs": "x"}, {"model": None}]
    each = [json.dumps(whole | change) for change in wrong]
    for damaged in ("{", "[]", '{"prompt": "x"}', "[" * 100_000, *each):
        picture.info["unclip"] = damaged
        with pytest.raises(UsageError, match="record is damaged"):
            Record.of(picture)


def test_settings_reach_their_stage_and_every_step_is_told(pipe: Pipeline) -> None:
    steps: list[tuple[str, int, int]] = []
    pipe.generate(
        "a red circle",
        n=2,
        on_step=lambda step: steps.append((step.stage, step.index, step.total)),
        steps=3,
        prior_steps=2,
        upsampler_steps=1,
        decoder_eta=None,
    )
    assert steps == [
        *[("prior", index, 2) for index in (1, 2)],
        *[("decoder", index, 3) for index in (1, 2, 3)],
        ("upsampler", 1, 1),
    ]


def test_guidance_changes_the_picture(pipe: Pipeline) -> None:
    weak, strong = (pipe.generate("a red circle", guidance_scale=g)[0] for g in (1.0, 6.0))
    assert np.abs(pixels(weak) - pixels(strong)).max() > 20


def test_the_upsampler_enlarges_the_decoders_picture(pipe: Pipeline) -> None:
    last: dict[str, torch.Tensor] = {}
    pipe.generate("a blue square", n=4, on_step=lambda step: last.update({step.stage: step.x0}))
    reduced = torch.nn.functional.avg_pool2d(last["upsampler"], 2)
    pair = torch.stack([reduced.flatten(), last["decoder"].flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.6


def test_it_can_be_cancelled_between_steps(pipe: Pipeline) -> None:
    calls: list[Step] = []

    def cancel(step: Step) -> None:
        calls.append(step)
        if len(calls) == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        pipe.generate("a red circle", on_step=cancel)
    assert len(calls) == 3
    assert len(pipe.generate("a red circle")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"n": -2}, "n must be at least 1, got -2"),
        ({"stepz": 3}, r"unknown setting 'stepz' \(did you mean 'steps'\?\)"),
        ({"prior_stepz": 3}, r"unknown setting 'prior_stepz' \(did you mean 'prior_steps'\?\)"),
        ({"steps": 0}, "^setting 'steps' must be at least 1, got 0$"),
        ({"steps": 1001}, "steps must be at most 1000"),
        ({"guidance_scale": -1.0}, "^setting 'guidance_scale' must be at least 0, got -1.0$"),
        ({"sampler": "dddim"}, r"unknown sampler 'dddim' \(did you mean 'ddim'\?\)"),
        ({"clip_steps": 3}, "unknown setting 'clip_steps'"),
        ({"prompts": 3}, r"unknown setting 'prompts' \(did you mean 'prompt'\?\)"),
        ({"sed": 3}, r"unknown setting 'sed' \(did you mean 'seed'\?\)"),
        ({"xyz": 3}, "unknown setting 'xyz'; known: sampler"),
        ({"guidance_interval": (0.9, 0.1)}, "interval of noise needs .* got 0.9 to 0.1"),
        ({"prior_guidance_interval": (0.9, 0.1)}, "interval of noise needs"),
    ],
)
def test_bad_requests_are_one_clear_line(
    arguments: dict[str, Any], message: str, pipe: Pipeline
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        pipe.generate(**{"prompt": "a red circle", **arguments}, on_step=pytest.fail)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{}, {"steps": 3}])
def test_a_chain_that_makes_no_picture_says_so_before_any_work(
    settings: dict[str, Any], pipe: Pipeline
) -> None:
    for names in (("clip",), ("clip", "prior")):
        with pytest.raises(UsageError, match="'short' has no stage that makes a picture"):
            chain(pipe, *names).generate("a red circle", **settings, on_step=pytest.fail)


def test_load_takes_a_folder_or_a_bundled_name(trained: Run, tmp_path: Path) -> None:
    assert find_model(str(trained.model)) == trained.model
    with pytest.raises(UsageError, match="no model 'emoij'"):
        unclip.load("emoij")
    with pytest.raises(UsageError, match="no model '': it is neither a folder or file nor"):
        unclip.load("")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        unclip.load(trained.model, device="gpu")


def test_half_precision_draws_nearly_the_same(pipe: Pipeline, trained: Run) -> None:
    half = unclip.load(trained.model, device="cpu", dtype=torch.bfloat16)
    dtypes = {p.dtype for stage in half.stages.values() for p in stage.net.parameters()}
    assert dtypes == {torch.bfloat16}
    exact, rough = (p.generate("a blue square", seed=1)[0] for p in (pipe, half))
    assert np.abs(pixels(exact) - pixels(rough)).mean() < 8


def test_several_prompts_in_one_fold(pipe: Pipeline) -> None:
    cond = pipe.read(["a red circle", "a blue square"])
    both = pipe.fold(cond, Rng([11, 12]))
    assert both.image is not None
    second = pipe.generate("a blue square", seed=12)[0]
    assert np.abs(pixels(to_pictures(both.image)[1]) - pixels(second)).max() <= 1


def test_each_sample_has_its_own_condition_and_control_whatever_the_batch(pipe: Pipeline) -> None:
    prompts = ["a red circle", "a blue square", "a green triangle"] * 7
    seeds, few = [f"sample{i}" for i in range(len(prompts))], {"steps": 2, "prior_steps": 2}
    noise = torch.randn(len(prompts), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    controls = {"decoder": Control(noise=noise)}
    drawn = pipe.sample(pipe.read(prompts), seeds, controls, few)
    for i in (0, 15, 16, 20):
        mine = {"decoder": Control(noise=noise[i : i + 1])}
        alone = pipe.sample(pipe.read([prompts[i]]), [seeds[i]], mine, few)
        assert torch.allclose(drawn[i], alone[0], atol=1e-3)
    with pytest.raises(UsageError, match="2 seeds and 1 conditions: give as many"):
        pipe.sample(pipe.read(["a red circle"]), [1, 2])
    with pytest.raises(UsageError, match="1 seed and 21 controls of 'decoder': give as many"):
        pipe.sample(pipe.read(["a red circle"]), [1], controls)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cond": None}, "^cond must be a Cond, such as `read` gives, got None$"),
        ({"seeds": 1}, "^seeds must be a list, one a picture, got 1$"),
        ({"prior": "priro"}, r"no prior 'priro' \(did you mean 'prior'\?\); it has: prior, none$"),
        ({"controls": {"decodr": Control()}}, r"no stage 'decodr' \(did you mean 'decoder'\?\)"),
        ({"settings": {"guidance_interval": (0, 0.5, 1)}}, "must have at most 2 value"),
        ({"settings": {"guidance_interval": 0.5}}, "'guidance_interval' must be a list, got 0.5$"),
    ],
)
def test_wrong_arguments_of_sampling_are_said_before_any_work(
    arguments: dict[str, Any], message: str, pipe: Pipeline
) -> None:
    usual: dict[str, Any] = {"cond": pipe.read(["a red circle"]), "seeds": [1]}
    with pytest.raises(UsageError, match=message):
        pipe.sample(**{**usual, **arguments}, on_step=pytest.fail)


@pytest.mark.parametrize("prompts", ["a fox", None, 3])
def test_a_list_of_prompts_is_read_and_not_the_letters_of_one(prompts: Any, pipe: Pipeline) -> None:
    with pytest.raises(UsageError, match=r"^prompts must be a list of texts, got "):
        pipe.read(prompts)


def test_a_text_that_is_encoded_already_is_not_encoded_again(pipe: Pipeline) -> None:
    """Whoever weighs, joins or learns encodings gives them in place of CLIP's."""
    clip = pipe.model.clip("a test")
    blue = clip.sample(pipe.read(["a blue square"]), Rng([0]))
    given = blue.replace(text_tokens=pipe.read(["a circle"]).text_tokens)
    z_i = pipe.sample_prior(given, Rng([3])).image_embed
    want = pipe.sample_prior(pipe.read(["a blue square"]), Rng([3])).image_embed
    other = pipe.sample_prior(pipe.read(["a circle"]), Rng([3])).image_embed
    assert z_i is not None and want is not None and other is not None
    assert torch.equal(z_i, want) and not torch.equal(z_i, other)


def test_a_stage_shows_its_picture_at_every_step(pipe: Pipeline) -> None:
    shown: dict[str, list[torch.Tensor | None]] = {}

    def on_step(step: Step) -> None:
        shown.setdefault(step.stage, []).append(pipe.stages[step.stage].preview(step))

    (picture,) = pipe.generate("a red circle", seed=2, steps=3, upsampler_steps=2, on_step=on_step)
    assert set(shown.pop("prior")) == {None}, "an embedding is no picture"
    shapes = {name: [one.shape for one in each if one is not None] for name, each in shown.items()}
    assert shapes == {"decoder": 3 * [(1, 3, 8, 8)], "upsampler": 2 * [(1, 3, 16, 16)]}
    last = shown["upsampler"][-1]
    assert last is not None and to_pictures(last)[0].tobytes() == picture.tobytes()


def test_to_pictures_rounds_and_clips() -> None:
    image = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, -0.996]).view(1, 1, 2, 4)
    (picture,) = to_pictures(image.expand(1, 3, 2, 4))
    assert picture.size == (4, 2)
    assert pixels(picture)[..., 0].flatten().tolist() == [0, 0, 64, 128, 191, 255, 255, 1]


def test_the_public_face_is_small_and_lazy() -> None:
    assert len(unclip.__all__) <= 10
    assert all(getattr(unclip, name) is not None for name in unclip.__all__)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        unclip.laod  # noqa: B018


def test_the_core_knows_neither_pictures_nor_files_of_models_nor_abilities() -> None:
    code = "import sys, unclip.pipeline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "unclip.stages.model" in loaded
    for name in ("PIL", "unclip.media", "unclip.checkpoints", "unclip.abilities", "unclip.record"):
        assert name not in loaded


@pytest.fixture(scope="module")
def torn(pipe: Pipeline) -> Pipeline:
    """A model with two priors, of which the second says the opposite of the first."""

    class Opposite(type(pipe.stages["prior"])):  # type: ignore[misc]
        def sample(self, *arguments: Any, **more: Any) -> Any:
            cond = super().sample(*arguments, **more)
            return cond.replace(image_embed=-cond.image_embed)

    second = copy.copy(pipe.stages["prior"])
    second.__class__ = Opposite
    stages = {"clip": pipe.stages["clip"], "prior": pipe.stages["prior"], "second": second}
    return Pipeline(Model(pipe.tokenizer, {**stages, "decoder": pipe.stages["decoder"]}, "torn"))


def test_the_prior_is_the_first_the_models_own_or_the_one_asked_for(torn: Pipeline) -> None:
    cond, rng = torn.read(["a red circle"]), Rng([3])

    def embed(prior: str | None, own: str | None = None) -> torch.Tensor:
        model = Pipeline(Model(torn.tokenizer, torn.stages, "torn", prior=own))
        z_i = model.sample_prior(cond, rng, prior=prior).image_embed
        assert z_i is not None
        return z_i

    first = torn.stages["prior"].sample(torn.stages["clip"].sample(cond, rng), rng.fork("prior"))
    assert first.image_embed is not None and first.text_embed is not None
    assert torch.equal(embed(None), first.image_embed)
    assert torch.equal(embed("prior", own="second"), first.image_embed)
    assert torch.equal(embed("second"), embed(None, own="second"))
    assert not torch.equal(embed("second"), first.image_embed)
    assert torch.equal(embed("none"), first.text_embed)


def test_the_prior_asked_for_draws_the_picture_and_is_recorded(torn: Pipeline) -> None:
    pictures = {
        prior: torn.generate("a red circle", seed=3, prior=prior)[0]
        for prior in (None, "prior", "second", "none")
    }
    assert pictures[None].tobytes() == pictures["prior"].tobytes()
    assert len({one.tobytes() for one in pictures.values()}) == 3
    assert [Record.of(one).settings for one in pictures.values()] == [
        {},
        *({"prior": name} for name in ("prior", "second", "none")),
    ]
    read = torn.stages["clip"].sample(torn.read(["a red circle"]), Rng([3]))
    direct = torn.stages["decoder"].sample(
        read.replace(image_embed=read.text_embed), Rng(["3/decoder"])
    )
    assert direct.image is not None
    assert to_pictures(direct.image)[0].tobytes() == pictures["none"].tobytes()
    with pytest.raises(UsageError, match=r"no prior 'secnd' \(did you mean 'second'\?\); it has: "):
        torn.generate("a red circle", prior="secnd")


@pytest.mark.parametrize("n", [1, 3])
def test_best_of_keeps_each_pictures_nearest_candidate(n: int, pipe: Pipeline) -> None:
    few = {"steps": 2, "prior_steps": 2, "upsampler_steps": 1}
    best = pipe.generate("a red circle", n=n, seed=5, best_of=4, **few)
    clip = pipe.model.clip("a test")
    z_t = clip.sample(pipe.read(["a red circle"]), Rng([0])).text_embed
    for index, picture in enumerate(best):
        names: list[int | str] = [5 + index, *(f"{5 + index}/candidate{k}" for k in (1, 2, 3))]
        drawn = pipe.sample(pipe.read(["a red circle"] * 4), names, settings=few)
        with torch.no_grad():
            score = (clip.net.encode_image(drawn) @ z_t.T)[:, 0]  # type: ignore[union-attr]
        assert score.std() > 1e-3
        nearest = to_pictures(drawn)[int(score.argmax())]
        assert np.abs(pixels(picture) - pixels(nearest)).max() <= 1
        assert Record.of(picture).settings == {**few, "best_of": 4}
        assert Record.of(picture).seed == 5 + index
    with pytest.raises(UsageError, match="best_of must be at least 1, got 0"):
        pipe.generate("a red circle", best_of=0)


def test_clip_guidance_brings_the_picture_nearer_to_the_prompt(pipe: Pipeline) -> None:
    model = chain(pipe, "clip", "prior", "decoder")
    clip = model.model.clip("a test")
    z_t = clip.sample(model.read(["a red circle"]), Rng([0])).text_embed

    def nearness(scale: float) -> float:
        pictures = model.generate("a red circle", n=6, clip_guidance_scale=scale, steps=8)
        with torch.no_grad():
            z_i = clip.net.encode_image(to_tensor(pictures))
        return float((z_i @ z_t.T).mean())  # type: ignore[union-attr]

    assert nearness(30.0) > nearness(0.0)


def test_clip_guidance_needs_clip(pipe: Pipeline) -> None:
    cond = pipe.image_only(torch.nn.functional.normalize(torch.ones(1, 32), dim=1))
    with pytest.raises(UsageError, match="no CLIP, which CLIP guidance needs"):
        chain(pipe, "decoder").fold(cond, Rng([0]), {"decoder": {"clip_guidance_scale": 3.0}})


@pytest.mark.parametrize("broken", ["clip", "prior", "decoder", "upsampler"])
def test_no_picture_is_made_of_numbers_that_are_not_finite(broken: str, pipe: Pipeline) -> None:
    """A weight that is NaN in any stage: an error that names it, in pictures of a text or not."""
    stages = dict(pipe.stages)
    stages[broken] = copy.deepcopy(stages[broken])
    for weight in stages[broken].net.parameters():
        weight.data.flatten()[:1] = torch.nan
    bad = Pipeline(Model(pipe.tokenizer, stages, "bad"))
    with pytest.raises(SamplingError, match=f"stage '{broken}' gave .* not finite"):
        bad.generate("a red circle")
    if broken == "prior":
        return  # a picture needs none
    with pytest.raises(SamplingError, match=f"stage '{broken}' gave .* not finite"):
        bad.variations(Image.new("RGB", (16, 16), "red"))
