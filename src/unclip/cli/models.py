"""`unclip models` and `unclip models show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._terminal import complain, console, say, si, size

if TYPE_CHECKING:
    from ..checkpoints.native import Manifest

_GROUP = typer.Typer(rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_GROUP, name="models")


@_GROUP.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the bundled models, or show what one holds.

    \b
    Examples:
      unclip models
      unclip models show emoji-cpu
      unclip models show runs/mine/model
    """
    if context.invoked_subcommand is None:
        _list()


def _list() -> None:
    from ..checkpoints.native import read_manifest
    from ..pipeline import BUNDLED, bundled_models

    bundled = bundled_models()
    if not bundled:
        say("no model is bundled with this installation; train one with `unclip train`")
    for name, folder in bundled.items():
        manifest = read_manifest(folder)
        say(f"{name}{' (the default)' if name == BUNDLED else ''}")
        say(f"  {', '.join(manifest.stages)}; {size(_bytes(folder, manifest))}; {manifest.hash}")
        say(f"  {folder}")


@_GROUP.command()
def show(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model folder or a bundled model's name.")
    ],
) -> None:
    """Show a model's stages, parameters, sizes, hash and card."""
    from ..checkpoints.native import read_config, read_manifest, verify
    from ..pipeline import find_model

    folder = find_model(model)
    manifest = read_manifest(folder)
    rows = [_row(folder, name, read_config(folder, name)) for name in manifest.stages]
    say(f"{manifest.name}, {manifest.hash}, {size(_bytes(folder, manifest))}")
    say(f"{folder}")
    _print(rows)
    card = folder / "README.md"
    if card.is_file():
        say(f"\n{card.read_text(encoding='utf-8').strip()}")
    for fault in verify(folder):
        complain(fault, "warning")


def _row(folder: Path, name: str, config: Any) -> tuple[str, ...]:
    import torch

    from ..nn.layers import parameter_count
    from ..stages import STAGES

    with torch.device("meta"):
        stage = STAGES[config.kind](config)
    sampling = getattr(config, "sampling", None)
    how = ""
    if sampling is not None:
        how = f"{sampling.sampler}, {sampling.steps} steps, guidance {sampling.guidance_scale:g}"
    side = f"{stage.image_size}×{stage.image_size}" if "image" in stage.produces else ""
    weights = sum(file.stat().st_size for file in (folder / name).glob("weights*.safetensors"))
    return (name, config.kind, side, si(parameter_count(stage)), size(weights), how)


def _print(rows: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("stage", "kind", "makes"):
        table.add_column(heading)
    for heading in ("parameters", "weights"):
        table.add_column(heading, justify="right")
    table.add_column("sampled by")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _bytes(folder: Path, manifest: Manifest) -> int:
    files = [folder / name for name in manifest.files]
    return sum(file.stat().st_size for file in files if file.is_file())
