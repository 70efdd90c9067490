"""The pipeline of a project on a Ray cluster of two nodes of this machine, the second of which is killed on the way.

    cd PROJECT && python -m tests.faults.two_nodes [WORDS OF syncmri run]

runs what is out of date of the project (``syncmri configure demo`` makes one), kills the second node when the first network
that trains has written a state to resume from, and says how it ended.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.mlops.nodes import Cluster, cluster, lose
from tests.pipelines.project import environment


def run_and_lose(found: Cluster, root: Path, command: Sequence[str], when: Callable[[], bool], limit: float) -> tuple[int, str]:
    """Runs a command of this Python's environment in ``root`` and kills the second node as soon as ``when`` holds.

    Args:
        limit: seconds that all may take.

    Returns:
        The exit status, and what it printed.
    """
    log = root / ".two_nodes.log"
    end, lost = time.monotonic() + limit, False
    with log.open("w") as file:
        running = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=root,
            env=environment() | {"RAY_ADDRESS": found.address},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            while running.poll() is None and time.monotonic() < end:
                if not lost and when():
                    lose(found)
                    lost = True
                time.sleep(0.05)
            assert lost, f"it ended, or time did, before the node could be lost:\n{log.read_text()[-4000:]}"
            assert running.poll() is not None, f"not done after {limit:.0f} s:\n{log.read_text()[-4000:]}"
        finally:
            running.terminate()
            running.wait()
    return running.returncode, log.read_text()


def states(root: Path) -> Callable[[], bool]:
    """Whether a training has written a state to resume from since this was asked for."""
    before = time.time()
    return lambda: any(state.stat().st_mtime > before for state in (root / ".syncmri/state").glob("*.pt"))


def main() -> None:
    root = Path.cwd()
    with cluster(max(1, (os.cpu_count() or 2) // 2), 1) as found:
        status, said = run_and_lose(found, root, ["app.cli", "run", *sys.argv[1:]], states(root), limit=4 * 3600)
    print(said)
    print(f"with the second node lost on the way, `syncmri run` ended with exit status {status}")
    sys.exit(status)


if __name__ == "__main__":
    main()
