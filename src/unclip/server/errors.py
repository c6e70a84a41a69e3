"""What the server answers where it cannot do what was asked: OpenAI's error object.

A body has always the four keys `message`, `type`, `param` and `code`: the official clients read
them, and show any other body as "invalid response object". A client repeats 408, 409, 429 and 5xx,
so what is wrong with a request is never 409, and `x-should-retry: false` ends repeating.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..config import shown
from ..errors import UnclipError
from .job import Failure

LONGEST_WAIT = 60
"""Seconds: clients obey no longer Retry-After."""

INVALID = "invalid_request_error"

REFUSED = "content_policy"
"""The code of a failure by a hook; see `hooks.ContentPolicyError`."""


@dataclass(eq=False)
class ApiError(Exception):
    """An answer other than the one that was asked for.

    Args:
        status: of HTTP.
        message: one line, for people.
        type: the kind, for programs.
        param: the parameter at fault.
        code: what is wrong, for programs.
        retry_after: seconds, for the header Retry-After.
        should_retry: for the header x-should-retry; None: as clients decide.
    """

    status: int
    message: str
    type: str = INVALID
    param: str | None = None
    code: str | None = None
    retry_after: int | None = None
    should_retry: bool | None = None

    def __str__(self) -> str:
        return self.message

    def body(self) -> dict[str, dict[str, Any]]:
        """For JSON; all four keys, whatever is known."""
        keys = ("message", "type", "param", "code")
        return {"error": {key: getattr(self, key) for key in keys}}

    def headers(self) -> dict[str, str]:
        """What it says to a client that may repeat its request."""
        found = {}
        if self.retry_after is not None:
            found["Retry-After"] = str(min(max(1, self.retry_after), LONGEST_WAIT))
        if self.should_retry is not None:
            found["x-should-retry"] = str(self.should_retry).lower()
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        return found


def quoted(value: Any, most: int = 60) -> str:
    """What a client sent, on one line, cut."""
    text = repr(value)[1:-1] if isinstance(value, str) else shown(value)
    return f"'{text if len(text) <= most else f'{text[: most - 1]}…'}'"


def invalid(param: str | None, message: str, code: str | None = None) -> ApiError:
    """400: a parameter, or the whole body, is not as it has to be."""
    return ApiError(400, message, param=param, code=code)


def refused(message: str, param: str | None = "prompt") -> ApiError:
    """400: a hook does not allow it."""
    return ApiError(400, message, param=param, code="content_policy_violation", should_retry=False)


def unauthorized(message: str = "Incorrect API key provided.") -> ApiError:
    """401."""
    return ApiError(401, message, code="invalid_api_key")


def forbidden(message: str) -> ApiError:
    """403: not from there, or not with this key."""
    return ApiError(403, message, "permission_error", should_retry=False)


def not_found_model(name: str, advice: str = "") -> ApiError:
    """404; `advice` says what there is."""
    message = f"The model {quoted(name)} does not exist or you do not have access to it.{advice}"
    return ApiError(404, message, param="model", code="model_not_found")


def no_route(method: str, path: str) -> ApiError:
    """404."""
    return ApiError(404, f"Invalid URL ({method} {path})", code="unknown_url")


def not_found(message: str) -> ApiError:
    """404: a job, a picture or a file that is not there, or another's."""
    return ApiError(404, message, code="not_found")


def too_large(message: str) -> ApiError:
    """413."""
    return ApiError(413, message, code="request_too_large", should_retry=False)


def busy(retry_after: int, message: str = "") -> ApiError:
    """429: the queue is full."""
    text = message or f"Too many requests are waiting. Please try again in {retry_after} s."
    return ApiError(429, text, "requests", code="rate_limit_exceeded", retry_after=retry_after)


def internal(message: str = "The server had an error.", retry: bool | None = None) -> ApiError:
    """500; `retry`: whether the same request may succeed."""
    return ApiError(500, message, "server_error", code="server_error", should_retry=retry)


def unavailable(
    message: str, retry_after: int | None = None, retry: bool | None = None
) -> ApiError:
    """503: not now, such as while it loads, shuts down or lacks memory."""
    return ApiError(
        *(503, message, "server_error"),
        code="service_unavailable",
        retry_after=retry_after,
        should_retry=retry,
    )


_ELSEWHERE = {"settings": None, "box": "mask"}
"""Field of a request -> parameter of the wire, where they differ."""


def of_usage(error: UnclipError) -> ApiError:
    """400: the error of an ability's request."""
    return of_failure(Failure(error.code, str(error), error.field))


def of_failure(failure: Failure) -> ApiError:
    """Why a job failed, as its client is told: 400 where other parameters would help."""
    message, param = failure.message, _ELSEWHERE.get(failure.field or "", failure.field)
    if failure.code in ("usage", "data"):
        return invalid(param, message, "invalid_value")
    if failure.code == REFUSED:
        return refused(message, param or "prompt")
    if failure.code == "memory":
        return unavailable(message)
    return internal(message, retry=False)
