"""What there is to ask for: abilities, models with their settings and words."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import abilities
from .context import Serving, serving
from .protocol import ModelInfo
from .routes_jobs import LARGEST
from .schemas import COMPONENTS, answers
from .settings import flat
from .shapes import CAPABILITIES

routes = APIRouter(prefix="/v1", tags=["Models"])

MOST_WORDS = 2000
"""Words of a model that are listed."""


@routes.get("/capabilities", response_model=None, responses=answers(CAPABILITIES))
async def capabilities(request: Request) -> Response:
    """What can be asked for: abilities with their fields, models with settings and words."""
    return JSONResponse(await run_in_threadpool(_capabilities, serving(request)))


def _capabilities(here: Serving) -> dict[str, Any]:
    models = here.engine.models
    able = {name for model in models for name in model.abilities}
    drawing = [name for name in abilities.drawing() if name in able or not models]
    finish = COMPONENTS["FinishAsked"]["properties"]
    return {
        "abilities": {name: _ability(name) for name in drawing},
        "models": [_model(model, model is models[0]) for model in models],
        "aliases": here.options.aliases,
        "finish": {name: flat(schema) for name, schema in finish.items()},
        "limits": {
            "pictures": abilities.MOST_PICTURES,
            "queued": here.options.most_each,
            "body_bytes": here.options.body_bytes,
            "side": LARGEST,
        },
    }


def _ability(name: str) -> dict[str, Any]:
    told = abilities.describe(name)
    fields = told["fields"]
    flattened = {key: flat(schema) for key, schema in fields["properties"].items()}
    return {**told, "fields": {"properties": flattened, "required": fields["required"]}}


def _model(model: ModelInfo, default: bool) -> dict[str, Any]:
    return {
        "name": model.name,
        "default": default,
        "size": list(model.size),
        "abilities": list(model.abilities),
        "priors": list(model.priors),
        "decoders": list(model.decoders),
        "settings": model.settings,
        "words": list(model.words[:MOST_WORDS]),
        "hash": model.hash,
    }
