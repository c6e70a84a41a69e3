"""The application: its routes, what every request goes through, and how it answers errors."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .._version import __version__
from ..errors import OutputError, UnclipError, UsageError
from . import (
    errors,
    routes_events,
    routes_jobs,
    routes_models,
    routes_openai,
    routes_page,
    routes_pictures,
    routes_site,
)
from .auth import Auth
from .context import Serving
from .engine import Engine
from .errors import ApiError
from .metrics import Metrics
from .middleware import LOG, Envelope, Limits, Root, error_response
from .options import ServeOptions
from .schemas import COMPONENTS

ROUTES = (
    *(routes_openai, routes_jobs, routes_events, routes_models, routes_pictures),
    *(routes_site, routes_page),
)
ABOUT = "OpenAI's Images API for DALL·E 2 on your own machine, and every ability as a job."


def make_app(engine: Engine, options: ServeOptions) -> FastAPI:
    """The server's application.

    Args:
        engine: draws; whoever runs the application starts and stops it.
        options: how it is set up.

    Returns:
        With `state.serving`, a `Serving`.
    """
    metrics, app = Metrics(engine), routed()
    app.state.serving = Serving(engine, options, metrics)
    for kind, answer in ANSWERS.items():
        app.add_exception_handler(kind, answer)
    guarded = Auth(Limits(app.build_middleware_stack(), options), options)
    app.middleware_stack = Envelope(Root(guarded, options.root_path), metrics)
    return app


def routed() -> FastAPI:
    """The routes alone, which have the OpenAPI document and answer nothing yet."""
    app = _Application(
        title="unclip",
        version=__version__,
        description=ABOUT,
        openapi_url="/openapi.json",
        docs_url=None,  # they load scripts of other sites
        redoc_url=None,
        redirect_slashes=False,
    )
    for one in ROUTES:
        app.include_router(one.routes)
    return app


class _Application(FastAPI):
    """Whose document has the fields of every ability, from its request."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            document, bodies = super().openapi(), routes_jobs.bodies()
            either = [{"$ref": f"#/components/schemas/{name}"} for name in bodies]
            schemas = {**COMPONENTS, **bodies, "Ask": {"oneOf": either}}
            document["components"] = {"schemas": dict(sorted(schemas.items()))}
            content = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
            content["application/json"]["schema"] = {"$ref": "#/components/schemas/Ask"}
        return super().openapi()


def _api(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


def _http(request: Request, error: Exception) -> Response:
    """Starlette's own errors: no such route, a wrong method, a body that cannot be read."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    if error.status_code == 404:
        return error_response(_no_route(method, path))
    if error.status_code == 405:
        text = f"Not allowed to {method} on {path}."
        answer = error_response(ApiError(405, text, code="method_not_supported"))
        answer.headers.update(error.headers or {})
        return answer
    return error_response(ApiError(error.status_code, str(error.detail)))


def _no_route(method: str, path: str) -> ApiError:
    """With advice where a client's base URL lacks /v1."""
    error = errors.no_route(method, path)
    if path.startswith(("/images/", "/models")):
        error.message += ": the base URL ends in /v1."
    return error


def _invalid(_: Request, error: Exception) -> Response:
    """What FastAPI calls 422."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(str(one) for one in first["loc"][1:]) or None
    return error_response(errors.invalid(name, f"{name or 'The request'}: {first['msg']}."))


def _own(_: Request, error: Exception) -> Response:
    """This package's errors: of what was asked, or of the disk."""
    assert isinstance(error, UnclipError)
    if isinstance(error, UsageError):
        return error_response(errors.of_usage(error))
    LOG.error("%s", error)
    if isinstance(error, OutputError):
        return error_response(errors.unavailable(str(error)))
    return error_response(errors.internal())


def _unexpected(_: Request, __: Exception) -> Response:
    """`Envelope` logs it."""
    return error_response(errors.internal())


ANSWERS = {
    ApiError: _api,
    HTTPException: _http,
    RequestValidationError: _invalid,
    UnclipError: _own,
    Exception: _unexpected,
}
