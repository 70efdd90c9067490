"""What a visitor can ask of a running studio with requests of the visitor's own making: nothing but what the page asks."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest

from app.studio import render
from app.studio.access import LARGEST_REQUEST
from app.studio.pictures import to_text
from app.studio.server import program
from app.studio.waiting import Queue
from cmr.errors import DataError
from mlops.connection import TrackingError
from mlops.promotion import demote, promote
from tests.app.approved_project import consent_withdrawn
from tests.app.studio.conftest import HEART, Studio, Visitor, drawn_for, running, sent

PAGE = {"/", "/theme.css", "/favicon.ico"}  # of Gradio's routes those that need no cookie and lead to no file of a visitor


def foreign(root: Path, scratch: Path) -> dict[str, bytes]:
    """Paths that no visitor may read, each with bytes that tell its content."""
    guard = next(root.rglob("guard.npz.enc"))
    paths = [Path("/etc/passwd"), Path("/proc/self/environ"), root / "mlflow.db", root / "params.yaml", guard]
    link = scratch / "link.png"
    link.unlink(missing_ok=True)
    link.symlink_to(root / "params.yaml")
    (scratch / "other").mkdir(exist_ok=True)
    (scratch / "other/mask.png").write_bytes(b"the mask of another visitor")
    told = {str(path): path.read_bytes()[:4000].strip(b"\0")[:60] for path in [*paths, link, scratch / "other/mask.png"]}
    return told | {f"{root}/reports/../params.yaml": told[str(root / "params.yaml")], "file:///etc/passwd": told["/etc/passwd"]}


def shapes(path: str) -> Iterator[Any]:
    """A path in every shape that Gradio takes, or took, for a file."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    address = f"http://127.0.0.1:9/{path}"
    yield from (file, [file], [[file]], {"value": file}, {"root": [file]}, {"__type__": "update", "value": file})
    yield from (file | {"url": path}, file | {"is_stream": True}, file | {"path": address, "url": address})
    yield from ({"path": path, "url": path}, {"name": path, "is_file": True}, {"video": file, "subtitles": None})
    yield from (path, [path], json.dumps(file), f"/gradio_api/file={path}")


def _link(answer: list[Any]) -> str:
    return re.search(r"download/[\w-]+", answer[1])[0]


def _archive(studio: Studio, link: str) -> Path:
    return studio.scratch / f"{link.removeprefix('download/')}.zip"


def test_no_event_hands_out_a_file_of_the_machine(studio: Studio, visitor: Visitor, approved_project: Path) -> None:
    secrets = foreign(approved_project, studio.scratch)
    before, told, refused = studio.files(), "", 0
    for number, fn in studio.page.fns.items():
        for place in range(max(1, len(fn.inputs))):
            for path in secrets:
                for shape in shapes(path):
                    data: list[Any] = [None] * len(fn.inputs)
                    data[place : place + 1] = [shape]
                    answer = visitor.join(number, data)
                    told += answer.text
                    refused += answer.status_code == 400
                    if answer.status_code == 200:
                        told += json.dumps(visitor.answers())
    assert refused > 1000
    for path, content in secrets.items():
        assert content.decode("latin-1") not in told.encode().decode("latin-1"), path
        for route in ("gradio_api/file=", "file=", "gradio_api/file/", "gradio_api/proxy=", "static/", "assets/", "download/"):
            for written in (path, quote(path, safe=""), path.replace("/", "%2f"), f"../../../../../..{path}"):
                answer = visitor.get(f"/{route}{written}")
                assert answer.status_code == 404, (route, written)
                assert content not in answer.content
    assert studio.files() == before


def test_gradio_itself_refuses_them_too(studio: Studio, approved_project: Path) -> None:
    """Should a later version of the page let a file through."""
    secret = approved_project / "params.yaml"
    with running(_bare(studio)) as address, Visitor(address, opens=False) as visitor:
        file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
        assert visitor.join(studio.events["painted"], [file]).status_code == 200
        told = visitor.answers()
        assert not any(one.get("success") for one in told if one["msg"] == "process_completed")
        assert str(secret) not in json.dumps(told)


def _bare(studio: Studio) -> Any:
    from app.studio.page import build

    page = build(studio.handlers)
    return program(studio.handlers, page, Queue(page), studio.scratch)


def test_of_gradio_s_routes_only_those_that_the_page_uses_exist(studio: Studio, visitor: Visitor) -> None:
    asked = 0
    for route in _routes(studio.page.app):
        path = re.sub(r"\{[^}]*\}", "1", route.path)
        for method in sorted((route.methods or {"GET"}) | {"GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"}):
            if (method in ("GET", "HEAD") and path in PAGE) or path.startswith(("/gradio_api/heartbeat", "/static", "/assets")):
                continue
            answer = visitor.request(
                method, path, json={"session_hash": "abc123", "data": [], "fn_name": "x", "component_id": 1}
            )
            asked += 1
            assert answer.status_code in ((400,) if path == "/gradio_api/queue/join" and method == "POST" else (404,)), (
                method,
                path,
            )
    assert asked > 300


def _routes(app: Any) -> list[Any]:
    found = []
    for route in app.routes:
        found += [route] if hasattr(route, "path") else _routes(route.original_router)
    return found


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"data": [], "fn_index": 1}',
        b'{"data": [], "fn_index": "1", "session_hash": "abc"}',
        b'{"data": [], "fn_index": true, "session_hash": "abc"}',
        b'{"data": [], "fn_index": 999, "session_hash": "abc"}',
        b'{"data": [], "fn_index": -1, "session_hash": "abc"}',
        b'{"data": [1], "fn_index": 1, "session_hash": "abc"}',
        b'{"data": [], "fn_index": 1, "session_hash": "../abc"}',
        b'{"data": [], "fn_index": 1, "session_hash": "abc\\n"}',
        b'{"data": [], "fn_index": 1, "session_hash": ""}',
        b'{"data": [NaN], "fn_index": 5, "session_hash": "abc"}',
        b'{"data": [1e999], "fn_index": 5, "session_hash": "abc"}',
        b'{"data": [' + b"9" * 4000 + b'], "fn_index": 5, "session_hash": "abc"}',
        b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b', "fn_index": 1, "session_hash": "abc"}',
        b'{"data": [{"a": 1}], "fn_index": 5, "session_hash": "abc"}',
        b'{"data": ["' + b"\xff" * 10 + b'"], "fn_index": 5, "session_hash": "abc"}',
        b"x" * (LARGEST_REQUEST + 1),
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_what_the_page_never_sends_is_refused(studio: Studio, visitor: Visitor, body: bytes) -> None:
    assert visitor.post("/gradio_api/queue/join", content=body).status_code == (413 if len(body) > LARGEST_REQUEST else 400)
    assert "Anatomy: plausible" in visitor.ask(studio.events["painted"], [to_text(HEART)])[0]


def test_a_visitor_is_a_cookie_that_the_server_made(studio: Studio) -> None:
    with Visitor(studio.address, opens=False) as stranger:
        assert stranger.join(studio.events["painted"], [""]).status_code == 403
        assert stranger.get("/gradio_api/queue/data?session_hash=abc123").status_code == 403
        assert stranger.get("/gradio_api/heartbeat/abc123").status_code == 403
        assert stranger.post("/mask?name=a.png", content=b"x").status_code == 403
        cookie = stranger.get("/").headers["set-cookie"]
        name, value = cookie.split(";")[0].split("=", 1)
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert stranger.join(studio.events["painted"], [""]).status_code == 200
        for forged in (value[:-1], value[:10] + "A" + value[11:], "eyJ2aXNpdG9yIjogImEifQ==", "null", ""):
            stranger.cookies.clear()
            stranger.cookies.set(name, forged)
            assert stranger.join(studio.events["painted"], [""]).status_code == 403
        assert "set-cookie" in stranger.get("/").headers


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_in_the_same_browser_asks_in_vain(studio: Studio, visitor: Visitor, site: str) -> None:
    visitor.headers["Sec-Fetch-Site"] = site  # same-site: another port of this machine, to which the cookie goes too
    assert visitor.join(studio.events["painted"], [""]).status_code == 403
    assert visitor.post("/mask?name=a.png", content=b"x").status_code == 403


def test_what_one_visitor_asks_another_never_hears(studio: Studio, visitor: Visitor) -> None:
    with Visitor(studio.address, visitor.session) as other:
        assert visitor.join(studio.events["painted"], [to_text(HEART)]).status_code == 200
        assert other.answers()[-1]["session_not_found"]
        told = visitor.answers()
        assert "plausible" in json.dumps(told)
        # Nor does the other write into the visitor's state.
        visitor.ask(studio.events["upload"], [sent(visitor)])
        assert "No mask is uploaded" in other.ask(studio.events["choose"], [None, 1])[1]
        assert "Slice 1 of 1" in visitor.ask(studio.events["choose"], [None, 1])[1]


def test_an_upload_is_read_and_only_its_visitor_sees_it(studio: Studio, visitor: Visitor) -> None:
    before = studio.files()
    key = sent(visitor)
    assert studio.files() == before
    with Visitor(studio.address) as other:
        assert "did not arrive" in other.ask(studio.events["upload"], [key])[3]
    mask, _, _, note = visitor.ask(studio.events["upload"], [key])
    assert mask == to_text(HEART)
    assert "mask.png: Anatomy: plausible" in note
    assert "did not arrive" in visitor.ask(studio.events["upload"], [key])[3]


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/etc/passwd", "a/b\\c.png", "x" * 5000 + ".png", "\0.png", ".png", "..", "m.nii.gz"]
)
def test_the_name_of_an_upload_leads_nowhere(studio: Studio, visitor: Visitor, approved_project: Path, name: str) -> None:
    before = set(approved_project.parent.rglob("*"))
    key, files = sent(visitor, b"not an image at all", name), studio.files()
    note = visitor.ask(studio.events["upload"], [key])[3]
    assert 'class="message fault"' in note
    assert str(studio.scratch) not in note
    assert studio.files() == files
    assert set(approved_project.parent.rglob("*")) == before


def test_a_download_is_its_visitor_s_alone(studio: Studio, visitor: Visitor) -> None:
    link = _link(drawn_for(studio, visitor))
    assert visitor.get(f"/{link}").content.startswith(b"PK")
    with Visitor(studio.address, visitor.session) as other:
        assert other.get(f"/{link}").status_code == 404
    with Visitor(studio.address, opens=False) as stranger:
        assert stranger.get(f"/{link}").status_code == 403
    assert visitor.get(f"/{link}").status_code == 200


def test_a_download_goes_with_its_page_and_with_the_next_drawing(studio: Studio, visitor: Visitor) -> None:
    first = _link(drawn_for(studio, visitor))
    second = _link(drawn_for(studio, visitor))
    assert visitor.get(f"/{first}").status_code == 404
    with visitor.stream("GET", f"/gradio_api/heartbeat/{visitor.session}") as heartbeat:
        lines = heartbeat.iter_lines()
        next(lines)
        assert visitor.get(f"/{second}").status_code == 200
    for _ in range(100):
        if visitor.get(f"/{second}").status_code == 404:
            break
    assert not _archive(studio, first).exists()
    assert not _archive(studio, second).exists()


@pytest.mark.parametrize("how", ["demoted", "consent withdrawn"])
def test_a_download_dies_with_the_approval(
    studio: Studio, visitor: Visitor, approved_project: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.approval._RECHECK_SECONDS", 0.0)
    link = _link(drawn_for(studio, visitor))
    model_cache = studio.handlers.model_cache
    for _, watch in model_cache._held.values():
        monkeypatch.setattr(watch, "_every", 0.0)
    assert visitor.get(f"/{link}").status_code == 200
    assert _archive(studio, link).exists()
    if how == "demoted":
        demote(approved_project, "ddpm", user="test")
        try:
            answer = visitor.get(f"/{link}")
        finally:
            promote(approved_project, "ddpm", user="test")
    else:
        with consent_withdrawn(approved_project, "ddpm"):
            answer = visitor.get(f"/{link}")
    assert answer.status_code == 404
    assert "approved" in answer.text or "consent" in answer.text
    assert not _archive(studio, link).exists()
    assert visitor.get(f"/{link}").status_code == 404


def test_an_unexpected_fault_is_told_by_a_number_and_logged(
    studio: Studio, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: Any) -> None:
        raise RuntimeError(f"secret of {studio.scratch}")

    monkeypatch.setattr(studio.handlers.model_cache, "take", break_down)
    assert visitor.join(studio.events["draw"], [to_text(HEART), ["ddpm"], 4, 3, None]).status_code == 200
    told = json.dumps(visitor.answers())
    assert "secret" not in told
    number = re.search(r"under fault (\w+)", told)[1]
    assert f"fault {number} in the studio" in caplog.text
    assert "RuntimeError: secret of" in caplog.text


@pytest.mark.parametrize("uri", ["http://user:secret@127.0.0.1:9", "sqlite:////proc/secret/mlflow.db"])
def test_the_registry_s_address_is_the_server_s_own(
    studio: Studio, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(studio.handlers.model_cache, "_answered", -1e9)
    monkeypatch.setattr(studio.handlers.model_cache, "_held", {})
    calls = {"opened": [], "registry": [], "sample": [4], "draw": [to_text(HEART), ["ddpm"], 4, 3, None]}
    for event, data in calls.items():
        assert visitor.join(studio.events[event], data).status_code == 200
        told = json.dumps(visitor.answers())
        assert "secret" not in told
        assert "cannot be used now" in told, (event, told)


def test_only_the_report_for_release_is_shown(studio: Studio, visitor: Visitor, approved_project: Path) -> None:
    inner, release = approved_project / "reports/report.html", approved_project / "reports/release/report.html"
    inner.write_text("patient and slice")
    release.unlink(missing_ok=True)
    answer = visitor.get("/report").text
    assert "patient and slice" not in answer
    assert "no report for release yet" in answer
    release.parent.mkdir(exist_ok=True)
    release.write_text("figures")
    assert visitor.get("/report").text == "figures"
    release.unlink()
    inner.unlink()


def test_paths_and_passwords_are_taken_out_of_what_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "heart study of (Muster), 2"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/my store.db")
    render.hide(root)
    for text in (
        f"The store of {root} and {root}/models/x.npz are gone",
        f"{root.as_uri()}/x",
        f"at sqlite:///{root}/my store.db now",
    ):
        assert not re.search("Muster|study|store.db|x.npz", render.plain(text)), render.plain(text)
    for text in ("in /srv/house/mlflow.db:", "at sqlite:////srv/house/mlflow.db", "'/srv/house/x' is", "file:///srv/house/x"):
        assert "house" not in render.message(text)
    for path in ("/home/Maria Muster/heart study/a.nii", "file:///home/Maria Muster/heart study", "/srv/x/house of cards/k.db"):
        for text in (f"{path}: can't be read", f"no file '{path}' here", f'"{path}": not there', f"{path}, line 3: no label"):
            assert not re.search("Muster|study|house|cards", render.plain(text)), text
    for text in ("http://user:secret@host:5000/x", "postgresql://user:se:cr@secret@db/mlflow"):
        assert "secret" not in render.message(text)
    for text in ("models:/syncmri-fm@approved does not exist", "20 × 32 pixels / 3", "1/2/3"):
        assert text in render.message(text)


def test_a_download_tells_nothing_of_the_server(studio: Studio, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status in ((DataError, 404), (TrackingError, 503)):
        told = error("/home/Maria Muster/heart study/mlflow.db: can't be read ('/home/Maria Muster/heart study/a b.db')")
        monkeypatch.setattr(studio.handlers.downloads, "open", Mock(side_effect=told))
        answer = visitor.get(f"/download/{'k' * 43}")
        assert answer.status_code == status
        assert not re.search("Maria|Muster|heart|study|/", answer.text)
