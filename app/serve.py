"""``syncmri serve``: approved models behind a REST API."""

import os
from typing import Annotated

import typer

TOKEN = "SYNCMRI_TOKEN"
_LOCAL = ("127.0.0.1", "::1", "localhost")
_GRACE_SECONDS = 10


def serve(
    models: Annotated[
        list[str], typer.Option("--model", metavar="MODEL", help="masks or a generator, such as ddpm; can be repeated.")
    ],
    host: Annotated[str, typer.Option(help="0.0.0.0 answers other machines too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    most_pictures: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures a request.")] = 32,
    most_requests: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests that are drawn or wait; others are told to come again.")
    ] = 8,
) -> None:
    """Draw masks and images for whoever asks over HTTP, from approved versions only. /openapi.json describes the API.

    If the environment variable SYNCMRI_TOKEN is set, requests must state it. Near-copies of training slices are withheld. A
    version that is demoted is noticed within a minute and no longer served.
    """
    import uvicorn

    from app.serving.api import build_api
    from app.serving.desk import Desk, Limits
    from mlops.settings import find_root

    root, limits = find_root(), Limits(most_pictures, most_requests)
    desks = [Desk(root, model, limits) for model in dict.fromkeys(models)]
    token = os.environ.get(TOKEN)
    if host not in _LOCAL and not token:
        typer.echo(f"warning: whoever reaches {host}:{port} may draw; set {TOKEN} to ask for a token", err=True)
    for desk in desks:
        typer.echo(f"Serving {desk.approved.name}")
    uvicorn.run(build_api(desks, limits, token), host=host, port=port, timeout_graceful_shutdown=_GRACE_SECONDS)
