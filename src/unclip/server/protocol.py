"""What the server and its worker tell each other: one JSON object a line.

To the worker:

- `begin` (`models`: name -> path, `device`, `dtype`, `memory`, `exact`, `hooks`,
  `c2pa`: a key and its certificates, PEM): first, once.
- `draw` (`jobs`: [`id`, `spec`, `inputs`: field -> path]): one batch, after `idle` or `ready`.
- `cancel` (`id`), at any time.
- `watch` (`previews`: id -> how many somebody wants, spread over the steps whatever time they take;
  0: as many as take little), at any time.
- `check` (`number`, `spec`, `inputs`) and `probe` (`number`, `model`, `inputs`: its `image`,
  `labels`) are answered soon, between two steps of what is drawn. So is `recall` (`number`,
  `model`, `notes`: what another program wrote in a picture).

To the server:

- `ready` (`models`: [`ModelInfo`]), or `broken` (`message`) where no model can be loaded.
- `step` (`id`, `stage`, `index`, `total`, `share` of the whole work done, 0 to 1).
- `preview` (`id`, `index` of the picture, `picture`: base64 of a PNG; where a number was wanted,
  `number` from 1, and `share` as of a step).
- `memory` (`bytes` that it holds, `gpu`: those of its accelerator; `steps` since it last said so,
  those of each picture counted).
- `done` (`id`, `pictures`: [`Drawn` but for its id, and `data`: base64 of the file]).
- `failed` (`id`, `failure`), `cancelled` (`id`).
- `idle`: every job of the batch has ended.
- `checked` (`number`, `failure` or null, `steps`).
- `probed` (`number`, `failure` or null, `shares`: of the labels, in their order).
- `recalled` (`number`, `failure` or null, `recalled`: see `recall`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

LONGEST = 512 * 2**20
"""Most bytes of a line."""

Message = dict[str, Any]

ANSWERED = {"check": "checked", "probe": "probed", "recall": "recalled"}
"""Questions, and what their answers are called."""


@dataclass(frozen=True)
class ModelInfo:
    """What a served model is and can do.

    Args:
        name: as clients call it.
        size: (width, height) of its pictures.
        abilities: names of the commands that it serves.
        priors, decoders: names that requests may give.
        optional: stages that run for a `size` alone.
        settings: stage -> setting of its sampling -> what it is, see `settings`.
        words: it was trained on, most frequent first; none where it lists none.
        hash: of its files.
    """

    name: str
    size: tuple[int, int]
    abilities: tuple[str, ...]
    priors: tuple[str, ...] = ()
    decoders: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    hash: str = ""

    @classmethod
    def of(cls, values: Message) -> ModelInfo:
        """From plain data, in which tuples have become lists."""
        tuples = {name: tuple(values[name]) for name, one in values.items() if type(one) is list}
        return cls(**{**values, **tuples})


def encode(message: Message) -> bytes:
    """A line."""
    return json.dumps(message, allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> Message:
    """What `encode` wrote."""
    message: Message = json.loads(line)
    return message
