"""`unclip convert`."""
# Without `from __future__ import annotations`: see `_options`.

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import UsageError
from ._complete import MODELS
from ._options import A_MODEL, Command, ModelParts, fetched, option
from ._result import report
from ._terminal import say, size

if TYPE_CHECKING:
    import torch

DTYPES = ("keep", "float16", "bfloat16", "float32", "int8")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert", cls=Command)(Convert)


@dataclass(frozen=True)
class Convert(ModelParts):
    """Write a model of any format as safetensors and JSON.

    The folder is written whole or not at all.

    \b
    Examples:
      unclip convert karlo-v1-alpha/ models/karlo --dtype bfloat16
      unclip convert karlo-v1-alpha/ models/karlo --clip ViT-L-14.pt
      unclip convert emoji-cpu models/small --dtype clip=int8
      unclip convert hub:kakaobrain/karlo-v1-alpha models/karlo
      unclip convert models/karlo karlo-diffusers/ --to diffusers --dtype float16
    """

    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help=A_MODEL, autocompletion=MODELS),
    ]
    target: Annotated[Path, typer.Argument(metavar="DST", help="The folder to write.")]
    dtype: Annotated[
        list[str] | None,
        option(
            "--dtype",
            f"[STAGE=]{'|'.join(DTYPES)}",
            "Number format of the weights, or of one stage's; may be repeated. keep is the file's "
            "own; int8 stores large matrices in 8 bits and the rest in float16.",
            "keep",
        ),
    ] = None
    to: Annotated[
        Literal["native", "diffusers"],
        option(
            "--to", "native|diffusers", "This package's format; of Karlo, diffusers 0.33.1's too."
        ),
    ] = "native"
    shard_size: Annotated[
        str, option("--shard-size", "SIZE", "Largest weights file of a native folder.")
    ] = "2GB"
    force: Annotated[
        bool, typer.Option("--force", help="Replace the model that DST already holds.")
    ] = False

    def run(self) -> None:
        """Write the folder, and say what to do with it."""
        from .. import hub
        from ..checkpoints.convert import check_target, convert, write_as
        from ..loading import find_model
        from ._progress import byte_progress

        most = _bytes(self.shard_size)
        dtypes = _dtypes(self.dtype or [])
        dtype = dtypes.pop("", None)
        if dtypes and self.to != "native":
            raise UsageError(f"--to {self.to} has one --dtype, without a stage")
        here = fetched(self.source, self.variant)
        check_target(self.target, find_model(here), self.force)
        plan, origin = self.plan(here), ""
        if self.source.startswith("hub:"):
            origin = self.source
            plan = replace(plan, name=hub.parse(origin).repo.rpartition("/")[2])
        with byte_progress("converting") as on_progress:
            more: dict[str, Any] = {"origin": origin, "on_progress": on_progress}
            if self.to == "diffusers":
                kind = write_as(self.to, plan, self.target, dtype, **more)
                done = f"load it with: diffusers.{kind}.from_pretrained('{self.target}')"
            else:
                convert(plan, self.target, dtype, dtypes, shard_bytes=most, **more)
                done = f"look at it with: unclip models inspect {self.target}"
        weights = sum(file.stat().st_size for file in self.target.rglob("*.safetensors"))
        report(path=self.target, model=plan.name, family=plan.family, bytes=weights)
        say(f"{self.target}: {plan.name} ({plan.family}), {size(weights)} of weights")
        say(done)


def _dtypes(given: list[str]) -> dict[str, "torch.dtype | None"]:
    """['float16', 'decoder=int8'] -> {"": torch.float16, "decoder": torch.int8}; None is keep."""
    import torch

    found = {}
    for one in given:
        stage, _, name = one.rpartition("=")
        if name not in DTYPES:
            known = ", ".join(DTYPES)
            raise UsageError(f"--dtype must be [STAGE=]NAME with NAME of {known}; got '{one}'")
        found[stage] = None if name == "keep" else getattr(torch, name)
    return found


def _bytes(text: str) -> int:
    """'2GB' -> 2_000_000_000, '512MiB' -> 536_870_912. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", text.strip().upper())
    count = int(float(found[1]) * UNITS[found[2] or ""]) if found else 0
    if count < 1:
        raise UsageError(f"--shard-size must be a size such as 2GB or 512MiB, got '{text}'")
    return count
