"""``syncmri register``, ``promote``, ``demote``, ``history``, ``verify``, ``lineage``, ``exclude``: the life of a model."""

from typing import TYPE_CHECKING, Annotated

import typer

from cmr.errors import DataError

if TYPE_CHECKING:
    from mlops.lineage import Lineage

Model = Annotated[str, typer.Argument(metavar="MODEL", help="masks or a generator, such as ddpm.")]
Patient = Annotated[str, typer.Argument(metavar="PATIENT", help="As in the dataset, or DATASET/PATIENT.")]


def add_to(app: typer.Typer) -> None:
    """Give the command line its commands."""
    for command in (register, promote, demote, history, verify, lineage, exclude):
        app.command()(command)


def register(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="All that are packaged, if none is named.")
    ] = None,
) -> None:
    """Make a version of each trained model in MLflow's registry, as a candidate. What is registered already stays."""
    from mlops import registry
    from mlops.connection import connect, explained
    from mlops.settings import find_root

    root = find_root()
    names = [_model(name) for name in models or registry.packaged(root)]
    with explained(root):
        tracking = connect(root)
        for name in names:
            version = registry.register(tracking, name)
            typer.echo(f"{version.name} version {version.number}{_aliases(version.aliases)}")
    if not names:
        typer.echo("No model is packaged yet: `syncmri run` trains and packages them.", err=True)
        raise typer.Exit(1)


def promote(
    model: Model,
    version: Annotated[
        int | None, typer.Option(metavar="N", help="This version instead of the newest.", show_default=False)
    ] = None,
    override: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Approve even if the gate refuses; kept with your name.", show_default=False),
    ] = None,
) -> None:
    """Approve a version if it keeps every limit of the gate. Prints each limit; fails where one is not kept, and tags why."""
    from app.console import print_table
    from app.registry_tables import verdict_table
    from mlops.gate import GateSettings
    from mlops.promotion import promote as decide
    from mlops.settings import find_root, section

    root = find_root()
    decision = decide(root, _model(model), version, override)
    name = f"{decision.version.name} version {decision.version.number}"
    print_table(verdict_table(name, decision.verdicts, section("gate", GateSettings, root).meaning))
    for reason in decision.reasons:
        typer.echo(f"- {reason}")
    before = f" Version {decision.replaced}" if decision.replaced else ""
    if not decision.approved:
        stays = f"{before} stays approved." if before else ""
        typer.echo(f"error: refused: the gate does not let {name} pass.{stays}", err=True)
        raise typer.Exit(1)
    how = "approved by override of the gate" if decision.override else "approved"
    typer.echo(f"{name} is {how}: models:/{decision.version.name}@approved.{f'{before} was before.' if before else ''}")


def demote(model: Model) -> None:
    """Take the approval from the approved version. What serves it stops within a minute; `promote --version` brings it back."""
    from mlops.promotion import demote as take
    from mlops.registry import registered_name
    from mlops.settings import find_root

    name = _model(model)
    number = take(find_root(), name)
    typer.echo(f"{registered_name(name)} version {number} is no longer approved; nothing is.")


def history(model: Model) -> None:
    """Who approved, refused or demoted which version, when, on which figures and limits, in whose place, signed by whom."""
    from app.console import print_table
    from app.registry_tables import history_table
    from mlops.approvals.current import approved_now
    from mlops.approvals.store import read_chain
    from mlops.connection import connect, explained
    from mlops.registry import registered_name
    from mlops.settings import find_root

    root, name = find_root(), _model(model)
    with explained(root):
        tracking = connect(root)
        chain = read_chain(tracking, name)
        if chain.history:
            print_table(history_table(registered_name(name), chain.history, chain.signers))
        else:
            typer.echo(f"{registered_name(name)}: nothing has happened to it yet.")
        try:
            approval = approved_now(tracking, name)
        except DataError as error:
            typer.echo(f"Approved now: none. {error}")
            return
    typer.echo(f"Approved now: version {approval.version.number}{''.join(f', {mark}' for mark in approval.marks)}")


def verify(model: Model) -> None:
    """Audit an approval: every signed statement, their chain, every file. Fails at the first thing that does not hold."""
    from mlops.approvals.verify import verify as steps
    from mlops.settings import find_root

    name = _model(model)
    for step in steps(find_root(), name):
        state = typer.style("ok  ", fg=typer.colors.GREEN) if step.holds else typer.style("FAIL", fg=typer.colors.RED)
        typer.echo(f"{state}  {step.text}")
        if not step.holds:
            typer.echo(f"error: the approval of {name} does not hold", err=True)
            raise typer.Exit(1)
    typer.echo(f"The approval of {name} holds.")


def lineage(patient: Patient) -> None:
    """List every model version, synthetic set and export that a patient's scans went into."""
    from mlops.lineage import lineage as trace
    from mlops.settings import find_root

    _tell(trace(find_root(), patient))


def exclude(patient: Patient) -> None:
    """Leave a patient out of everything from the next run on, and mark the versions that were trained on the scans.

    Nothing is deleted and no version is demoted by this: what it went into is listed, for you to decide.
    """
    from mlops.lineage import exclude as leave_out
    from mlops.settings import PARAMS, find_root

    found = leave_out(find_root(), patient)
    _tell(found)
    typer.echo(f"{PARAMS} names {' and '.join(found.names)} in data.excluded now: `syncmri run` makes everything without.")
    for version in found.unknown:
        typer.echo(
            f"{version.name} version {version.number}: whom it learnt from is not known on this machine; repeat the command "
            "where it was registered."
        )
    for version in found.versions:
        if "approved" in version.aliases:
            typer.echo(
                f"{version.name} version {version.number} is approved: `syncmri demote {version.model}` takes that away."
            )


def _tell(found: "Lineage") -> None:
    for line in found.lines():
        typer.echo(line)


def _aliases(aliases: tuple[str, ...]) -> str:
    return f" ({', '.join(aliases)})" if aliases else ""


def _model(name: str) -> str:
    """``ddpm``, whether called so or as it is registered."""
    from mlops.faults import nearest
    from mlops.registry import MODELS, registered_name

    short = next((model for model in MODELS if name in (model, registered_name(model))), None)
    if short is None:
        raise DataError(f"There is no model '{name}'; there are {', '.join(MODELS)}.{nearest(name, list(MODELS))}")
    return short
