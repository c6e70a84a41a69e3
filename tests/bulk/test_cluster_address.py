"""A cluster that is not there is one line, soon; and so is a Ray that is not installed."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from unclip.bulk.cluster import join
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


def test_an_address_without_a_cluster_is_one_line(joined: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        join(address)
    assert joined == [address], "while something listens there, it is joined"
    with pytest.raises(UsageError, match=f"cannot join the Ray cluster {address}: ") as caught:
        join(address)
    assert caught.value.field == "ray" and joined == [address]


def test_a_port_that_there_cannot_be_is_one_line(joined: list[str]) -> None:
    with pytest.raises(UsageError, match=r"cluster 127\.0\.0\.1:99999: ") as caught:
        join("127.0.0.1:99999")
    assert caught.value.field == "ray" and joined == []


@pytest.mark.parametrize("address", ["auto", "ray://head:10001"])
def test_other_ways_to_name_one_are_left_to_ray(address: str, joined: list[str]) -> None:
    join(address)
    assert joined == [address]


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs Ray: pip install 'unclip\[ray\]'"):
        join("auto")
