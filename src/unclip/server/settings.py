"""What a form needs to know of a setting: its type, bounds, choices, default and meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from ..facade import Pipeline
    from ..stages import Stage

Setting = dict[str, Any]
"""`type` and bounds as in JSON Schema; `nullable` where null stands for something."""

_KEPT = (
    *("type", "enum", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    *("items", "minItems", "maxItems", "default", "description"),
)


def flat(schema: Mapping[str, Any]) -> Setting:
    """A field's schema without unions: of "a number or null" the number, and `nullable`."""
    every = list(schema.get("anyOf", ()))
    either = [one for one in every if one.get("type") != "null"]
    found = {**either[0], **schema} if len(either) == 1 else dict(schema)
    if first := found.get("prefixItems"):
        found["items"] = first[0]
    made = {name: found[name] for name in _KEPT if name in found}
    return {**made, "nullable": len(either) < len(every)}


def settings_of(pipe: Pipeline) -> dict[str, dict[str, Setting]]:
    """Stage -> setting -> what it is; `name` is what a request's `settings` call it.

    All of it follows from the class of the stage's sampling, with the model's own defaults; what
    has no effect in a stage is left out.
    """
    found = {}
    for name, stage in pipe.stages.items():
        own = getattr(stage.config, "sampling", None)
        if own is not None:
            fields = type(own).model_json_schema()["properties"]
            begin, idle = pipe.model.prefix(name), stage.never_used(inpaints=True)
            found[name] = {
                field: {
                    **flat(schema),
                    **_choices(stage, field),
                    "default": own.dump()[field],
                    "name": f"{begin}{field}",
                }
                for field, schema in fields.items()
                if field not in idle
            }
    return found


def _choices(stage: Stage, field: str) -> Setting:
    """Those names of a registry that a stage can follow; nothing where there is none."""
    from ..diffusion.samplers import SAMPLERS
    from ..diffusion.spacing import SPACINGS

    names = {"sampler": list(SAMPLERS), "spacing": list(SPACINGS)}.get(field, [])
    known = list(_followed(stage, field, names))
    return {"enum": known} if known else {}


def _followed(stage: Stage, field: str, names: list[str]) -> Iterator[str]:
    for name in names:
        try:
            stage.check({field: name})
        except UsageError:
            continue
        yield name
