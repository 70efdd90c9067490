"""What one visitor, one person, and all together may take of the studio at a time."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import Scope

VISITOR = "visitor"
_UNHEARD_SECONDS = 15.0


class RefusedError(Exception):
    """A request that is not let through; ``status`` is the HTTP status of the answer."""

    def __init__(self, reason: str, status: int):
        super().__init__(reason)
        self.reason, self.status = reason, status


class Asker(NamedTuple):
    """Who sends a request: the browser, by its cookie, and the person, by login or address. Cookies cost nothing."""

    visitor: str
    person: str


def person_of(scope: Scope) -> str:
    """The person who is logged in, or the client's address; ``app.hosting`` sets both."""
    if user := scope.get("user"):
        return str(user.display_name)
    return str((scope.get("client") or ("",))[0])


def visitor_of(scope: Scope) -> str:
    """The visitor who asks.

    Raises:
        RefusedError: the request has no cookie of this server.
    """
    visitor = scope["session"].get(VISITOR)
    if not visitor:
        raise RefusedError("Open the studio's page first, or open it again: the studio was started anew.", 403)
    return str(visitor)


def asker_of(scope: Scope) -> Asker:
    """Who asks; all requests of a person without a cookie count as one visitor's."""
    person = person_of(scope)
    return Asker(scope["session"].get(VISITOR) or f"no cookie, {person}", person)


@dataclass(frozen=True)
class Most:
    """How much of one thing there may be at a time, of one visitor, of one person and in all."""

    visitor: int
    person: int
    in_all: int

    def reached(self, asker: Asker, present: Collection[Asker]) -> bool:
        """Whether ``asker`` may have no more beside those that are ``present``."""
        return (
            len(present) >= self.in_all
            or sum(one.visitor == asker.visitor for one in present) >= self.visitor
            or sum(one.person == asker.person for one in present) >= self.person
        )


class Places:
    """Counts what is going on, so that there never is more than ``most``; ``status`` refuses the rest. For one thread."""

    def __init__(self, most: Most, status: int):
        self._most, self._status, self._taken = most, status, list[Asker]()

    @contextmanager
    def taken(self, asker: Asker) -> Iterator[None]:
        """A place, until the block ends.

        Raises:
            RefusedError: all are taken.
        """
        if self._most.reached(asker, self._taken):
            raise RefusedError("Too many of these are open at a time. Close some, or come again in some seconds.", self._status)
        self._taken.append(asker)
        try:
            yield
        finally:
            self._taken.remove(asker)


class Sessions:
    """Whose the sessions of open pages are, and which of them somebody listens to. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._listening: Counter[str] = Counter()
        self._people: dict[str, tuple[str, float]] = {}

    def asked(self, session: str, person: str) -> None:
        """An event of the session is on its way to the queue."""
        self._people[session] = person, self._clock()

    @contextmanager
    def listening(self, session: str) -> Iterator[None]:
        """Somebody reads the answers of the session until the block ends."""
        self._listening[session] += 1
        try:
            yield
        finally:
            self._listening -= Counter([session])
            if session in self._people:
                self._people[session] = self._people[session][0], self._clock()

    def of(self, person: str) -> list[str]:
        """The sessions of a person."""
        return [session for session, (owner, _) in self._people.items() if owner == person]

    def listened_to(self, session: str) -> bool:
        """Whether somebody reads its answers now."""
        return self._listening[session] > 0

    def unheard(self, session: str) -> bool:
        """Whether nobody has listened for a while: what waits for it, or in it, is for nobody."""
        _, since = self._people.get(session, ("", 0.0))
        return not self.listened_to(session) and self._clock() - since > _UNHEARD_SECONDS

    def keep(self, sessions: Collection[str]) -> None:
        """Forget all others."""
        self._people = {session: known for session, known in self._people.items() if session in sessions}
