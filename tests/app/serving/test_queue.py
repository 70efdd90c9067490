"""Who is drawn for next."""

import asyncio
import threading
from typing import Any

import pytest
from fastapi import HTTPException

from app.serving.queue import AbandonedError, InferenceQueue


class Client:
    """Stands for a request: whether its client is still there is all that the queue asks of it."""

    gone = False

    async def is_disconnected(self) -> bool:
        return self.gone


def _drawn(most: int, requests: list[tuple[str, int]]) -> list[str]:
    """The order in which batches are drawn for (client, batches) that come in this order; refused ones as ``!client``."""
    order: list[str] = []

    async def all_of_them() -> None:
        queue = InferenceQueue(most)

        async def one(client: str, count: int) -> None:
            request: Any = Client()
            try:
                await queue.draw(request, client, [lambda stop: order.append(client)] * count)
            except HTTPException as refused:
                order.append(f"!{client} {refused.status_code}")

        await asyncio.gather(*(one(*request) for request in requests))

    asyncio.run(all_of_them())
    return order


def test_one_clients_many_requests_do_not_keep_anothers_waiting() -> None:
    assert _drawn(8, [("a", 1)] * 5 + [("b", 1)]) == ["a", "b", "a", "a", "a", "a"]
    assert _drawn(8, [("a", 1)] * 3 + [("b", 1)] * 2 + [("c", 1)]) == ["a", "b", "c", "a", "b", "a"]


def test_between_the_batches_of_a_long_request_others_have_their_turn() -> None:
    assert _drawn(8, [("a", 4), ("b", 1), ("c", 2)]) == ["a", "b", "c", "a", "c", "a", "a"]


def test_a_full_queue_makes_room_for_who_has_less_in_it() -> None:
    drawn = _drawn(4, [("a", 1)] * 6 + [("b", 1)])
    assert drawn.count("!a 429") == 3
    assert [one for one in drawn if "!" not in one] == ["a", "b", "a", "a"]
    assert _drawn(2, [("a", 1), ("b", 1), ("c", 1)]) == ["!c 429", "a", "b"]


def test_a_fault_or_a_client_that_goes_frees_the_place() -> None:
    async def go() -> None:
        queue, request, leaver = InferenceQueue(1), Client(), Client()
        begun = threading.Event()

        def fails(stop: threading.Event) -> None:
            raise ValueError("a fault")

        def lasts(stop: threading.Event) -> None:
            begun.set()
            assert stop.wait(10)
            raise AbandonedError

        with pytest.raises(ValueError, match="a fault"):
            await queue.draw(request, "a", [fails])  # type: ignore[arg-type]
        long = asyncio.create_task(queue.draw(leaver, "a", [lasts]))  # type: ignore[arg-type]
        await asyncio.to_thread(begun.wait)
        with pytest.raises(HTTPException):
            queue.check_room("b")
        leaver.gone = True
        with pytest.raises(HTTPException) as gone:
            await long
        assert gone.value.status_code == 499
        assert await queue.draw(request, "b", [lambda stop: 7]) == [7]  # type: ignore[arg-type]

    asyncio.run(go())
