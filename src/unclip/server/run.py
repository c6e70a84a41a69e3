"""Runs the server: listens, loads, serves until a signal asks to stop, and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvicorn

from ..errors import UnclipError, UsageError, unknown
from .app import make_app
from .connection import connection
from .credentials import signing_pems
from .engine import Engine
from .engine_options import EngineOptions
from .launch import Launcher
from .middleware import LOG, log
from .options import BUNDLED, ServeOptions
from .store import Store

CLOSING = 5
"""Seconds that open connections have to end when the server stops."""
PRUNING = 600.0
"""Seconds between two looks for what need not be kept."""
DAY, GIGABYTE = 24 * 3600, 2**30
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

Say = Callable[[str], None]


class PortError(UnclipError):
    """The address cannot be listened on."""


class _Http(uvicorn.Server):
    """Leaves signals to `serve`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


@dataclass
class _Stop:
    """Which signals came."""

    first: asyncio.Event = field(default_factory=asyncio.Event)
    second: asyncio.Event = field(default_factory=asyncio.Event)

    def handle(self) -> None:
        """One came."""
        (self.second if self.first.is_set() else self.first).set()

    @contextlib.contextmanager
    def on_signal(self) -> Iterator[None]:
        """Within, signals come here; those that are ignored, as under nohup, stay so."""
        loop = asyncio.get_running_loop()
        before = {one: signal.getsignal(one) for one in SIGNALS}
        mine = [one for one in SIGNALS if before[one] != signal.SIG_IGN]
        for one in mine:
            loop.add_signal_handler(one, self.handle)
        try:
            yield
        finally:
            for one in mine:
                loop.remove_signal_handler(one)
                signal.signal(one, before[one])


def serve(options: ServeOptions, say: Say, launch: Launcher | None = None) -> int:
    """Serve until a signal asks to stop.

    Args:
        options: how.
        say: is told where it serves, and that it stops.
        launch: starts a worker; tests give their own.

    Returns:
        The exit code: 0 after everything that ran was finished, 130 after a second signal.

    Raises:
        PortError: the port is in use, or the address is not this machine's.
        UnclipError: the folder cannot be used, or a model cannot be loaded.
    """
    _log_lines()
    with contextlib.ExitStack() as closing:
        listener = closing.enter_context(contextlib.closing(listening(options.host, options.port)))
        store = closing.enter_context(contextlib.closing(Store(options.data)))
        engine = Engine(store, engine_options(options), launch or _launcher(options))
        return asyncio.run(_serve(options, engine, listener, say))


def _launcher(options: ServeOptions) -> Launcher | None:
    """What starts workers elsewhere than in processes of this machine."""
    if not options.ray:
        return None
    from .ray import RayLauncher

    return RayLauncher(options.ray, gpus=options.ray_gpus)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises PortError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # the protocol is named: asyncio sets TCP_NODELAY on no others, and answers took 40 ms more
        made = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(2048)
        except BaseException:
            made.close()
            raise
    except OSError as error:
        raise PortError(_no_port(host, port, error)).about("port") from None
    made.setblocking(False)
    return made


def _no_port(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: stop what uses it, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} is reserved for the system: choose one above 1023 with --port"
    return f"cannot listen on {host}, port {port}: {error.strerror or error}"


def engine_options(options: ServeOptions) -> EngineOptions:
    """What of them the engine needs."""
    memory = int(options.memory_gigabytes * GIGABYTE)
    models = {_name(one): one for one in options.models or (BUNDLED,)}
    for alias, name in options.aliases.items():
        if name and name not in models:
            raise unknown("model", name, models).about("alias")
        if alias in models:
            raise UsageError(f"--alias {alias}: a model has that name").about("alias")
    return EngineOptions(
        models=models,
        device=options.device,
        dtype=options.dtype,
        memory=memory or None,
        exact=options.deterministic,
        hooks=options.hooks,
        queued=options.most_queued,
        each=options.most_each,
        workers=options.workers,
        most_workers=max(options.workers, options.most_workers),
        c2pa=signing_pems(options) if options.c2pa else None,
    )


def _name(model: str) -> str:
    """What clients call a model: a folder's or a file's last part, or a name as it is."""
    last = model.rstrip("/").rpartition("/")[2]
    return last.removesuffix(".safetensors") or model


async def _serve(options: ServeOptions, engine: Engine, listener: socket.socket, say: Say) -> int:
    app, stop = make_app(engine, options), _Stop()
    http = _Http(http_config(app, options))
    with stop.on_signal():
        serving = asyncio.create_task(http.serve(sockets=[listener]))
        starting = asyncio.create_task(engine.start())
        pruning = asyncio.create_task(_prune(engine.store, options))
        try:
            await _either(starting, stop.first.wait(), serving)
            if starting.done():
                starting.result()
                say(_where(options, listener, [one.name for one in engine.models]))
                await _either(stop.first.wait(), serving)
            log("stopping")
            await _either(engine.stop(finish_running=True), stop.second.wait())
        finally:
            starting.cancel()
            pruning.cancel()
            if stop.second.is_set() or not engine.draining:
                await engine.stop(finish_running=False)
            app.state.serving.stopped.set()
            http.should_exit, http.force_exit = True, stop.second.is_set()
            await asyncio.gather(serving, starting, pruning, return_exceptions=True)
    return 130 if stop.second.is_set() else 0


def http_config(app: object, options: ServeOptions) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="asyncio",
        http=connection(options.upload_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(options.trusted_proxy),
        forwarded_allow_ips=list(options.trusted_proxy),
        timeout_graceful_shutdown=CLOSING,
    )


async def _either(*works: object) -> None:
    """Wait for the first of several, and leave off those that were begun here.

    Raises what the first raised, if it was begun here.
    """
    tasks = [asyncio.ensure_future(work) for work in works]  # type: ignore[call-overload]
    own = [task for task, work in zip(tasks, works, strict=True) if task is not work]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in own:
        if task in done:
            task.result()
        else:
            task.cancel()
    await asyncio.gather(*own, return_exceptions=True)


def _where(options: ServeOptions, listener: socket.socket, models: list[str]) -> str:
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    base = options.public_url or f"http://{name}:{port}{options.root_path}"
    return f"serving {', '.join(models)} at {base}/v1"


async def _prune(store: Store, options: ServeOptions) -> None:
    """Now and then, remove what is too old or too much."""
    age = options.keep_days * DAY or None
    most = int(options.keep_gigabytes * GIGABYTE) or None
    while True:
        try:
            await asyncio.to_thread(store.prune, age, most)
        except UnclipError as error:
            LOG.error("old jobs cannot be removed: %s", error)
        await asyncio.sleep(PRUNING)


def _log_lines() -> None:
    """Send the log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.handlers[:] = [handler]
    LOG.propagate = False
    LOG.setLevel(logging.INFO)
