"""A pipeline folds a condition through an ordered set of stages: from a sentence to a picture."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from PIL import Image
from torch import Tensor

from ._version import __version__
from .abilities.edit import edit
from .abilities.generate import generate
from .abilities.image_to_image import image_to_image
from .abilities.interpolate import interpolate
from .abilities.outpaint import outpaint
from .abilities.probe import probe
from .abilities.reconstruct import reconstruct
from .abilities.text_diff import text_diff
from .abilities.upscale import upscale
from .abilities.vary import variations
from .checkpoints.format import TRAIN_ONE, Model
from .config import shown
from .device import place
from .errors import SamplingError, UsageError, nearest, warn
from .images import to_pictures
from .nn.tokenizer import Tokenizer
from .request import BATCH, LIMIT, Cost, Drawing, Record, Work, given
from .rng import Rng
from .stages import DiffusionStage, Stage, check_finite
from .stages.clip import ClipStage
from .stages.upsampler import Upsampler
from .types import FREE, Cond, Control, OnStep
from .vocabulary import Vocabulary

MAIN_STAGE = "decoder"
"""The stage whose sampling settings are named without its name."""

NO_PRIOR = "none"
"""The prior that is none: z_t is passed off as z_i (arXiv 2204.06125, section 5.1)."""


class Pipeline:
    """Text -> CLIP -> prior -> decoder -> upsamplers, or any other chain of stages."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        stages: Mapping[str, Stage],
        name: str = "",
        model_hash: str = "",
        device: torch.device | None = None,
        prior: str | None = None,
        advice: Mapping[str, str] = TRAIN_ONE,
    ) -> None:
        self.tokenizer = tokenizer
        self.stages = dict(stages)
        self.name, self.hash = name, model_hash
        self.device = device or torch.device("cpu")
        self.prior = prior
        self.advice = advice
        """What a person does about a part that the model lacks: see `Plan`."""
        self.vocabulary = Vocabulary()
        """The words that it has learnt; empty where they are not listed."""
        self.strict_words = False
        """Whether a prompt with a word that the model does not know is refused."""
        self.judge: Pipeline | None = None
        """A CLIP that says which pictures are best, where the model has none of its own."""
        self.limit: int | None = LIMIT
        """Sampling steps, of all pictures of a request together, above which it is refused."""
        self.on_cost: Callable[[Cost], None] | None = None
        """Told what a request takes, before its first step; raise there to refuse it."""
        for stage in self.stages.values():
            stage.eval()
            if stage.source is None:  # else it comes as it should be
                place(stage, self.device)

    @classmethod
    def of(cls, model: Model, device: torch.device | None = None) -> Self:
        """From a loaded model folder."""
        named = (model.tokenizer, model.stages, model.name, model.hash)
        pipe = cls(*named, device, model.prior, model.advice)
        pipe.vocabulary = model.vocabulary
        return pipe

    def admit(self, request: Drawing, work: Work, on_step: OnStep | None = None) -> None:
        """Refuse before the first step what cannot be drawn, or would take too long.

        Raises:
            UsageError: a setting that no stage has or can follow, a record that cannot be written,
                or more steps than `limit`.
        """
        if not (on_step is None or callable(on_step)):
            raise UsageError(f"on_step must be a function or None, got {shown(on_step)}")
        cost = self.cost(work, getattr(request, "prior", None))
        request.record().to_json().encode()
        if self.on_cost is not None:
            self.on_cost(cost)

    def cost(self, work: Work, prior: str | None = None) -> Cost:
        """What such work takes of this model.

        Raises:
            UsageError: a setting that no stage has or can follow, or more steps than `limit`.
        """
        side = self.side
        sampling = self.by_stage(work.settings)
        each = {n: one.steps(sampling.get(n), work.holds) for n, one in self.stages.items()}
        runs = {n: work.drawings for n, one in self.painters.items()}
        if work.enlarges:
            runs = {n: runs[n] for n in runs if "image" in self.stages[n].consumes}
        elif work.imagined and self.priors and prior != NO_PRIOR:
            runs[prior or self.priors[0]] = work.imagined
        inverting = work.inversions * sum(each[name] for name in self.painters)
        steps = {n: each[n] * count for n, count in runs.items()}
        cost = Cost(work.pictures, work.size or (side, side), steps, inverting)
        cost.check(self.limit)
        for name in steps:
            self.stages[name].check(sampling.get(name))
        return cost

    generate = generate
    variations = variations
    image_to_image = image_to_image
    edit = edit
    outpaint = outpaint
    interpolate = interpolate
    text_diff = text_diff
    reconstruct = reconstruct
    probe = probe
    upscale = upscale

    def read(self, prompts: list[str], negative: str = "") -> Cond:
        """Tokens of prompts, on the pipeline's device.

        With a `negative` prompt, or where the model's null is a text, its tokens too. Warns and
        raises as `heed` does.
        """
        self.heed(*prompts, negative)
        tokens, mask = self.tokenizer.encode(prompts)
        cond = Cond(text_tokens=tokens.to(self.device), text_mask=mask.to(self.device))
        if not negative and not self._null_is_text:
            return cond
        tokens, mask = self.tokenizer.encode([negative] * len(prompts))
        return cond.replace(
            null_text_tokens=tokens.to(self.device), null_text_mask=mask.to(self.device)
        )

    def heed(self, *texts: str) -> None:
        """Say what of a text the model does not know, or does not read, as a `PromptWarning`.

        Raises:
            UsageError: a word is not known, and `strict_words` is set.
        """
        for text in dict.fromkeys(texts):
            complaint = self.vocabulary.complaint(text, self.name)
            if complaint and self.strict_words:
                raise UsageError(complaint)
            if complaint:
                warn(complaint)
            kept = self.tokenizer.kept(text)
            if kept != text:
                count, room = len(self.tokenizer.pieces(text)), self.tokenizer.room
                where = f"after '{_ending(kept)}'" if kept.strip() else "whole"
                warn(f"the prompt has {count} tokens, the model reads {room}: it is cut {where}")

    def wordless(self, image_embed: Tensor) -> Cond:
        """The condition of (B, D) z_i alone: the text is dropped."""
        cond = self.read([""])  # of one picture, then for all of them
        if not self._null_is_text:
            cond = cond.replace(keep_text=torch.zeros(1, dtype=torch.bool, device=self.device))
        else:  # the empty text is the null
            clips = (stage for stage in self.stages.values() if isinstance(stage, ClipStage))
            clip = next(clips, None)
            cond = cond if clip is None else self._seen_by(clip, cond)
        return cond.expand(len(image_embed)).replace(image_embed=image_embed)

    def _seen_by(self, clip: ClipStage, cond: Cond) -> Cond:
        """What CLIP makes of an empty text, where a painter looks at it."""
        with torch.inference_mode():
            return clip.encode_text(cond) if self._reads_clip(cond) else clip.beside_nothing(cond)

    @property
    def _null_is_text(self) -> bool:
        return any(stage.null_is_text for stage in self.stages.values())

    def sample(
        self,
        cond: Cond,
        seeds: Sequence[int | str],
        controls: Mapping[str, Control] | None = None,
        settings: Mapping[str, Any] | None = None,
        on_step: OnStep | None = None,
        prior: str | None = None,
        on_stage: Callable[[str, Cond], None] | None = None,
    ) -> Tensor:
        """One picture a seed, in batches: (len(seeds), 3, H, W) in [-1, 1].

        Args:
            cond: what every picture begins from.
            seeds: one a picture.
            controls: for every picture, what steers each stage.
            settings: flat, as `generate` takes them.
            on_step: as in `generate`.
            prior: as in `generate`.
            on_stage: told each stage's name and what the condition of a batch is after it.
        """
        _ = self.side  # refused before the work where nothing draws
        if len(cond) != len(seeds):
            raise UsageError(f"{len(seeds)} seeds need as many conditions, got {len(cond)}")
        sampling = self.by_stage(given(settings or {}))
        images: list[Tensor] = []
        for start in range(0, len(seeds), BATCH):
            part = slice(start, start + BATCH)
            steer = {name: control[part] for name, control in (controls or {}).items()}
            rng = Rng(seeds[part], self.device)
            drawn = self.fold(cond[part], rng, sampling, on_step, prior, steer, on_stage)
            assert drawn.image is not None
            images.append(drawn.image.float())
        return torch.cat(images)

    def fold(
        self,
        cond: Cond,
        rng: Rng,
        sampling: Mapping[str, Mapping[str, Any]] | None = None,
        on_step: OnStep | None = None,
        prior: str | None = None,
        controls: Mapping[str, Control] | None = None,
        on_stage: Callable[[str, Cond], None] | None = None,
    ) -> Cond:
        """Run the stages in order, each with its own fork of `rng`. What `cond` holds is kept.

        Raises:
            SamplingError: what a stage makes is not finite.
        """
        for name, stage in self.stages.items():
            if self._has_no_part(name, stage, cond, prior):
                continue
            if name in self.painters and cond.image_embed is None and prior == NO_PRIOR:
                cond = cond.replace(image_embed=cond.text_embed)
            options = dict((sampling or {}).get(name, {}))
            control = self._steered(stage, cond, options, (controls or {}).get(name, FREE))
            told = self.told(on_step, name)
            try:
                cond = stage.sample(cond, rng.fork(name), options, told, control)
            except SamplingError as error:  # under the stage's name in this model, not its kind
                raise SamplingError(name, error.when) from None
            made = (value for field, value in cond.items() if field in stage.produces)
            check_finite(*made, stage=name, when="at its end")
            if on_stage is not None:
                on_stage(name, cond)
        return cond

    def _has_no_part(self, name: str, stage: Stage, cond: Cond, prior: str | None) -> bool:
        """Whether what a stage makes is there already, not needed, or another prior was chosen."""
        if name in self.painters:
            return cond.image is not None and "image" not in stage.consumes
        begun = cond.image_embed is not None or cond.image is not None
        if name in self.priors:
            return begun or name != (prior or self.priors[0])
        return begun and not self._reads_clip(cond)

    def _reads_clip(self, cond: Cond) -> bool:
        """Whether a painter that has yet to paint misses CLIP's view of the text."""
        if cond.text_encodings is not None:
            return False
        left = [s for s in self.painters.values() if cond.image is None or "image" in s.consumes]
        return any(stage.consumes & {"text_embed", "text_encodings"} for stage in left)

    def _steered(
        self, stage: Stage, cond: Cond, options: dict[str, Any], control: Control
    ) -> Control:
        """`control` with CLIP's similarity as its score, where guidance by it is asked for."""
        if not isinstance(stage, DiffusionStage) or "image" not in stage.produces:
            return control
        if stage.config.sampling.merge(options).clip_guidance_scale == 0:
            return control
        net, target = self.clip("CLIP guidance", "vision").net, cond.text_embed
        target = cond.image_embed if target is None else target
        assert target is not None

        wanted = target

        def score(image: Tensor) -> Tensor:
            # a clone, because gradients may not pass through a tensor of inference mode
            return (net.encode_image(image) * wanted.clone()).sum(-1)

        return replace(control, score=score)

    @property
    def painters(self) -> dict[str, Stage]:
        """The stages that make a picture or change one: decoder, upsamplers."""
        return {name: one for name, one in self.stages.items() if "image" in one.produces}

    @property
    def priors(self) -> list[str]:
        """Names of the stages that make z_i, the default one first."""
        names = [name for name, one in self.stages.items() if "image_embed" in one.produces]
        return sorted(names, key=lambda name: name != self.prior)

    def check_prior(self, prior: str | None) -> None:
        """Raise UsageError where the model has no such prior, or cannot read a text for it."""
        if prior is not None and prior not in (*self.priors, NO_PRIOR):
            known = ", ".join([*self.priors, NO_PRIOR])
            hint = nearest(str(prior), self.priors)
            raise UsageError(f"model '{self.name}' has no prior '{prior}'{hint}; it has: {known}")
        if prior is None and not self.priors and self._wants_embedding():
            reads = any(isinstance(s, ClipStage) and s.reads for s in self.stages.values())
            without = f", or pass z_t off as it: prior='{NO_PRIOR}'" if reads else ""
            lacks = "prior, which makes an image embedding of a text"
            raise UsageError(f"{self._lacking(lacks, 'prior')}{without}")

        readers = [*self.painters.values(), *(self.stages[name] for name in self.priors)]
        if prior == NO_PRIOR or any("text_embed" in one.consumes for one in readers):
            self.clip("reading a text", "text")
        if self.painters and not any("image" not in s.consumes for s in self.painters.values()):
            raise UsageError(self._lacking("decoder, which drawing from a text needs", "decoder"))

    def check_embedding(self, ability: str) -> None:
        """Raise UsageError where the model draws from no image embedding, which `ability` turns."""
        _ = self.side
        if not self._wants_embedding():
            lacks = f"decoder that draws from an image embedding (z_i), which {ability} needs"
            raise UsageError(
                f"{self._lacking(lacks, '')}; Karlo, Kandinsky 2.2, Stable unCLIP and this "
                "package's own models have one"
            )

    def _wants_embedding(self) -> bool:
        return any("image_embed" in stage.consumes for stage in self.painters.values())

    def clip(
        self,
        ability: str,
        *encoders: Literal["text", "vision"],
        advice: Mapping[str, str] | None = None,
    ) -> ClipStage:
        """The CLIP that `ability` needs.

        Args:
            ability: for the error's text.
            encoders: which of its encoders are needed.
            advice: in place of the model's own.

        Raises:
            UsageError: the model has none, or not with these encoders.
        """
        stage = next((s for s in self.stages.values() if isinstance(s, ClipStage)), None)
        if stage is None:
            raise UsageError(self._lacking(f"CLIP, which {ability} needs", "clip", advice))
        for one, has in (("text", stage.reads), ("vision", stage.sees)):
            if one in encoders and not has:
                which = "text encoder" if one == "text" else "image encoder"
                lacks = f"{which} of CLIP, which {ability} needs"
                raise UsageError(self._lacking(lacks, one, advice))
        return stage

    def _lacking(self, what: str, part: str, advice: Mapping[str, str] | None = None) -> str:
        """Words for an error: what the model lacks, and what a person does about it."""
        does = (advice or self.advice).get(part, "")
        return f"model '{self.name}' has no {what}{does and f'; {does}'}"

    @property
    def side(self) -> int:
        """Side of the pictures it draws. Raises UsageError where it draws none."""
        sizes = [stage.image_size for stage in self.painters.values()]
        if not sizes or sizes[-1] is None:
            raise UsageError(self._lacking("stage that makes a picture", "decoder"))
        return sizes[-1]

    @property
    def enlarges(self) -> int:
        """How many times its upsamplers enlarge a picture, all together."""
        factor = 1
        for stage in self.painters.values():
            factor *= stage.factor if isinstance(stage, Upsampler) else 1
        return factor

    def imagine(
        self,
        cond: Cond,
        rng: Rng,
        sampling: Mapping[str, Mapping[str, Any]] | None = None,
        on_step: OnStep | None = None,
        prior: str | None = None,
    ) -> Cond:
        """Run CLIP and the prior alone: `cond` with `image_embed`."""
        stages = {n: one for n, one in self.stages.items() if n not in self.painters}
        short = copy.copy(self)
        short.stages = stages
        cond = short.fold(cond, rng, sampling, on_step, prior)
        return cond.replace(image_embed=cond.text_embed) if prior == NO_PRIOR else cond

    def signed(self, images: Tensor, record: Record, one_seed: bool = False) -> list[Image.Image]:
        """(n, 3, H, W) as pictures, each with its record."""
        return self.sign(to_pictures(images), record, one_seed)

    def sign(
        self, pictures: list[Image.Image], record: Record, one_seed: bool = False
    ) -> list[Image.Image]:
        """Give picture i its record, with seed + i unless all come of one seed."""
        threads = torch.get_num_threads() if self.device.type == "cpu" else 0
        for index, picture in enumerate(pictures):
            own = replace(
                record,
                seed=record.seed + (0 if one_seed else index),
                model=self.name,
                model_hash=self.hash,
                version=__version__,
                threads=threads,
            )
            picture.info["unclip"] = own.to_json()
        return pictures

    def told(self, on_step: OnStep | None, name: str) -> OnStep | None:
        """`on_step` told a stage's name in the model instead of its kind."""
        if on_step is None:
            return None
        return lambda step: on_step(replace(step, stage=name))

    def by_stage(self, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Flat settings to {stage: {setting: value}}, checked. Raises UsageError."""
        kinds = {n: _sampling(stage) for n, stage in self.stages.items()}
        sampled = {name: sampling for name, sampling in kinds.items() if sampling is not None}
        main = MAIN_STAGE if MAIN_STAGE in sampled else next(reversed(sampled), "")
        result: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            owners = [name for name in sampled if key.startswith(f"{name}_")]
            stage = max(owners, key=len, default=main)
            setting = key.removeprefix(f"{stage}_")
            if setting not in type(sampled[stage]).model_fields:
                own = {n: type(one).model_fields for n, one in sampled.items()}
                known = [*own[main], *(f"{n}_{f}" for n, fields in own.items() for f in fields)]
                raise UsageError(f"unknown setting '{key}'{nearest(key, known)}")
            result.setdefault(stage, {})[setting] = value
        for stage, values in result.items():
            sampled[stage].merge(values, "" if stage == main else f"{stage}_")
        return result


def _sampling(stage: Stage) -> Any:
    """A stage's sampling settings, or None where nothing is sampled."""
    return getattr(stage.config, "sampling", None)


def _ending(text: str, most: int = 40) -> str:
    """The last words of a text, at most so many letters of them."""
    if len(text) <= most:
        return text
    words = text[-most - 1 :].partition(" ")[2].strip()
    return f"… {words}" if words else f"…{text[-most:]}"
