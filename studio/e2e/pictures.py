"""Write a PNG as WebP, or several as an animation.

pictures.py OUT.webp WIDTH MS IN.png [MS IN.png ...]
"""

import sys

from PIL import Image


def main() -> None:
    out, width, *given = sys.argv[1:]
    if len(given) == 1:
        _scaled(given[0], int(width)).save(out, quality=82, method=6)
        return
    times = [int(one) for one in given[0::2]]
    first, *others = [_scaled(one, int(width)) for one in given[1::2]]
    first.save(
        out, save_all=True, append_images=others, duration=times, loop=0, quality=70, method=4
    )


def _scaled(path: str, width: int) -> Image.Image:
    picture = Image.open(path).convert("RGB")
    height = round(picture.height * width / picture.width)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
