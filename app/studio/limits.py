"""What one visitor, one person, and all together may take of the studio at a time."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import Scope

_UNHEARD_SECONDS = 15.0


class Asker(NamedTuple):
    """Who sends a request: the browser, by its cookie, and the person, by login or address. Cookies cost nothing."""

    visitor: str
    person: str


def person_of(scope: Scope) -> str:
    """The person who is logged in, or the client's address; ``app.hosting`` sets both."""
    if user := scope.get("user"):
        return str(user.display_name)
    return str((scope.get("client") or ("",))[0])


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


class TooManyError(Exception):
    """There are as many as there may be."""


class Places:
    """Counts what is going on, so that there never is more than ``most``. For one thread."""

    def __init__(self, most: Most):
        self._most, self._taken = most, list[Asker]()

    @contextmanager
    def taken(self, asker: Asker) -> Iterator[None]:
        """A place, until the block ends.

        Raises:
            TooManyError: all are taken.
        """
        if self._most.reached(asker, self._taken):
            raise TooManyError
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

    def unheard(self, session: str) -> bool:
        """Whether nobody has listened for a while: what waits for it, or in it, is for nobody."""
        _, since = self._people.get(session, ("", 0.0))
        return not self._listening[session] and self._clock() - since > _UNHEARD_SECONDS

    def forget(self, session: str) -> None:
        self._people.pop(session, None)
