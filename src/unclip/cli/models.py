"""`unclip models`: what is bundled, what was pulled, and pulling and removing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._chosen import BUNDLED, Chosen, choosing
from ._terminal import complain, say, size

if TYPE_CHECKING:
    from ..checkpoints.native import Manifest

_GROUP = typer.Typer(rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_GROUP, name="models")


@_GROUP.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models that are here; show, pull or remove one.

    \b
    Examples:
      unclip models
      unclip models inspect emoji-cpu
      unclip models inspect downloads/karlo-v1-alpha
      unclip models pull hub:kakaobrain/karlo-v1-alpha
      unclip models rm hub:kakaobrain/karlo-v1-alpha
    """
    if context.invoked_subcommand is None:
        listed()


@_GROUP.command("list", hidden=True)
def listed() -> None:
    """List the models that are here, as `unclip models` does."""
    _list()
    _list_pulled()


def _list() -> None:
    from ..checkpoints.native import read_manifest
    from ..loading import BUNDLED, bundled_models

    bundled = bundled_models()
    if not bundled:
        say("no model is bundled with this installation; train one with `unclip train`")
    for name, folder in bundled.items():
        manifest = read_manifest(folder)
        say(f"{name}{' (the default)' if name == BUNDLED else ''}")
        say(f"  {', '.join(manifest.stages)}; {size(_bytes(folder, manifest))}; {manifest.hash}")
        say(f"  {folder}")


def _list_pulled() -> None:
    from ..hub import pulled

    for one in pulled():
        say(f"{one.ref}")
        say(f"  pulled from the hub; {size(one.bytes)}; {one.commit[:12]}")
        say(f"  {one.path}")


def inspect(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A folder or file of any known format, or a name."),
    ],
    chosen: Chosen = BUNDLED,
) -> None:
    """Show a model's stages, sizes, licence and abilities.

    Also the memory that it needs. Every name and shape is checked; no weights are read.

    \b
    Examples:
      unclip models inspect emoji-cpu
      unclip models inspect runs/mine/model
      unclip models inspect downloads/karlo-v1-alpha
      unclip models inspect hub:kakaobrain/karlo-v1-alpha
    """
    from ._inspect import inspect_plan

    found = replace(chosen, model=model).plan()
    inspect_plan(found)
    _say_card(found.where)


def _say_card(folder: Path) -> None:
    """A native model's card, and what is wrong with its files."""
    from ..checkpoints.convert import read_card
    from ..checkpoints.native import verify

    if not (folder / "model.json").is_file():
        return
    card = read_card(folder).strip()
    if card:
        say(f"\n{card}")
    for fault in verify(folder):
        complain(fault, "warning")


_INSPECT = choosing(inspect, "model", "device", "low_memory", "dtype", "no_limit", "strict_words")
_GROUP.command()(_INSPECT)
_GROUP.command("show", hidden=True)(_INSPECT)  # its name before other formats could be read


@_GROUP.command()
def pull(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="hub:org/name, with /folder for a part and @revision to pin it."
        ),
    ],
    variant: Annotated[
        str | None, typer.Option(help="Weights to prefer where there are several, such as fp16.")
    ] = None,
) -> None:
    """Fetch a model from the Hugging Face hub.

    Each file is checked by its hash. A pull that was cut off goes on where it stopped.

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
    say(f"{path}")
    say(f'use it with: unclip generate --model {ref} "a red car"')


@_GROUP.command()
def rm(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="As pulled; without @revision, every revision of it."),
    ],
) -> None:
    """Remove a pulled model from the hub's cache, at once.

    \b
    Examples:
      unclip models rm hub:kakaobrain/karlo-v1-alpha
      unclip models rm hub:org/name@v1.0
    """
    from ..hub import remove

    say(f"freed {size(remove(model))}")


def _bytes(folder: Path, manifest: Manifest) -> int:
    files = [folder / name for name in manifest.files]
    return sum(file.stat().st_size for file in files if file.is_file())
