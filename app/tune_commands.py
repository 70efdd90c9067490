"""``syncmri tune``: sweeps of a network's parameters, what came of them, and the best values into params.yaml."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from cmr.errors import DataError

if TYPE_CHECKING:
    from typer._click import Context

NET = "NET"
ONE, SEVERAL = "one", "several"


class _Networks(TyperGroup):
    """A group that takes every word that is no command of its own for the name of a network."""

    def resolve_command(self, ctx: "Context", args: list[str]) -> tuple:  # type: ignore[type-arg]
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "", self.commands[NET], args


tune_app = typer.Typer(
    cls=_Networks,
    help="Search good parameters for a network: masks, segmenter or a generator such as fm.",
    no_args_is_help=True,
)


@tune_app.command(NET)
def start(
    network: Annotated[str, typer.Argument(metavar="NET", help="masks, segmenter or a generator.")],
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="With --resume: this one, not the newest.", show_default=False)
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="So many instead of NET.search.trials.", show_default=False)] = None,
    minutes: Annotated[
        float | None, typer.Option("--time", metavar="MIN", min=0, help="Stop after so many minutes.", show_default=False)
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Trials at once.", show_default=False)] = None,
    objectives: Annotated[
        str, typer.Option(metavar="one|several", help="several: weigh NET.search.objectives, no early stopping, a front.")
    ] = ONE,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that was stopped or killed.")] = False,
) -> None:
    """Search the space NET.search of params.yaml. Stopped or killed, --resume goes on; no trial is lost or done twice.

    With RAY_ADDRESS set the trials run on that cluster.
    """
    from mlops.settings import find_root

    if objectives not in (ONE, SEVERAL):
        raise DataError(f"--objectives: found '{objectives}', expected {ONE} or {SEVERAL}")
    if study and not resume:
        raise DataError(f"'{study}' names a study, which only --resume takes: syncmri tune {network} --resume {study}")
    root = find_root()
    words = [_network(root, network)]
    words += ["--trials", str(trials)] if trials is not None else []
    words += ["--time", str(minutes)] if minutes is not None else []
    words += ["--concurrency", str(concurrency)] if concurrency is not None else []
    words += ["--several"] if objectives == SEVERAL else []
    words += ["--resume", study or _newest(root, network)] if resume else []
    if status := _pipeline(root, words):
        raise typer.Exit(status)


@tune_app.command("list")
def list_studies() -> None:
    """List the studies of this project."""
    from mlops.settings import find_root
    from mlops.tuning.results import best, counts
    from mlops.tuning.studies import studies

    for study in studies(find_root()):
        trials = study.all_trials()
        ended = ", ".join(f"{count} {state}" for state, count in sorted(counts(trials).items())) or "no trial yet"
        leader = best(study, trials)
        told = f", best {leader.scores['score']:.4g} (trial {leader.number})" if leader else ""
        typer.echo(f"{study.name:<14} {ended} of {study.trials}{told}")


@tune_app.command()
def show(study: Annotated[str, typer.Argument(metavar="STUDY")]) -> None:
    """Show every trial of a study, the best first, and why one failed."""
    from rich.table import Table

    from app.console import print_table
    from mlops.settings import find_root
    from mlops.tuning.results import front, table, tried
    from mlops.tuning.studies import load

    found = load(find_root(), study)
    trials = {trial.number: trial for trial in found.all_trials()}
    leading = {trial.number for trial in front(found, list(trials.values()))} if found.objectives else set()
    drawn = Table("trial", "state", *found.goals, "steps", "what was tried, and what went wrong", title=found.name)
    for number, steps in table(found, list(trials.values()))[["trial", "steps"]].itertuples(index=False):
        trial = trials[number]
        scores = [f"{trial.scores[name]:.4g}" if name in trial.scores else "" for name in found.goals]
        state = f"{trial.state}, front" if number in leading else trial.state
        drawn.add_row(str(number), state, *scores, str(steps), "\n".join(filter(None, [tried(trial), trial.error])))
    print_table(drawn)
    typer.echo(f"Table and figures: {found.report}" if found.report.is_dir() else "There is no report yet.")


@tune_app.command()
def apply(
    study: Annotated[str, typer.Argument(metavar="STUDY")],
    trial: Annotated[int | None, typer.Option(metavar="N", help="This one instead of the best.", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Write the values of a study's best trial into params.yaml: shows the change first, and asks."""
    import difflib

    from cmr.files import whole_file
    from mlops.profiles import changed
    from mlops.settings import PARAMS, find_root
    from mlops.tuning.results import line, winner
    from mlops.tuning.space import leaves
    from mlops.tuning.studies import load

    root = find_root()
    found = load(root, study)
    chosen = winner(found, trial)
    typer.echo(line(found, chosen))
    after = changed(root / PARAMS, {f"{found.network}.{key}": value for key, value in leaves(chosen.values).items()})
    before = (root / PARAMS).read_text(encoding="utf-8-sig")
    if after == before:
        typer.echo(f"{PARAMS} has these values already.")
        return
    texts = before.splitlines(), after.splitlines()
    typer.echo("\n".join(difflib.unified_diff(*texts, PARAMS, f"{PARAMS} with {study}", n=0, lineterm="")))
    if not yes and not typer.confirm(f"Write this into {PARAMS}?"):
        raise typer.Exit(1)
    with whole_file(root / PARAMS) as temporary:
        temporary.write_text(after, encoding="utf-8")
    typer.echo("Written. `syncmri run` trains with these values, at the full budget.")


def _network(root: Path, name: str) -> str:
    from mlops.faults import nearest
    from mlops.settings import load_params

    known = [key for key, block in load_params(root).items() if isinstance(block, dict) and "search" in block]
    if name not in known:
        raise DataError(f"tune: no network '{name}' has a search space; found: {', '.join(known)}.{nearest(name, known)}")
    return name


def _newest(root: Path, network: str) -> str:
    """The newest study of a network that is not at its end."""
    from mlops.tuning.studies import studies
    from mlops.tuning.study import unfinished

    for study in reversed(studies(root)):
        if study.network == network and unfinished(study):
            return study.name
    raise DataError(f"--resume: there is no unfinished study of {network}; `syncmri tune list` shows all.")


def _pipeline(root: Path, words: list[str]) -> int:
    """Run the sweep in a process of its own; Ctrl-C reaches it too, and it is waited for."""
    import subprocess
    import sys

    process = subprocess.Popen([sys.executable, "-m", "pipelines.tune", *words], cwd=root)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
