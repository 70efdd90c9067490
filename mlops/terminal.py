"""Output on terminals that cannot show every character."""

import sys


def print_on_any_terminal() -> None:
    """From here on a character that the terminal has no code for, such as ``≤`` on a latin-1 terminal, is printed as ``?``.

    Otherwise printing it would raise an error, after the work was done.
    """
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):  # a test, or a notebook, may have put something else there
            reconfigure(errors="replace")
