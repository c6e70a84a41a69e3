"""The gallery: pictures uploaded and drawn, searched, marked, collected, deleted and packed."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from fastapi import APIRouter
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..errors import UsageError
from ..files import writing
from ..media import Limits, Upload, check_upload, detected, read_image, upload_notes
from ..media.bare import marked_in, without_record
from ..media.notes import GENERATED
from ..media.writing import encode
from . import errors
from .asked import Asked, number, truth
from .context import Serving, owner, serving
from .gallery import Changes, Picture, Search
from .reading import kind_of, read_json, read_parts
from .recall import recalled
from .routes_jobs import DIGEST, MOST_LISTED, picture_id, told_commands
from .routes_jobs import picture as drawn_shown
from .schemas import FILE, answers, body, files, json_body, names_of, object_of
from .shapes import (
    CHANGED,
    CHANGES,
    COLLECTION,
    COLLECTIONS,
    COMMANDS,
    IDS,
    NAME,
    PICTURE,
    PICTURES,
    TAGS,
    UPLOADED,
)

routes = APIRouter(prefix="/v1", tags=["Pictures"])

ALLOWED = Limits(("PNG", "JPEG", "WEBP"), megabytes=50)
"""What may be uploaded."""
MOST_ZIPPED = 1000
SIDES = (16, 1024)
"""Pixels of a thumbnail's side."""
QUALITY = 82
"""Of thumbnails."""
CHUNK = 2**16
CACHED = "private, max-age=86400, immutable"
"""How long a browser keeps a picture that needs a key: a day."""
KINDS = ("image/png", "image/jpeg", "image/webp")
UPLOAD = {
    "multipart/form-data": object_of(["file"], file=FILE),
    **dict.fromkeys(KINDS, FILE),
}


@routes.post(
    "/pictures",
    response_model=None,
    status_code=201,
    responses=answers(UPLOADED, status=201),
    openapi_extra=body(UPLOAD),
)
async def upload(request: Request) -> Response:
    """Upload a picture that jobs may begin from, as a form's file or as the whole body.

    `record` is what its file says of how it was made, by unclip, Stable Diffusion web UI, ComfyUI
    or NovelAI, as a job's `fields`. What is stored has no such texts.
    """
    if kind_of(request) == "multipart/form-data":  # `curl --data-binary` calls all a form
        files = [part.data for part in await read_parts(request) if part.filename is not None]
        if len(files) != 1:
            raise errors.invalid("file", f"The form must have one file, got {len(files)}.")
        data = files[0]
    else:
        data = await request.body()
    here = serving(request)
    checked, notes = await run_in_threadpool(_checked, data)
    store = here.engine.store
    if here.options.keys and not await run_in_threadpool(store.has_input, checked.data):
        here.uploads.take(owner(request), len(checked.data))
    digest = await run_in_threadpool(store.put_input, checked.data)
    record = await recalled(notes, here.engine.models, here.engine.lanes)
    width, height = checked.size
    return JSONResponse({"id": digest, "width": width, "height": height, "record": record}, 201)


def _checked(data: bytes) -> tuple[Upload, dict[str, str]]:
    """A picture, and what programs wrote in it. Raises ApiError where it is none."""
    try:
        return check_upload(data, "the picture", ALLOWED), upload_notes(data)
    except UsageError as error:
        raise errors.invalid("file", str(error)) from None


@routes.get("/pictures", response_model=None, responses=answers(PICTURES))
async def list_pictures(
    request: Request,
    q: str = "",
    favourites: str = "",
    collection: str = "",
    tag: str = "",
    deleted: str = "",
    limit: str = "50",
    before: str = "",
) -> Response:
    """Own pictures, newest first; `q` is searched in the prompts."""
    here = serving(request)
    search = Search(
        text=q,
        favourites=truth("favourites", favourites),
        collection=collection or None,
        tag=tag or None,
        deleted=truth("deleted", deleted),
    )
    most, last = number("limit", limit, 1, MOST_LISTED), before or None
    found = await run_in_threadpool(here.engine.store.pictures, owner(request), search, most, last)
    return JSONResponse({"data": [_shown(here, request, one) for one in found]})


@routes.get("/pictures/{id}", response_model=None, responses=answers(PICTURE))
async def get_picture(request: Request, id: str) -> Response:
    """One own picture; `deleted` says when, where it can be restored."""
    here, id = serving(request), picture_id(id)
    found = await run_in_threadpool(here.engine.store.own_picture, owner(request), id)
    if found is None:
        raise _missing()
    return JSONResponse(_shown(here, request, found))


@routes.get("/pictures/{id}/file", response_model=None, responses=files(*KINDS))
async def picture_file(request: Request, id: str, metadata: str = "true") -> Response:
    """The file of an own picture, also a deleted one, or of an upload, by its digest.

    With `metadata=false` it has neither prompt nor settings; that a model made it stays.
    """
    whole = truth("metadata", metadata)
    if DIGEST.fullmatch(id):
        return await _uploaded(request, id)
    store = serving(request).engine.store
    path = await run_in_threadpool(store.own_file, owner(request), picture_id(id))
    if path is None:
        raise _missing()
    with _still_there():
        data = await run_in_threadpool(_file_of, path, whole)
    name = f'inline; filename="{path.name}"'
    kept = {"content-disposition": name, "cache-control": CACHED}
    return Response(data, media_type=f"image/{path.suffix[1:]}", headers=kept)


async def _uploaded(request: Request, digest: str) -> Response:
    """An upload, for as long as it is kept; whoever knows its digest knows what it is."""
    path = serving(request).engine.store.input_path(digest)
    with _still_there():
        data = await run_in_threadpool(path.read_bytes)
    kind = detected(data[:64])
    if kind is None or kind not in ALLOWED.formats:
        raise _missing()
    kept = {"content-disposition": "inline", "cache-control": CACHED}
    return Response(data, media_type=f"image/{kind.lower()}", headers=kept)


@routes.get("/pictures/{id}/thumbnail", response_model=None, responses=files("image/webp"))
async def thumbnail(request: Request, id: str, side: str = "256") -> Response:
    """An own picture within a square, as WebP; also of a deleted one."""
    store, most = serving(request).engine.store, number("side", side, *SIDES)
    path = await run_in_threadpool(store.own_file, owner(request), picture_id(id))
    if path is None:
        raise _missing()
    with _still_there():
        data = await run_in_threadpool(_small, path, most)
    return Response(data, media_type="image/webp", headers={"cache-control": CACHED})


def _small(path: Path, side: int) -> bytes:
    """A picture's file, no larger than a square. Raises FileNotFoundError."""
    data, made = path.read_bytes(), io.BytesIO()
    image = read_image(data)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    image.info = {GENERATED: marked_in(data)}
    encode(image, made, "WEBP", QUALITY)
    return made.getvalue()


def _file_of(path: Path, whole: bool) -> bytes:
    """A file, as it is or without its record. Raises FileNotFoundError."""
    data = path.read_bytes()
    return data if whole else without_record(data, path.suffix[1:].upper())


@routes.get("/pictures/{id}/commands", response_model=None, responses=answers(COMMANDS))
async def picture_commands(request: Request, id: str) -> Response:
    """What draws an own picture again on the command line, in Python and with curl."""
    store = serving(request).engine.store
    found = await run_in_threadpool(store.own_picture, owner(request), picture_id(id))
    if found is None:
        raise _missing()
    return JSONResponse(await run_in_threadpool(told_commands, request, found.spec, found.drawn))


@routes.patch(
    "/pictures/{id}",
    response_model=None,
    responses=answers(CHANGED),
    openapi_extra=json_body(CHANGES),
)
async def change_picture(request: Request, id: str) -> Response:
    """Make a picture a favourite or not, tag it, put it into collections, or take it out."""
    asked = Asked(await read_json(request), names_of(CHANGES))
    lists = {name: asked.list(name) for name in asked.known - {"favourite"}}
    changes = Changes(asked.truth("favourite"), **lists)
    change = serving(request).engine.store.change
    if not await run_in_threadpool(change, owner(request), picture_id(id), changes):
        raise _missing()
    serving(request).engine.feeds.tell_change(owner(request), [id], "changed")
    return JSONResponse({"id": id})


@routes.delete("/pictures/{id}", response_model=None, responses=answers(CHANGED))
async def delete_picture(request: Request, id: str) -> Response:
    """Delete a picture; `restore` undoes it for a while."""
    engine = serving(request).engine
    if not await run_in_threadpool(engine.store.delete, owner(request), [picture_id(id)]):
        raise _missing()
    engine.feeds.tell_change(owner(request), [id], "deleted")
    return JSONResponse({"id": id})


@routes.post("/pictures/{id}/restore", response_model=None, responses=answers(CHANGED))
async def restore_picture(request: Request, id: str) -> Response:
    """Undo the deletion of a picture."""
    engine = serving(request).engine
    if not await run_in_threadpool(engine.store.restore, owner(request), [picture_id(id)]):
        raise _missing()
    engine.feeds.tell_change(owner(request), [id], "restored")
    return JSONResponse({"id": id})


@routes.post(
    "/pictures/zip",
    response_model=None,
    responses=files("application/zip"),
    openapi_extra=json_body(IDS),
)
async def zip_pictures(request: Request) -> Response:
    """Own pictures as a ZIP file, without those that are no longer there."""
    asked = Asked(await read_json(request), names_of(IDS))
    ids, whole = asked.list("ids"), asked.truth("metadata") is not False
    if not 1 <= len(ids) <= MOST_ZIPPED:
        raise errors.invalid("ids", f"ids must have 1 to {MOST_ZIPPED} ids, got {len(ids)}.")
    names = [picture_id(one) for one in dict.fromkeys(ids)]
    packed = await run_in_threadpool(_pack, serving(request), owner(request), names, whole)
    headers = {"content-disposition": 'attachment; filename="pictures.zip"'}
    return StreamingResponse(_pieces(packed), 200, headers, "application/zip")


def _pack(here: Serving, who: str, ids: list[str], whole: bool) -> IO[bytes]:
    """A temporary file, at its start.

    Raises:
        ApiError: none of the pictures is there.
        OutputError: the disk is full or read-only.
    """
    with writing(here.options.data):
        file = tempfile.TemporaryFile(dir=here.options.data)  # noqa: SIM115 - `_pieces` closes it
    try:
        with writing(here.options.data), zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in _packable(here, who, ids, whole):
                archive.writestr(name, data)
        if not archive.namelist():
            raise _missing()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _packable(here: Serving, who: str, ids: list[str], whole: bool) -> Iterator[tuple[str, bytes]]:
    """Names in the ZIP file, and bytes, of those pictures that are there."""
    for id in ids:
        found = here.engine.store.picture(id)
        if found is None or found.owner != who:
            continue
        with suppress(FileNotFoundError):  # retention was quicker
            data = _file_of(found.path, whole)
            yield f"{found.drawn.seed}-{found.drawn.id[:8]}.{found.drawn.format}", data


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(CHUNK):
            yield piece


@routes.get("/tags", response_model=None, responses=answers(TAGS))
async def list_tags(request: Request) -> Response:
    """Own tags, and how many pictures have each."""
    store = serving(request).engine.store
    return JSONResponse({"data": await run_in_threadpool(store.tags, owner(request))})


@routes.get("/collections", response_model=None, responses=answers(COLLECTIONS))
async def list_collections(request: Request) -> Response:
    """Own collections, by name."""
    found = await run_in_threadpool(serving(request).engine.store.collections, owner(request))
    return JSONResponse({"data": [asdict(one) for one in found]})


@routes.post(
    "/collections",
    response_model=None,
    status_code=201,
    responses=answers(COLLECTION, status=201),
    openapi_extra=json_body(NAME),
)
async def make_collection(request: Request) -> Response:
    """Make an empty collection."""
    name = Asked(await read_json(request), frozenset({"name"})).text("name")
    store = serving(request).engine.store
    made = await run_in_threadpool(store.make_collection, owner(request), name)
    return JSONResponse(asdict(made), 201)


@routes.patch(
    "/collections/{id}",
    response_model=None,
    responses=answers(COLLECTION),
    openapi_extra=json_body(NAME),
)
async def rename_collection(request: Request, id: str) -> Response:
    """Give a collection another name."""
    name = Asked(await read_json(request), frozenset({"name"})).text("name")
    store = serving(request).engine.store
    made = await run_in_threadpool(store.rename_collection, owner(request), id, name)
    if made is None:
        raise errors.not_found("There is no such collection.")
    return JSONResponse(asdict(made))


@routes.delete("/collections/{id}", response_model=None, responses=answers(CHANGED))
async def remove_collection(request: Request, id: str) -> Response:
    """Remove a collection; its pictures stay."""
    store = serving(request).engine.store
    if not await run_in_threadpool(store.remove_collection, owner(request), id):
        raise errors.not_found("There is no such collection.")
    return JSONResponse({"id": id})


@contextmanager
def _still_there() -> Iterator[None]:
    """Raise ApiError where a picture's file is gone: retention, or somebody, was quicker."""
    try:
        yield
    except FileNotFoundError:
        raise _missing() from None


def _missing() -> errors.ApiError:
    return errors.not_found("There is no such picture.")


def _shown(here: Serving, request: Request, one: Picture) -> dict[str, Any]:
    """A picture of the gallery as JSON."""
    return {
        **drawn_shown(here, request, one.drawn),
        "file": f"{here.options.root_path}/v1/pictures/{one.drawn.id}/file",
        "job": one.job,
        "ability": one.spec.ability,
        "fields": one.spec.fields,
        "inputs": one.spec.inputs,
        "model": one.spec.model,
        "created": one.created,
        "tags": list(one.tags),
        "collections": list(one.collections),
        "deleted": one.deleted,
    }
