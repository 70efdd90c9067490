"""The command ``syncmri``. Each command imports what it needs when it is called, so that ``--help`` answers at once."""

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated

import typer

from app import registry_commands
from app.evaluate import app as evaluate_app
from app.generate import generate
from app.keys import keys_app
from app.serve import serve
from app.server_options import users_app
from app.studio.command import studio
from app.tune_commands import tune_app
from cmr.errors import DataError, without_secrets
from mlops.terminal import print_on_any_terminal

INTERRUPTED = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    name="syncmri",
    help="Synthetic cardiac MR: train generators, measure fidelity, utility and privacy, keep every version.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


weights_app = typer.Typer(help="Weights of the metric networks: fetch, list, path.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


study_app = typer.Typer(help="The pipeline run several times with one thing changed.", no_args_is_help=True)
app.add_typer(study_app, name="study")


app.add_typer(evaluate_app, name="evaluate")
app.add_typer(tune_app, name="tune")
app.add_typer(keys_app, name="keys")
app.add_typer(users_app, name="users")


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"syncmri {importlib.metadata.version('syncmri')}")
        except importlib.metadata.PackageNotFoundError:
            typer.echo("syncmri, not installed: run from its source folder")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Synthetic cardiac MR: train generators, measure fidelity, utility and privacy, keep every version."""


@app.command()
def configure(
    profile: Annotated[str, typer.Argument(help="demo (built-in phantoms, minutes), real (CPU), real-full (night) or paper.")],
    acdc: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the ACDC release.", show_default=False)] = None,
    mnms: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the M&Ms release.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one parameter; can be repeated.")
    ] = None,
    take_in: Annotated[
        bool, typer.Option("--take-in", help="Bring the folders into data/raw under DVC, instead of referencing them.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Report and leave out subjects that cannot be read, instead of stopping.")
    ] = False,
) -> None:
    """Write params.yaml from a profile. If anything is wrong, it stays as it was."""
    from cmr.files import refuse_links_to_nowhere
    from mlops.profiles import BEFORE
    from mlops.profiles import configure as write

    for folder in filter(None, (acdc, mnms)):
        refuse_links_to_nowhere(folder.expanduser())
    path = write(profile, acdc, mnms, overrides or (), take_in, skip_bad)
    typer.echo(f"Wrote {_shown(path)} for the profile {profile} (one that it replaced is kept in {BEFORE}). Next: syncmri run")


@app.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and what to do about it. Fails if something needed is missing."""
    from mlops.doctor import Check, report
    from mlops.settings import find_root

    colours = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}

    def show(check: Check) -> None:
        state = typer.style(f"{check.state:<4}", fg=colours[check.state])
        typer.echo(f"{state}  {check.name}: {check.found}" + (f"\n      -> {check.advice}" if check.advice else ""))

    try:
        root = find_root()
    except DataError:
        root = None  # told as a failed check
    if not report(root, show):
        raise typer.Exit(1)


@app.command()
def models(
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of this profile instead of params.yaml; nothing is written.", show_default=False),
    ] = None,
) -> None:
    """List every network with its parameters, multiplications, memory and checkpoint. Nothing is trained or computed."""
    from app.console import print_table
    from mlops.profiles import merged
    from mlops.settings import find_root, load_params

    root = find_root()
    params = merged(root, profile) if profile else load_params(root)
    from mlops.sizes import cost_table  # the network libraries take seconds: a mistyped name is told before

    print_table(cost_table(params))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(context: typer.Context) -> None:
    """Bring everything up to date: `dvc repro`, then `sync`. Stage names and options are passed on to `dvc repro`.

    With RAY_ADDRESS set the work goes to that Ray cluster; its machines must share the project folder (docs/cluster.md).
    """
    from cmr.files import refuse_links_to_nowhere
    from mlops.cluster import started
    from mlops.pipeline_run import pipeline_run
    from mlops.repro import after_a_stop, reproduce
    from mlops.settings import PARAMS, DataSettings, find_root, load_params, section

    root = find_root()
    if (root / PARAMS).is_file() and "data" in load_params(root):
        for raw in section("data", DataSettings, root).raw.values():
            refuse_links_to_nowhere(root / raw.root)
    with pipeline_run(root, context.args):
        with started(root) as environment:
            status = reproduce(root, context.args, environment)
        if status:
            typer.echo(f"The pipeline stopped. {after_a_stop(root)}", err=True)
            raise typer.Exit(status)
        try:
            _sync(root)
        except DataError as error:
            typer.echo(f"warning: {error}", err=True)
    reports = {"Report, in-house": "report.html", "Report for release": "release/report.html"}
    for name, place in reports.items():
        if (root / "reports" / place).is_file():
            typer.echo(f"{name}: {root / 'reports' / place}")


@app.command()
def sync() -> None:
    """Bring recorded trainings, figures and packaged models into MLflow. Adds only what is missing there."""
    from mlops.settings import find_root

    _sync(find_root())


def _sync(root: Path) -> None:
    from mlops import registry
    from mlops import sync as syncing
    from mlops.connection import connect, explained, tracking_uri
    from mlops.tuning.record import sync_studies

    done = syncing.sync(root)
    sync_studies(root)
    typer.echo(
        f"MLflow at {without_secrets(tracking_uri(root))}: {done.networks} networks and {done.figures} figure files are in."
    )
    with explained(root):
        tracking = connect(root)
        versions = [registry.register(tracking, model) for model in registry.packaged(root)]
        for line in [line for model in registry.MODELS for line in registry.repair(tracking, model)]:
            typer.echo(f"warning: {line}", err=True)
    if versions:
        typer.echo(f"Registered: {', '.join(f'{version.name} version {version.number}' for version in versions)}.")


registry_commands.add_to(app)
app.command()(generate)
app.command()(studio)
app.command()(serve)


@weights_app.command("fetch")
def fetch_weights(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="All, if none is named.", show_default=False)
    ] = None,
) -> None:
    """Bring weights into the cache, so that nothing is downloaded later. What is there already stays."""
    from evaluation.networks.weights import WEIGHTS, fetch

    paths = fetch(names or tuple(WEIGHTS), typer.echo)
    typer.echo(f"{len(paths)} of {len(WEIGHTS)} files are ready in {next(iter(paths.values())).parent}")


@weights_app.command("list")
def list_weights() -> None:
    """Say which weights are in the cache, and from which source. Nothing is downloaded."""
    from evaluation.networks.weights import WEIGHTS, entries

    for entry in entries():
        about = f"{entry.size / 1e6:.0f} MB, from {entry.source}" if entry.source else f"for {WEIGHTS[entry.name].figures}"
        typer.echo(f"{entry.name:<14} {entry.state:<8} {about}\n{'':<14} {entry.path}")


@weights_app.command("path")
def weights_place(
    name: Annotated[str | None, typer.Argument(help="Of this file instead of the folder.", show_default=False)] = None,
) -> None:
    """Print the folder of the cache, or where one of its files belongs."""
    from evaluation.networks.weights import weights_folder, weights_path

    typer.echo(weights_path(name) if name else weights_folder())


@study_app.command("limited-data")
def study_limited_data(
    generator: Annotated[str, typer.Argument(metavar="GEN", help="One of generators.names.")],
    patients: Annotated[str, typer.Option(metavar="N,N,...", help="Numbers of training patients.")],
) -> None:
    """Train a generator on few patients and on more, and draw what it can then do: fidelity, utility, membership.

    Starts from finished results and leaves them as they are. Takes about as long as the generator's part of `syncmri run`,
    once for each number; stopped, the same command goes on where it was.
    """
    from mlops.settings import find_root
    from mlops.study import limited_data

    counts = [int(word) if word.strip().isdecimal() else _no_number(word) for word in patients.split(",")]
    table = limited_data(find_root(), generator, counts, typer.echo)
    typer.echo(f"Table: {table}\nFigure: {table.with_suffix('.svg')}")


def _no_number(word: str) -> int:
    raise DataError(f"--patients: found '{word}', expected whole numbers with commas between them, such as 5,10,20")


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> None:
    """Entry point: a fault in the user's data is one clear message and status 1, Ctrl-C one line and status 130."""
    print_on_any_terminal()
    try:
        app()
    except DataError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.echo("Interrupted. What is finished is kept; the same command goes on from there.", err=True)
        raise


if __name__ == "__main__":
    main()
