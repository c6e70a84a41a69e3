"""Fill a new server's data folder with many pictures, cheaply: `python fill.py FOLDER NUMBER`.

They are of jobs of four, with prompts of a few words. Files are links to a few.
"""

from __future__ import annotations

import io
import os
import secrets
import sys
import time
from pathlib import Path

from PIL import Image
from sqlalchemy import insert

from unclip.server.job import Spec
from unclip.server.kept import words_of
from unclip.server.store import Store
from unclip.server.tables import jobs, pictures

COLOURS = ("red", "green", "blue", "yellow", "purple", "white", "black", "orange")
THINGS = ("car", "fox", "house", "apple", "boat", "tree", "bird")
SIDE = 64
OF_A_JOB = 4


def file_of(i: int) -> bytes:
    """A small picture."""
    hue = (i * 37 % 256, i * 91 % 256, i * 53 % 256)
    made = Image.new("RGB", (SIDE, SIDE), hue)
    made.paste((255 - hue[0], hue[2], hue[1]), (16, 16, 48, 48))
    out = io.BytesIO()
    made.save(out, "PNG")
    return out.getvalue()


def main(folder: Path, number: int, owner: str = "local") -> None:
    """Fill it."""
    store, now = Store(folder), time.time()
    files = []
    for i in range(64):
        path = folder / "pictures" / f"kind-{i}.png"
        path.write_bytes(file_of(i))
        files.append(path)
    asked, drawn = [], []
    for i in range(number // OF_A_JOB):
        prompt = f"a {COLOURS[i % len(COLOURS)]} {THINGS[i % len(THINGS)]} {i}"
        spec = Spec("generate", {"prompt": prompt, "seed": i, "n": OF_A_JOB}, pictures=OF_A_JOB)
        when = now - number + i
        asked.append(
            {
                "number": i + 1,
                "id": secrets.token_hex(16),
                "owner": owner,
                "state": "done",
                "created": when,
                "started": when,
                "finished": when,
                "model": "",
                "batch": "",
                "pictures": OF_A_JOB,
                "fingerprint": "",
                "spec": spec.to_json(),
            }
        )
        for k in range(OF_A_JOB):
            id = secrets.token_hex(16)
            kind = files[(i * OF_A_JOB + k) % len(files)]
            target = folder / "pictures" / id[:2] / f"{id}.png"
            target.parent.mkdir(exist_ok=True)
            os.link(kind, target)
            drawn.append(
                {
                    "id": id,
                    "job": i + 1,
                    "owner": owner,
                    "created": when,
                    "seed": i + k,
                    "width": SIDE,
                    "height": SIDE,
                    "native_width": SIDE,
                    "format": "png",
                    "native_height": SIDE,
                    "bytes": kind.stat().st_size,
                    "words": words_of(spec.fields),
                }
            )
    with store._db.write() as connection:
        connection.execute(insert(jobs), asked)
        connection.execute(insert(pictures), drawn)
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
