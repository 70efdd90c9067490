"""Every benchmark in turn, one table at the end, and what changed since the stored baseline.

    python -m benchmarks --quick    # `make bench`: less work, under 20 minutes on two quiet cores; writes quick.json
    python -m benchmarks            # in full, hours; writes results.json

A ratio is called slower where the upper quartile of its repeats is under the lower one of the baseline's, and by more than a
fifth: a report for people, who know whether the machine was busy, and not a test. A benchmark that fails is named at the end.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.harness import QUICK, RESULTS, read

SCRIPTS = ("idle", "loading", "preprocessing", "training", "sampling", "features", "neighbours", "membership", "growth")
BASELINE = Path("benchmarks/baseline.json")
LESS = 0.8


def main() -> None:
    """Runs the scripts; exit status 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less work")
    given = parser.parse_args()
    out, failed, start = QUICK if given.quick else RESULTS, [], time.time()
    out.unlink(missing_ok=True)
    for number, script in enumerate(SCRIPTS, 1):
        print(f"[{number}/{len(SCRIPTS)}, {(time.time() - start) / 60:.0f} min] {script}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{script}", *(["--quick"] if given.quick else [])]
        if subprocess.run(command).returncode:
            failed.append(script)
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table(read(out), read(BASELINE) if given.quick else []))
    print(
        f"{(time.time() - start) / 60:.0f} min; the rows with their reasons and work: {out}; docs/performance.md explains them"
    )
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; what they said is above")


def table(rows: list[dict], baseline: list[dict]) -> Table:
    """All stages, with the ratio of the baseline and what to think of the difference."""
    before = {row["stage"]: row for row in baseline}
    shown = Table(title="How many times better than the plain way, or than the limit")
    for heading in ("stage", "plain", "ours", "ratio", "goal", "baseline", ""):
        shown.add_column(heading, justify="left" if heading in ("stage", "") else "right")
    for row in rows:
        low, high = row["quartiles"]
        ratio = f"{'~' if row['extrapolated'] else ''}{row['ratio']:g} ({low:g}–{high:g})"
        met = "" if row["ratio"] >= row["goal"] else " missed"
        known = before.get(row["stage"])
        cells = ("", "new" if baseline else "") if known is None else (f"{known['ratio']:g}", change(row, known))
        shown.add_row(row["stage"], row["plain"], row["ours"], ratio, f"{row['goal']:g}{met}", *cells)
    return shown


def change(row: dict, before: dict) -> str:
    """``slower`` and ``faster`` where quartiles part and the medians differ by a fifth; else nothing."""
    if row["quartiles"][1] < before["quartiles"][0] and row["ratio"] < LESS * before["ratio"]:
        return "slower"
    if row["quartiles"][0] > before["quartiles"][1] and row["ratio"] > before["ratio"] / LESS:
        return "faster"
    return ""


if __name__ == "__main__":
    main()
