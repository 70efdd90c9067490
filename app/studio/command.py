"""``syncmri studio``: approved generators in a web page."""

from typing import Annotated

import typer

from app.server_options import AllowedHostOption, BehindProxyOption, HostOption, UsersOption, login_from


def studio(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    host: HostOption = "127.0.0.1",
    users: UsersOption = None,
    allowed_host: AllowedHostOption = None,
    behind_proxy: BehindProxyOption = False,
) -> None:
    """Open a web page to draw images with approved generators, see the report and the registry's state.

    If --users names a file, or the environment variable SYNCMRI_TOKEN is set, the browser asks for a name and a password (the
    token is one, with any name); beyond this machine it always does.
    """
    from app.hosting import Access, open_listener
    from mlops.settings import find_root

    root = find_root()
    access = Access(host, port, tuple(allowed_host or ()), behind_proxy)
    login = login_from(users, behind_proxy=behind_proxy, browser=True)
    with open_listener(access, login) as listener:
        typer.echo("The studio opens in a few seconds.")
        from app.studio.server import serve  # the network libraries and gradio take seconds

        serve(root, listener, access, login)
