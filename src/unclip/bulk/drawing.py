"""Many jobs: checked before the first, drawn in shared batches, written and listed one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UsageError
from .names import save_new
from .places import Place

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..cost import Cost
    from ..facade import Pipeline
    from ..request import Drawing
    from ..types import OnStep
    from .manifest import Manifest


def checked(pipe: Pipeline, places: Sequence[Place]) -> tuple[list[Place], list[str]]:
    """Those that can be drawn, with what they take, and what is wrong with the others.

    A picture of a folder that cannot be drawn from is left out; where nothing is left,
    the first fault is raised, and so is any of a row.
    """
    from ..abilities._several import cost_of, shared
    from ..weighting import further

    costs: dict[str, Cost] = {}
    good: list[Place] = []
    faults: dict[str, UsageError] = {}  # by what is said
    for place in places:
        request = place.job.request
        alike, clauses = shared(request), further(getattr(request, "prompt", ""))
        key = f"{alike} {place.job.count} {clauses}" if alike else ""
        try:
            if request.reads_text and hasattr(request, "prompt"):
                pipe.check_prompt(request.prompt, getattr(request, "negative_prompt", ""))
            cost = costs.get(key) or cost_of(pipe, request)
        except UsageError as error:
            image, text = place.job.sources.get("image", ""), str(error)
            if not place.job.folder or (place.job.row.where and _is_readable(request)):
                raise place.job.blame(error) from None
            faults[text if image in text else f"{image}: {text}"] = error
            continue
        costs |= {key: cost} if key else {}
        good.append(replace(place, cost=cost))
    if faults and not good:
        same = len({str(error) for error in faults.values()}) == 1
        raise UsageError(next(iter(faults.values() if same else faults)))
    return good, list(faults)


def _is_readable(request: Drawing) -> bool:
    try:
        request.check_inputs()
    except UsageError:
        return False
    return True


def draw_places(
    pipe: Pipeline,
    places: Sequence[Place],
    manifest: Manifest,
    on_step: OnStep | None = None,
    on_batch: Callable[[Sequence[Place]], None] | None = None,
) -> int:
    """Draw, write and list, batch by batch; returns how many pictures.

    Args:
        on_step: as in `generate`.
        on_batch: called with what was written.
    """
    from ..abilities._several import batches

    drawn = 0
    for batch in batches([place.job.request for place in places]):
        chosen = [places[index] for index in batch]
        results = pipe.run_many([place.job.request for place in chosen], on_step)
        for place, pictures in zip(chosen, results, strict=True):
            drawn += _write(place, pictures, manifest)
        if on_batch is not None:
            on_batch(chosen)
    return drawn


def _write(place: Place, pictures: Sequence[Image], manifest: Manifest) -> int:
    """Those that are not there; returns how many."""
    from ..media.writing import save
    from ..record import Record

    note_template(pictures, place.job.written)
    entries = []
    for picture, entry, there in zip(pictures, place.entries, place.there, strict=True):
        path = manifest.folder / entry.file
        if there:
            continue
        if place.job.row.output:
            save(picture, path)
        else:
            path = save_new(path, 1, picture)
        file = str(path.relative_to(manifest.folder))
        entries.append(replace(entry, file=file, record=Record.of(picture)))
    manifest.add(entries)
    return len(entries)


def note_template(pictures: Sequence[Image], template: str) -> None:
    """Say in records what the prompt was before choices were made, if there were any."""
    from ..record import Record

    for picture in pictures if template else ():
        record = Record.of(picture)
        inputs = record.inputs | {"template": template}
        picture.info["unclip"] = replace(record, inputs=inputs).to_json()
