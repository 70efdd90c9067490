"""Faults as the page tells them: those of the visitor's request in full, those of the server in its log alone."""

import functools
import logging
import secrets
from collections.abc import Callable
from typing import Any

import gradio as gr

from app.studio import render
from cmr.errors import DataError
from mlops.connection import TrackingError

log = logging.getLogger(__name__)


def fault(error: DataError) -> str:
    """What the visitor may know, as HTML. What is wrong with the registry goes to the log: it may name addresses and files."""
    if isinstance(error, TrackingError):
        log.warning("%s", error)
        return render.message("The registry cannot be used now, so nothing is drawn. The studio's log says why.", "fault")
    return render.message(str(error), "fault")


def handled(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler of the page whose unexpected faults get a number, under which the log tells them."""

    @functools.wraps(handler)
    def safe(*given: Any, **named: Any) -> Any:
        try:
            return handler(*given, **named)
        except Exception:  # whatever it is: Gradio would send its text, with paths, to the browser
            number = secrets.token_hex(3)
            log.exception("fault %s in the studio", number)
            text = f"The studio could not do this. Its log says why, under fault {number}."
            raise gr.Error(text, print_exception=False) from None

    return safe
