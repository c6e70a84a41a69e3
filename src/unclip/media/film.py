"""Animations: write frames as GIF, WebP, or MP4 with ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import OutputError, UsageError
from ..files import atomic_file

FILM_FORMATS = {".gif": "GIF", ".webp": "WEBP", ".mp4": "MP4"}
"""Suffix of a file -> its format."""

MIN_FPS = 0.1
MAX_FPS = {"GIF": 50.0, "WEBP": 100.0, "MP4": 240.0}
"""Browsers play GIFs with frames shorter than 20 ms at 10 frames per second."""

_MAX_SIDE = {"GIF": 65535, "WEBP": 16383, "MP4": 16384}


def check_film(
    path: Path | str, size: tuple[int, int] | None = None, fps: float | None = None
) -> str:
    """The format that `save_film` will write; call it to find errors before sampling.

    Args:
        size: size of each frame, if known.
        fps: frames per second, if known.

    Raises:
        UsageError: the suffix is not in `FILM_FORMATS`, or the format cannot store such frames.
        OutputError: an MP4 without ffmpeg on the PATH.
    """
    path = Path(path)
    kind = FILM_FORMATS.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(FILM_FORMATS)
        raise UsageError(f"cannot write '{path.suffix}' films: {path} should end in one of {known}")
    if kind == "MP4":
        _ffmpeg(path)
    if size is not None:
        _check_size(size, kind)
    if fps is not None and not MIN_FPS <= fps <= MAX_FPS[kind]:
        most = f"{MAX_FPS[kind]:g} for {kind}"
        raise UsageError(f"fps must be between {MIN_FPS:g} and {most}, got {fps:g}")
    return kind


def save_film(
    frames: Sequence[Image.Image],
    path: Path | str,
    fps: float = 12.0,
    bounce: bool = False,
) -> None:
    """Write an endlessly looping animation, atomically.

    WebP is lossless; so is a GIF of up to 256 colours.

    Args:
        frames: at least one, all of one size.
        path: ends in one of `FILM_FORMATS`.
        fps: frames per second.
        bounce: append the frames in reverse order, so that the loop has no jump.

    Raises:
        UsageError: no frames, frames of several sizes or too large; an invalid `fps` or suffix.
        OutputError: the file cannot be written, ffmpeg is missing or fails.
    """
    path = Path(path)
    kind = check_film(path, fps=fps)
    _check_frames(frames, kind)
    pictures = [frame.convert("RGB") for frame in frames]
    if bounce:
        pictures += pictures[-2:0:-1]
    with atomic_file(path) as beside:
        if kind == "MP4":
            _write_mp4(pictures, beside, fps, path)
        else:
            _write_animation(pictures, beside, fps, kind)


def _check_frames(frames: Sequence[Image.Image], kind: str) -> None:
    sizes = sorted({frame.size for frame in frames})
    if len(sizes) != 1:
        found = " and ".join(f"{w}x{h}" for w, h in sizes) or "none"
        raise UsageError(f"a film needs frames of one size, got {found}")
    _check_size(sizes[0], kind)


def _check_size(size: tuple[int, int], kind: str) -> None:
    if not 1 <= min(size) <= max(size) <= _MAX_SIDE[kind]:
        found = f"{size[0]}x{size[1]}"
        raise UsageError(
            f"frames of {kind} have sides of 1 to {_MAX_SIDE[kind]} pixels, got {found}"
        )


def _write_animation(pictures: list[Image.Image], path: Path, fps: float, kind: str) -> None:
    tick = 10 if kind == "GIF" else 1  # milliseconds
    pictures = indexed(pictures) if kind == "GIF" else pictures
    times = [round(1000 / tick * number / fps) * tick for number in range(len(pictures) + 1)]
    pictures[0].save(
        path,
        format=kind,
        save_all=True,
        append_images=pictures[1:],
        duration=[end - start for start, end in pairwise(times)],  # rounding errors do not add up
        loop=0,  # endless
        lossless=True,
    )


def indexed(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Convert RGB pictures to palettes (mode "P") without dithering, which flat areas would show.

    Up to 256 colours in all pictures are exact, with one palette; up to 256 in one picture are
    exact, with its own palette; otherwise each picture gets its best 256.
    """
    own = [np.unique(_codes(picture))[:257].copy() for picture in pictures]  # 257: too many
    shared = np.unique(np.concatenate(own))
    palettes = [shared] * len(own) if len(shared) <= 256 else own
    return [_paletted(*both) for both in zip(pictures, palettes, strict=True)]


def _paletted(picture: Image.Image, colours: NDArray[np.uint32]) -> Image.Image:
    """A picture with these colours, or with its best 256 if there are more."""
    if len(colours) > 256:
        return picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    places = np.searchsorted(colours, _codes(picture))
    result = Image.fromarray(places.astype(np.uint8), "P")
    result.putpalette(
        np.stack([colours >> 16, colours >> 8, colours], -1).astype(np.uint8).tobytes()
    )
    return result


def _codes(picture: Image.Image) -> NDArray[np.uint32]:
    """(H, W): 0xRRGGBB."""
    pixels = np.asarray(picture).astype(np.uint32)
    codes: NDArray[np.uint32] = pixels @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return codes


def _ffmpeg(path: Path) -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        raise OutputError(
            f"cannot write {path}: .mp4 needs ffmpeg, which is not on the PATH; "
            "install it, or write .gif or .webp"
        )
    return program


def _write_mp4(pictures: list[Image.Image], beside: Path, fps: float, path: Path) -> None:
    """Pipe raw frames into ffmpeg. Raises OutputError with its last line of output."""
    width, height = (side + side % 2 for side in pictures[0].size)  # 4:2:0 needs even sides
    command = [
        *(_ffmpeg(path), "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}"),
        *("-i", "pipe:0", "-an", "-vf", "scale=out_color_matrix=bt709:out_range=tv"),
        *("-pix_fmt", "yuv420p", "-colorspace", "bt709", "-color_primaries", "bt709"),
        *("-color_trc", "bt709", "-movflags", "+faststart", "-f", "mp4", f"file:{beside}"),
    ]
    with tempfile.TemporaryFile() as words:  # an unread pipe would fill up and block
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words
        )
        try:
            assert process.stdin is not None
            _feed(process.stdin, (_even(picture) for picture in pictures))
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if code:
            words.seek(0)
            last = words.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise OutputError(f"cannot write {path}: ffmpeg: {last or f'exit status {code}'}")


def _feed(pipe: IO[bytes], pictures: Iterable[NDArray[np.uint8]]) -> None:
    """Write frames until the reader ends; its exit status is checked later."""
    try:
        with pipe:
            for picture in pictures:
                pipe.write(picture.tobytes())
    except BrokenPipeError:
        pass


def _even(picture: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) with even sides; repeats the last row or column if needed."""
    pixels = np.asarray(picture)
    return np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), "edge")
