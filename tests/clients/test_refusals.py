"""The official clients are refused: each raises the error that its users know, and says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .official import Client, Raised, Server
from .test_pictures import PROMPT

pytestmark = pytest.mark.slow

Told = dict[str, Any]
INVALID = "invalid_request_error"


def refused(client: Client, server: Server, call: str, status: int = 400, **asked: Any) -> Told:
    """What the client raised, which has all that a program asks for."""
    with pytest.raises(Raised) as raised:
        client.call(server, call, **asked)
    told = raised.value.told
    assert told["status"] == status, told
    assert told["class"] == client.kind.errors[status]
    if not (client.kind.is_old and status == 503):  # there it has a text of its own
        assert told["message"] in told["text"]
    assert {"message", "type", "param", "code"} <= told.keys()
    return dict(told)


def test_no_key(client: Client, served: Server) -> None:
    told = refused(client, replace(served, key=None), "generate", 401, prompt=PROMPT)
    assert told["code"] == "invalid_api_key" and "api key" in told["message"].lower()


def test_a_wrong_key(client: Client, served: Server) -> None:
    wrong = replace(served, key="sk-wrong-0123456789abcdef")
    told = refused(client, wrong, "generate", 401, prompt=PROMPT)
    assert (told["type"], told["code"]) == (INVALID, "invalid_api_key")


def test_an_unknown_model(client: Client, served: Server) -> None:
    told = refused(client, served, "generate", 404, prompt=PROMPT, model="dall-e-9")
    assert (told["type"], told["code"]) == (INVALID, "model_not_found")
    assert "dall-e-9" in told["message"]
    refused(client, served, "model", 404, model="dall-e-9")


def test_an_empty_prompt(client: Client, served: Server) -> None:
    told = refused(client, served, "generate", prompt="")
    assert (told["type"], told["param"]) == (INVALID, "prompt")


def test_1001_characters_of_a_prompt(
    client: Client, served: Server, files: dict[str, Path]
) -> None:
    assert client.call(served, "generate", prompt="a" * 1000, size="256x256").data
    told = refused(client, served, "generate", prompt="a" * 1001)
    assert told["param"] == "prompt" and "1000" in told["message"]
    given = {"image": ("file", files["open"])}
    assert refused(client, served, "edit", files=given, prompt="a" * 1001)["param"] == "prompt"


@pytest.mark.parametrize("n", [0, 11, -1, "2.5"])
def test_bad_n(client: Client, served: Server, files: dict[str, Path], n: Any) -> None:
    told = refused(client, served, "generate", prompt=PROMPT, n=n)
    assert (told["type"], told["param"]) == (INVALID, "n")
    given = {"image": ("file", files["picture"])}
    assert refused(client, served, "variation", files=given, n=n)["param"] == "n"


def test_bad_size(client: Client, served: Server) -> None:
    told = refused(client, served, "generate", prompt=PROMPT, size="300x300")
    assert told["param"] == "size"
    assert told["message"].startswith("Invalid value: '300x300'. Supported values are: ")
    assert all(f"'{one}x{one}'" in told["message"] for one in (256, 512, 1024))


def test_bad_response_format(client: Client, served: Server) -> None:
    told = refused(client, served, "generate", prompt=PROMPT, response_format="file")
    assert told["param"] == "response_format"
    assert told["message"].startswith("Invalid value: 'file'. Supported values are: 'url'")


@pytest.mark.parametrize(
    ("name", "says"),
    [("jpeg", "PNG"), ("cut", "truncated"), ("huge", "4 MB"), ("wide", "square")],
    ids=["no PNG", "truncated", "over 4 MB", "not square"],
)
def test_bad_picture(
    client: Client, served: Server, files: dict[str, Path], name: str, says: str
) -> None:
    given = {"image": ("file", files[name])}
    told = refused(client, served, "variation", files=given)
    assert (told["type"], told["param"]) == (INVALID, "image")
    assert says in told["message"]


def test_nothing_says_where_to_paint(
    client: Client, served: Server, files: dict[str, Path]
) -> None:
    given = {"image": ("file", files["picture"])}
    told = refused(client, served, "edit", files=given, prompt=PROMPT)
    assert told["param"] == "image" and "alpha" in told["message"]


@pytest.mark.parametrize(
    ("mask", "says"),
    [("small mask", "128x128"), ("opaque mask", "transparent")],
    ids=["another size", "opaque"],
)
def test_bad_mask(
    client: Client, served: Server, files: dict[str, Path], mask: str, says: str
) -> None:
    given = {"image": ("file", files["picture"]), "mask": ("file", files[mask])}
    told = refused(client, served, "edit", files=given, prompt=PROMPT)
    assert told["param"] == "mask" and says in told["message"]


def test_a_full_queue(client: Client, full_server: Server) -> None:
    told = refused(client, full_server, "generate", 429, prompt=PROMPT)
    assert told["code"] == "rate_limit_exceeded"
    assert 1 <= int(told["headers"]["retry-after"]) <= 60


def test_a_server_that_stops(client: Client, draining_server: Server) -> None:
    told = refused(client, draining_server, "generate", 503, prompt=PROMPT)
    assert 1 <= int(told["headers"]["retry-after"]) <= 60
