"""The REST API: its routes, and which fault gives which status."""

import asyncio
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp

from app.approved import NotApprovedError
from app.serving.bodies import BYTES_A_PIXEL, Fault, Images, ImagesRequest, Masks, MasksRequest, ModelState
from app.serving.desk import Desk, Limits, Turns
from app.serving.door import Door
from cmr.errors import DataError
from mlops.connection import TrackingError
from mlops.gate import MASKS

_OTHER_BYTES = 1 << 16  # of a body that are no masks
_FAULTS_TOLD = 5
_FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "Not readable as JSON"},
    401: {"model": Fault, "description": "No token, or another one"},
    404: {"model": Fault, "description": "No such model here"},
    409: {"model": Fault, "description": "The version is no longer approved"},
    413: {"model": Fault, "description": "The body is too large"},
    422: {"model": Fault, "description": "The request can't be met: what was found and what was expected"},
    429: {"model": Fault, "description": "Too many requests wait; come again"},
    503: {"model": Fault, "description": "The registry can't be asked whether the version still is approved"},
}


def build_api(desks: Sequence[Desk], limits: Limits, token: str | None) -> ASGIApp:
    """The API for these models, behind its :class:`Door`."""
    most_bytes = _OTHER_BYTES + limits.pictures * BYTES_A_PIXEL * max(desk.approved.size for desk in desks) ** 2
    api = FastAPI(
        title="SynCMRI",
        version=_own_version(),
        description="Synthetic cardiac MR from approved generators. Near-copies of training slices are withheld.",
        docs_url=None,  # the pages would load their scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=most_bytes,
        exception_handlers={
            RequestValidationError: _bad_request,
            AnyHTTPException: _told,
            NotApprovedError: _status(409),
            TrackingError: _status(503),
            DataError: _status(422),
        },
    )
    api.include_router(_routes({desk.approved.model: desk for desk in desks}, bool(token)))
    return Door(api, most_bytes=most_bytes, most_inside=limits.in_flight, token=token)


def _routes(desks: dict[str, Desk], token: bool) -> APIRouter:
    router, turns = APIRouter(), Turns()
    # Says in the schema that a token is needed; the door has asked for it before.
    closed = APIRouter(prefix="/v1", responses=_FAULTS, dependencies=[Security(HTTPBearer(auto_error=False))] if token else [])

    @router.get("/health")
    async def health(response: Response) -> dict[str, str]:
        """Each model and whether it is served; 503 where none is."""
        reasons = await asyncio.gather(*(asyncio.to_thread(desk.still_approved) for desk in desks.values()))
        if all(reasons):
            response.status_code = 503
        return {model: "not served" if reason else "served" for model, reason in zip(desks, reasons, strict=True)}

    @closed.get("/models")
    async def models() -> list[ModelState]:
        """What is served, what it takes, and in which state it is."""
        return list(await asyncio.gather(*(asyncio.to_thread(desk.state) for desk in desks.values())))

    def desk_of(model: str) -> Desk:
        if model not in desks:
            raise HTTPException(404, f"no model '{model[:40]}' is served here; there are: {', '.join(desks)}")
        return desks[model]

    if MASKS in desks:

        @closed.post(f"/models/{MASKS}/masks", response_model=Masks)
        async def draw_masks(request: Request, asked: MasksRequest) -> Response:
            """Draw masks."""
            desk = desks[MASKS]
            desk.check_count(asked)
            return _json(await turns.take(request, lambda stop: desk.masks(asked, stop)))

    @closed.post("/models/{model}/images", response_model=Images)
    async def draw_images(request: Request, model: str, asked: ImagesRequest) -> Response:
        """Draw one image for each mask."""
        desk = desk_of(model)
        if model == MASKS:
            raise HTTPException(404, "the model 'masks' draws masks, not images: POST /v1/models/masks/masks")
        masks = await asyncio.to_thread(desk.read_masks, asked)
        return _json(await turns.take(request, lambda stop: desk.images(asked, masks, stop)))

    router.include_router(closed)
    return router


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


async def _bad_request(request: Request, error: Exception) -> JSONResponse:
    """Without what was sent: it may be megabytes, or hold what JSON can't."""
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    told = [f"{'.'.join(str(part)[:40] for part in fault['loc'])}: {fault['msg'][:200]}" for fault in faults[:_FAULTS_TOLD]]
    more = [f"and {len(faults) - _FAULTS_TOLD} more"] if len(faults) > _FAULTS_TOLD else []
    return JSONResponse({"detail": "; ".join(told + more)}, 400 if faults[0]["type"] == "json_invalid" else 422)


async def _told(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)


def _status(status: int) -> Any:
    async def told(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status)

    return told


def _own_version() -> str:
    try:
        return version("syncmri")
    except PackageNotFoundError:
        return "0"
