"""A running studio, with visitors who send what they like."""

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image

from app.studio.pictures import to_text
from tests.app.approved_project import SIZE
from tests.pipelines.report_project import heart


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The address of a real web server of ``app``."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


def asking(visitor: str = "visitor", session: str = "session") -> Any:
    """A request as a handler of the page sees it."""
    import gradio
    from starlette.requests import Request

    scope = {"type": "http", "headers": [], "session": {"visitor": visitor}}
    return gradio.Request(Request(scope), session_hash=session)


class Visitor(httpx.Client):
    """A browser that has opened the page, and speaks to it as the page's own program does."""

    def __init__(self, address: str, session: str = "abc123", *, opens: bool = True):
        super().__init__(base_url=address, timeout=60)
        self.session, self._opens = session, opens

    def __enter__(self) -> "Visitor":
        super().__enter__()
        if self._opens:
            assert self.get("/").status_code == 200
        return self

    def join(self, event: int, data: list[Any], **fields: Any) -> httpx.Response:
        """Press a button."""
        sent = {"data": data, "event_data": None, "fn_index": event, "trigger_id": None, "session_hash": self.session}
        return self.post("/gradio_api/queue/join", json=sent | fields)

    def answers(self, session: str | None = None) -> list[dict[str, Any]]:
        """What the server says until it has nothing more to say."""
        found: list[dict[str, Any]] = []
        with self.stream("GET", f"/gradio_api/queue/data?session_hash={session or self.session}") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    found.append(json.loads(line[6:]))
                    if found[-1]["msg"] in ("close_stream", "unexpected_error"):
                        return found
        return found

    def ask(self, event: int, data: list[Any]) -> list[Any]:
        """Press a button and return the values of the answer."""
        answer = self.join(event, data)
        assert answer.status_code == 200, answer.text
        [done] = [one for one in self.answers() if one["msg"] == "process_completed"]
        assert done["success"], done
        return list(done["output"]["data"])


class Studio:
    """A running studio: address, handlers, page, queue, folder for files, numbers of the events by their handler's name."""

    def __init__(self, address: str, handlers: Any, page: Any, queue: Any, scratch: Path):
        self.address, self.handlers, self.page, self.queue, self.scratch = address, handlers, page, queue, scratch
        self.events = {fn.fn.__name__: number for number, fn in page.fns.items() if fn.fn}

    def files(self) -> set[Path]:
        return {path for path in self.scratch.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def studio(approved_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    from app.studio import server

    scratch = tmp_path_factory.mktemp("scratch")
    made: list[tuple[Any, Any, Any]] = []
    program = server.program

    def seen(handlers: Any, page: Any, queue: Any, folder: Path) -> Any:
        made.append((handlers, page, queue))
        return program(handlers, page, queue, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "program", seen)
        app = server.make_app(approved_project, scratch)
    with running(app) as address:
        yield Studio(address, *made[0], scratch)


HEART = heart(np.random.default_rng(3), SIZE)


@pytest.fixture
def visitor(studio: Studio) -> Iterator[Visitor]:
    with Visitor(studio.address) as visitor:
        yield visitor


def drawn_for(studio: Studio, visitor: Visitor) -> list[Any]:
    """Draws until an image is shown: the guard of an untrained network withholds many."""
    for seed in range(20):
        answer = visitor.ask(studio.events["draw"], [to_text(HEART), ["ddpm"], seed, 3, None])
        if "download/" in answer[1]:
            return answer
    pytest.fail("every image of 20 is a near-copy")


def sent(visitor: Visitor, content: bytes | None = None, name: str = "mask.png") -> str:
    answer = visitor.post(f"/mask?name={quote(name)}", content=png_mask() if content is None else content)
    assert answer.status_code == 200
    return answer.text


def png_mask() -> bytes:
    file = io.BytesIO()
    Image.fromarray(HEART).save(file, "PNG")
    return file.getvalue()
