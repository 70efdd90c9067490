"""Seconds that a person waits where nothing is to be done: ``syncmri run`` of a finished project, and ``syncmri --help``.

    python -m benchmarks.idle --project DIR [--quick]    # DIR: a project whose pipeline is up to date; default: this one

There is no plain way: the ratio is the limit by the seconds, its goal 1.
"""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import arguments, finish, repeats, within
from cmr.errors import DataError


def main() -> None:
    """Prints and records the figures; see the module."""
    parser = arguments(__doc__)
    parser.add_argument("--project", type=Path, default=Path())
    given = parser.parse_args()
    turns = repeats(given)
    shown = [seconds("app.cli", "--help", folder=given.project) for _ in range(turns + 1)][1:]  # the first fills the page cache
    within("syncmri --help", shown, 1.0, "s", work="a process of its own", limit="Python and typer")
    if (given.project / "dvc.lock").is_file():
        still = [seconds("dvc", "repro", folder=given.project) for _ in range(turns)]
        limit = "DVC reads its stages, and looks at every file that they depend on"
        within(
            "dvc repro, nothing to do", still, 10.0, "s", work=f"{stages(given.project)} stages, all up to date", limit=limit
        )
    else:
        print(f"`dvc repro` was not timed: {given.project.resolve()} holds no finished pipeline (`make demo` makes one)")
    finish(given)


def seconds(module: str, *words: str, folder: Path) -> float:
    """Of a command that must succeed, and run no stage."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", module, *words], cwd=folder, capture_output=True, text=True)
    taken = time.perf_counter() - start
    if done.returncode or "Running stage" in done.stdout:
        raise DataError(f"{module} {' '.join(words)} in {folder} failed or had something to do:\n{done.stdout}{done.stderr}")
    return taken


def stages(project: Path) -> int:
    """In ``dvc.lock``."""
    from ruamel.yaml import YAML

    return len(YAML(typ="safe").load(project / "dvc.lock")["stages"])


if __name__ == "__main__":
    main()
