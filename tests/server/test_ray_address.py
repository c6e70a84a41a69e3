"""A cluster that is not there is one line, soon; Ray itself asks for it on and on."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from unclip.bulk.cluster import join as connect
from unclip.errors import UsageError


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that Ray was told to join."""
    made: list[str] = []

    def init(address: str, **_: Any) -> None:
        made.append(address)

    fake = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    return made


def closed() -> str:
    """An address of this machine where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["closed", "127.0.0.1:99999"])
def test_an_address_without_a_cluster_is_one_line(address: str, joined: list[str]) -> None:
    address = address.replace("closed", closed())
    with pytest.raises(UsageError, match=f"cannot join the Ray cluster {address}: ") as caught:
        connect(address)
    assert caught.value.field == "ray" and joined == []


def test_a_cluster_that_listens_is_joined(joined: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        connect(address)
    assert joined == [address]


@pytest.mark.parametrize("address", ["auto", "ray://head:10001"])
def test_other_ways_to_name_one_are_left_to_ray(address: str, joined: list[str]) -> None:
    connect(address)
    assert joined == [address]
