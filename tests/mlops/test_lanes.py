import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops.lanes import THREADS, phases, run_lanes, run_stages
from mlops.repro import _outdated, reproduce
from tests.mlops.conftest import REPOSITORY

NEEDS: dict[str, set[str]] = {
    "slices@a": set(),
    "cohort": {"slices@a"},
    "features": {"cohort"},
    "train_masks": {"cohort"},
    "sample_masks": {"train_masks"},
    "segment@a-real": {"slices@a"},
    "train@g": {"cohort", "segment@a-real"},
    "sample@g-full": {"train@g", "sample_masks"},
    "segment@a-real-and-g-full": {"sample@g-full"},
    "train@gh": {"cohort", "segment@a-real"},
    "privacy_masks": {"sample_masks"},
    "utility": {"segment@a-real-and-g-full", "train@gh"},
    "register@g": {"utility"},
    "register_masks": {"utility"},
}


def test_each_generator_has_a_lane_and_what_brings_all_together_has_none() -> None:
    assert phases(NEEDS, ["g", "gh"]) == [
        {"masks": ["train_masks", "sample_masks"], "real": ["segment@a-real", "features"]},
        {"g": ["train@g", "sample@g-full", "segment@a-real-and-g-full"], "gh": ["train@gh"], "masks": ["privacy_masks"]},
    ]


def test_another_pipeline_has_no_lanes() -> None:
    assert phases({"only": set()}, ["g"]) == []


def make_pipeline(project: Path, words: dict[str, str]) -> None:
    """Stages that write what they say into OUT and note when they began and ended."""
    (project / "params.yaml").write_text("generators:\n  names: [g, h]\n")
    (project / "say.py").write_text(
        "import os, sys, time, pathlib\n"
        "name = sys.argv[1]\n"
        "log = lambda what: open('log', 'a').write(f'{what} {name} {os.environ.get(\"OMP_NUM_THREADS\")}\\n')\n"
        "log('begin')\n"
        "if name == 'bad': print('no luck'); sys.exit(3)\n"
        "end = time.monotonic() + 60\n"
        "while name in 'gh' and open('log').read().count('begin') < 3 and time.monotonic() < end: time.sleep(0.05)\n"
        "print('done', name, end='\\r'); print('done', name)\n"
        "pathlib.Path(f'{name}.txt').write_text(name)\n"
        "log('end')\n"
    )
    stages = "".join(
        f"  {stage}:\n    matrix: {{generator: [{item}]}}\n    cmd: {sys.executable} say.py {word}\n    deps: [cohort.txt]\n"
        f"    outs: [{word}.txt]\n"
        for (stage, item), word in {tuple(key.split("@")): word for key, word in words.items()}.items()
    )
    outs = "\n".join(f"      - {word}.txt" for word in words.values())
    (project / "dvc.yaml").write_text(
        f"stages:\n  cohort:\n    cmd: {sys.executable} say.py cohort\n    outs: [cohort.txt]\n{stages}"
        f"  report:\n    cmd: {sys.executable} say.py report\n    deps:\n{outs}\n    outs: [report.txt]\n"
    )


def test_lanes_run_side_by_side_and_the_rest_after_them(versioned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THREADS, raising=False)
    monkeypatch.setattr("mlops.repro._cores", lambda environment: 2)
    make_pipeline(versioned, {"train@g": "g", "fit@h": "h"})
    assert reproduce(versioned, []) == 0
    log = (versioned / "log").read_text().splitlines()
    # g and h each waited until both had begun.
    assert log[:2] == ["begin cohort None", "end cohort None"]
    assert sorted(log[2:4]) == ["begin g 1", "begin h 1"]
    assert log[-2:] == ["begin report None", "end report None"]
    assert reproduce(versioned, []) == 0
    assert (versioned / "log").read_text().splitlines() == log


def test_a_lane_that_stops_is_told_and_leaves_the_others_their_work(
    versioned: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pipeline(versioned, {"train@g": "bad", "fit@h": "late"})
    assert reproduce(versioned, ["cohort"]) == 0
    assert run_lanes(versioned, {"g": ["train@g"], "h": ["fit@h"]}, 2, dict(os.environ)) != 0
    shown = capfd.readouterr().out.splitlines()
    assert "g      no luck" in shown
    assert "h      done late" in shown
    assert (versioned / "late.txt").exists()
    assert not (versioned / "report.txt").exists()


def test_on_a_cluster_each_stage_begins_as_soon_as_what_it_needs_is_there(
    versioned: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(THREADS, raising=False)
    make_pipeline(versioned, {"train@g": "g", "fit@h": "h"})
    needs = {"cohort": set(), "train@g": {"cohort"}, "fit@h": {"cohort"}, "report": {"train@g", "fit@h"}}
    assert run_stages(versioned, needs, 2, 4, dict(os.environ)) == 0
    log = (versioned / "log").read_text().splitlines()
    assert log[:2] == ["begin cohort 2", "end cohort 2"]
    assert sorted(log[2:4]) == ["begin g 2", "begin h 2"]  # each waited until both had begun
    assert log[-2:] == ["begin report 2", "end report 2"]
    assert "train@g done g" in capfd.readouterr().out.splitlines()


def test_what_stands_on_a_stage_that_stopped_is_not_begun(versioned: Path) -> None:
    make_pipeline(versioned, {"train@g": "bad", "fit@h": "late"})
    needs = {"cohort": set(), "train@g": {"cohort"}, "fit@h": {"cohort"}, "report": {"train@g", "fit@h"}}
    assert run_stages(versioned, needs, 1, 1, dict(os.environ)) != 0
    assert (versioned / "late.txt").exists()
    assert not (versioned / "report.txt").exists()
    assert "begin report" not in (versioned / "log").read_text()


def test_only_what_changed_is_run_and_what_stands_on_it() -> None:
    assert _outdated(NEEDS, {"train@g"}) == {
        "train@g": set(),
        "sample@g-full": {"train@g"},
        "segment@a-real-and-g-full": {"sample@g-full"},
        "utility": {"segment@a-real-and-g-full"},
        "register@g": {"utility"},
        "register_masks": {"utility"},
    }
    assert _outdated(NEEDS, set()) == {}


def test_with_the_threads_set_by_hand_it_is_a_plain_repro(versioned: Path) -> None:
    make_pipeline(versioned, {"train@g": "one"})
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "run"],
        cwd=versioned,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), THREADS: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\nRunning stage 'train@one'" not in done.stdout
    assert [line.split()[2] for line in (versioned / "log").read_text().splitlines()] == ["1"] * 6
