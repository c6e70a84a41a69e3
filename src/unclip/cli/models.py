"""`unclip models`: what is bundled, what was pulled, and pulling and removing."""
# Without `from __future__ import annotations`: see `_options`.

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._complete import MODELS
from ._options import Command, Listed, ListedGroup, ModelParts, Variant
from ._result import report
from ._terminal import complain, say, size

if TYPE_CHECKING:
    from ..checkpoints.native import Manifest

_GROUP = typer.Typer(cls=ListedGroup, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_GROUP, name="models")


@_GROUP.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the installed models; show, pull or remove one.

    \b
    Examples:
      unclip models
      unclip models inspect emoji-cpu
      unclip models inspect downloads/karlo-v1-alpha
      unclip models pull hub:kakaobrain/karlo-v1-alpha
      unclip models rm hub:kakaobrain/karlo-v1-alpha
    """
    if context.invoked_subcommand is None:
        list_models()


@_GROUP.command("list", hidden=True)
def list_models() -> None:
    """List the installed models, as `unclip models` does."""
    from ..checkpoints.native import read_manifest
    from ..hub import pulled
    from ..loading import BUNDLED, bundled_models

    bundled = bundled_models()
    report(models=[])
    if not bundled:
        say("no model is bundled with this installation; train one with `unclip train`")
    for name, folder in bundled.items():
        manifest, is_default = read_manifest(folder), name == BUNDLED
        held: dict[str, Any] = {"name": name, "stages": list(manifest.stages)}
        held |= {"bytes": _bytes(folder, manifest), "hash": manifest.hash, "path": folder}
        report(models=[{**held, "bundled": True, "default": is_default}])
        say(f"{name}{' (the default)' if is_default else ''}")
        say(f"  {', '.join(manifest.stages)}; {size(held['bytes'])}; {manifest.hash}")
        say(f"  {folder}")
    for one in pulled():
        found = {"name": str(one.ref), "bytes": one.bytes, "hash": one.commit, "path": one.path}
        report(models=[{**found, "bundled": False, "default": False}])
        say(f"{one.ref}")
        say(f"  pulled from the hub; {size(one.bytes)}; {one.commit[:12]}")
        say(f"  {one.path}")


def _bytes(folder: Path, manifest: "Manifest") -> int:
    files = [folder / name for name in manifest.files]
    return sum(file.stat().st_size for file in files if file.is_file())


@dataclass(frozen=True)
class Inspect(ModelParts):
    """Show a model's stages, sizes, licence, abilities and memory.

    Checks every name and shape; reads no weights.

    \b
    Examples:
      unclip models inspect emoji-cpu
      unclip models inspect runs/mine/model
      unclip models inspect downloads/karlo-v1-alpha
      unclip models inspect hub:kakaobrain/karlo-v1-alpha
    """

    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A folder or file of any known format, or a name.",
            autocompletion=MODELS,
        ),
    ]

    def run(self) -> None:
        """Print it, and of a native model the card and what is wrong with its files."""
        from ..checkpoints.convert import read_card
        from ..checkpoints.native import verify
        from ._inspect import inspect_plan

        plan = self.plan(self.model)
        inspect_plan(plan)
        if not (plan.where / "model.json").is_file():
            return
        card = read_card(plan.where).strip()
        if card:
            say(f"\n{card}")
        report(card=card)
        for fault in verify(plan.where):
            complain(fault, "warning")


_GROUP.command("inspect", cls=Command)(Inspect)
_GROUP.command("show", cls=Command, hidden=True)(Inspect)  # its older name


@_GROUP.command(cls=Listed)
def pull(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="hub:org/name; add /folder for a part, @revision to pin it."
        ),
    ],
    variant: Variant = None,
) -> None:
    """Download a model from the Hugging Face hub.

    Checks each file by its hash. An interrupted download continues where it stopped.

    \b
    Examples:
      unclip models pull hub:kakaobrain/karlo-v1-alpha
      unclip models pull kakaobrain/karlo-v1-alpha --variant fp16
      unclip models pull hub:laion/DALLE2-PyTorch/prior
      unclip models pull hub:org/name@v1.0
    """
    from ..hub import fetch, parse
    from ._progress import byte_progress

    ref = parse(model)
    with byte_progress(ref.repo) as on_progress:
        path = fetch(ref, on_progress, variant=variant, fresh=True)
    report(model=str(ref), path=path)
    say(f"{path}")
    say(f'use it with: unclip generate --model {ref} "a red car"')


@_GROUP.command(cls=Listed)
def rm(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="As pulled; without @revision, all revisions.",
            autocompletion=MODELS,
        ),
    ],
) -> None:
    """Remove a pulled model from the hub's cache, without asking.

    \b
    Examples:
      unclip models rm hub:kakaobrain/karlo-v1-alpha
      unclip models rm hub:org/name@v1.0
    """
    from ..hub import remove

    freed = remove(model)
    report(freed_bytes=freed)
    say(f"freed {size(freed)}")
