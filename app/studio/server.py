"""The studio as a web server of this machine alone: the page, the report, and no way out to another host."""

import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

# Before gradio is imported: it would ask its makers for the newest version.
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}

import gradio as gr
import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.studio import render
from app.studio.desk import Desk
from app.studio.page import build, css, theme
from app.studio.shelf import Shelf
from cmr.errors import DataError

_OWN_ONLY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
_LARGEST_UPLOAD = "64mb"
_NO_REPORT = "There is no report yet: reports/report.html is written at the end of `syncmri run`."


def make_app(root: Path, scratch: Path) -> ASGIApp:
    """The studio of the project at ``root``; ``scratch`` is a folder for uploads and downloads."""
    os.environ["GRADIO_TEMP_DIR"] = str(scratch)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/report")
    def report() -> Response:
        """Read anew each time: the next run replaces it."""
        path = root / "reports" / "report.html"
        return HTMLResponse(path.read_text(encoding="utf-8") if path.is_file() else render.message(_NO_REPORT))

    desk = Desk(Shelf(root), scratch)
    gr.mount_gradio_app(
        app,
        build(desk),
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        max_file_size=_LARGEST_UPLOAD,
        theme=theme(),
        css=css(),
    )
    return _OwnOnly(app)


def serve(root: Path, host: str, port: int) -> None:
    """Serve until Ctrl-C.

    Raises:
        DataError: the address can't be used.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DataError(f"{host}:{port} can't be used ({error.strerror}). Take another one with --port.") from error
    with TemporaryDirectory(prefix="syncmri-studio-") as scratch:
        uvicorn.run(make_app(root, Path(scratch)), host=host, port=port, log_level="warning")


class _OwnOnly:
    """Tells the browser that the page needs nothing from anywhere else, so that it asks nobody."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [("Content-Security-Policy", _OWN_ONLY), ("Referrer-Policy", "no-referrer")]
                message["headers"] = [*message["headers"], *((key.encode(), value.encode()) for key, value in headers)]
            await send(message)

        await self._app(scope, receive, marked)
