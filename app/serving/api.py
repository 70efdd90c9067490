"""The REST API: its routes, and which fault gives which status."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBearer
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

from app.approved import NotApprovedError
from app.hosting import who_asks
from app.serving.bodies import BodyReader, body_schema, most_bytes
from app.serving.queue import CLIENT_GONE, InferenceQueue
from app.serving.schemas import Fault, Images, ImagesRequest, Masks, MasksRequest, ModelState, RefusedError
from app.serving.service import Limits, ModelService, UnnotedError
from mlops.approvals.keys import keys_folder
from mlops.connection import TrackingError, tracking_uri
from mlops.gate import MASKS
from mlops.house import house_folder

_HEALTH_SECONDS = 1.0
_FAULTS_TOLD = 5
_FAULTS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "Not readable as JSON"},
    401: {"model": Fault, "description": "No login, or a wrong one"},
    403: {"model": Fault, "description": "Sent by a page of another server"},
    404: {"model": Fault, "description": "No such model here"},
    409: {"model": Fault, "description": "The version is no longer approved"},
    411: {"model": Fault, "description": "The body has no Content-Length"},
    413: {"model": Fault, "description": "The body is too large"},
    415: {"model": Fault, "description": "The body is no plain JSON"},
    422: {"model": Fault, "description": "The request can't be met: what was found and what was expected"},
    429: {"model": Fault, "description": "Too many requests wait, or too many logins were wrong; come again"},
    503: {"model": Fault, "description": "The registry or the lineage can't be reached, so that nothing is given out"},
}
_log = logging.getLogger("syncmri.serving")


def build_api(services: Sequence[ModelService], limits: Limits, *, login: bool = False) -> FastAPI:
    """The API for these models; it expects :func:`app.hosting.guarded` around it.

    Args:
        login: the schema says that a login is needed.
    """
    places = {place for service in services for place in _own_places(service.root)}
    public = partial(_public, places=sorted(places, key=len, reverse=True))
    api = FastAPI(
        title="SynCMRI",
        version=_own_version(),
        description="Synthetic cardiac MR from approved generators. Near-copies of training slices are withheld.",
        docs_url=None,  # the pages would load their scripts from another host
        redoc_url=None,
        openapi_url=None,  # it would be rendered anew for each request
        redirect_slashes=False,
        exception_handlers={
            RequestValidationError: _bad_request,
            AnyHTTPException: _http_error,
            NotApprovedError: _status(409, public),
            TrackingError: _status(503, public),
            UnnotedError: _unnoted(public),
            RefusedError: _status(422, public),
            ClientDisconnect: _gone,
        },
    )
    api.include_router(_routes({service.approved.model: service for service in services}, limits, login, public))
    schema = json.dumps(api.openapi()).encode()
    api.add_route("/openapi.json", lambda request: _json(schema), include_in_schema=False)
    return api


def _routes(services: dict[str, ModelService], limits: Limits, login: bool, public: Callable[[str], str]) -> APIRouter:
    router, queue, reader = APIRouter(), InferenceQueue(limits.in_flight), BodyReader()
    # Says in the schema that a login is needed; it has been asked for before.
    schemes = [Security(HTTPBearer(auto_error=False)), Security(HTTPBasic(auto_error=False))]
    closed = APIRouter(prefix="/v1", responses=_FAULTS, dependencies=schemes if login else [])
    health_of = {model: _Health(service) for model, service in services.items()}

    @router.get("/health")
    async def health(response: Response) -> dict[str, str]:
        """Each model and whether it is served; 503 where none is."""
        reasons = await asyncio.gather(*(one.reason() for one in health_of.values()))
        if all(reasons):
            response.status_code = 503
        return {model: "not served" if reason else "served" for model, reason in zip(services, reasons, strict=True)}

    @closed.get("/models")
    async def models() -> list[ModelState]:
        """What is served, what it takes, and in which state it is."""
        return list(await asyncio.gather(*(asyncio.to_thread(_state, service, public) for service in services.values())))

    def service_of(model: str) -> ModelService:
        if model not in services:
            raise HTTPException(404, f"no model '{model[:40]}' is served here; there are: {', '.join(services)}")
        return services[model]

    if MASKS in services:

        @closed.post(f"/models/{MASKS}/masks", response_model=Masks, openapi_extra=body_schema(MasksRequest))
        async def draw_masks(request: Request) -> Response:
            """Draw masks."""
            service, who = services[MASKS], who_asks(request)
            queue.check_room(who)
            asked, _ = await reader.read(request, MasksRequest, most_bytes(service), (0, 0), service.check_count)
            batches = await queue.draw(request, who, service.mask_batches(asked))
            return _json(await asyncio.to_thread(service.masks_answer, asked, batches, who))

    @closed.post("/models/{model}/images", response_model=Images, openapi_extra=body_schema(ImagesRequest))
    async def draw_images(request: Request, model: str) -> Response:
        """Draw one image for each mask."""
        service, who = service_of(model), who_asks(request)
        if model == MASKS:
            raise HTTPException(404, "the model 'masks' draws masks, not images: POST /v1/models/masks/masks")
        queue.check_room(who)
        largest = (limits.pictures, service.approved.size)
        asked, masks = await reader.read(request, ImagesRequest, most_bytes(service), largest, service.read_masks)
        batches = await queue.draw(request, who, service.image_batches(asked, masks))
        return _json(await asyncio.to_thread(service.images_answer, asked, batches, who))

    router.include_router(closed)
    return router


class _Health:
    """Whether a model is served. A slow registry does not hold the answer up: it is then the last state known."""

    def __init__(self, service: ModelService):
        self._service = service
        self._last: str | None = None
        self._asking: asyncio.Task[str | None] | None = None

    async def reason(self) -> str | None:
        """None, or why not."""
        if self._asking is None:
            self._asking = asyncio.create_task(asyncio.to_thread(self._service.still_approved))
            self._asking.add_done_callback(self._keep_state)
        await asyncio.wait({self._asking}, timeout=_HEALTH_SECONDS)
        return self._last

    def _keep_state(self, asked: asyncio.Task[str | None]) -> None:
        self._asking = None
        self._last = "cannot be known" if asked.cancelled() or asked.exception() else asked.result()


def _state(service: ModelService, public: Callable[[str], str]) -> ModelState:
    state = service.state()
    return state.model_copy(update={"reason": public(state.reason)}) if state.reason else state


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


async def _bad_request(request: Request, error: Exception) -> JSONResponse:
    """Without what was sent: it may be megabytes, or hold what JSON can't."""
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    messages = [
        f"{'.'.join(str(part)[:40] for part in fault['loc']) or 'body'}: {fault['msg'][:200]}"
        for fault in faults[:_FAULTS_TOLD]
    ]
    more = [f"and {len(faults) - _FAULTS_TOLD} more"] if len(faults) > _FAULTS_TOLD else []
    return JSONResponse({"detail": "; ".join(messages + more)}, 400 if faults[0]["type"] == "json_invalid" else 422)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)


def _unnoted(public: Callable[[str], str]) -> Any:
    detail = "the lineage can't be written now, and without it nothing is given out; come again"

    async def answer(request: Request, error: Exception) -> JSONResponse:
        _log.error("Nothing is given out, since the lineage can't be written: %s", public(str(error)))
        return JSONResponse({"detail": detail}, 503)

    return answer


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


def _status(status: int, public: Callable[[str], str]) -> Any:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": public(str(error))}, status)

    return answer


def _public(message: str, places: Sequence[str] = ()) -> str:
    """A message without addresses, which may hold a password, and without paths of this machine.

    The project's own places come first: their paths may have blanks, at which the pattern of any path would end.
    """
    for place in places:
        message = re.sub(re.escape(place) + r"[^\s'\"]*", "[path]", message)
    message = re.sub(r"\b[a-z][a-z0-9+.-]*://\S+", "[address]", message, flags=re.IGNORECASE)
    return re.sub(r"(?<![\w:/.@-])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])+[^\s'\"]*", "[path]", message)


def _own_places(root: Path) -> set[str]:
    """Where the project at ``root`` keeps its files."""
    folders = {root, root.absolute(), root.resolve(), house_folder(root), keys_folder(), Path.home()}
    return {str(folder) for folder in folders if len(folder.parts) > 1} | {tracking_uri(root)}


def _own_version() -> str:
    try:
        return version("syncmri")
    except PackageNotFoundError:
        return "0"
