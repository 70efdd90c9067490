"""Gradio's queue of a page: what it takes, who waits in it, and what nobody listens to."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from app.studio.limits import Asker, Most, RefusedError, Sessions, asker_of

NETWORK = "network"
"""The line of Gradio's in which everything that needs a network waits."""
_DRAWINGS = Most(visitor=4, person=12, in_all=32)
_LIGHT = Most(visitor=8, person=24, in_all=32)
WAITING = _DRAWINGS.in_all + _LIGHT.in_all
"""Events that wait in all. Drawings, which take long, leave room for the others."""
_UNREAD = 600
"""Messages that one person has not read; three or four are an answer, with a mask of 256 KB at most in most of them."""


class Queue:
    """The queue of ``page``. For one thread, that of the event loop.

    Attributes:
        sessions: the sessions of the pages that are open.
    """

    def __init__(self, page: gr.Blocks):
        self._queue, self.sessions = page._queue, Sessions()
        own = {number: fn for number, fn in page.fns.items() if fn.fn and all(event != "unload" for _, event in fn.targets)}
        self._values = {number: len(fn.inputs) for number, fn in own.items()}
        self._drawings = {number for number, fn in own.items() if fn.concurrency_id == NETWORK}
        self._joining: list[tuple[Asker, bool]] = []

    def takes(self, event: int) -> int | None:
        """How many values an event takes that a browser may send, by its number; None where there is no such event."""
        return self._values.get(event)

    @contextmanager
    def joined(self, event: int, asker: Asker, session: str) -> Iterator[None]:
        """Until the block ends the event is on its way to the queue, and counts as one that waits.

        Raises:
            RefusedError: it is one too many of those that wait, or its asker has left too many answers unread.
        """
        drawing = event in self._drawings
        waits = [one for one, other in (*self._joining, *self._waiting()) if other == drawing]
        if (_DRAWINGS if drawing else _LIGHT).reached(asker, waits):
            raise RefusedError("You asked for several things that wait for their turn. Wait for them first.", 429)
        if self._unread(asker.person) >= _UNREAD:
            self._drop_unread(asker.person)
        if self._unread(asker.person) >= _UNREAD:
            raise RefusedError("Many answers to you are unread. Read them first.", 429)
        self.sessions.asked(session, asker.person)
        self._joining.append((asker, drawing))
        try:
            yield
        finally:
            self._joining.remove((asker, drawing))

    def _drop_unread(self, person: str) -> None:
        """Drop the answers, oldest first, in those of a person's sessions where nothing is at work and nobody listens."""
        queues = self._queue.event_queue_per_concurrency_id.values()
        jobs = [*self._queue.active_jobs, *(queue.queue for queue in queues)]
        at_work = {event.session_hash for events in jobs for event in events or ()}
        for session in self.sessions.of(person):
            if session not in at_work and not self.sessions.listened_to(session):
                self._drop(session)
            if self._unread(person) < _UNREAD // 2:
                return

    def _drop(self, session: str) -> None:
        self._queue.pending_messages_per_session.pop(session, None)
        self._queue.pending_event_ids_session.pop(session, None)

    async def forget(self) -> None:
        """Drop events and answers of sessions to which nobody listens, and Gradio's notes for its monitor, which is off."""
        self._queue.event_analytics.clear()
        answers = self._queue.pending_messages_per_session
        for session in [session for session in answers if self.sessions.unheard(session)]:
            await self._queue.clean_events(session_hash=session)
            if self.sessions.unheard(session):
                self._drop(session)
        self.sessions.keep(answers)

    def _waiting(self) -> list[tuple[Asker, bool]]:
        return [
            (asker_of(event.request.scope), name == NETWORK)
            for name, queue in self._queue.event_queue_per_concurrency_id.items()
            for event in list(queue.queue)
        ]

    def _unread(self, person: str) -> int:
        answers = self._queue.pending_messages_per_session
        return sum(answers[session].qsize() for session in self.sessions.of(person) if session in answers)
