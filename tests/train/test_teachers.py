"""Which teacher can teach which student: what differs is told before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from unclip.diffusion.few_steps import ConsistencyObjective
from unclip.errors import UsageError
from unclip.stages import Stage
from unclip.train.distillation import check_levels, check_teacher, diffused_shape

WHERE = "stages.student.objective"
FEW = {"steps": 1, "guidance_scale": 1.0}
STUDENT = {"objective": "consistency", "sampling": FEW}
SMALL = {"channels": 32, "multipliers": [1, 2], "depth": 1, "attention": [2], "head_dim": 32}
LATENT = {**SMALL, "image_size": 4, "in_channels": 4, "out_channels": 4, "norm": "layer"}
AUTOENCODER = {"latent_channels": 4, "space_to_depth": 2, "channels": [16]}
X0 = {"kind": "x0"}

Make = Callable[..., Any]


@pytest.fixture
def decoder(make_stage: Callable[..., Stage]) -> Make:
    """`decoder(network changes, **settings)`; `in_latents=True`: of latents 4x4x4 of 8x8."""

    def make(network: Any = None, in_latents: bool = False, **settings: Any) -> Any:
        tiny = make_stage("decoder").config.network.dump()  # type: ignore[attr-defined]
        reads = {name: tiny[name] for name in ("embed_dim", "text")}
        changed = {**(reads | LATENT if in_latents else tiny), **(network or {})}
        usual = {"autoencoder": AUTOENCODER, "parameterization": X0} if in_latents else {}
        return make_stage("decoder", network=changed, **{**usual, **settings})

    return make


def refused(student: Any, teacher: Any, **objective: Any) -> str:
    with pytest.raises(UsageError) as caught:
        check_teacher(student, teacher, ConsistencyObjective(**objective), WHERE)
    return str(caught.value)


def test_a_teacher_of_latents_and_a_student_of_pictures_of_one_size(decoder: Make) -> None:
    student, teacher = decoder(**STUDENT), decoder(in_latents=True)
    assert student.image_size == teacher.image_size == (8, 8)
    assert (diffused_shape(student), diffused_shape(teacher)) == ((3, 8, 8), (4, 4, 4))
    for one, other in ((student, teacher), (teacher, student)):
        assert f"'{WHERE}.teacher': student and teacher need the same autoencoder" in refused(
            one, other, guidance_scale=2.0
        )


def test_latents_of_another_autoencoder(decoder: Make) -> None:
    """Of other settings, and of the same settings with other weights."""
    latents = {"in_latents": True, **STUDENT}
    objective = ConsistencyObjective(guidance_scale=2.0)
    teacher = decoder(in_latents=True)
    check_teacher(decoder(**latents), teacher, objective, WHERE)
    wider = decoder(**latents, autoencoder={**AUTOENCODER, "channels": [32]})
    assert "need the same autoencoder" in refused(wider, teacher, guidance_scale=2.0)
    other = decoder(**latents)
    with torch.no_grad():
        for one in other.net.autoencoder.parameters():
            one.copy_(one.half().float())  # as a file keeps it
    check_teacher(other, teacher, objective, WHERE)
    with torch.no_grad():
        next(other.net.autoencoder.parameters()).add_(0.1)
    assert "same autoencoder, and the weights of theirs differ" in refused(
        other, teacher, guidance_scale=2.0
    )
    check_teacher(other.to("meta"), teacher, objective, WHERE)  # of which nobody knows


def test_what_is_diffused_has_one_shape(decoder: Make, make_stage: Make) -> None:
    grey = decoder({"in_channels": 1, "out_channels": 1}, **STUDENT)
    assert "need the same shape of x_t, got (1, 8, 8) and (3, 8, 8)" in refused(grey, decoder())
    up = make_stage("upsampler")
    assert diffused_shape(up) == (3, *up.image_size)
    assert "need the same product, got ['image'] and ['image_embed']" in refused(
        decoder(**STUDENT), make_stage("prior", sampling={"guidance_scale": 1.0})
    ), "before its guidance"


@pytest.mark.parametrize(
    ("without", "reads"), [({"embed_dim": 0}, "image_embed"), ({"text": None}, "text_mask, ")]
)
def test_a_teacher_that_sees_more_than_its_student(
    without: dict[str, Any], reads: str, decoder: Make
) -> None:
    seen = refused(decoder(without, **STUDENT), decoder())
    assert f"'{WHERE}.teacher': it reads {reads}" in seen
    scale = ConsistencyObjective(guidance_scale=2.0)
    assert check_teacher(decoder(**STUDENT), decoder(without), scale, WHERE).guidance_scale == 2.0


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_guidance_is_above_one(scale: float, decoder: Make) -> None:
    own = {"steps": 3, "guidance_scale": scale}
    student, teacher = decoder(**STUDENT), decoder(sampling=own)
    told = refused(student, teacher)
    assert f"'{WHERE}.guidance_scale' is missing: the teacher samples without" in told
    assert f"(guidance_scale {scale:g}); give a scale above 1" in told
    assert f"'{WHERE}.guidance_scale' must be above 1, got {scale:g}: " in refused(
        student, decoder(), guidance_scale=scale
    )
    more = ConsistencyObjective(guidance_scale=1.1)
    assert check_teacher(student, teacher, more, WHERE).guidance_scale == 1.1
    by_image = decoder(sampling={**own, "image_guidance_scale": 3.0})
    kept = check_teacher(student, by_image, ConsistencyObjective(), WHERE)
    assert (kept.guidance_scale, kept.image_guidance_scale) == (scale, 3.0)


@pytest.mark.parametrize(
    ("drops", "network", "named"),
    [
        ({"drop_text": 0.0, "drop_image": 0.0}, {}, "drop_text = drop_image = 0"),
        ({"drop_text": 0.0}, {}, "drop_text = 0"),
        ({"drop_image": 0.0}, {"text": None}, "drop_image = 0"),
        ({"drop_image": 0.0}, {"embed_dim": 0}, ""),
    ],
)
def test_who_never_learnt_without_a_condition_cannot_be_guided(
    drops: dict[str, float], network: dict[str, Any], named: str, decoder: Make
) -> None:
    student, teacher = decoder(network, **STUDENT), decoder(network, **drops)
    if named:
        assert f"'{WHERE}.teacher': it cannot be guided, for it learnt with {named}" in refused(
            student, teacher
        )
    else:
        check_teacher(student, teacher, ConsistencyObjective(), WHERE)


def test_an_upsampler_that_learnt_nothing_without_needs_no_guidance(make_stage: Make) -> None:
    network = make_stage("upsampler").config.network.dump()
    reads = {**network, "embed_dim": 16, "attention": [8], "head_dim": 32}
    student = make_stage("upsampler", network=reads, **STUDENT)
    sure, plain = make_stage("upsampler", network=reads), ConsistencyObjective()
    assert check_teacher(student, sure, plain, WHERE).guidance_scale == 1.0
    assert "drop_image = 0" in refused(student, sure, guidance_scale=2.0)
    hides = make_stage("upsampler", network=reads, drop_image=0.3)
    assert "guidance_scale' is missing" in refused(student, hides)


def test_a_student_teaches_nobody(decoder: Make) -> None:
    told = refused(decoder(**STUDENT), decoder(**STUDENT), guidance_scale=2.5)
    assert f"'{WHERE}.teacher' must be a stage that denoises, got a student itself" in told
    assert "objective 'consistency'" in told


def test_a_path_has_no_more_levels_than_a_schedule_of_whole_steps(decoder: Make) -> None:
    for schedule, most in (({"kind": "cosine", "steps": 16}, 16), ({"kind": "edm"}, 9999)):
        for levels in (most, most + 1):
            given = {**STUDENT, "objective": {"kind": "consistency", "levels": levels}}
            config = decoder(schedule=schedule, **given).config
            if levels in (16, 9999, 10000):
                check_levels(config, WHERE)
                continue
            with pytest.raises(UsageError, match=f"'{WHERE}.levels' must be at most 16.* got 17"):
                check_levels(config, WHERE)


@pytest.mark.parametrize(
    ("level", "levels", "end"),
    [(0.99, 32, "clean, level 32"), (0.01, 32, "pure noise, level 0"), (0.2, 2, "pure noise")],
)
def test_what_is_noised_again_lies_between_noise_and_data(
    level: float, levels: int, end: str
) -> None:
    with pytest.raises(UsageError, match=f"own_level {level:g} of {levels} levels is {end}"):
        ConsistencyObjective.parse({"own_level": level, "levels": levels})
    assert ConsistencyObjective(own_level=0.02).own_place == 1
    assert [ConsistencyObjective(levels=n).own_place for n in (2, 3, 32)] == [1, 2, 16]


def test_what_draws_in_one_call_has_no_path(decoder: Make) -> None:
    teacher = decoder({"noise_input": False}, parameterization=X0)
    said = refused(decoder(**STUDENT, parameterization=X0), teacher, guidance_scale=2.0)
    assert said.endswith(
        "network.noise_input is false: it draws in one call, and has no path to learn"
    )
