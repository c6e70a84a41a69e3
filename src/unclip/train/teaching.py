"""A recipe of students whose teacher is another model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checkpoints.format import Plan
from ..diffusion.objective import DiffusionObjective, by_name
from ..errors import UsageError
from ..loading import plan
from ..stages import STAGES, DiffusionStage, StageConfig
from ..stages.clip import ClipStageConfig
from ..stages.stage import DiffusionConfig

DIFFUSION = DiffusionObjective().kind

ALPHA_FLOOR = 0.1
"""Of a student that puts out eps: at pure noise x0 would be the error of eps times thousands."""


def taught_by(values: Mapping[str, Any], teacher: str) -> dict[str, Any]:
    """A recipe of students with another model for their teacher.

    Every stage of that model is taken as it is, but for students of the same names, in whose place
    the new ones come. A student comes after the stage that does what the student does, and starts
    from it.

    Raises:
        UsageError: there is no such model, it has no such stage, or the recipe has no student.
    """
    model = plan(teacher)
    tables: dict[str, Any] = {name: {"from": teacher} for name in model.parts}
    students = {
        name: one
        for name, one in values["stages"].items()
        if _diffuses(str(one.get("kind", name))) and _learns_few_steps(one)
    }
    if not students:
        raise UsageError(
            "--teacher is for a recipe with a stage whose `objective` is of another kind than "
            "diffusion, such as consistency"
        )
    kinds = {n: str(one.config.kind) for n, one in model.parts.items() if _teaches(one.config)}
    for name, table in students.items():
        role = _role(str(table.get("kind", name)))
        alike = [one for one, kind in kinds.items() if _role(kind) == role]
        if not alike:
            raise UsageError(f"--teacher: {teacher} has no stage for '{name}' to learn from")
        if name not in kinds:
            tables.pop(name, None)  # an older student
        before, after = _cut(tables, alike[0])
        student = {**table, "kind": kinds[alike[0]], "from": teacher, "from_stage": alike[0]}
        if "predicted_share" in table and not _sees(model):
            student["predicted_share"] = 1.0  # nothing embeds the pictures of the data
        theirs = model.parts[alike[0]].config.dump()
        if theirs["parameterization"]["kind"] == "eps":
            student["parameterization"] = {"alpha_floor": ALPHA_FLOOR}
        if "sampling" in table:  # whether x0 has bounds is the teacher's to say: latents have none
            threshold = {"threshold": theirs["sampling"]["threshold"]}
            student["sampling"] = {**table["sampling"], **threshold}
        tables = {**before, name: student, **after}
    tokenizer = {"model": teacher, "context": model.read_tokenizer().context, "vocab_size": 300}
    chosen = {"prior": model.prior, "decoder": next(iter(students))}
    return {**values, **chosen, "tokenizer": tokenizer, "stages": tables}


def _learns_few_steps(table: Mapping[str, Any]) -> bool:
    objective = by_name(table.get("objective", DIFFUSION))
    return isinstance(objective, dict) and objective["kind"] != DIFFUSION


def _diffuses(kind: str) -> bool:
    return issubclass(STAGES[kind], DiffusionStage)


def _teaches(config: StageConfig) -> bool:
    """Whether a student can learn its path."""
    return isinstance(config, DiffusionConfig) and config.denoises


def _role(kind: str) -> tuple[bool, ...]:
    """What a kind of stage does: stages of one role can stand in for each other."""
    stage = STAGES[kind]
    makes, reads = stage.produces, stage.consumes
    return "image" in makes, "image" in reads, "image_embed" in makes


def _sees(model: Plan) -> bool:
    """Whether a model's CLIP has an image encoder."""
    clips = [one.config for one in model.parts.values() if isinstance(one.config, ClipStageConfig)]
    return any(clip.network.vision for clip in clips)


def _cut(tables: Mapping[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tables up to one, and those after it."""
    place = list(tables).index(name) + 1
    every = list(tables.items())
    return dict(every[:place]), dict(every[place:])
