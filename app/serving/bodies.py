"""Reads the JSON of requests without holding up or filling the server: sizes first, and one body at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from app.serving.schemas import BYTES_A_PIXEL, RefusedError
from app.serving.service import ModelService
from cmr.labels import CLASSES
from mlops.gate import MASKS

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")

_OTHER_BYTES = 64 << 10  # of a body that are no masks
_OTHER_PARTS = 1000  # lists, texts and values that are no masks
_MOST_WAITING = 64 << 20  # bytes of whole bodies that wait to be parsed, together


def most_bytes(service: ModelService) -> int:
    """The largest body in bytes that a request for a model may have."""
    pictures = 0 if service.approved.model == MASKS else service.limits.pictures
    return _OTHER_BYTES + pictures * BYTES_A_PIXEL * service.approved.size**2


def body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The part of OpenAPI that describes a body which the route reads itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}


class BodyReader:
    """Parses bodies in a thread, one at a time, so that large ones neither stop the server nor add up."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parsing")
        self._waiting = 0

    async def read(
        self, request: Request, kind: type[M], most: int, masks: tuple[int, int], check: Callable[[M], R]
    ) -> tuple[M, R]:
        """A request's body, and what ``check`` makes of it in the thread. The body's masks are let go.

        Args:
            most: bytes of the body.
            masks: pictures, and pixels along a side, of the largest masks that the body may hold.

        Raises:
            HTTPException: 413 or 415; 429 where too many other bodies wait.
            RequestValidationError: the JSON is none, or not what ``kind`` says.
            Whatever ``check`` raises.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "the body's Content-Type is another one; expected application/json")
        length = int(request.headers.get("content-length", "0"))  # app.hosting has checked that it is a number
        if length > most:
            raise HTTPException(413, f"a body of {length} bytes; expected at most {most}")
        body = await request.body()
        if self._waiting and self._waiting + len(body) > _MOST_WAITING:
            raise HTTPException(429, "many requests are being read; come again in some seconds", {"Retry-After": "5"})
        self._waiting += len(body)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, _parse, body, kind, masks, check)
        finally:
            self._waiting -= len(body)


def _parse(body: bytes, kind: type[M], masks: tuple[int, int], check: Callable[[M], R]) -> tuple[M, R]:
    _check_parts(body, *masks)
    try:
        asked = kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False, include_url=False, include_context=False)) from None
    checked = check(asked)
    if "masks" in kind.model_fields:
        asked = asked.model_copy(update={"masks": ""})
    return asked, checked


def _check_parts(body: bytes, pictures: int, size: int) -> None:
    """Refuses what would take many times its size in memory: three bytes of JSON make a list of 64."""
    rows = pictures * CLASSES * (size + 1)
    for sign, what, most in ((b"[", "lists", rows), (b"{", "mappings", 0), (b'"', "texts", 0), (b",", "values", rows * size)):
        if (found := body.count(sign)) > most + _OTHER_PARTS:
            raise RefusedError(
                f"the body holds {found} {what}; expected masks of at most {pictures} pictures of {size} x {size}"
            )
