"""The studio as a web server of this machine alone: the page, the report, and no way out to another host."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

# Before gradio is imported: it would ask its makers for the newest version.
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.hosting import Access, host_app, with_health
from app.login import Login
from app.studio import render
from app.studio.access import UPLOAD, PageRequests, with_visitors
from app.studio.handlers import Handlers
from app.studio.limits import visitor_of
from app.studio.model_cache import ModelCache
from app.studio.page import LOOK_SECONDS, build, css, theme
from app.studio.waiting import Queue
from cmr.errors import DataError
from mlops.connection import TrackingError
from mlops.house import house_folder

log = logging.getLogger(__name__)
_OWN_ONLY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
LARGEST_BODY = 65 << 20  # bytes; what each address of the page takes is less
_PIECE = 64 << 10  # bytes of a file, for each client that reads it
_NO_REPORT = "There is no report for release yet: `syncmri run` writes reports/release/report.html at its end."


def make_app(root: Path, scratch: Path) -> ASGIApp:
    """The studio of the project at ``root``; ``scratch`` is a folder for uploads and downloads."""
    render.hide(root, house_folder(root), scratch)
    handlers = Handlers(ModelCache(root), scratch)
    page = build(handlers)
    queue = Queue(page)
    return _OwnOnly(with_visitors(PageRequests(program(handlers, page, queue, scratch), queue)))


def program(handlers: Handlers, page: gr.Blocks, queue: Queue, scratch: Path) -> FastAPI:
    """The page's program with all of Gradio's routes; :class:`PageRequests` stands between it and the network."""
    os.environ["GRADIO_TEMP_DIR"] = str(scratch)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=partial(_swept, handlers, queue))

    @app.get("/report")
    def report() -> Response:
        """Read anew each time, for the next run replaces it; in pieces, as fast as the client takes them."""
        path = handlers.model_cache.root / "reports/release/report.html"
        try:
            return _in_pieces(path.open("rb"), "text/html; charset=utf-8")
        except (FileNotFoundError, IsADirectoryError):
            return HTMLResponse(render.message(_NO_REPORT))

    @app.post(UPLOAD)
    async def mask(request: Request, name: str) -> Response:
        return await handlers.uploads.receive(request, name)

    @app.get("/download/{key}")
    def download(request: Request, key: str) -> Response:
        try:
            file = handlers.downloads.open(visitor_of(request.scope), key)
        except TrackingError as error:
            log.warning("%s", error)
            return PlainTextResponse(
                "The registry cannot be used now, so nothing is handed out. The studio's log says why.", 503
            )
        except DataError as error:
            return PlainTextResponse(render.plain(str(error)), 404)
        name = f"syncmri-{datetime.now(UTC):%Y%m%d-%H%M%S}.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return _in_pieces(file, "application/zip", headers)

    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        theme=theme(),
        css=css(),
    )
    # Without it Gradio takes the page for one under construction, whose every path of a file it trusts.
    page.has_launched = True
    return app


def _in_pieces(file: BinaryIO, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """An open file, read as fast as the client takes it; unlike with FileResponse, it may be removed meanwhile."""

    def pieces() -> Iterator[bytes]:
        with file:
            while piece := file.read(_PIECE):
                yield piece

    length = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    return StreamingResponse(pieces(), media_type=media_type, headers={**(headers or {}), **length})


@asynccontextmanager
async def _swept(handlers: Handlers, queue: Queue, _: FastAPI) -> AsyncIterator[None]:
    """While the server runs, what may no longer be downloaded, and what nobody waits for, is removed."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await queue.forget()
                await asyncio.to_thread(handlers.downloads.sweep)
            except Exception:  # whatever it is: what stops the sweep once would leave downloads of demoted versions for good
                log.exception("the studio could not be tidied; the next time is in %g s", LOOK_SECONDS)

    sweeping = asyncio.create_task(sweep())
    yield
    sweeping.cancel()


def serve(root: Path, listener: socket.socket, access: Access, login: Login) -> None:
    """Serve until Ctrl-C or SIGTERM; ``listener`` is from :func:`app.hosting.open_listener`."""
    with TemporaryDirectory(prefix="syncmri-studio-") as scratch:
        app = with_health(make_app(root, Path(scratch)), {"studio": "up"})
        host_app(app, listener, access, login, LARGEST_BODY)


class _OwnOnly:
    """Tells the browser that the page needs nothing from anywhere else, so that it asks nobody."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    ("Content-Security-Policy", _OWN_ONLY),
                    ("Referrer-Policy", "no-referrer"),
                    ("X-Content-Type-Options", "nosniff"),
                    ("Cross-Origin-Resource-Policy", "same-origin"),
                    ("Cross-Origin-Opener-Policy", "same-origin"),
                ]
                message["headers"] = [*message["headers"], *((key.encode(), value.encode()) for key, value in headers)]
            await send(message)

        await self._app(scope, receive, marked)
