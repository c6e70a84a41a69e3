"""Scenes per second of the composer on one core.

.venv/bin/python benchmarks/scenes.py data/emoji
"""

from __future__ import annotations

import sys
from pathlib import Path

from _machine import alone
from _timing import seconds

from unclip.emoji.source import EmojiConfig, EmojiScenes

COUNT = 500


def main() -> None:
    config = EmojiConfig(path=Path(sys.argv[1] if len(sys.argv) > 1 else "data/emoji"))
    for size in (64, 256):
        source = EmojiScenes(config, (size, size))
        spent = seconds(lambda source=source: [source.sample(i) for i in range(COUNT)], repeat=3)
        print(f"{size}x{size}: {COUNT / spent:.0f} scenes/s on one core")


if __name__ == "__main__":
    alone(main)
