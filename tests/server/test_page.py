"""The web page's files: what is served, how it is kept, and that nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from unclip.server import routes_page

from .house import House, a_house, error_of

SCRIPT = "index-Bx3_a-9Z.js"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `make studio` leaves it, and files beside that are not to be had."""
    folder = tmp_path_factory.mktemp("package") / "web"
    (folder / "static").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>é</title>", encoding="utf-8")
    (folder / "static" / SCRIPT).write_text("let a = '狐'", encoding="utf-8")
    (folder / "static" / "fox-1.svg").write_text("<svg/>")
    (folder / "static" / "notes.py").write_text("1")
    (folder / "static" / "deep.js").mkdir()
    (folder.parent / "secret.js").write_text("1")
    return folder


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Iterator[House]:
    """A server with that page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routes_page, "FOLDER", built)
        with a_house(tmp_path_factory.mktemp("house")) as made:
            yield made


@pytest.fixture
def stranger(house: House) -> Iterator[httpx2.Client]:
    """A browser without a key."""
    with httpx2.Client(base_url=house.url) as made:
        yield made


def test_the_page_needs_no_key_and_is_asked_for_anew(stranger: httpx2.Client) -> None:
    reply = stranger.get("/")
    assert reply.status_code == 200 and "<title>é</title>" in reply.text
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"
    policy = dict(one.split(" ", 1) for one in reply.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'self'",
        "img-src": "'self' blob: data:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert stranger.head("/").status_code == 200


def test_its_files_are_kept_for_ever_with_fixed_types(stranger: httpx2.Client) -> None:
    for name, kind in (
        (SCRIPT, "text/javascript; charset=utf-8"),
        ("fox-1.svg", "image/svg+xml"),
    ):
        reply = stranger.get(f"/static/{name}")
        assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert "狐" in stranger.get(f"/static/{SCRIPT}").text


@pytest.mark.parametrize(
    "name",
    [
        *("..%2f..%2fsecret.js", "..%2Findex.html", "%2e%2e/%2e%2e/secret.js", ".js"),
        *("notes.py", "deep.js", "none-1.js", "a%00.js", "a%0a.js", "", "static/none.js"),
        *("../../secret.js", "..%5c..%5csecret.js", "%c3%a9.js", "index-Bx3_a-9Z.js/"),
    ],
)
def test_no_name_leads_elsewhere(house: House, name: str) -> None:
    reply = house.raw("GET", f"/static/{name}", {"host": "localhost"})
    assert reply.status in (401, 404)
    assert reply.error()["code"] in ("unknown_url", "invalid_api_key")


def test_nothing_can_be_written_there(stranger: httpx2.Client) -> None:
    for path in ("/", f"/static/{SCRIPT}"):
        assert stranger.post(path).status_code == 405


def test_neither_is_part_of_the_api(house: House) -> None:
    with house.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/static")]


def test_behind_a_proxys_path_relative_addresses_lead_to_the_files(
    tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_page, "FOLDER", built)
    with (
        a_house(tmp_path, root_path="/draw") as house,
        httpx2.Client(base_url=house.url, follow_redirects=True) as browser,
    ):
        page = browser.get("/draw")
        assert page.status_code == 200 and page.url.path == "/draw/"
        assert browser.get(page.url.join(f"static/{SCRIPT}")).status_code == 200
        assert browser.get("/").status_code == 200  # the proxy took the path away


def test_without_a_build_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_page, "FOLDER", tmp_path / "none")
    with a_house(tmp_path / "data") as house, httpx2.Client(base_url=house.url) as browser:
        reply = browser.get("/")
        assert reply.status_code == 404 and "make studio" in error_of(reply.content)["message"]
        assert browser.get(f"/static/{SCRIPT}").status_code == 404
