"""Short logs of a server: few lines a minute, and of a fault its type and place alone."""

import logging
import sys
import threading
import time

_LINES_A_MINUTE, _LONGEST_LINE = 20, 400
_LOGGERS = ("uvicorn", "asyncio", "syncmri", "app")
_log = logging.getLogger("syncmri.threads")


def log_shortly() -> None:
    """Have the loggers of the server, and threads that fail, write such lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Few(_LINES_A_MINUTE))
    handler.setFormatter(_Short())
    for name in _LOGGERS:
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).propagate = False
    threading.excepthook = _thread_failed


class _Few(logging.Filter):
    """Lets so many lines a minute pass and counts the others, so that a flood of requests fills no disk."""

    def __init__(self, lines: int):
        super().__init__()
        self._lines, self._passed, self._left_out, self._minute = lines, 0, 0, 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() - self._minute >= 60:
            if self._left_out:
                record.msg, record.args = f"{record.getMessage()} ({self._left_out} lines before this one left out)", None
            self._minute, self._passed, self._left_out = time.monotonic(), 0, 0
        self._passed += 1
        self._left_out += self._passed > self._lines
        return self._passed <= self._lines


class _Short(logging.Formatter):
    """One line a record: of an exception its type and place, for a message may hold an address with its password."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname} {' '.join(record.getMessage().split())}"
        if record.exc_info and (error := record.exc_info[1]):
            line += f": {type(error).__name__} at {_place(error)}"
        return line[:_LONGEST_LINE]


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        name = failed.thread.name if failed.thread else "unknown"
        _log.error("The thread %s has failed", name, exc_info=failed.exc_value)


def _place(error: BaseException) -> str:
    """Module and line; a path would tell where the project lies."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}" if trace else "an unknown place"
