"""Errors of the wire: status, four keys, headers."""

from __future__ import annotations

from typing import Any

import pytest

from unclip.errors import UsageError
from unclip.server import errors
from unclip.server.errors import ApiError
from unclip.server.hooks import ContentPolicyError
from unclip.server.job import Failure

EVERY = {
    400: [errors.invalid("n", "no"), errors.refused("no")],
    401: [errors.unauthorized()],
    403: [errors.forbidden("no")],
    404: [errors.not_found_model("x"), errors.no_route("GET", "/x"), errors.not_found("no")],
    413: [errors.too_large("no")],
    429: [errors.busy(5)],
    500: [errors.internal()],
    503: [errors.unavailable("no")],
}


@pytest.mark.parametrize(
    ("status", "error"), [(s, one) for s, all_ in EVERY.items() for one in all_]
)
def test_every_error_has_four_keys_and_a_status_that_clients_know(
    status: int, error: ApiError
) -> None:
    assert error.status == status
    assert error.body().keys() == {"error"}
    assert error.body()["error"].keys() == {"message", "type", "param", "code"}
    assert error.body()["error"]["message"] == str(error) != ""


@pytest.mark.parametrize(("wait", "told"), [(0, "1"), (5, "5"), (600, "60")])
def test_a_full_queue_says_when_to_come_back(wait: int, told: str) -> None:
    error = errors.busy(wait)
    assert error.headers() == {"Retry-After": told}
    assert error.code == "rate_limit_exceeded"


def test_what_repeating_does_not_mend_says_so() -> None:
    assert errors.too_large("no").headers() == {"x-should-retry": "false"}
    assert errors.internal().headers() == {}
    assert errors.internal(retry=True).headers() == {"x-should-retry": "true"}
    assert errors.unauthorized().headers() == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize(
    ("failure", "status", "param", "headers"),
    [
        (Failure("usage", "steps must be at most 1000", "steps"), 400, "steps", {}),
        (Failure("usage", "no", "settings"), 400, None, {}),
        (Failure("data", "no"), 400, None, {}),
        (Failure("memory", "no"), 503, None, {}),
        (Failure("sampling", "no"), 500, None, {"x-should-retry": "false"}),
        (Failure("worker_died", "no"), 500, None, {"x-should-retry": "false"}),
    ],
)
def test_a_failed_job_is_told_as_its_cause(
    failure: Failure, status: int, param: str | None, headers: dict[str, Any]
) -> None:
    error = errors.of_failure(failure)
    assert (error.status, error.param, error.headers()) == (status, param, headers)
    assert error.message == failure.message


def test_what_a_hook_refuses_is_told_as_openai_does() -> None:
    refusal = ContentPolicyError("the prompt is refused").about("negative_prompt")
    error = errors.of_failure(Failure(refusal.code, str(refusal), refusal.field))
    assert (error.status, error.code) == (400, "content_policy_violation")
    assert (error.param, error.should_retry) == ("negative_prompt", False)


def test_an_abilitys_error_keeps_its_field() -> None:
    error = errors.of_usage(UsageError("n must be at least 1").about("n"))
    assert (error.status, error.param, error.message) == (400, "n", "n must be at least 1")


def test_what_a_client_sent_is_told_on_one_short_line() -> None:
    assert errors.quoted("it's") == "'it's'"
    assert errors.quoted("a\nb\0") == r"'a\nb\x00'"
    assert len(errors.quoted("x" * 999)) == 62
    assert errors.quoted(10**5000).startswith("'a int")
