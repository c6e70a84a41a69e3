"""The optional client library of the hub, and its errors as one line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import CheckpointError, OutputError, UnclipError
from .names import Ref

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM)


class Unreachable(CheckpointError):
    """The hub does not answer."""


def library() -> Any:
    """The module `huggingface_hub`. Raises UnclipError if it is not installed."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise UnclipError(
            "the hub needs a client: pip install huggingface_hub (or download the files yourself)"
        ) from None
    return huggingface_hub


def network_errors() -> tuple[type[Exception], ...]:
    """Errors of failed connections; the library's HTTP client depends on its version."""
    return (OSError, *library().errors.HfHubHTTPError.__bases__)


@contextmanager
def hub_errors(ref: Ref) -> Iterator[None]:
    """Turn errors of the library into one line."""
    errors = library().errors
    try:
        yield
    except UnclipError:
        raise
    except errors.GatedRepoError:
        text = f"{ref} is gated: request access on its page, then set HF_TOKEN"
        raise CheckpointError(text) from None
    except errors.RepositoryNotFoundError:
        text = f"the hub has no model {ref.repo}, or it is private and HF_TOKEN is not set for it"
        raise CheckpointError(text) from None
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"{ref.repo} has no revision '{ref.asked}'") from None
    except network_errors() as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise OutputError(f"cannot write to the hub's cache: {error}") from None
        silent = "Timeout" in type(error).__name__
        why = "it stopped responding" if silent else str(error) or type(error).__name__
        raise _unreachable(why) from None
    except (ValueError, TypeError, LookupError, AttributeError):  # HTML, null, other fields
        raise _unreachable("its answer does not describe a model") from None


def _unreachable(why: str) -> Unreachable:
    """One line without user names, passwords and queries in addresses."""
    where = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    text = " ".join(f"the hub at {where} could not be read: {why}".split())
    text = re.sub(r"(?<=://)[^/\s]*@", "", text)
    return Unreachable(re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]+", r"\1", text))
