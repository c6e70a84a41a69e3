"""The pages of the site that are made from the code: every public name, ability and command."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

PARTS = {
    "pipeline": ("The chain", "pipeline request cost types record rng errors config"),
    "media": ("Pictures", "media"),
    "stages": ("Stages", "stages"),
    "networks": ("Networks", "nn"),
    "diffusion": ("Diffusion", "diffusion"),
}
"""Pages of modules: title, and what of `unclip` is on it."""

WHOLE = ("media", "diffusion.samplers")
"""Packages whose modules are not looked into: they give all their names themselves."""

PUBLIC = """# The package

`import unclip` gives these names. Everything else is imported from the module that has it.

```{eval-rst}
.. currentmodule:: unclip

.. autofunction:: unclip.load

.. autoclass:: unclip.Pipeline
   :inherited-members:

.. autoclass:: unclip.Stage

.. autoclass:: unclip.Step

.. autoexception:: unclip.UnclipError

.. autoexception:: unclip.Cancelled

.. autodata:: unclip.__version__
   :no-value:
```
"""

ABILITIES_HEAD = """# Abilities

Each is a method of a pipeline and a command. Its arguments are the fields of a request, checked
before anything is drawn: `pipe.generate("a fox", n=2)` is
`pipe.run(GenerateRequest.of(prompt="a fox", n=2))`. Settings of the sampling (`steps`,
`guidance_scale`, `sampler`, ...) depend on the model and stand in `settings`.

"""

SAMPLERS_HEAD = """# Samplers

Functions `(denoise, x, levels, rng, on_step, eta) -> x`, by name in
`unclip.diffusion.samplers.SAMPLERS`. Order is that of the error without noise, calls are those of
the network in a step, and eta is the default strength of added noise.
[Samplers compared](../samplers.md) has pictures and distances.

| name | order | calls | eta |
|---|---:|---:|---:|
"""

COMMANDS_HEAD = """# Commands

What `--help` prints. [The command line](../command-line.md) tells of defaults, output and exit
codes, which are the same for all.

"""


def pages() -> dict[str, str]:
    """Markdown by place."""
    found = {"unclip": PUBLIC, "abilities": abilities(), "samplers": samplers()}
    for name, (title, parts) in PARTS.items():
        found[name] = f"# {title}\n\n" + "".join(map(module, parts.split()))
    found["commands"] = commands()
    titles = "".join(f"{name}\n" for name in found)
    found["index"] = f"# Reference\n\n```{{toctree}}\n:maxdepth: 1\n\n{titles}```\n"
    return {f"reference/{name}.md": text for name, text in found.items()}


def module(name: str) -> str:
    """A section of a module; of a package also those of its public modules."""
    path = f"unclip.{name}"
    folders = [] if name in WHOLE else getattr(import_module(path), "__path__", [])
    inner = [one.name for one in pkgutil.iter_modules(folders) if one.name[0] != "_"]
    text = f"## {path}\n\n```{{eval-rst}}\n.. automodule:: {path}\n"
    text += ("   :no-members:\n" if inner else "") + "```\n\n"
    parts = (f"{name}.{one}" for one in inner)
    return text + "".join(module(part) for part in parts if part not in WHOLE)


def abilities() -> str:
    """What each is asked with, and its request."""
    from unclip.abilities import ABILITIES
    from unclip.train.settings import section, table

    text = ABILITIES_HEAD
    for name in ABILITIES.names():
        made = ABILITIES[name]
        request, function = made.request, made.function
        path = f"{request.__module__}.{request.__name__}"
        fields = section(request, name, "", skip=("settings",)).settings
        told = (replace(one, type="picture") if one.type == "any" else one for one in fields)
        text += f"## {name}\n\n" + "\n".join(table(told))
        text += f"\n\n```{{eval-rst}}\n.. autoclass:: {path}\n   :no-members:\n"
        text += f"\n.. autofunction:: {function.__module__}.{function.__name__}\n```\n\n"
    return text


def samplers() -> str:
    """The registry: a table, then each."""
    from unclip.diffusion.samplers import ABOUT, SAMPLERS

    text = SAMPLERS_HEAD
    for name in SAMPLERS:
        about = ABOUT[name]
        text += f"| `{name}` | {about.order} | {about.calls} | {about.eta:g} |\n"
    text += "\n```{eval-rst}\n.. currentmodule:: unclip.diffusion.samplers\n\n"
    return text + "".join(f".. autofunction:: {name}\n\n" for name in SAMPLERS) + "```\n"


def commands() -> str:
    """What `--help` prints, for every command."""
    import typer

    from unclip.cli.app import make_app

    app = typer.main.get_command(make_app())
    return COMMANDS_HEAD + "".join(helped(app, "unclip", None))


def helped(command: Any, name: str, parent: Any) -> Iterator[str]:
    """A command's help, and that of its commands."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n\n"
    for inner in getattr(command, "commands", {}):
        yield from helped(command.commands[inner], inner, context)
