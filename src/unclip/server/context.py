"""What every route needs: the engine, the options, the counters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

from starlette.requests import Request

from .allowance import GIGABYTE, Allowance
from .job import Drawn
from .openai import Served

if TYPE_CHECKING:
    from .engine import Engine
    from .metrics import Metrics
    from .options import ServeOptions


@dataclass(frozen=True)
class Serving:
    """What every route needs.

    Args:
        stopped: set when nothing more is drawn; who still waits is then sent away.
    """

    engine: Engine
    options: ServeOptions
    metrics: Metrics
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @cached_property
    def uploads(self) -> Allowance:
        """How much more each may upload."""
        return Allowance(int(self.options.upload_gigabytes * GIGABYTE))

    @property
    def served(self) -> Served:
        """The models by the names that clients know them by."""
        models = self.engine.models
        first = models[0].name if models else ""
        return Served(
            models=tuple(model.name for model in models),
            aliases={name: one or first for name, one in self.options.aliases.items()},
            native={model.name: model.size for model in models},
        )

    def url(self, request: Request, drawn: Drawn) -> str:
        """Where a picture is fetched, without a key."""
        return f"{self.base(request)}/files/{drawn.id}.{drawn.format}"

    def base(self, request: Request) -> str:
        """What addresses begin with: the public one, else that of this connection.

        Never what the Host header says, which anybody can make up.
        """
        if self.options.public_url:
            return self.options.public_url
        server = request.scope.get("server") or (self.options.host, self.options.port)
        host, port = server[0], server[1]
        name = f"[{host}]" if ":" in host else host
        return f"{request.scope['scheme']}://{name}:{port}{self.options.root_path}"


def serving(request: Request) -> Serving:
    """That of the application which a request came to."""
    return cast(Serving, request.app.state.serving)


def owner(request: Request) -> str:
    """Who asks, as `auth` found out."""
    return cast(str, request.scope["state"]["owner"])
