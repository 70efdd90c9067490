"""What every benchmark shares: the plain way and ours take turns on the same work, and what came of it is kept.

A script of this folder calls :func:`compare`, then :func:`report` with the goal, and :func:`finish` at its end. A ratio is of
two neighbouring timings, so that a machine that slows down slows both. Spreads are quartiles.
"""

import argparse
import gc
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import page
from cmr.files import whole_file

RESULTS = Path("benchmarks/results.json")
QUICK = Path("benchmarks/quick.json")
UNKNOWN = "not known why: look for other work on the machine, then for a change of the code"
SEEN: list["Result"] = []


@dataclass(frozen=True)
class Comparison:
    """Timings of the two ways, in turn on the same work.

    Attributes:
        plain: seconds of each repeat, already times ``factor``.
        ours: seconds of each repeat.
        factor: all the work by what the plain way was timed on; 1 where it did all. Above 1 the plain way is extrapolated.
        agreement: in words, how the results were found to agree.
    """

    plain: list[float]
    ours: list[float]
    agreement: str
    factor: float = 1.0

    @property
    def ratios(self) -> list[float]:
        return [plain / ours for plain, ours in zip(self.plain, self.ours, strict=True)]


@dataclass(frozen=True)
class Result:
    """A row of the table and of ``results.json``.

    Attributes:
        stage: what was measured, unique in all benchmarks.
        ratios: of each repeat: how many times better ours is than the plain way, or than a limit where that is the goal.
        goal: least ratio.
        reason: why the ratio is under its goal; empty where it is not.
        plain, ours: for people: a median with its quartiles and unit.
        work: what was done, so that it can be done again.
    """

    stage: str
    ratios: list[float]
    goal: float
    reason: str
    plain: str
    ours: str
    work: str
    extrapolated: bool = False

    @property
    def ratio(self) -> float:
        return float(np.median(self.ratios))


def arguments(description: str | None, **defaults: int) -> argparse.ArgumentParser:
    """A parser with ``--quick``, ``--repeats`` and ``--out``; a script adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less work: for `make bench`, and to see that it runs")
    parser.add_argument("--repeats", type=int, default=None, help="timings of each way (5; with --quick 3)")
    parser.add_argument("--out", type=Path, default=None, help=f"{RESULTS}; with --quick {QUICK}")
    return parser


def repeats(given: argparse.Namespace, usual: int = 5, quick: int = 3) -> int:
    """How often each way is timed."""
    return given.repeats or (quick if given.quick else usual)


def compare(
    plain: Callable[[], object],
    ours: Callable[[], object],
    *,
    repeats: int,
    agreement: str,
    factor: float = 1.0,
    warm: bool = True,
) -> Comparison:
    """Times both ways in turn, ``repeats`` times each; who goes first changes from turn to turn.

    Args:
        agreement: what the caller found when it compared the results, which it does before anything is timed.
        factor: all the work by the share of it that ``plain`` does.
        warm: whether each way first runs once untimed. Not where that takes minutes and nothing is compiled or cached.
    """
    ways = (plain, ours)
    if warm:
        for work in ways:
            work()
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            seconds[which].append(timed(ways[which]))
    return Comparison([value * factor for value in seconds[0]], seconds[1], agreement, factor)


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call, whatever it started on a GPU included."""
    gc.collect()
    start = time.perf_counter()
    work()
    if (torch := _torch()) is not None and torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def agree(what: str, ours: Any, plain: Any, tolerance: float) -> str:
    """Says by how much two results differ at most; ends the program where that is more than ``tolerance``, or not a number."""
    worst = float(np.abs(np.asarray(ours, np.float64) - np.asarray(plain, np.float64)).max())
    told = f"{what}: both ways agree to {worst:.2g}"
    if not worst <= tolerance:
        raise SystemExit(f"{what}: the two ways differ by {worst:.3g}, more than {tolerance:g}: nothing was timed")
    return told


def report(stage: str, found: Comparison, *, goal: float, work: str, limit: str = UNKNOWN, unit: float = 1.0) -> Result:
    """Keeps what a comparison found.

    Args:
        goal: least median ratio.
        limit: why the ratio is what it is; becomes the reason where it is under its goal.
        unit: the timings are divided by it before they are shown: the number of things done.
    """
    ratio = float(np.median(found.ratios))
    return keep(
        Result(
            stage,
            found.ratios,
            goal,
            limit if ratio < goal else "",
            _seconds(found.plain, unit),
            _seconds(found.ours, unit),
            f"{work}; {found.agreement}",
            found.factor > 1,
        )
    )


def within(stage: str, values: list[float], most: float, unit: str, *, work: str, limit: str = UNKNOWN) -> Result:
    """Keeps what has a limit and no plain way: the ratio is the limit by the value, its goal 1."""
    reached = [most / value for value in values]
    reason = limit if np.median(reached) < 1 else ""
    return keep(Result(stage, reached, 1.0, reason, f"≤ {most:g} {unit}", f"{spread(values)} {unit}", work))


def keep(result: Result) -> Result:
    SEEN.append(result)
    return result


def finish(given: argparse.Namespace) -> None:
    """Prints what was kept, and merges it into the file of results: a stage replaces its own earlier row."""
    out = given.out or (QUICK if given.quick else RESULTS)
    Console(width=None if Console().is_terminal else 150).print(table(SEEN))
    rows = {row["stage"]: row for row in read(out)}
    rows |= {result.stage: _row(result) for result in SEEN}
    with whole_file(out) as temporary:
        temporary.write_text(json.dumps(list(rows.values()), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    print(f"Wrote {out}")
    if out == RESULTS:
        page.write(page.PERFORMANCE, "harness.py", markdown(list(rows.values())))


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows of a file of results, as docs/performance.md shows them."""
    lines = ["| stage | plain | ours | ratio | goal | work; why it is under its goal |", "|---|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{'~' if row['extrapolated'] else ''}{row['ratio']:g} ({row['quartiles'][0]:g}–{row['quartiles'][1]:g})"
        why = f"; **{row['reason']}**" if row["reason"] else ""
        lines.append(f"| {row['stage']} | {row['plain']} | {row['ours']} | {ratio} | {row['goal']:g} | {row['work']}{why} |")
    return "\n".join(lines)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of results; none where there is no such file."""
    return json.loads(path.read_text()) if path.is_file() else []


def table(results: list[Result]) -> Table:
    """For people, reasons below."""
    shown = Table(box=box.SIMPLE_HEAD, caption="median (quartiles); ~ extrapolated from a part of the work")
    for heading in ("stage", "plain", "ours", "ratio", "goal"):
        shown.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=heading != "stage")
    for result in results:
        mark = "~" if result.extrapolated else ""
        met = "" if result.ratio >= result.goal else " missed"
        shown.add_row(result.stage, mark + result.plain, result.ours, spread(result.ratios) + " ×", f"{result.goal:g}{met}")
        if result.reason:
            shown.add_row(f"[dim]  {result.reason}[/dim]")
    return shown


def spread(values: list[float]) -> str:
    """Median and quartiles, three digits each."""
    middle, low, high = (float(value) for value in np.percentile(values, (50, 25, 75)))
    return f"{_digits(middle)} ({_digits(low)}–{_digits(high)})"


def machine() -> str:
    """Processor, cores this process may use, GPU if there is one."""
    found = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    parts = [found[0] if found else platform.processor() or platform.machine(), f"{cores()} cores"]
    if (torch := _torch()) is not None and torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _row(result: Result) -> dict[str, Any]:
    low, high = np.percentile(result.ratios, (25, 75))
    return {
        "stage": result.stage,
        "ratio": _rounded(result.ratio),
        "goal": result.goal,
        "reason": result.reason,
        "quartiles": [_rounded(low), _rounded(high)],
        "repeats": len(result.ratios),
        "plain": result.plain,
        "ours": result.ours,
        "extrapolated": result.extrapolated,
        "work": result.work,
        "machine": machine(),
        "load": _rounded(os.getloadavg()[0]),  # above the number of cores the machine was busy with other things too
        "date": datetime.now(UTC).date().isoformat(),
    }


def _seconds(values: list[float], unit: float) -> str:
    each = [value / unit for value in values]
    scale, name = next((s, n) for s, n in ((1, "s"), (1e3, "ms"), (1e6, "µs")) if np.median(each) * s >= 1 or s == 1e6)
    return f"{spread([value * scale for value in each])} {name}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def _torch() -> Any:
    """torch where something has imported it: a benchmark of files need not wait for it."""
    import sys

    return sys.modules.get("torch")
