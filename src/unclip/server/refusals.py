"""Why the engine takes no job."""

from __future__ import annotations

from ..errors import UnclipError
from .job import Failure


class Draining(UnclipError):
    """The server stops: it takes no more jobs."""


class NoWorker(UnclipError):
    """The worker cannot load its models."""


class Refused(UnclipError):
    """The worker says that a job cannot be drawn; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure, self.field = failure, failure.field
