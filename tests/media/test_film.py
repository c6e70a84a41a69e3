"""A film holds the frames it was given, in order and in time, or is not written at all."""

from __future__ import annotations

import io
import stat
import sys
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from unclip.errors import OutputError, UsageError
from unclip.media import film
from unclip.media.film import FILM_FORMATS, check_film, indexed, save_film

COLOURS = ["red", "blue", "lime", "white", "black"]


def flat(count: int, size: tuple[int, int] = (12, 8)) -> list[Image.Image]:
    """Frames of one colour each, with a dot that moves."""
    frames = [Image.new("RGB", size, COLOURS[number % 5]) for number in range(count)]
    for number, frame in enumerate(frames):
        frame.putpixel((number % size[0], size[1] - 1), (10 * number, 77, 5))
    return frames


def photographs(count: int, side: int = 32) -> list[Image.Image]:
    """Smooth frames of more colours than a palette holds."""
    y, x = np.mgrid[:side, :side] * (255 / side)
    return [
        Image.fromarray(np.stack([x, y, np.full_like(x, 9 * number)], -1).astype(np.uint8))
        for number in range(count)
    ]


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image.convert("RGB")).astype(np.int64)


def read(path: Path | io.BytesIO) -> tuple[list[NDArray[np.int64]], list[int], object]:
    """Frames, their milliseconds, and `loop`."""
    with Image.open(path) as opened:
        loop = opened.info.get("loop")
        read = [(pixels(f), f.info["duration"]) for f in ImageSequence.Iterator(opened)]
    return [frame for frame, _ in read], [time for _, time in read], loop


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".GIF"])
def test_flat_art_comes_back_to_the_pixel(suffix: str, tmp_path: Path) -> None:
    frames = flat(7)
    save_film(frames, tmp_path / f"a{suffix}")
    found, _, loop = read(tmp_path / f"a{suffix}")
    assert loop == 0
    assert len(found) == 7
    assert all((a == pixels(b)).all() for a, b in zip(found, frames, strict=True))


def test_a_photograph_comes_back_to_the_pixel_or_nearly(tmp_path: Path) -> None:
    frames = photographs(5)
    save_film(frames, tmp_path / "a.webp")
    assert all(
        (a == pixels(b)).all() for a, b in zip(read(tmp_path / "a.webp")[0], frames, strict=True)
    )
    save_film(frames, tmp_path / "a.gif")
    found = read(tmp_path / "a.gif")[0]
    assert len(found) == 5
    for frame, wanted in zip(found, frames, strict=True):
        assert np.abs(frame - pixels(wanted)).mean() < 4
        assert np.abs(frame - pixels(wanted)).max() < 24


@pytest.mark.parametrize("fps", [0.5, 7.0, 12.0, 24.0, 30.0, 50.0])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_frames_are_shown_in_time(suffix: str, fps: float, tmp_path: Path) -> None:
    """A GIF counts in hundredths: each frame may be off by half of one, their sum as well."""
    save_film(flat(9), tmp_path / f"a{suffix}", fps)
    ends = np.array(list(accumulate(read(tmp_path / f"a{suffix}")[1])))
    off = np.abs(ends - np.arange(1, 10) * 1000 / fps)
    assert off.max() <= (5 if suffix == ".gif" else 0.5)


@pytest.mark.parametrize(
    ("count", "order"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2, 1]), (4, [0, 1, 2, 3, 2, 1])]
)
def test_bouncing_goes_back_without_standing_still(
    count: int, order: list[int], tmp_path: Path
) -> None:
    frames = flat(count)
    save_film(frames, tmp_path / "a.gif", bounce=True)
    with Image.open(tmp_path / "a.gif") as opened:
        found = [pixels(frame) for frame in ImageSequence.Iterator(opened)]
    assert len(found) == len(order)
    assert all((a == pixels(frames[n])).all() for a, n in zip(found, order, strict=True))


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 400), st.integers(0, 9))
def test_few_colours_are_kept_exactly(count: int, colours: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (colours, 3), np.uint8)
    pictures = [Image.fromarray(palette[rng.integers(0, colours, (16, 16))]) for _ in range(count)]
    result = indexed(pictures)
    assert {picture.mode for picture in result} == {"P"}
    for picture, wanted in zip(result, pictures, strict=True):  # 16 x 16: 256 at most
        assert (pixels(picture) == pixels(wanted)).all()
    if colours <= 256:
        assert len({bytes(picture.getpalette() or ()) for picture in result}) == 1


def test_many_colours_are_not_dithered() -> None:
    """Neighbours of one colour stay of one colour."""
    frame = photographs(1, 64)[0]
    frame.paste((200, 30, 40), (8, 8, 40, 40))
    (result,) = indexed([frame])
    assert len(np.unique(pixels(result)[8:40, 8:40].reshape(-1, 3), axis=0)) == 1


def test_the_other_modes_are_taken_too(tmp_path: Path) -> None:
    frames = [frame.convert("RGBA") for frame in flat(2)]
    save_film(frames, tmp_path / "a.gif")
    assert (read(tmp_path / "a.gif")[0][1] == pixels(frames[1])).all()


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        ([], {}, "a film needs frames of one size, got none"),
        ([*flat(1), *flat(1, (3, 3))], {}, "a film needs frames of one size, got 3x3 and 12x8"),
        ([Image.new("RGB", (0, 4))], {}, "frames of GIF have sides of 1 to 65535 pixels, got 0x4"),
        (flat(2), {"fps": 0}, "fps must be between 0.1 and 50 for GIF, got 0"),
        (flat(2), {"fps": 60}, "fps must be between 0.1 and 50 for GIF, got 60"),
        (flat(2), {"fps": float("nan")}, "fps must be between 0.1 and 50 for GIF, got nan"),
    ],
)
def test_what_cannot_be_a_film_is_refused(
    frames: list[Image.Image], options: dict[str, float], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        save_film(frames, tmp_path / "a.gif", **options)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_too_large_for_webp(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frames of WEBP have sides of 1 to 16383 pixels"):
        save_film([Image.new("RGB", (16384, 1))], tmp_path / "a.webp")


@pytest.mark.parametrize("name", ["a.avi", "a", "a.png"])
def test_an_unknown_suffix_is_refused(name: str, tmp_path: Path) -> None:
    for check in (check_film, lambda path: save_film(flat(1), path)):
        with pytest.raises(UsageError, match=r"should end in one of \.gif, \.webp, \.mp4"):
            check(tmp_path / name)


@pytest.mark.parametrize("suffix", FILM_FORMATS)
def test_what_cannot_be_written_leaves_nothing(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        save_film(flat(2), tmp_path / f"file/a{suffix}")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_failure_keeps_the_old_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a.gif").write_text("old")
    monkeypatch.setattr(film, "indexed", fail)
    with pytest.raises(OutputError, match="No space left"):
        save_film(flat(2), tmp_path / "a.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
    assert (tmp_path / "a.gif").read_text() == "old"


# MP4, with a stand-in for ffmpeg that writes down what it was told and given


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str = "") -> None:
    """Put an `ffmpeg` on the PATH that runs `body`, or copies its input to its output."""
    copy = "open(sys.argv[-1].removeprefix('file:'), 'wb').write(sys.stdin.buffer.read())"
    log = f"open({str(folder / 'arguments')!r}, 'w').write('\\n'.join(sys.argv))"
    program = folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable} -IS\nimport sys\n{log}\n{body or copy}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(program.parent))


@pytest.mark.parametrize("size", [(12, 8), (13, 8), (12, 9), (13, 9), (1, 1)])
def test_an_mp4_gets_every_frame_with_even_sides(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch)
    frames = flat(5, size)
    save_film(frames, tmp_path / "a.mp4", fps=23.976, bounce=True)
    width, height = (side + side % 2 for side in size)
    given = np.frombuffer((tmp_path / "a.mp4").read_bytes(), np.uint8).reshape(-1, height, width, 3)
    assert len(given) == 8
    for frame, number in zip(given, [0, 1, 2, 3, 4, 3, 2, 1], strict=True):
        wanted = pixels(frames[number])
        assert (frame[: size[1], : size[0]] == wanted).all()
        assert (frame[-1, : size[0]] == wanted[-1]).all()  # no dark line along the edge
        assert (frame[: size[1], -1] == wanted[:, -1]).all()
    arguments = (tmp_path / "arguments").read_text().split("\n")
    told = dict(pairwise(arguments))
    assert told["-s"] == f"{width}x{height}"
    assert told["-r"] == "23.976"
    assert arguments.index("-i") < arguments.index("yuv420p")
    assert {"rawvideo", "rgb24", "pipe:0", "mp4", "-y"} <= set(arguments)
    assert arguments[-1].startswith(f"file:{tmp_path}")


def test_without_ffmpeg_there_is_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for check in (check_film, lambda path: save_film(flat(1), path)):
        with pytest.raises(OutputError, match=r"needs ffmpeg, .* or write \.gif or \.webp"):
            check(tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []
    assert check_film(tmp_path / "a.gif") == "GIF"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.stderr.write('first\\nUnknown encoder\\n'); sys.exit(3)", "ffmpeg: Unknown encoder"),
        ("sys.exit(3)", "ffmpeg: exit status 3"),
        ("sys.stdin.buffer.read(); sys.exit('at the end')", "ffmpeg: at the end"),
        ("sys.stderr.write('x' * 10**6 + '\\nmuch'); sys.exit(1)", "ffmpeg: much"),
    ],
)
def test_ffmpeg_s_last_words_are_passed_on(
    body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, body)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.mp4").write_text("old")
    with pytest.raises(OutputError) as caught:
        save_film(flat(40, (100, 100)), tmp_path / "out/a.mp4")  # more than a pipe holds
    assert str(caught.value) == f"cannot write {tmp_path}/out/a.mp4: {message}"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mp4"]
    assert (tmp_path / "out/a.mp4").read_text() == "old"


def test_ffmpeg_does_not_outlive_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "import time; time.sleep(60)")

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(film, "_even", stop)
    with pytest.raises(KeyboardInterrupt):
        save_film(flat(2), tmp_path / "a.mp4")
    assert not list(tmp_path.glob("*.mp4*"))
