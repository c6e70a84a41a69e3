"""Priors train from embeddings alone, as they do from the pictures that these are of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unclip.checkpoints import native
from unclip.data.embeddings import Embeddings
from unclip.errors import DataError
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import BatchRng
from unclip.stages import Stage
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.task import Task

ROWS = 8


@pytest.fixture
def pairs(speckles: Any, make_stage: Callable[..., Stage]) -> list[Any]:
    size = make_stage("clip").image_size
    return [speckles(size).sample(number) for number in range(ROWS)]


@pytest.fixture
def embedded(
    pairs: list[Any], make_stage: Callable[..., Any], tokenizer: Tokenizer, tmp_path: Path
) -> Path:
    """The pairs as CLIP sees them, in float32; row n is pair n."""
    task = Task(make_stage("prior"), make_stage("clip"))
    cond = task.cond(task.collate(tokenizer)(pairs), BatchRng(0, ROWS))
    fields = {"img_emb": "image_embed", "text_emb": "text_embed", "text_encodings": ""}
    for kind, field in fields.items():
        (tmp_path / "data" / kind).mkdir(parents=True)
        values = getattr(cond, field or kind).numpy()
        np.save(tmp_path / "data" / kind / f"{kind}_0.npy", values)
    (tmp_path / "data" / "metadata").mkdir()
    lines = [json.dumps({"caption": pair["caption"]}) for pair in pairs]
    (tmp_path / "data" / "metadata" / "metadata_0.jsonl").write_text("\n".join(lines))
    return tmp_path / "data"


def without(folder: Path, *kinds: str) -> Embeddings:
    """The embeddings, of which some kinds are not there."""
    for kind in kinds:
        (folder / kind).rename(folder / f"no_{kind}")
    return Embeddings(Embeddings.Config.parse({"path": str(folder)}), (1, 1))


KINDS = ("prior", "ar_prior", "eclipse_prior", "linear_prior")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [(), ("text_encodings",), ("text_emb", "text_encodings")])
def test_the_loss_is_that_of_the_pictures(
    kind: str,
    missing: tuple[str, ...],
    pairs: list[Any],
    embedded: Path,
    make_stage: Callable[..., Any],
    tokenizer: Tokenizer,
) -> None:
    """Whether the encodings of the text are there too, or are made of the captions."""
    source = without(embedded, *missing)
    rows = [source.order.place(position)[1] for position in range(ROWS)]
    task = Task(make_stage(kind), make_stage("clip"))
    given = task.collate(tokenizer)([source.sample(position) for position in range(ROWS)])
    assert "image" not in given and "image_embed" in given
    if not missing:  # then CLIP has nothing to do
        task.clip[0].encode_text = task.clip[0].encode_image = None
    loss, _ = task(given, BatchRng(0, ROWS))
    seen = Task(task.stage, make_stage("clip"))
    wanted, _ = seen(seen.collate(tokenizer)([pairs[row] for row in rows]), BatchRng(0, ROWS))
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)


def test_a_linear_prior_needs_no_captions(
    embedded: Path, make_stage: Callable[..., Any], tokenizer: Tokenizer
) -> None:
    source = without(embedded, "metadata", "text_encodings")
    task = Task(make_stage("linear_prior"), make_stage("clip"))
    batch = task.collate(tokenizer)([source.sample(position) for position in range(ROWS)])
    assert batch.keys() == {"image_embed", "text_embed"}
    assert torch.isfinite(task(batch, BatchRng(0, ROWS))[0])


def test_what_the_data_lack_is_said(
    embedded: Path, make_stage: Callable[..., Any], tokenizer: Tokenizer
) -> None:
    source = without(embedded, "text_encodings")

    def loss(stage: Stage) -> Any:
        task = Task(stage, make_stage("clip"))
        samples = [source.sample(position) for position in range(ROWS)]
        return task(task.collate(tokenizer)(samples), BatchRng(0, ROWS))

    with pytest.raises(DataError, match=r"^stage 'decoder' trains on pictures: the data have none"):
        loss(make_stage("decoder"))
    source = without(embedded, "metadata")
    with pytest.raises(DataError, match=r"^stage 'prior' trains on captions: the data have none"):
        loss(make_stage("prior"))
    np.save(embedded / "img_emb" / "img_emb_0.npy", np.ones((ROWS, 7), np.float32))
    source = without(embedded, "text_emb")
    with pytest.raises(DataError, match=r"'linear_prior' trains on captions: the data have none"):
        loss(make_stage("linear_prior"))
    (embedded / "no_text_emb").rename(embedded / "text_emb")
    source = without(embedded)
    with pytest.raises(DataError, match=r"image_embed has 7 numbers, and the recipe's CLIP has 16"):
        loss(make_stage("linear_prior"))


def test_a_run_of_a_prior_has_no_pictures(
    embedded: Path, tiny_model: Path, tmp_path: Path, notes: Any
) -> None:
    """CLIP and tokenizer are taken from a model, and only the prior is trained."""
    train = "{steps=3, batch_size=4, warmup=1, workers=0, precision='float32'}"
    taken = f"from='{tiny_model}'"
    recipe = load_recipe(
        "tiny",
        [
            f"data={{source='embeddings', path='{embedded}'}}",
            f"tokenizer={{model='{tiny_model}', vocab_size=300, context=8}}",
            f"stages={{clip={{{taken}}}, prior={{{taken}, train={train}}}}}",
        ],
    )
    run = Run(recipe, tmp_path / "run", torch.device("cpu"))
    run.check()
    run.begin(resume=False)
    run.export_frozen("clip")
    trainer = run.trainer("prior")
    assert trainer.run(notes)
    run.export("prior", trainer.averaged())
    assert native.read_manifest(run.model).stages == ("clip", "prior")
    assert all(np.isfinite(values["loss"]) for _, values in notes.logged)
