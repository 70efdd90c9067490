"""``syncmri serve``: approved models behind a REST API."""

from typing import Annotated

import typer

from app.server_options import AllowedHostOption, BehindProxyOption, HostOption, UsersOption, login_from


def serve(
    models: Annotated[
        list[str], typer.Option("--model", metavar="MODEL", help="masks or a generator, such as ddpm; can be repeated.")
    ],
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    most_pictures: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures a request.")] = 32,
    most_requests: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests that are drawn or wait; others are told to come again.")
    ] = 8,
    users: UsersOption = None,
    allowed_host: AllowedHostOption = None,
    behind_proxy: BehindProxyOption = False,
) -> None:
    """Draw masks and images for whoever asks over HTTP, from approved versions only. /openapi.json describes the API.

    If the environment variable SYNCMRI_TOKEN is set, or --users names a file, requests must log in; beyond this machine they
    always must. Near-copies of training slices are withheld. A version that is demoted is noticed within a minute and no longer
    served.
    """
    from app.hosting import Access, host_app, open_listener
    from app.serving.api import build_api
    from app.serving.bodies import most_bytes
    from app.serving.service import Limits, ModelService
    from mlops.settings import find_root

    root, limits = find_root(), Limits(most_pictures, most_requests)
    access = Access(host, port, tuple(allowed_host or ()), behind_proxy)
    login = login_from(users, behind_proxy=behind_proxy, browser=False)
    with open_listener(access, login) as listener:
        services = [ModelService(root, model, limits) for model in dict.fromkeys(models)]
        for service in services:
            typer.echo(f"Serving {service.approved.name}")
        api = build_api(services, limits, login=login.needed)
        host_app(api, listener, access, login, max(map(most_bytes, services)))
