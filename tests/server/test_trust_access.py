"""Who may ask, and from where: keys, sessions, hosts, origins, proxies; refused unless allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from unclip.server import routes_jobs, routes_openai, routes_pictures, routes_site

from .house import BEARER, GENERATIONS, HOST, JSON, KEY, House, a_house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that several tests ask."""
    with a_house(tmp_path_factory.mktemp("data")) as made:
        yield made


def every_route(house: House) -> list[tuple[str, str]]:
    """(method, path) of the application's own routes, also those that no document shows."""
    found = []
    routers = [one.routes for one in (routes_jobs, routes_openai, routes_pictures, routes_site)]
    for route in chain(house.app.routes, *(one.routes for one in routers)):
        methods = getattr(route, "methods", None) or set()
        path = getattr(route, "path", "")
        for name in ("id", "name:path", "name", "model"):
            path = path.replace(f"{{{name}}}", 32 * "0")
        found += [(method, path) for method in methods]
    return found


OPEN = {"/healthz", "/readyz", "/v1/session"}


def test_every_route_wants_a_key_but_for_those_that_are_named(house: House) -> None:
    routes = every_route(house)
    assert len(routes) > 40
    for method, path in routes:
        if path in OPEN or path.startswith("/files/"):
            continue
        for headers in (HOST, {**HOST, "authorization": "Bearer sk-wrong-0123456789"}):
            reply = house.raw(method, path, headers)
            assert reply.status == 401, (method, path)
            if method != "HEAD":
                assert reply.error()["code"] == "invalid_api_key"
    assert house.raw("GET", "/v1/nothing", HOST).status == 401
    assert house.raw("DELETE", "/v1/session", HOST).status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_neither_key_nor_name(house: House, path: str) -> None:
    assert house.raw("GET", path, {"host": "10.0.0.1:80"}).status == 200
    assert house.raw("GET", path, {"host": "lb.internal"}).status == 200


@pytest.mark.parametrize(
    "path", ["//healthz", "/healthz/", "/healthz/../v1/models", "/healthz%2f..%2fv1/models"]
)
def test_a_path_that_looks_like_a_probe_wants_a_key(house: House, path: str) -> None:
    assert house.raw("GET", path, HOST).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"api-key": KEY},
        {"api-key": KEY, "authorization": "Basic eDp5"},
    ],
)
def test_a_key_is_taken_from_either_header(house: House, headers: dict[str, str]) -> None:
    assert house.raw("GET", "/v1/models", {**HOST, **headers}).status == 200


@pytest.mark.parametrize("key", ["", KEY[:-1], KEY + "x", KEY.upper(), "\xff\xfe", f"{KEY},{KEY}"])
def test_no_other_key_is_taken(house: House, key: str) -> None:
    for headers in ({"authorization": f"Bearer {key}"}, {"api-key": key}):
        reply = house.raw("GET", "/v1/models", {**HOST, **headers})
        assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
        assert not key or key not in reply.content.decode()


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example"],
)
def test_a_strangers_name_for_this_machine_is_403(house: House, host: str) -> None:
    """DNS rebinding: a page whose name is turned to this machine asks under that name."""
    reply = house.raw("GET", "/v1/models", {**BEARER, "host": host})
    assert reply.status == 403 and "--allow-host" in reply.error()["message"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000", "192.168.1.5", "a.localhost"]
)
def test_own_names_and_addresses_are_known(house: House, host: str) -> None:
    assert house.raw("GET", "/v1/models", {**BEARER, "host": host}).status == 200


def test_a_name_that_the_operator_allows_is_known(tmp_path: Path) -> None:
    with a_house(tmp_path, allow_host=("draw",), public_url="https://draw.example") as house:
        for host in ("draw:8000", "draw.example"):
            assert house.raw("GET", "/v1/models", {**BEARER, "host": host}).status == 200


def test_only_a_proxy_that_is_named_says_how_it_was_asked(tmp_path: Path) -> None:
    forwarded = {**JSON, "x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}
    body = json.dumps({"prompt": "a fox"}).encode()
    for proxies, scheme in (((), "http"), (("10.0.0.1",), "http"), (("127.0.0.1",), "https")):
        with a_house(tmp_path / str(len(str(proxies))), trusted_proxy=proxies) as house:
            made = json.loads(house.raw("POST", GENERATIONS, forwarded, body).content)
            begins = f"{scheme}://127.0.0.1:{house.port}/files/"
            assert made["data"][0]["url"].startswith(begins), made


def test_a_session_cannot_be_made_up(house: House) -> None:
    owner = house.app.state.serving.options.keys[0].owner
    for cookie in (
        f"{owner}.99999999999.{32 * '0'}.{64 * '0'}",
        f"{owner}.1.{32 * '0'}.{64 * '0'}",
        f"{owner}.x.y.z",
        "....",
        "",
        "\xff",
        4000 * "a",
    ):
        headers = {**HOST, "cookie": f"unclip_session={cookie}"}
        assert house.raw("GET", "/v1/jobs", headers).status in (400, 401), cookie


FROM = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:3000"},
    {"origin": "https://localhost"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("where", FROM)
def test_another_sites_page_changes_nothing_even_without_keys(
    tmp_path: Path, where: dict[str, str]
) -> None:
    body = json.dumps({"prompt": "a fox"}).encode()
    with a_house(tmp_path, keys=()) as house:
        for kind in ("application/json", "text/plain"):
            headers = {**HOST, **where, "content-type": kind}
            reply = house.raw("POST", GENERATIONS, headers, body)
            assert reply.status == 403 and reply.error()
        assert house.raw("DELETE", "/v1/session", {**HOST, **where}).status == 403
        assert "access-control-allow-origin" not in reply.headers
        assert sum(house.engine.store.counts().values()) == 0
        own = {**HOST, "origin": "http://localhost", "sec-fetch-site": "same-origin"}
        assert house.raw("POST", GENERATIONS, own, body).status == 200
        assert house.raw("POST", GENERATIONS, HOST, body).status == 200


def test_a_page_of_an_allowed_origin_may_ask_and_read(tmp_path: Path) -> None:
    app = "https://app.example"
    with a_house(tmp_path, allow_origin=(app,)) as house:
        asks = {"access-control-request-method": "POST"}
        wants = {"access-control-request-headers": "authorization,x-stainless-os"}
        reply = house.raw("OPTIONS", GENERATIONS, {**HOST, "origin": app, **asks, **wants})
        assert reply.status == 204
        assert reply.headers["access-control-allow-origin"] == app
        assert "x-stainless-os" in reply.headers["access-control-allow-headers"]
        body = json.dumps({"prompt": "a fox"}).encode()
        reply = house.raw("POST", GENERATIONS, {**JSON, "origin": app}, body)
        assert reply.status == 200 and reply.headers["access-control-allow-origin"] == app
        assert "x-request-id" in reply.headers["access-control-expose-headers"]
        wrong = house.raw("POST", GENERATIONS, {**HOST, "origin": app}, body)
        assert wrong.status == 401 and wrong.headers["access-control-allow-origin"] == app
        other = {**HOST, "origin": "https://evil.example", **asks}
        assert house.raw("OPTIONS", GENERATIONS, other).status == 403
