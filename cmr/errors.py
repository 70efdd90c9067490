"""The one exception that means "your input is at fault", as opposed to a fault of this program."""

import os
import re

_BEFORE_HOST = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s'\"<>]*@", re.IGNORECASE)
_SECRET = r"(?:token|passw|pwd|secret|key|sig|credential|auth)"
_PARAMETER = re.compile(rf"([?&;#][^=&;\s]*{_SECRET}[^=&;\s]*=)[^&;\s'\"<>)]+", re.IGNORECASE)
_HEADER = re.compile(r"(authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic)\s+)[^\s'\"]+", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"(TOKEN|PASSWORD|PASSWD|SECRET|SECRET_KEY|ACCESS_KEY|API_KEY)$")
_SHORTEST_SECRET = 6  # a shorter value would blank out ordinary words


def without_secrets(text: str) -> str:
    """The text with ``***`` in place of what nobody else should read.

    Hidden are: what stands before the ``@`` of a URL (user and password, also with characters that belong escaped), parameters
    of a URL that are named like a secret, ``Authorization`` headers, and the values of environment variables that are named
    like a secret.
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_VARIABLE.search(name):
            text = text.replace(value, "***")
    text = _BEFORE_HOST.sub(r"\1***@", text)
    return _HEADER.sub(r"\1***", _PARAMETER.sub(r"\1***", text))


class DataError(Exception):
    """A fault in the user's data or settings.

    The message is written for the person who owns the data: which file, what was found, what was expected, what to do.
    The command line prints it without a traceback and exits with status 1. Passwords in it are hidden
    (:func:`without_secrets`), whatever the message was made from.
    """

    def __init__(self, message: str = ""):
        super().__init__(without_secrets(message))


class DataErrors(DataError):  # noqa: N818  (an error that holds several)
    """Several faults found in one pass, so that a user mends all of them at once instead of one a run."""

    def __init__(self, summary: str, faults: list[str]):
        self.faults = list(faults)
        self.summary = summary
        super().__init__("\n".join([summary, *(f"  - {fault}" for fault in self.faults)]))

    def __reduce__(self) -> tuple[type["DataErrors"], tuple[str, list[str]]]:
        return type(self), (self.summary, self.faults)  # so that one raised in a worker process reaches the parent
