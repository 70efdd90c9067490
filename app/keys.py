"""``syncmri keys``: whose signatures approve models in this project."""

from pathlib import Path
from typing import Annotated

import typer

keys_app = typer.Typer(
    help="Keys whose signatures approve models: trusted_keys.yaml, which is reviewed like code.", no_args_is_help=True
)


@keys_app.command("list")
def list_keys() -> None:
    """List the keys that this project trusts, with their fingerprints."""
    from mlops.approvals.keys import TRUSTED, signing_key, trusted_keys
    from mlops.settings import find_root

    own = signing_key()
    for one in trusted_keys(find_root()):
        mine = "  (yours)" if own and own.public_key.keyid == one.fingerprint else ""
        typer.echo(f"{one.fingerprint[:16]}  {one.name}{mine}")
    if own is None:
        typer.echo("You have no signing key yet; `syncmri promote` or `syncmri keys add` makes one.", err=True)
    if not (find_root() / TRUSTED).exists():
        typer.echo(f"There is no {TRUSTED} yet: the first `syncmri promote` makes it.", err=True)


@keys_app.command()
def show() -> None:
    """Print your public key, for somebody who adds it to a project."""
    from mlops.approvals.keys import KeyFileError, keys_folder, public_pem, signing_key

    own = signing_key()
    if own is None:
        raise KeyFileError(f"{keys_folder()}: you have no signing key yet; `syncmri keys add` makes one.")
    typer.echo(public_pem(own.public_key), nl=False)
    typer.echo(f"fingerprint {own.public_key.keyid[:16]}", err=True)


@keys_app.command()
def add(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A public key, as `keys show` prints it. Yours without.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The owner's name; user@host for yours.", show_default=False)] = None,
) -> None:
    """Trust a key: what it signs approves models in this project. Without FILE it is yours, made if there is none."""
    from mlops.approvals.keys import TRUSTED, KeyFileError, default_name, parse_public_pem, signing_key, trust
    from mlops.settings import find_root

    if file is None:
        own = signing_key(create=True)
        assert own is not None
        added = trust(find_root(), name or default_name(), own.public_key)
    else:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(f"{file}: not readable ({error}).") from error
        added = trust(find_root(), name or file.stem, parse_public_pem(text, str(file)))
    typer.echo(f"{TRUSTED} trusts {added.name} ({added.fingerprint[:16]}). Commit the file after a review.")


@keys_app.command()
def remove(which: Annotated[str, typer.Argument(metavar="NAME|FINGERPRINT")]) -> None:
    """Trust a key no longer. What it approved is not approved any more: promote it again with another key."""
    from mlops.approvals.keys import TRUSTED, distrust
    from mlops.settings import find_root

    removed = distrust(find_root(), which)
    typer.echo(f"{TRUSTED} trusts {removed.name} ({removed.fingerprint[:16]}) no longer, and nothing that it has signed.")
