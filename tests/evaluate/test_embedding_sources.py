"""Sources of z_i give the decoder what they say, and inversion gives pictures back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unclip.data.shapes import Shapes, ShapesConfig
from unclip.errors import CheckpointError
from unclip.evaluate import ablations, embedding_sources
from unclip.evaluate.embedding_sources import EmbeddingSource
from unclip.evaluate.image_set import ImageSet, of_source
from unclip.facade import Pipeline
from unclip.loading import load
from unclip.media import to_tensor
from unclip.rng import Rng
from unclip.stages.model import Model
from unclip.train.run import Run
from unclip.types import Cond


@pytest.fixture(scope="module")
def pipe(trained: Run) -> Pipeline:
    return load(trained.model, "cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def true(pipe: Pipeline) -> ImageSet:
    source = Shapes(ShapesConfig(seed=77), pipe.model.size)
    return of_source(source, 6)


def source_of(pipe: Pipeline, name: str) -> EmbeddingSource:
    return next(one for one in embedding_sources.embedding_sources(pipe) if one.name == name)


def test_every_way_that_the_model_has(pipe: Pipeline) -> None:
    names = [one.name for one in embedding_sources.embedding_sources(pipe)]
    assert names == ["oracle", "oracle-embedding", "prior-prior", "embedding", "z_t", "text"]


def test_without_a_prior_there_is_none_to_measure(pipe: Pipeline) -> None:
    stages = {name: one for name, one in pipe.stages.items() if name != "prior"}
    short = Pipeline(Model(pipe.tokenizer, stages))
    assert [one.name for one in embedding_sources.embedding_sources(short)] == [
        "oracle", "oracle-embedding", "z_t", "text",
    ]  # fmt: skip


def test_pictures_are_those_that_generate_draws(pipe: Pipeline, true: ImageSet) -> None:
    drawn = embedding_sources.DEFAULT.provider(pipe, true, 40)(range(2, 5))
    for place, number in enumerate(range(2, 5)):
        want = pipe.generate(true.captions[number], seed=40 + number)
        off = (to_tensor(want)[0] - drawn[place].clamp(-1, 1)).abs().max()
        assert float(off) < 0.02  # rounding to 8 bits


def given(pipe: Pipeline, true: ImageSet, name: str, numbers: list[int]) -> Cond:
    one = source_of(pipe, name)
    with torch.inference_mode():
        return one.begin(pipe, true, numbers, Rng([9 + number for number in numbers]))


def test_the_oracle_gives_the_true_embedding(pipe: Pipeline, true: ImageSet) -> None:
    cond = given(pipe, true, "oracle", [4, 1])
    with torch.inference_mode():
        want = pipe.model.clip("a test").net.encode_image(true.tensor([4, 1]))
    assert cond.image_embed is not None
    torch.testing.assert_close(cond.image_embed, want)


def draw(pipe: Pipeline, cond: Cond) -> Tensor:
    with torch.inference_mode():
        image = embedding_sources.decoder_only(pipe).fold(cond, Rng([5, 6])).image
    assert image is not None
    return image


def test_text_alone_hides_the_embedding(pipe: Pipeline, true: ImageSet) -> None:
    """Whatever stands in its place, the picture is the same; shown, it is another."""
    cond = given(pipe, true, "text", [0, 1])
    other = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draw(pipe, cond), draw(pipe, cond.replace(image_embed=other)))
    shown = cond.replace(image_embed=other, keep_image=None)
    assert float((draw(pipe, cond) - draw(pipe, shown)).abs().max()) > 0.05


def test_embedding_alone_is_the_priors_and_hides_the_text(pipe: Pipeline, true: ImageSet) -> None:
    cond = given(pipe, true, "embedding", [0, 1])
    numbers, rng = [0, 1], Rng([9, 10])
    with torch.inference_mode():
        want = pipe.sample_prior(
            embedding_sources.from_text(pipe, true, numbers, rng), rng
        ).image_embed
    assert cond.image_embed is not None and want is not None
    torch.testing.assert_close(cond.image_embed, want)
    tokens, mask = pipe.tokenizer.encode(["a black square", "a blue circle"])
    other = cond.replace(text_tokens=tokens, text_mask=mask)
    torch.testing.assert_close(draw(pipe, cond), draw(pipe, other))


def test_the_true_embedding_without_its_text(pipe: Pipeline, true: ImageSet) -> None:
    cond = given(pipe, true, "oracle-embedding", [0, 1])
    want = given(pipe, true, "oracle", [0, 1])
    assert cond.image_embed is not None and want.image_embed is not None
    torch.testing.assert_close(cond.image_embed, want.image_embed)
    tokens, mask = pipe.tokenizer.encode(["a black square", "a blue circle"])
    other = cond.replace(text_tokens=tokens, text_mask=mask)
    torch.testing.assert_close(draw(pipe, cond), draw(pipe, other))
    assert float((draw(pipe, cond) - draw(pipe, want)).abs().max()) > 0.01


def test_a_model_is_measured_in_the_ways_that_it_has(pipe: Pipeline) -> None:
    def without(*names: str) -> list[str]:
        stages = {name: one for name, one in pipe.stages.items() if name not in names}
        return [
            one.name
            for one in embedding_sources.embedding_sources(Pipeline(Model(pipe.tokenizer, stages)))
        ]

    assert without("clip") == ["prior-prior", "embedding"]
    assert without("prior", "clip") == []


def test_what_is_no_picture_is_refused() -> None:
    drawn = torch.zeros(3, 3, 2, 2)
    assert embedding_sources.finite(drawn) is drawn
    drawn[1, 0, 0, 0] = torch.nan
    with pytest.raises(CheckpointError, match="NaN or infinity in 1 of 3 pictures"):
        embedding_sources.finite(drawn)


def test_z_t_takes_the_place_of_z_i(pipe: Pipeline, true: ImageSet) -> None:
    one = source_of(pipe, "z_t")
    short = embedding_sources.decoder_only(pipe)
    drawn = one.provider(short, true, 3)(range(2))
    tokens = pipe.read(list(true.captions[:2]))
    with torch.inference_mode():
        z_t = pipe.model.clip("a test").encode_text(tokens).text_embed
        want = short.fold(tokens.replace(image_embed=z_t), Rng([3, 4])).image
    assert want is not None
    torch.testing.assert_close(drawn, want.float())


def test_the_decoder_alone_is_smaller(pipe: Pipeline) -> None:
    short = embedding_sources.decoder_only(pipe)
    assert "upsampler" in pipe.stages and "upsampler" not in short.stages
    assert (short.model.size, pipe.model.size) == ((8, 8), (16, 16))


def test_guidance_is_all_that_differs(pipe: Pipeline) -> None:
    one = source_of(pipe, "prior-prior").guided(3.0, "guided")
    assert (one.prior, one.settings) == ("prior", {"guidance_scale": 3.0})
    assert one.begin is embedding_sources.from_text


def test_psnr() -> None:
    a = torch.zeros(1, 3, 4, 4)
    assert ablations.psnr(a, a + 0.2) == pytest.approx(20)  # 10 log10 (2^2 / 0.2^2)
    assert ablations.psnr(a, a) > 100


def test_inversion_brings_pictures_back(pipe: Pipeline, true: ImageSet) -> None:
    """Better than another picture of the same kind would do."""
    found = ablations.invert(pipe, true, 0)
    other = ablations.psnr(true.tensor([0]), true.tensor([1]))
    assert found["decoder"] > 20 > other
    assert np.isfinite(found["whole"])
