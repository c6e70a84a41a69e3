"""How a server is set up: where it listens, who may ask, and how much."""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ..config import Config, UserPath
from ..errors import UsageError
from ..files import text_of
from .hooks import split_hook

SHORTEST_KEY = 16
"""Fewest characters of an API key."""
KEY_FILE_BYTES = 2**20
"""Largest file of keys."""
BUNDLED = "emoji-cpu"
"""The model that is served where none is named; `loading.BUNDLED`, which needs PyTorch."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LOCAL = "local"
"""Whose jobs they are where no key is asked for."""


class Key(Config):
    """An API key, known by digests alone.

    Args:
        owner: names whose jobs they are; says nothing of the key.
        digest: SHA-256 of the key.
    """

    owner: str
    digest: bytes = Field(repr=False)

    @classmethod
    def of(cls, text: str) -> Self:
        """Of the key itself."""
        owner = sha256(f"unclip owner {text}".encode()).hexdigest()[:16]
        return cls(owner=owner, digest=sha256(text.encode()).digest())


def read_keys(path: Path) -> tuple[Key, ...]:
    """Who may ask, by the keys of a file. Raises UsageError, as `key_lines`."""
    return tuple(dict.fromkeys(Key.of(key) for key in key_lines(path)))


def key_lines(path: Path) -> list[str]:
    """The keys of a file, one a line; empty lines and those that begin with # are skipped.

    Raises:
        UsageError: it cannot be read, has no key, or one that is too short.
    """
    try:
        lines = text_of(path, KEY_FILE_BYTES).splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {path}: {reason}").about("api_key_file") from None
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    make_one = "make one with `openssl rand -hex 24`"
    if not keys:
        raise UsageError(f"{path} has no key: {make_one}").about("api_key_file")
    for number, key in enumerate(keys, start=1):
        if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError(
                f"key {number} of {path} must be at least {SHORTEST_KEY} ASCII characters without "
                f"spaces: {make_one}"
            ).about("api_key_file")
    return keys


def _at_home() -> Path:
    """Where the queue is kept unless somebody says where."""
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "unclip" / "server"


def _without_slash(value: object) -> object:
    return value.rstrip("/") if isinstance(value, str) else value


Url = Annotated[str, BeforeValidator(_without_slash)]


class ServeOptions(Config):
    """How a server is set up.

    Args:
        host, port: where it listens; port 0 is any free one.
        keys: who may ask; without any, everybody who reaches it, where `no_auth` or loopback.
        models: to load, the first is the default.
        aliases: other names of models, such as "gpt-image-1".
        public_url: what pictures' addresses begin with, as clients reach the server.
        root_path: a path that a proxy puts before every route, such as "/draw".
        allow_origin: origins of web pages that may ask, such as "https://app.example"; "*": all.
        allow_host: further names that the server is reached by.
        trusted_proxy: addresses of proxies whose X-Forwarded-For and -Proto are believed.
        data: the folder of the queue and the pictures.
        most_queued: jobs that may wait; with several keys one may have half of them.
        body_bytes: of the largest request; base64 of a picture of 50 MB fits.
        form_parts: most parts of a form.
        upload_seconds: in which a request must have come, but for 1 s for each 16 KiB of it.
        wait_seconds: after which a client that gives no time limit is told to come again.
        url_minutes: how long a picture's address is valid.
        keep_days: after which ended jobs and their pictures go; 0: never. Favourites stay.
        keep_gigabytes: of pictures, beyond which the oldest go; 0: no limit.
        upload_gigabytes: that one key may upload in a day.
        device, dtype: as for `unclip.load`.
        memory_gigabytes: of the worker, before it lets a model go to load another; 0: no limit.
        hooks: functions that may refuse prompts and pictures, see `hooks`.
        workers: how many draw at once.
        most_workers: to how many they grow while jobs wait; 0: no more than `workers`.
        ray: address of a Ray cluster whose machines draw; "auto": that of this one.
        ray_gpus: what each worker there takes of its machine.
        deterministic: draw each job by itself, so that a seed gives the same bytes.
        log_prompts: whether the log has prompts.
        record, marked: of every picture's file, see `Finish`.
        c2pa: whether files have Content Credentials, see `credentials`.
        c2pa_key, c2pa_cert: PEM files to sign with; None: those of `data`, made at first need.
    """

    called = "{}"

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=0, le=65535)
    keys: tuple[Key, ...] = ()
    no_auth: bool = False
    models: tuple[str, ...] = ()
    aliases: dict[str, str] = Field(default_factory=dict)
    public_url: Url = ""
    root_path: Url = ""
    allow_origin: tuple[Url, ...] = ()
    allow_host: tuple[str, ...] = ()
    trusted_proxy: tuple[str, ...] = ()
    data: UserPath = Field(default_factory=_at_home)
    most_queued: int = Field(1000, ge=1, le=10**6)
    body_bytes: int = Field(72 * 2**20, ge=2**20)
    form_parts: int = Field(64, ge=1)
    upload_seconds: float = Field(30, gt=0)
    wait_seconds: float = Field(600, gt=0)
    url_minutes: float = Field(60, gt=0)
    keep_days: float = Field(90, ge=0)
    keep_gigabytes: float = Field(20, ge=0)
    upload_gigabytes: float = Field(1, gt=0)
    device: str | None = None
    dtype: str | None = None
    memory_gigabytes: float = Field(0, ge=0)
    hooks: tuple[str, ...] = ()
    workers: int = Field(1, ge=1, le=256)
    most_workers: int = Field(0, ge=0, le=256)
    ray: str = ""
    ray_gpus: float = Field(0, ge=0)
    deterministic: bool = False
    log_prompts: bool = False
    record: bool = True
    marked: bool = True
    c2pa: bool = False
    c2pa_key: UserPath | None = None
    c2pa_cert: UserPath | None = None

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise UsageError(f"public_url must be such as https://draw.example, got {url!r}")
        return url

    @field_validator("root_path")
    @classmethod
    def _is_path(cls, path: str) -> str:
        if path and not path.startswith("/"):
            raise UsageError(f"root_path must begin with /, got {path!r}")
        return path

    @field_validator("allow_origin")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if origin not in ("*", "null") and (not parts.scheme or parts.path or not parts.netloc):
                raise UsageError(
                    f"allow_origin must be such as https://app.example, got {origin!r}"
                )
        return origins

    @field_validator("trusted_proxy")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            try:
                ipaddress.ip_network(address, strict=False)
            except ValueError:
                raise UsageError(
                    "trusted_proxy must be an address such as 10.0.0.2 or a network such as "
                    f"10.0.0.0/24, got {address!r}"
                ) from None
        return addresses

    @field_validator("hooks")
    @classmethod
    def _are_names(cls, hooks: tuple[str, ...]) -> tuple[str, ...]:
        for name in hooks:
            split_hook(name)
        return hooks

    @model_validator(mode="after")
    def _who_signs(self) -> Self:
        """A key and its certificates belong together."""
        if (self.c2pa_key is None) != (self.c2pa_cert is None):
            raise UsageError("c2pa_key and c2pa_cert belong together: give both or neither")
        if self.c2pa_key is not None and not self.c2pa:
            raise UsageError("c2pa_key is used with c2pa alone: give --c2pa too").about("c2pa_key")
        return self

    @model_validator(mode="after")
    def _who_may_ask(self) -> Self:
        """A server that others reach needs a key, unless told."""
        if self.keys and self.no_auth:
            raise UsageError("no_auth and api_key_file exclude each other: give one of them")
        if not self.keys and not self.no_auth and self.host not in LOOPBACK:
            raise UsageError(
                f"everybody who reaches {self.host} could draw: give --api-key-file FILE, or "
                "--no-auth if that is what you want"
            ).about("host")
        if not self.keys and "*" in self.allow_origin:
            raise UsageError(
                "with --allow-origin '*' every web page could draw: give --api-key-file FILE too"
            ).about("allow_origin")
        return self

    @property
    def most_each(self) -> int:
        """Jobs of one owner that may wait: with several keys half, so that none keeps all out."""
        return self.most_queued if len(self.keys) < 2 else (self.most_queued + 1) // 2

    def owner_of(self, key: str) -> str | None:
        """Whose key that is; compared in constant time with every one."""
        digest, owner = sha256(key.encode("utf-8", "surrogateescape")).digest(), None
        for one in self.keys:
            if hmac.compare_digest(one.digest, digest):
                owner = one.owner
        return owner

    def knows_host(self, name: str) -> bool:
        """Whether the server may be called so: an address, or a name that no stranger can give it.

        A page of a stranger's domain whose name is turned to this machine (DNS rebinding) asks
        under that domain's name.
        """
        own = {*LOOPBACK, self.host, socket.gethostname(), urlsplit(self.public_url).hostname}
        name = name.lower().rstrip(".")
        if name in {str(one).lower() for one in (*own, *self.allow_host) if one}:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.endswith(".localhost")
        return True
