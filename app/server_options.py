"""Options that `syncmri serve` and `syncmri studio` share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.login import Login

HostOption = Annotated[str, typer.Option(help="0.0.0.0 answers other machines too; these must log in.")]
UsersOption = Annotated[
    Path | None,
    typer.Option(
        "--users", metavar="FILE", help="People who may log in: `syncmri users add NAME --file FILE`.", show_default=False
    ),
]
AllowedHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host", metavar="NAME", help="A name by which clients call this server; can be repeated.", show_default=False
    ),
]
BehindProxyOption = Annotated[
    bool, typer.Option("--behind-proxy", help="A reverse proxy stands before this server and asks for the login.")
]


def login_from(users: Path | None, *, behind_proxy: bool, browser: bool) -> "Login":
    """Who may use a server: whoever states the token in the environment, and the people of a file.

    Raises:
        DataError: the file can't be read.
    """
    from app.login import TOKEN, Login, Users

    token = os.environ.get(TOKEN, "").strip() or None
    return Login(token, Users(users) if users else None, behind_proxy=behind_proxy, browser=browser)


users_app = typer.Typer(help="People who may log in at `serve` and `studio`: add, remove.", no_args_is_help=True)
FileOption = Annotated[Path, typer.Option("--file", metavar="FILE", help="The file of users; made where there is none.")]


@users_app.command("add")
def add(name: Annotated[str, typer.Argument(metavar="NAME")], file: FileOption) -> None:
    """Add a person, or give one another password. The password is asked for, or read as a line where nobody is at a terminal.

    Running servers know the person at once.
    """
    import sys

    from app.login import add_user

    if sys.stdin.isatty():
        password = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    known = add_user(file, name, password)
    typer.echo(f"{file}: {name} {'has another password now' if known else 'is added'}")


@users_app.command("remove")
def remove(name: Annotated[str, typer.Argument(metavar="NAME")], file: FileOption) -> None:
    """Remove a person. Running servers refuse the person from then on."""
    from app.login import remove_user

    remove_user(file, name)
    typer.echo(f"{file}: {name} is removed")
