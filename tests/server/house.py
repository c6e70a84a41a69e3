"""A server in a thread of its own, with the real engine, store and uvicorn, and a fake worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from tests.server.fakes import FakeWorker
from unclip.server import run
from unclip.server.app import make_app
from unclip.server.engine import Engine
from unclip.server.options import Key, ServeOptions
from unclip.server.store import Store

KEY, OTHER = "sk-house-0123456789abcdef", "sk-other-0123456789abcdef"
T = TypeVar("T")
