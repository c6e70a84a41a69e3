"""A model: stages in order, what reads its prompts, and what it has and lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from ..added import Added
from ..errors import UsageError, nearest
from ..nn.tokenizer import Tokenizer
from ..vocabulary import Vocabulary
from .clip import ClipStage
from .stage import Stage

MAIN_STAGE = "decoder"
"""The stage whose sampling settings are named without its name."""

NO_PRIOR = "none"
"""The prior that is none: z_t is passed off as z_i (arXiv 2204.06125, section 5.1)."""

FAST = "fast"
"""Of a model's decoders, the one that is distilled to a few steps."""

TRAIN_ONE: Mapping[str, str] = {
    "clip": "train one with it (a recipe with [stages.clip])",
    "prior": "train one ([stages.prior] in a recipe)",
    "decoder": "train one with it (a recipe with [stages.decoder])",
}
"""How a model of this package comes to a part that it lacks."""


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Args:
        tokenizer: reads its prompts.
        stages: by name, in the order in which they run.
        name: what it is called.
        hash: names these very weights and settings.
        prior: the stage that makes z_i unless another is named.
        decoder: the stage that draws, of several, unless another is named.
        advice: what to do about a part that it lacks: see `Plan`.
        vocabulary: the words that it has learnt; empty where they are not listed.
        read_as: number format in which weights that are still to be read will be.
        drawn: (height, width) of its pictures where that is not its own: see `sizes`.
        enlarged: how many times as many pixels these have, its optional upsamplers' included.
        tile: axes along which its pictures go on beyond their edges: "x", "y", both.
        added: LoRA files and embeddings that it was loaded with.
        running: its optional stages that run: see `sizes`.
    """

    tokenizer: Tokenizer
    stages: dict[str, Stage]
    name: str = ""
    hash: str = ""
    prior: str | None = None
    advice: Mapping[str, str] = field(default_factory=lambda: TRAIN_ONE)
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    read_as: torch.dtype | None = None
    decoder: str | None = None
    drawn: tuple[int, int] | None = None
    enlarged: float = 1.0
    tile: str = ""
    added: tuple[Added, ...] = ()
    running: tuple[str, ...] = ()

    @property
    def image_stages(self) -> dict[str, Stage]:
        """The stages that make a picture or change one: the decoder that draws, upsamplers."""
        idle = {*self.decoders[1:], *self.waiting}
        made = {name: one for name, one in self.stages.items() if "image" in one.produces}
        return {name: one for name, one in made.items() if name not in idle}

    @property
    def decoders(self) -> list[str]:
        """Names of the stages that make a picture of no other, the one that draws first."""
        stages = self.stages.items()
        names = [n for n, one in stages if "image" in one.produces and "image" not in one.consumes]
        return sorted(names, key=lambda name: name != self.decoder)

    @property
    def waiting(self) -> list[str]:
        """Names of the stages that run only where their size is asked for, and it is not."""
        stages = {n: one for n, one in self.stages.items() if n not in self.running}
        return [name for name, one in stages.items() if getattr(one.config, "optional", False)]

    def with_decoder(self, name: str | None = None) -> Model:
        """The model with another of its decoders; None: its own; `FAST`: its few-step one.

        Raises:
            UsageError: it has no such decoder.
        """
        if name is None:
            return self
        if name == FAST and FAST not in self.decoders:
            return self._fast()
        if name not in self.decoders:
            known = ", ".join(self.decoders) or "none"
            hint = nearest(str(name), self.decoders)
            text = f"model '{self.name}' has no decoder '{name}'{hint}; it has: {known}"
            raise UsageError(text).about("decoder")
        return replace(self, decoder=name)

    def _fast(self) -> Model:
        for name in self.decoders:
            if getattr(self.stages[name].config, "distilled", False):
                return replace(self, decoder=name)
        lacks = self._lacking("decoder that is distilled to a few steps", FAST)
        raise UsageError(f"{lacks}; `unclip train turbo --teacher MODEL` makes one").about(
            "decoder"
        )

    def inverting(self) -> Model:
        """The model with a decoder that can be inverted, as one distilled to few steps cannot."""
        able = [name for name in self.decoders if self.stages[name].inverts]
        return self.with_decoder(able[0]) if able else self

    @property
    def priors(self) -> list[str]:
        """Names of the stages that make z_i, the default one first."""
        names = [name for name, one in self.stages.items() if "image_embed" in one.produces]
        return sorted(names, key=lambda name: name != self.prior)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures it draws. Raises UsageError where it draws none."""
        if self.drawn:
            return self.drawn
        sizes = [stage.image_size for stage in self.image_stages.values()]
        if not sizes or sizes[-1] is None:
            raise UsageError(self._lacking("stage that makes a picture", "decoder"))
        return sizes[-1]

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its networks. Reads no weights."""
        nets = (stage.net_at_rest for stage in self.stages.values())
        return self.read_as or next(next(net.parameters()).dtype for net in nets)

    @property
    def upscaling(self) -> int:
        """How many times its upsamplers enlarge a picture, all together."""
        factor = 1
        for stage in self.image_stages.values():
            factor *= stage.factor
        return factor

    @property
    def null_is_text(self) -> bool:
        """Whether a hidden text gives way to another text's encoding."""
        return any(stage.null_is_text for stage in self.stages.values())

    @property
    def reads_embedding(self) -> bool:
        """Whether it draws from an image embedding."""
        return any("image_embed" in stage.consumes for stage in self.image_stages.values())

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
        stage = self.clip_stage
        if stage is None:
            raise UsageError(self._lacking(f"CLIP, which {ability} needs", "clip", advice))
        for one, has in (("text", stage.reads), ("vision", stage.sees)):
            if one in encoders and not has:
                which = "text encoder" if one == "text" else "image encoder"
                lacks = f"{which} of CLIP, which {ability} needs"
                raise UsageError(self._lacking(lacks, one, advice))
        return stage

    @property
    def clip_stage(self) -> ClipStage | None:
        """Its CLIP, whichever encoders that has."""
        return next((one for one in self.stages.values() if isinstance(one, ClipStage)), None)

    def check_prior(self, prior: str | None) -> None:
        """Raise UsageError where the model has no such prior, or cannot read a text for it."""
        if prior is not None and prior not in (*self.priors, NO_PRIOR):
            known = ", ".join([*self.priors, NO_PRIOR])
            hint = nearest(str(prior), self.priors)
            text = f"model '{self.name}' has no prior '{prior}'{hint}; it has: {known}"
            raise UsageError(text).about("prior")
        if prior is None and not self.priors and self.reads_embedding:
            reads = self.clip_stage is not None and self.clip_stage.reads
            without = f", or pass z_t off as it: prior='{NO_PRIOR}'" if reads else ""
            lacks = "prior, which makes an image embedding of a text"
            raise UsageError(f"{self._lacking(lacks, 'prior')}{without}").about("prior")

        readers = [*self.image_stages.values(), *(self.stages[name] for name in self.priors)]
        if prior == NO_PRIOR or any("text_embed" in one.consumes for one in readers):
            self.clip("reading a text", "text")
        if self.image_stages and all("image" in one.consumes for one in self.image_stages.values()):
            raise UsageError(self._lacking("decoder, which drawing from a text needs", "decoder"))

    def check_embedding(self, ability: str) -> None:
        """Raise UsageError where the model draws from no image embedding, which `ability` turns."""
        _ = self.size
        if not self.reads_embedding:
            lacks = f"decoder that draws from an image embedding (z_i), which {ability} needs"
            raise UsageError(
                f"{self._lacking(lacks, '')}; this package's own models have one, and those that "
                "docs/models names"
            )

    def _lacking(self, what: str, part: str, advice: Mapping[str, str] | None = None) -> str:
        """Words for an error: what the model lacks, and what a person does about it."""
        does = (advice or self.advice).get(part, "")
        return f"model '{self.name}' has no {what}{does and f'; {does}'}"

    def by_stage(self, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Flat settings to {stage: {setting: value}}, checked. Raises UsageError."""
        sampled, main = self._sampled, self._main_stage
        fields = {name: list(type(one).model_fields) for name, one in sampled.items()}
        result: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            stage, setting = self._owner(key)
            if setting not in fields.get(stage, ()):
                known = [f"{n}_{field}" for n, each in fields.items() for field in each]
                hint = nearest(key, [*fields.get(main, ()), *known])
                some = ", ".join([*fields.get(main, ()), *known[:1], "..."])
                text = f"unknown setting '{key}'{hint or f'; known: {some}'}"
                raise UsageError(text).about(key)
            result.setdefault(stage, {})[setting] = value
        for stage, values in result.items():
            sampled[stage].merge(values, self.prefix(stage))
        return result

    @property
    def _sampled(self) -> dict[str, Any]:
        """The settings of every stage that has any."""
        own = {n: getattr(stage.config, "sampling", None) for n, stage in self.stages.items()}
        return {name: sampling for name, sampling in own.items() if sampling is not None}

    @property
    def _main_stage(self) -> str:
        """The stage whose settings are named without its name; empty where none has any."""
        sampled = self._sampled
        main = next(iter(self.decoders), MAIN_STAGE)
        return main if main in sampled else next(reversed(sampled), "")

    def _owner(self, key: str) -> tuple[str, str]:
        """The stage that a flat setting is of, and its name there."""
        owners = [name for name in self._sampled if key.startswith(f"{name}_")]
        stage = max(owners, key=len, default=self._main_stage)
        return stage, key.removeprefix(f"{stage}_")

    def prefix(self, stage: str) -> str:
        """What the names of a stage's settings begin with."""
        return "" if stage == self._main_stage else f"{stage}_"

    def unused(
        self, settings: Mapping[str, Any], runs: Collection[str], inpaints: bool = False
    ) -> Iterator[str]:
        """One line for each setting that has no effect.

        Args:
            settings: as `by_stage` takes them, and finds no fault with them.
            runs: the stages that run.
            inpaints: whether a part of the picture is known.
        """
        each = self.by_stage(settings)
        reasons = {n: self.stages[n].unused(each[n], inpaints) for n in each if n in runs}
        for key in settings:
            stage, setting = self._owner(key)
            if stage not in runs:
                yield f"setting '{key}' has no effect: {self._idle(stage, runs)}"
            elif why := reasons[stage].get(setting):
                yield f"setting '{key}' has no effect: {why.replace('{}', self.prefix(stage))}"

    def _idle(self, name: str, runs: Collection[str]) -> str:
        """Why a stage does not run, and how it would."""
        others = ", ".join(one for one in self.stages if one in runs)
        hint = ""
        for option, names in (("prior", self.priors), ("decoder", self.decoders)):
            if name in names and any(one in runs for one in names):
                hint = f"; to use it, give --{option} {name} (in Python {option}='{name}')"
        return f"this draws with {others}, not with {name}{hint}"
