"""Names that people bring: from AUTOMATIC1111's list, ComfyUI's and diffusers' classes."""

from __future__ import annotations

from typing import Any

import pytest

from unclip.abilities import ABILITIES
from unclip.abilities.generate import GenerateRequest
from unclip.aliases import OTHERS, SAMPLERS, SPACINGS, resolved, resolved_flat, sampler_of
from unclip.diffusion import samplers
from unclip.diffusion.spacing import SPACINGS as GRIDS
from unclip.errors import UsageError
from unclip.stages.sampling import Sampling, check_sampler

KNOWN = [
    # AUTOMATIC1111
    ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
    ("DPM++ 2M SDE Karras", "dpmpp_2m_sde", "karras"),
    ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde", "logsnr"),
    ("DPM++ 2M", "dpmpp_2m", None),
    ("DPM++ 2M SDE", "dpmpp_2m_sde", None),
    ("DPM++ 2M SGM Uniform", "dpmpp_2m", "trailing"),
    ("Euler a", "euler_ancestral", None),
    ("Euler", "euler", None),
    ("Heun", "heun", None),
    ("DDIM", "ddim", None),
    ("PLMS", "pndm", None),
    ("UniPC", "unipc", None),
    # ComfyUI
    ("euler_ancestral", "euler_ancestral", None),
    ("euler_ancestral karras", "euler_ancestral", "karras"),
    ("dpmpp_2m", "dpmpp_2m", None),
    ("dpmpp_2m_sde_gpu", "dpmpp_2m_sde", None),
    ("dpmpp_2m exponential", "dpmpp_2m", "logsnr"),
    ("dpmpp_2m sgm_uniform", "dpmpp_2m", "trailing"),
    ("euler normal", "euler", "linspace"),
    ("euler simple", "euler", "trailing"),
    ("ddim ddim_uniform", "ddim", "leading_after"),
    ("uni_pc", "unipc", None),
    ("uni_pc_bh2", "unipc", None),
    ("ddpm", "ddpm", None),
    # diffusers
    ("DDIMScheduler", "ddim", None),
    ("DDPMScheduler", "ddpm", None),
    ("DPMSolverMultistepScheduler", "dpmpp_2m", None),
    ("EulerAncestralDiscreteScheduler", "euler_ancestral", None),
    ("EulerDiscreteScheduler", "euler", None),
    ("HeunDiscreteScheduler", "heun", None),
    ("PNDMScheduler", "pndm", None),
    ("UnCLIPScheduler", "ddpm", None),
    ("UniPCMultistepScheduler", "unipc", None),
]


@pytest.mark.parametrize(("name", "sampler", "spacing"), KNOWN)
def test_a_name_is_a_sampler_and_a_grid(name: str, sampler: str, spacing: str | None) -> None:
    wanted = {"sampler": sampler} | ({"spacing": spacing} if spacing else {})
    for written in (name, name.upper(), name.replace(" ", "_"), name.replace(" ", "")):
        assert resolved({"sampler": written}) == wanted, written
    sampling = Sampling(spacing="leading").merge({"sampler": name})
    assert (sampling.sampler, sampling.spacing) == (sampler, spacing or "leading")
    _ = samplers.SAMPLERS[sampling.sampler], GRIDS[sampling.spacing]


NAMES = [(one, own) for own, names in SAMPLERS.items() for one in (own, *names)]


@pytest.mark.parametrize("grid", [one for own, names in SPACINGS.items() for one in (own, *names)])
@pytest.mark.parametrize(("name", "own"), NAMES)
def test_every_sampler_goes_with_every_grid(name: str, own: str, grid: str) -> None:
    """Though `ddim uniform` is a grid too, and `ddim sgm uniform` ends in two."""
    wanted = {"sampler": own} | resolved({"spacing": grid})
    for written in (f"{name} {grid}", f"{name}{grid}"):
        assert resolved({"sampler": written}) == wanted
        assert resolved({"sampler": written.replace(" ", "_")}) == wanted


def test_case_spaces_plus_and_underscores_do_not_matter() -> None:
    for name in ("dpm++ 2m karras", "DPM 2M KARRAS", "DpmPP_2m-Karras", "dpm++2mkarras"):
        assert resolved({"sampler": name}) == {"sampler": "dpmpp_2m", "spacing": "karras"}
    assert resolved({"spacing": "SGM Uniform"}) == {"spacing": "trailing"}
    assert sampler_of("euler A") == "euler_ancestral"
    assert sampler_of("euler b") is None


def test_every_own_name_is_one_of_the_registry() -> None:
    assert SAMPLERS.keys() <= samplers.SAMPLERS.keys()
    assert OTHERS.keys() <= samplers.SAMPLERS.keys()
    assert SPACINGS.keys() <= GRIDS.keys()
    for own in samplers.SAMPLERS:  # none is taken by another's alias, or by a grid's
        assert resolved({"sampler": own}) == {"sampler": own}
    for own in GRIDS:
        assert resolved({"spacing": own}) == {"spacing": own}


def test_what_is_set_explicitly_wins() -> None:
    given = {"sampler": "DPM++ 2M Karras", "spacing": "Exponential", "eta": 0.5}
    own = {"sampler": "dpmpp_2m", "spacing": "logsnr", "eta": 0.5}
    assert resolved(given) == own
    assert Sampling().merge(given).dump() == Sampling.parse(own).dump()
    assert Sampling.parse(given) == Sampling.parse(own)  # as a recipe has it


def test_another_grid_of_the_stage_gives_way_to_a_names_own() -> None:
    stage = Sampling(sampler="ddpm", spacing="leading", eta=1.0)
    assert stage.merge({"sampler": "DPM++ 2M Karras"}).spacing == "karras"
    assert stage.merge({"sampler": "DPM++ 2M Karras"}).eta is None
    assert stage.merge({"sampler": "DPM++ 2M", "spacing": "Automatic"}).spacing == "leading"


def test_each_stage_by_its_own_name() -> None:
    given = {"prior_sampler": "euler a", "upsampler_sampler": "DDIM", "upsampler_spacing": "simple"}
    assert resolved_flat({**given, "sampler": "UniPC Karras", "steps": 3}) == {
        "prior_sampler": "euler_ancestral",
        "upsampler_sampler": "ddim",
        "upsampler_spacing": "trailing",
        "sampler": "unipc",
        "spacing": "karras",
        "steps": 3,
    }


def test_a_record_holds_this_packages_own_names() -> None:
    request = GenerateRequest.of(prompt="a fox", settings={"sampler": "DPM++ 2M Karras"})
    settings = {"sampler": "dpmpp_2m", "spacing": "karras"}
    assert request.record().settings == settings
    assert GenerateRequest.of_record(request.record()) == request


@pytest.mark.parametrize("name", [name for name in ABILITIES.names() if name != "probe"])
def test_every_ability_that_draws_has_the_option(name: str) -> None:
    common: dict[str, Any] = ABILITIES[name].request.common  # type: ignore[attr-defined]
    assert any(key.endswith("sampler") for key in common)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dimm", "did you mean 'ddim'?"),
        ("euler ancestrall", "did you mean 'euler_ancestral'?"),
        ("DPM++ 2M Karas", "did you mean 'dpmpp_2m karras'?"),
        ("EulerAncestralScheduler", "did you mean 'EulerAncestralDiscreteScheduler'?"),
        ("DPM2", "the nearest here is 'heun'"),
        ("DPM++ SDE Karras", "the nearest here is 'dpmpp_2m_sde karras'"),
        ("dpmpp_2s_ancestral", "the nearest here is 'euler_ancestral'"),
        ("LMSDiscreteScheduler", "the nearest here is 'pndm'"),
    ],
)
def test_a_name_that_is_not_here_gets_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_sampler(Sampling().merge({"sampler": name}).sampler)
    assert str(caught.value).startswith(f"unknown sampler '{name}' ({hint}); known: ddpm, ddim, ")
    assert "\n" not in str(caught.value)


def test_what_is_nothing_like_it_gets_the_list() -> None:
    with pytest.raises(UsageError, match=r"^unknown sampler 'xyzzy'; known: ddpm, "):
        check_sampler("xyzzy")
