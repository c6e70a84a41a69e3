"""What a command that draws is asked for, request by request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bulk.jobs import Job, in_row, output_of
from ..bulk.layout import Layout, NamedLayout
from ..bulk.names import NameTemplate, slug
from ..errors import DataError, UsageError, about
from ._draw import ANY, random_seed

if TYPE_CHECKING:
    from ..bulk.manifest import Key
    from ..bulk.rows import Row
    from ..request import Drawing


class Jobs:
    """The jobs of a command: of each picture of a folder, and of each row of a file of prompts.

    Raises:
        UsageError: no prompt, or two; a folder or a file that cannot be read.
    """

    def __init__(self, command: Any) -> None:
        self.command, self.request = command, command.ability.request
        self.template = NameTemplate.of(command.output) if command.output else None
        self.folder = self._folder()
        self._check_prompt()
        self.rows = self._rows()

    def _folder(self) -> Path | None:
        """Of the pictures to begin from, if it is one."""
        given = self.command.values(["image"]).get("image")
        return Path(given) if isinstance(given, str) and os.path.isdir(given) else None

    def _check_prompt(self) -> None:
        prompts, given = self.command.prompts, self.command.values(["prompt"])
        if "prompt" not in given:
            return
        if prompts is None and given["prompt"] is None:
            name = f"unclip {type(self.command).__name__}"
            text = f"missing argument 'PROMPT', or --prompts FILE (see {name} --help)"
            raise UsageError(text).about("prompt")
        if prompts is not None and given["prompt"] is not None:
            text = "PROMPT and --prompts both say what to draw: give one of them"
            raise UsageError(text).about("prompts")

    @about("prompts")
    def _rows(self) -> list[Row]:
        from ..bulk.rows import Row, read_rows

        prompts = self.command.prompts
        return [Row({})] if prompts is None else read_rows(prompts)

    @property
    def are_many(self) -> bool:
        """Whether they are of a file of prompts, or of a folder."""
        return self.command.prompts is not None or self.folder is not None

    def all(
        self,
        seeds: Mapping[Key, Sequence[int]] | None = None,
        fresh: Callable[[], int] = random_seed,
    ) -> list[Job]:
        """Each checked by itself.

        Args:
            seeds: those of an earlier run, for rows that ask for any seed.
            fresh: gives one to each of the others.

        Raises:
            UsageError: a wrong one, with the row.
        """
        from ..bulk.wildcards import Wildcards

        with about("wildcards"):
            wildcards = Wildcards(self.command.wildcards)
        settings = self.command.settings()
        earlier = {key: iter(every) for key, every in (seeds or {}).items()}
        jobs = []
        for image in self._images():
            for row in self.rows:
                try:
                    jobs += self._of(row, image, settings, earlier, fresh, wildcards)
                except UsageError as error:
                    raise in_row(error, row.where) from None
        return jobs

    def _images(self) -> list[Path | None]:
        from ..data.listing import pictures_in

        if self.folder is None:
            return [None]
        try:
            return list(pictures_in(self.folder))
        except DataError as error:
            raise UsageError(str(error)).about("image") from None

    def _of(
        self,
        row: Row,
        image: Path | None,
        settings: dict[str, Any],
        earlier: Mapping[Key, Iterator[int]],
        fresh: Callable[[], int],
        wildcards: Any,
    ) -> list[Job]:
        fields, own = row.split(self.request)
        sources = self._sources(image)
        fields |= {} if image is None else {"image": str(image)}
        seed = fields.pop("seed", self.command.seed)
        any_seed = seed in (None, ANY)
        if any_seed:
            written = fields.get("prompt") or self.command.values(["prompt"]).get("prompt", "")
            key = (str(written), sources.get("image", ""))
            seed = next(earlier.get(key, iter(())), None) if self.are_many else None
            seed = fresh() if seed is None else seed
        request = self.command.request(**fields, seed=seed, settings=settings | own)
        folder = (
            "" if image is None or self.folder is None else image.parent.relative_to(self.folder)
        )
        command = type(self.command).__name__
        jobs, chosen = [], self._chosen(request, wildcards)
        for number, (one, template) in enumerate(chosen, start=1):
            layout = self._layout(one, "-".join(map(slug, one.title(command))), row)
            mine = output_of(row, number if len(chosen) > 1 else 0)
            jobs.append(Job(one, layout, mine, template, sources, str(folder), any_seed))
        return jobs

    def _sources(self, image: Path | None) -> dict[str, str]:
        from ._fields import pictures_of

        given = self.command.values(pictures_of(self.request))
        given |= {} if image is None else {"image": str(image)}
        return {name: one for name, one in given.items() if isinstance(one, str)}

    def _layout(self, request: Drawing, name: str, row: Row) -> Layout:
        if self.template is None:
            return Layout(request, name)
        command = type(self.command).__name__
        return NamedLayout(request, name, template=self.template, command=command, row=row.line)

    @about("prompt")
    def _chosen(self, request: Any, wildcards: Any) -> list[tuple[Drawing, str]]:
        """Requests with one of a prompt's choices each, and the prompt as it was."""
        from ..arguments import check_prompt
        from ..bulk.wildcards import MOST

        if "prompt" not in self.request.model_fields:
            return [(request, "")]
        written, n = request.prompt, request.n
        if self.command.combinatorial:
            changes = [{"prompt": text} for text in wildcards.combinations(written)]
        elif not wildcards.is_template(written):
            changes = [{"prompt": wildcards.draw(written)}]
        elif n > MOST:
            text = f"n must be at most {MOST:,} where a prompt has choices, got {n}"
            raise UsageError(text).about("n")
        else:
            seeds = range(request.seed, request.seed + n)
            changes = [{"prompt": wildcards.draw(written, s), "seed": s, "n": 1} for s in seeds]
        for one in changes:
            check_prompt(one["prompt"])
        chosen = [(request.model_copy(update=one), one["prompt"]) for one in changes]
        return [(one, "" if text == written else written) for one, text in chosen]
