"""The `unclip` command. One file a command; each has `register`, and is found by its name."""

from .app import main

__all__ = ["main"]
