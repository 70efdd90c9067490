"""``syncmri studio``: approved generators in a web page."""

from typing import Annotated

import typer


def studio(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the web server.")] = 7860,
    host: Annotated[str, typer.Option(help="127.0.0.1 is this machine alone; the studio asks for no password.")] = "127.0.0.1",
) -> None:
    """Open a web page to draw images with approved generators, see the report and the registry's state."""
    from mlops.settings import find_root

    root = find_root()
    typer.echo(f"The studio opens at http://{host}:{port} in a few seconds. Ctrl-C ends it.")
    from app.studio.server import serve  # the network libraries and gradio take seconds

    serve(root, host, port)
