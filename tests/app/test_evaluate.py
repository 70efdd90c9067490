"""``syncmri evaluate`` as typed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from app.evaluate import app
from cmr.errors import DataError
from cmr.store import SliceStore
from tests.app.test_cli import syncmri
from tests.evaluation.hearts import hearts

RUN = CliRunner()


def store(path: Path, seed: int) -> Path:
    masks = hearts(12, seed, 32)
    index = pd.DataFrame({"subject": np.repeat([f"{path.name}{patient}" for patient in range(4)], 3)})
    SliceStore.write(path, index, masks, (masks / 1.5 - 1).astype(np.float16))
    return path


@pytest.mark.parametrize("command", ["fidelity", "privacy", "masks", "utility"])
def test_help_says_what_is_assumed(command: str) -> None:
    done = RUN.invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0
    assert ("patients.csv" if command in ("fidelity", "privacy") else "3 RV") in done.output


def test_masks_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    real, made = store(tmp_path / "real", 0), store(tmp_path / "made", 1)
    out = tmp_path / "out" / "masks.json"
    words = ["masks", "--real", str(real), "--synthetic", str(made), "--out", str(out)]
    done = RUN.invoke(app, words, env={"COLUMNS": "160", "NO_COLOR": "1"}, catch_exceptions=False)
    assert done.exit_code == 0
    assert "valid_share_real" in done.output
    assert "12 of 4 patients" in done.output
    written = json.loads(out.read_text())
    assert written["figures"]["LV"]["area"]["real"]["n"] == 12


def test_reasons_stand_below_the_table(tmp_path: Path) -> None:
    real = store(tmp_path / "real", 0)
    done = RUN.invoke(app, ["utility", "--predicted", str(real), "--truth", str(real)], env={"COLUMNS": "400", "NO_COLOR": "1"})
    assert "- clinical.dice, clinical.iou, clinical.hd95, clinical.asd: single slices" in done.output


def test_an_empty_folder_is_a_fault_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected images, or a slice store"):
        RUN.invoke(app, ["fidelity", "--real", str(tmp_path), "--synthetic", str(tmp_path)], catch_exceptions=False)


@pytest.mark.slow
def test_the_command_line_tells_it_in_one_message(tmp_path: Path) -> None:
    done = syncmri(tmp_path, "evaluate", "masks", "--real", "nowhere", "--synthetic", "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("error: nowhere: there is no such folder")
