"""Wrong logins by address and stated name, so that passwords can't be guessed and names can't be found."""

import hashlib
import time
from collections import OrderedDict
from math import ceil
from typing import TypeVar

K = TypeVar("K")

_SECONDS = 60.0
_A_NAME, _AN_ADDRESS = 10, 60
_MOST_REMEMBERED = 10_000


class WrongLogins:
    """Says how long an address must wait: after 10 wrong tries of a name in a minute, and after 60 of all names.

    A name is treated in the same way whether or not there is such a person.
    """

    def __init__(self) -> None:
        self._of_names: OrderedDict[tuple[str, bytes], list[float]] = OrderedDict()
        self._of_addresses: OrderedDict[str, list[float]] = OrderedDict()

    def wait_for_name(self, address: str, name: str) -> int:
        """Seconds until the address may try the name again; 0: now."""
        return _wait(self._of_names.get(_key(address, name), []), _A_NAME)

    def wait_for_address(self, address: str) -> int:
        """Seconds until the address may try another name again; 0: now."""
        return _wait(self._of_addresses.get(address, []), _AN_ADDRESS)

    def add(self, address: str, name: str) -> float:
        """Count a try as wrong before it is checked, so that many at once count too; :meth:`take_back` takes the result."""
        now = time.monotonic()
        _add(self._of_names, _key(address, name), now)
        _add(self._of_addresses, address, now)
        return now

    def take_back(self, address: str, name: str, when: float) -> None:
        """The try was right."""
        for tries in (self._of_names.get(_key(address, name), []), self._of_addresses.get(address, [])):
            if when in tries:
                tries.remove(when)


def _key(address: str, name: str) -> tuple[str, bytes]:
    return address, hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def _recent(tries: list[float], now: float) -> list[float]:
    return [when for when in tries if now - when < _SECONDS]


def _wait(tries: list[float], most: int) -> int:
    now = time.monotonic()
    recent = _recent(tries, now)
    return ceil(_SECONDS - (now - recent[-most])) if len(recent) >= most else 0


def _add(remembered: OrderedDict[K, list[float]], key: K, now: float) -> None:
    remembered[key] = [*_recent(remembered.get(key, []), now), now]
    remembered.move_to_end(key)
    if len(remembered) > _MOST_REMEMBERED:
        remembered.popitem(last=False)
