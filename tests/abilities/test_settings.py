"""The arguments that type checkers know are those that methods take."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest

from unclip import Pipeline
from unclip.abilities import ABILITIES, _settings
from unclip.abilities._sized import Sized
from unclip.config import Config
from unclip.families.latent.latent_decoder import DecoderSampling
from unclip.keywords import OUTPUTS, RENAMED
from unclip.stages.ar_prior import ArSampling
from unclip.stages.sampling import Sampling
from unclip.stages.upsampler import UpsamplerSampling

STAGES: dict[str, type[Config]] = {
    "": DecoderSampling,
    "prior_": Sampling,
    "upsampler_": UpsamplerSampling,
    "upsampler_2_": UpsamplerSampling,
    "upsampler_1024_": UpsamplerSampling,
    "ar_prior_": ArSampling,
}
DRAWING = [name for name in ABILITIES.names() if hasattr(ABILITIES[name].request, "film")]


def flat() -> dict[str, Any]:
    """Every setting of the sampling of these stages, and its type."""
    return {
        f"{prefix}{name}": info.annotation
        for prefix, sampling in STAGES.items()
        for name, info in sampling.model_fields.items()
    }


def test_settings_are_those_of_the_stages_with_their_types() -> None:
    typed = get_type_hints(_settings.SamplingSettings)
    keywords = get_type_hints(_settings.DiffusersKeywords)
    assert keywords.keys() == {*RENAMED, "height", "width", "output_type"}
    assert keywords["output_type"].__args__ == OUTPUTS
    assert typed == keywords | {name: kind | None for name, kind in flat().items()}


@pytest.mark.parametrize("name", DRAWING)
def test_a_method_takes_sizes_where_its_request_does(name: str) -> None:
    ability = ABILITIES[name]
    named = str(ability.function.__annotations__["settings"])  # such as Unpack[PictureSettings]
    typed = get_type_hints(getattr(_settings, named[len("Unpack[") : -1])).keys()
    own = set(inspect.signature(ability.function).parameters)
    sizes = Sized.shared if issubclass(ability.request, Sized) else set()
    alone = {"sharpen"} if ability.needs == {"upsampler"} else set()
    wanted = get_type_hints(_settings.SamplingSettings).keys() | sizes | alone
    assert typed == wanted - own
    assert ability.request.shared <= typed
    method = getattr(Pipeline, ability.function.__name__)
    assert inspect.signature(method) == inspect.signature(ability.function)
