"""A model with what a person adds to it: LoRA files and embeddings, each named by its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..added import Added
from ..errors import about
from .embeddings import Embedding, with_embedding
from .format import Plan
from .lora import DIGITS, Lora, others_hash, with_lora
from .tensors import sha256


def adapted(plan: Plan, loras: Iterable[Lora], embeddings: Iterable[Embedding]) -> Plan:
    """The model, changed as it is read, whose hash is then another.

    Raises:
        CheckpointError: a file is damaged, of a kind that is not read, or of another model.
        UsageError: the model has no place for it.
    """
    base, added = plan, list[Added]()
    for lora in loras:
        with about("lora"):
            plan = with_lora(plan, lora)
        hashes = hash_of(lora.file), others_hash(lora.file)
        added.append(Added("lora", lora.file.stem, hashes[0], lora.scale, hashes[1]))
    for embedding in embeddings:
        with about("embedding"):
            plan, word = with_embedding(plan, embedding)
        added.append(Added("embedding", word, hash_of(embedding.file)))
    if not added:
        return base
    unnamed = [replace(one, name="") if one.kind == "lora" else one for one in added]
    text = json.dumps([base.digest, *(one.dump() for one in unnamed)], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
    return replace(plan, hash=digest, added=tuple(added))


def hash_of(file: Path) -> str:
    """As `Added.hash`."""
    return sha256(file)[:DIGITS]
