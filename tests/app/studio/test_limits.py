"""What one person can take of the studio, over real sockets: queue, streams, uploads, memory."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import psutil
import pytest

from app.studio.limits import Asker
from app.studio.pictures import to_text
from app.studio.uploads import Upload, Uploads, _Arriving
from app.studio.waiting import NETWORK
from tests.app.studio.conftest import HEART, Studio, Visitor, sent


def test_nobody_fills_the_queue_alone(studio: Studio) -> None:
    with Visitor(studio.address) as greedy, Visitor(studio.address) as other:
        for event in ("draw", "sample"):
            assert greedy.join(studio.events[event], _long(event)).status_code == 200
        refused = [greedy.join(studio.events["draw"], _long("draw")).status_code for _ in range(20)]
        assert refused.count(429) >= 20 - 4
        start = time.monotonic()
        assert "plausible" in other.ask(studio.events["painted"], [to_text(HEART)])[0]
        assert time.monotonic() - start < 10
        with greedy.stream("GET", f"/gradio_api/heartbeat/{greedy.session}") as heartbeat:
            lines = heartbeat.iter_lines()
            next(lines)
        greedy.answers()


def _long(event: str) -> list[Any]:
    return [to_text(HEART), ["ddpm"], 4, 300, None] if event == "draw" else [4]


def test_many_sessions_and_events_take_little_memory(studio: Studio) -> None:
    process = psutil.Process()
    with Visitor(studio.address) as visitor:
        visitor.ask(studio.events["painted"], [""])
        before = process.memory_info().rss
        for number in range(1000):
            assert visitor.join(studio.events["painted"], [""], session_hash=f"s{number}").status_code in (200, 429, 503)
    assert process.memory_info().rss - before < 100 << 20


def test_a_report_that_nobody_reads_takes_little_memory(studio: Studio, approved_project: Path) -> None:
    release = approved_project / "reports/release/report.html"
    release.parent.mkdir(exist_ok=True)
    release.write_text("x" * (4 << 20))
    process, host = psutil.Process(), urlsplit(studio.address)
    before, clients = process.memory_info().rss, []
    try:
        for _ in range(150):
            client = socket.create_connection((host.hostname, host.port), timeout=20)
            client.sendall(b"GET /report HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            clients.append(client)
        heads = [client.recv(12) for client in clients]
        time.sleep(1)
        assert process.memory_info().rss - before < 40 << 20
        assert heads.count(b"HTTP/1.1 503") == 150 - heads.count(b"HTTP/1.1 200") > 100
    finally:
        for client in clients:
            client.close()
    with Visitor(studio.address) as visitor:
        for _ in range(100):  # the places are free again when the clients are gone
            if (answer := visitor.get("/report")).status_code == 200:
                break
            time.sleep(0.1)
    assert len(answer.content) == 4 << 20
    release.unlink()


def _leave(studio: Studio, *visitors: Visitor) -> None:
    """Close the pages: their drawings end."""
    for visitor in visitors:
        with visitor.stream("GET", f"/gradio_api/heartbeat/{visitor.session}") as heartbeat:
            next(heartbeat.iter_lines())
        with visitor.stream("GET", f"/gradio_api/queue/data?session_hash={visitor.session}") as answers:
            next(answers.iter_lines())


def test_many_cookies_of_one_person_fill_no_queue(studio: Studio) -> None:
    def join(visitor: Visitor) -> int:
        return visitor.join(studio.events["draw"], _long("draw")).status_code

    with ExitStack() as stack:
        visitors = [stack.enter_context(Visitor(studio.address)) for _ in range(18)]
        try:
            with ThreadPoolExecutor(20) as threads:
                told = list(threads.map(join, visitors * 4))
                assert set(told) == {200, 429}
                assert told.count(200) <= 13  # one of them draws
            person = next(person for person in (one.person for one, _ in studio.queue._waiting()))
            assert person == "127.0.0.1"
            # what is quick still has its turn, and another person's drawing has a place
            assert "plausible" in visitors[-1].ask(studio.events["painted"], [to_text(HEART)])[0]
            other = Asker("another", "another")
            with studio.queue.joined(studio.events["draw"], other, "another"):
                assert len(studio.queue._joining) == 1
        finally:
            _leave(studio, *visitors)


def test_events_that_come_at_once_are_counted_before_they_wait(studio: Studio) -> None:
    with Visitor(studio.address) as visitor:
        try:
            with ThreadPoolExecutor(20) as threads:
                told = list(threads.map(lambda _: visitor.join(studio.events["draw"], _long("draw")).status_code, range(20)))
            assert told.count(200) <= 5
            assert told.count(429) >= 15
        finally:
            _leave(studio, visitor)


def test_what_waits_for_nobody_is_dropped(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = studio.page._queue
    with Visitor(studio.address, "here") as here, Visitor(studio.address, "gone") as gone:
        try:
            for visitor in (here, gone):
                assert visitor.join(studio.events["painted"], [to_text(HEART)]).status_code == 200
                for _ in range(2):
                    assert visitor.join(studio.events["draw"], _long("draw")).status_code == 200
            with here.stream("GET", f"/gradio_api/queue/data?session_hash={here.session}") as answers:
                lines = answers.iter_lines()  # the stream ends with it
                next(lines)
                clock = studio.queue.sessions._clock
                monkeypatch.setattr(studio.queue.sessions, "_clock", lambda: clock() + 16)
                for _ in range(200):  # the server looks every 15 s
                    if len(queue.pending_messages_per_session) == 1:
                        break
                    time.sleep(0.1)
                monkeypatch.undo()
                waits = {event.session_hash for event in queue.event_queue_per_concurrency_id[NETWORK].queue}
                assert len(queue.pending_messages_per_session) == 1
                assert waits <= set(queue.pending_messages_per_session)  # none of the one that is gone
            assert gone.answers()[-1]["session_not_found"]
            assert "plausible" in gone.ask(studio.events["painted"], [to_text(HEART)])[0]
        finally:
            _leave(studio, here)


def test_answers_that_nobody_reads_end_at_a_limit(studio: Studio) -> None:
    unread, taken = studio.page._queue.pending_messages_per_session, 0
    with Visitor(studio.address) as visitor:
        for number in range(500):
            taken += visitor.join(studio.events["painted"], [""], session_hash=f"u{number}").status_code == 200
            time.sleep(0.003)
            assert sum(one.qsize() for one in list(unread.values())) < 700
        assert taken > 300
        assert visitor.answers("u0")[-1]["session_not_found"]
        assert "empty" in visitor.ask(studio.events["painted"], [""])[0]


def test_nobody_holds_all_places_with_streams(studio: Studio) -> None:
    host = urlsplit(studio.address)
    with ExitStack() as stack:
        told = []
        for _ in range(6):
            visitor = stack.enter_context(Visitor(studio.address))
            cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
            for number in range(20):
                client = stack.enter_context(socket.create_connection((host.hostname, host.port), timeout=20))
                target = f"heartbeat/s{number}"
                client.sendall(f"GET /gradio_api/{target} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode())
                told.append(client.recv(12))
        assert told.count(b"HTTP/1.1 200") == 48
        assert told[:20].count(b"HTTP/1.1 200") == 12
        assert told.count(b"HTTP/1.1 429") == 120 - 48
    with Visitor(studio.address) as visitor:
        for _ in range(100):
            with visitor.stream("GET", "/gradio_api/heartbeat/x") as answer:
                if answer.status_code == 200:
                    break
            time.sleep(0.1)
        assert answer.status_code == 200


def test_slow_uploads_keep_nobody_out(studio: Studio, visitor: Visitor) -> None:
    host = urlsplit(studio.address)
    with ExitStack() as stack:
        slow = []
        for _ in range(8):
            sender = stack.enter_context(Visitor(studio.address))
            cookie = "; ".join(f"{name}={value}" for name, value in sender.cookies.items())
            slow.append(stack.enter_context(socket.create_connection((host.hostname, host.port), timeout=20)))
            head = f"POST /mask?name=a.png HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\nContent-Length: 99999\r\n\r\nx"
            slow[-1].sendall(head.encode())
        for _ in range(100):
            if len(studio.handlers.uploads._arriving) == 8:
                break
            time.sleep(0.1)
        key = sent(visitor)
        assert "plausible" in visitor.ask(studio.events["upload"], [key])[3]
        assert slow[0].recv(12) == b"HTTP/1.1 503"
    for _ in range(100):
        if not studio.handlers.uploads._arriving:
            break
        time.sleep(0.1)
    assert not studio.handlers.uploads._arriving
    assert not list(studio.scratch.glob("tmp*"))


def test_a_slow_upload_of_the_person_with_most_goes_first(studio: Studio) -> None:
    uploads = Uploads(studio.handlers.model_cache, studio.scratch)
    people = ["one", "many", "many", "many", "two", "three", "many", "many", "new"]

    async def displace() -> bool:
        uploads._arriving += [_Arriving(Asker(str(number), person)) for number, person in enumerate(people)]
        gone = uploads._arriving[1]
        uploads._displace()
        return gone.scope.cancel_called

    assert anyio.run(displace)
    assert [one.asker.visitor for one in uploads._arriving] == list("02345678")


def test_uploads_that_nobody_fetches_have_a_budget(studio: Studio) -> None:
    uploads, large = Uploads(studio.handlers.model_cache, studio.scratch), Upload("a.nii", ("0" * (4 << 20),))
    first = uploads.keep("first", Upload("b.png", ("0",)), "first person")
    for number in range(90):
        last = uploads.keep(f"visitor {number}", large, "another person")
        assert sum(one.size for one in uploads._kept.values()) <= 64 << 20
    assert len(uploads._kept) == 16
    assert uploads.take("first", first).name == "b.png"
    assert uploads.take("visitor 89", last).name == "a.nii"
