"""Draw pictures of a sentence.

Without -o, a file is named after the prompt and the seed (a-fox-7.png), and numbered if another
picture has that name (a-fox-7-2.png): nothing is overwritten.

`{red|blue} car` draws one of the two by its seed, `{2::red|blue}` red twice as often, and
`__animals__` a line of animals.txt; write \\{ for a brace. A file of --prompts is drawn in shared
batches and listed in manifest.jsonl beside the pictures; the same command continues it.

Every PNG, WebP and JPEG stores its prompt, seed, settings and the model's hash, so that `unclip
replay` can draw the same picture again. Settings that are not given here have the
model's defaults.

\b
Examples:
  unclip generate "a red car"
  unclip generate "a red car" -n 4 --seed 7 -o out.png   # one grid of four
  unclip generate "a red car" -n 4 --seed 7 -o cars/     # four files
  unclip generate "a fox" --steps 50 --guidance-scale 4
  unclip generate "a fox" --sampler "dpm++ 2m karras"    # see unclip samplers
  unclip generate "a fox" --seed 7 -o -                  # a PNG to stdout
  unclip generate "a fox" -n 4 -o "out/{prompt}-{seed}-{model}.png"
  unclip generate "{red|blue} {car|fox}" --combinatorial -o all.png
  unclip generate "a red __animals__" --wildcards words/ -n 8 -o many/
  unclip generate --prompts prompts.csv -o many/         # prompt,seed,n,steps
  unclip generate "a fox" --prior prior --set prior_steps=32
  unclip generate "a fox" --prior none --best-of 4
  unclip generate "a fox" --negative-prompt "a car"
  unclip generate "stars" --tile both                    # edges fit together
  unclip generate "a fox" --model v1-5.safetensors --size 768x512
  unclip generate "six stars" --aspect 16:9              # in windows
  unclip generate "a (red:1.3) car AND snow:0.5" --negative-prompt "[text]"
  unclip generate "a fox" --model runs/mine/model --device cuda
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Unpack

from PIL import Image
from pydantic import Field

from ..arguments import Count
from ..cost import BATCH, Work
from ..request import Decoder, Guided, Option, Pictures, Prior, Prompt
from ..weighting import further, plain
from . import Ability
from ._drawing import attach_record, check_request, chosen
from ._settings import PictureSettings
from ._several import several
from ._sized import Sized

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipeline import Chain
    from ..stages.clip import ClipStage
    from ..types import Cond, OnStep


PriorGuidance = Annotated[
    float | None, Field(description="Guidance of the prior; 1 is none."), Option(metavar="SCALE")
]


class GenerateRequest(Sized, Guided):
    """See `generate`."""

    ability: ClassVar[str] = "generate"
    records_defaults: ClassVar[bool] = False
    common: ClassVar[dict[str, Any]] = {**Guided.common, "prior_guidance_scale": PriorGuidance}
    extends: ClassVar[bool] = True
    prompt: Prompt = Field(description="What to draw.")
    n: Pictures = 1
    prior: Prior = None
    decoder: Decoder = None
    best_of: Annotated[Count, Option(metavar="K", sampling=True)] = Field(
        1, description="Draw K for each picture and keep the one that CLIP finds nearest to PROMPT."
    )

    @property
    def one_pass(self) -> bool:
        """What fits into one batch goes through every stage once; CLIP ranks it in another."""
        return self.n * (1 + further(self.prompt)) <= BATCH and self.best_of == 1

    def work(self) -> Work:
        """Every candidate is drawn in full."""
        drawings = self.n * self.best_of
        more = drawings * further(self.prompt)
        return Work(self.n, self.settings, drawings, prior_runs=drawings, further=more)

    def seeds(self) -> list[int | str]:
        """Of the pictures, then of the other candidates of each."""
        first = range(self.seed, self.seed + self.n)
        return [*first, *(f"{one}/candidate{k}" for one in first for k in range(1, self.best_of))]


def generate(
    pipe: Chain,
    prompt: str | Sequence[str],
    n: int = 1,
    seed: int = 0,
    on_step: OnStep | None = None,
    *,
    prior: str | None = None,
    decoder: str | None = None,
    best_of: int = 1,
    negative_prompt: str = "",
    **settings: Unpack[PictureSettings],
) -> list[Image.Image]:
    """Draw `n` pictures of `prompt`.

    Args:
        prompt: what to draw; must not be empty. Its syntax is that of `unclip.weighting`. Or a
            list: `n` pictures of each, in its order and in shared batches. In float32 each is
            within one level of 255 of the one that its prompt and seed give alone.
        n, seed: how many; picture i uses `seed + i` and is the same whatever `n` is.
        on_step: called after each step with a `Step`; raise `Cancelled` there to stop.
        prior, decoder: stages, where the model has several of their kind; the prior "none"
            passes z_t off as z_i, the decoder "fast" is the one distilled to a few steps.
        best_of: draw so many for each picture and keep the one that CLIP finds nearest to
            the prompt.
        negative_prompt: what guidance leads away from, in place of nothing.
        settings: `size="768x512"` or `aspect="3:2"` (windows extend the picture of a model that
            draws one size alone), `tile=True`, and sampling settings that differ from the model's
            defaults: `steps`, `guidance_scale`, `sampler`, ... of the decoder, and
            `prior_guidance_scale`, `upsampler_steps`, ... of others. None is skipped.

    Returns:
        PIL pictures. `picture.info["unclip"]` is JSON that `replay` makes the same one from.

    Raises:
        UsageError: an empty prompt, n < 1, an unknown setting or one out of range, or more
            steps than `limit`; all before the first step. `on_step` may raise Cancelled.
    """
    requests = [
        GenerateRequest.of(
            prompt=one,
            n=n,
            seed=seed,
            prior=prior,
            decoder=decoder,
            best_of=best_of,
            negative_prompt=negative_prompt,
            settings=settings,
        )
        for one in several(prompt)
    ]
    return list(chain.from_iterable(together(pipe, requests, on_step)))


def together(
    pipe: Chain, requests: Sequence[GenerateRequest], on_step: OnStep | None = None
) -> list[list[Image.Image]]:
    """Draw the pictures of several requests in the same batches, as `generate` those of a list.

    Args:
        requests: the same but for prompt, n and seed.

    Raises:
        UsageError: as `generate`.
    """
    import torch

    from ..types import Cond
    from ._canvas import Brush
    from ._extended import Extension

    one = requests[0]
    pipe = chosen(pipe, one)
    extension = Extension.of(one, pipe.model)
    works = [extension.work(request.work(), request.prompt) for request in requests]
    work = sum(works[1:], works[0])
    if one.best_of > 1:
        _ranker(pipe)
    check_request(pipe, one, work, on_step)

    seeds = [request.seeds() for request in requests]
    conds = [
        pipe.read_prompt(request.prompt, one.negative_prompt, one.prior).expand(len(own))
        for request, own in zip(requests, seeds, strict=True)
    ]
    pictures: dict[int, list[Image.Image]] = {}
    for group in _groups(conds):
        parts = [seeds[index] for index in group]
        cond = conds[group[0]] if len(group) == 1 else Cond.joined([conds[i] for i in group])
        every = list(chain.from_iterable(parts))
        drawn = pipe.sample(cond, every, settings=one.settings, on_step=on_step, prior=one.prior)
        for index, own in zip(group, torch.split(drawn, list(map(len, parts))), strict=True):
            request = requests[index]
            best = _best(pipe, request.prompt, own, request.n) if one.best_of > 1 else own
            own_seeds = range(request.seed, request.seed + request.n)
            made = extension.extend(pipe, best, own_seeds, Brush(request, one.prior, on_step))
            pictures[index] = attach_record(pipe, made, request.record())
    return [pictures[index] for index in range(len(requests))]


def _groups(conds: Sequence[Cond]) -> list[list[int]]:
    """Numbers of the conditions that one batch can hold; one of several prompts is by itself."""
    from ..types import Cond

    groups: dict[Any, list[int]] = {}
    for index, cond in enumerate(conds):
        shape = tuple((name, value.shape[1:]) for name, value in cond.items())
        groups.setdefault(shape if type(cond) is Cond else index, []).append(index)
    return list(groups.values())


def _ranker(pipe: Chain) -> tuple[Chain, ClipStage]:
    """Who reads the prompt, and the CLIP that says which pictures are nearest to it."""
    from ..checkpoints.format import GIVE_CLIP

    reader = pipe.ranker or pipe
    advice = {**reader.model.advice, **dict.fromkeys(("clip", "text", "vision"), GIVE_CLIP)}
    return reader, reader.model.clip("re-ranking", "text", "vision", advice=advice)


def _best(pipe: Chain, prompt: str, drawn: Tensor, n: int) -> Tensor:
    """(n, 3, H, W): of each picture's candidates the one nearest to the prompt."""
    import torch
    from torch.nn import functional as F

    from ..rng import Rng

    reader, clip = _ranker(pipe)
    z_t = clip.sample(reader.read([plain(prompt)]), Rng([0], pipe.device)).text_embed
    assert z_t is not None
    z_i = clip.embed_images(drawn)
    score = F.cosine_similarity(z_i, z_t)  # the first n, then the others of each
    rest = torch.arange(n, len(drawn), device=drawn.device).view(n, -1)
    mine = torch.cat([torch.arange(n, device=drawn.device)[:, None], rest], dim=1)
    best = score[mine].argmax(1)
    return drawn[mine[torch.arange(n, device=drawn.device), best]]


ABILITY = Ability(GenerateRequest, generate, frozenset({"prompt"}), together)
