"""A key may upload so much in a day, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from unclip.server.allowance import Allowance
from unclip.server.errors import ApiError
from unclip.server.history import UNUSED

from .fakes import png
from .house import a_house


def test_each_owner_has_their_own_and_gets_it_back_after_a_day() -> None:
    now = [0.0]
    allowance = Allowance(100, lambda: now[0])
    allowance.take("me", 60)
    now[0] += 5
    allowance.take("me", 40)
    with pytest.raises(ApiError) as found:
        allowance.take("me", 1)
    assert (found.value.status, found.value.code) == (429, "upload_quota_exceeded")
    allowance.take("you", 100)
    now[0] = UNUSED  # the first 60 are as old as what is removed
    allowance.take("me", 60)
    with pytest.raises(ApiError):
        allowance.take("me", 1)
    now[0] = 10 * UNUSED
    allowance.take("other", 1)
    assert len(allowance._taken) == 1, "nothing is kept of those who have not come for a day"


def test_uploads_beyond_it_are_429_and_nothing_is_stored(tmp_path: Path) -> None:
    data = png((16, 16), (1, 2, 3))
    with a_house(tmp_path, upload_gigabytes=2.5 * len(data) / 2**30) as house:
        kinds = {"content-type": "image/png"}
        with house.client() as client:
            pictures = [data, data, data, png((16, 16), (2, 2, 1)), data]
            told = [client.post("/v1/pictures", content=one, headers=kinds) for one in pictures]
            assert [one.status_code for one in told] == [201] * 5, "what is there takes no room"
            other = png((16, 16), (3, 2, 1))
            refused = client.post("/v1/pictures", content=other, headers=kinds)
        assert refused.status_code == 429 and refused.headers["x-should-retry"] == "false"
        assert "in a day" in refused.json()["error"]["message"]
        assert len([one for one in (tmp_path / "inputs").rglob("*") if one.is_file()]) == 2


def test_who_needs_no_key_has_no_quota(tmp_path: Path) -> None:
    kinds = {"content-type": "image/png", "authorization": ""}
    with a_house(tmp_path, keys=(), upload_gigabytes=1e-9) as house, house.client() as client:
        for red in range(3):
            data = png((16, 16), (red, 0, 0))
            assert client.post("/v1/pictures", content=data, headers=kinds).status_code == 201
