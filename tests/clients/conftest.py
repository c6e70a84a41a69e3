"""What tests of clients share: servers, clients, and pictures to send."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unclip.nn.tokenizer import Tokenizer
from unclip.stages import Stage

from .official import CLIENTS, Client, Kind, Server, running
from .servers import Relay, commanded, draining, full


@pytest.fixture(scope="session", params=CLIENTS, ids=[one.name for one in CLIENTS])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Each of the clients in turn."""
    kind: Kind = request.param
    if not kind.is_there:
        pytest.skip("`make clients` makes its environment")
    with running(kind) as made:
        yield made


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    make_stage: Callable[[str], Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
) -> Iterator[Server]:
    """`unclip serve` with a model that draws 16 x 16 noise."""
    folder = tmp_path_factory.mktemp("served")
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder", "upsampler")}
    save_model(folder / "tiny", "tiny", tokenizer, stages)
    with commanded(folder / "tiny", folder / "server") as made:
        yield made


@pytest.fixture(scope="session")
def relay(served: Server) -> Iterator[Relay]:
    """Before that server."""
    made = Relay(served)
    yield made
    made.close()


@pytest.fixture(scope="session")
def full_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its queue takes nothing more."""
    with full(tmp_path_factory.mktemp("full")) as made:
        yield made


@pytest.fixture(scope="session")
def draining_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It is about to stop."""
    with draining(tmp_path_factory.mktemp("draining")) as made:
        yield made


SIDE = 256


def _noise(side: int, mode: str = "RGB") -> Image.Image:
    bands = len(mode)
    return Image.frombytes(mode, (side, side), random.Random(side).randbytes(side * side * bands))


def _left_open(picture: Image.Image) -> Image.Image:
    """Transparent in its left half."""
    made = picture.convert("RGBA")
    made.putalpha(255)
    made.paste((0, 0, 0, 0), (0, 0, made.width // 2, made.height))
    return made


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pictures by what they are: good ones, and such as must be refused."""
    folder = tmp_path_factory.mktemp("files")
    picture = _noise(SIDE)
    pictures = {
        "picture": picture,
        "open": _left_open(picture),
        "mask": _left_open(Image.new("RGB", (SIDE, SIDE))),
        "small mask": _left_open(Image.new("RGB", (SIDE // 2, SIDE // 2))),
        "opaque mask": Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 255)),
        "wide": picture.resize((SIDE, SIDE // 2)),
        "huge": _noise(1300),  # noise does not compress
    }
    made = {name: folder / f"{name.replace(' ', '-')}.png" for name in (*pictures, "jpeg", "cut")}
    for name, one in pictures.items():
        one.save(made[name])
    picture.save(made["jpeg"], "JPEG")
    made["cut"].write_bytes(made["picture"].read_bytes()[:5000])
    assert made["huge"].stat().st_size > 4 * 2**20
    return made
