"""Pictures that jobs begin from, read back by their digest."""

from __future__ import annotations

from pathlib import Path

import httpx2

from .fakes import png
from .house import a_house, error_of


def test_an_input_is_read_back_by_its_digest_alone(tmp_path: Path) -> None:
    with a_house(tmp_path) as house, house.client() as client:
        told = client.post(
            "/v1/pictures", content=png((8, 8)), headers={"content-type": "image/png"}
        )
        answer = client.get(f"/v1/inputs/{told.json()['id']}")
        assert answer.headers["content-type"] == "image/png"
        assert answer.content == house.engine.store.input_path(told.json()["id"]).read_bytes()
        for strange in ("0" * 64, "0" * 32, "unclip.db"):
            found = client.get(f"/v1/inputs/{strange}")
            assert found.status_code == 404, strange
            assert error_of(found.content)["code"] == "not_found", strange


def test_an_input_needs_a_key(tmp_path: Path) -> None:
    with a_house(tmp_path) as house, httpx2.Client(base_url=house.url) as client:
        assert client.get(f"/v1/inputs/{'0' * 64}").status_code == 401
