"""What models can do, which words they know, and which caption they find for a picture."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..errors import UsageError
from ..vocabulary import Vocabulary
from ..weighting import plain
from . import abilities, errors
from .asked import Asked
from .context import Serving, serving
from .lane import Lane
from .protocol import ModelInfo
from .reading import read_json
from .refusals import NoWorker, Refused
from .routes_jobs import LARGEST, model_of, stored
from .schemas import COMPONENTS, answers, json_body, names_of
from .settings import flat
from .shapes import (
    CAPABILITIES,
    MOST_CAPTIONS,
    PROBE,
    PROBE_ASKED,
    WORDS,
    WORDS_ASKED,
)
from .submitting import AGAIN, check_taking

routes = APIRouter(prefix="/v1", tags=["Models"])

MOST_WORDS = 2000
"""Words of a model that are listed."""
LONGEST = 10_000
"""Characters of a prompt whose words are looked up, and of a caption."""
LOOKED_UP = 8
"""Unknown words for which known ones are found."""
COMPARED = 100_000
"""Words that are compared for that: half a second's work; at least one word is looked up."""
MOST_PROBES = 16
"""Pictures that wait to be probed."""
PROBING = 60.0
"""Most seconds that one waits."""


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
        "optional": list(model.optional),
        "settings": model.settings,
        "words": list(model.words[:MOST_WORDS]),
        "hash": model.hash,
    }


@routes.post(
    "/words", response_model=None, responses=answers(WORDS), openapi_extra=json_body(WORDS_ASKED)
)
async def words(request: Request) -> Response:
    """Which words of a prompt the model was not trained on, and which known ones are like them."""
    asked = Asked(await read_json(request), names_of(WORDS_ASKED))
    prompt = _short("prompt", asked.text("prompt"))
    check_taking(serving(request))
    name = model_of(asked, serving(request))
    known = next(one.words for one in serving(request).engine.models if one.name == name)
    return JSONResponse(await run_in_threadpool(_unknown, prompt, known))


def _unknown(prompt: str, known: tuple[str, ...]) -> dict[str, Any]:
    """As the command line warns. Raises ApiError where a weight is out of range."""
    vocabulary = Vocabulary(dict.fromkeys(known, 1))
    try:
        found = vocabulary.unknown(plain(prompt))
    except UsageError as error:
        raise errors.invalid("prompt", str(error)) from None
    most = max(1, min(LOOKED_UP, COMPARED // max(1, len(known))))
    near = [vocabulary.nearest([word]) for word in found[:most]]
    near += [[]] * (len(found) - len(near))
    return {"unknown": [{"word": a, "near": b} for a, b in zip(found, near, strict=True)]}


@routes.post(
    "/probe", response_model=None, responses=answers(PROBE), openapi_extra=json_body(PROBE_ASKED)
)
async def probe(request: Request) -> Response:
    """Which of several captions fits a picture best, as the model's CLIP sees it."""
    here = serving(request)
    check_taking(here)
    asked = Asked(await read_json(request), names_of(PROBE_ASKED))
    captions = [_short("captions", one) for one in asked.list("captions")]
    if not 2 <= len(captions) <= MOST_CAPTIONS or len({*captions}) < len(captions):
        raise asked.wrong("captions", f"2 to {MOST_CAPTIONS} texts that differ")
    model = model_of(asked, here)
    if "probe" not in next(one.abilities for one in here.engine.models if one.name == model):
        raise errors.invalid("model", f"The model '{model}' has no CLIP to probe with.")
    _, path = await stored(request, "image", asked.text("image"))
    about = {"model": model, "inputs": {"image": str(path)}, "labels": captions}
    shares = dict(zip(captions, await _probed(_free(here), about), strict=True))
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    return JSONResponse({"shares": dict(ranked)})


def _short(name: str, text: str) -> str:
    """A text. Raises ApiError where it is long."""
    if len(text) > LONGEST:
        raise errors.invalid(name, f"{name} must have at most {LONGEST:,} characters.")
    return text


def _free(here: Serving) -> Lane:
    """The worker that answers soonest. Raises ApiError where there is none, or too many wait."""
    if not here.engine.lanes:
        raise errors.unavailable("The worker is starting.", retry_after=1)
    lane = min(here.engine.lanes, key=lambda one: (bool(one.running), one.asked))
    if lane.asked >= MOST_PROBES:
        raise errors.busy(AGAIN)
    return lane


async def _probed(lane: Lane, about: dict[str, Any]) -> list[float]:
    """Raises ApiError."""
    try:
        answer = await lane.ask(PROBING, kind="probe", **about)
    except NoWorker:
        raise errors.unavailable("The worker died: ask again.", retry_after=1) from None
    except TimeoutError:
        raise errors.unavailable("The worker is busy: ask again.", retry_after=AGAIN) from None
    except Refused as error:
        raise errors.of_failure(error.failure) from None
    shares: list[float] = answer["shares"]
    return shares
