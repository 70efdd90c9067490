"""The registry's commands as a user types them, on a tiny project with a registered model."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli import main
from mlops.settings import DataSettings, section
from tests.mlops.registered import build_registered
from tests.mlops.test_promotion import change_gate

PATIENT = "mnms-train-00"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return build_registered(tmp_path_factory.mktemp("registered") / "project")


@pytest.fixture
def root(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project to work in."""
    monkeypatch.chdir(shutil.copytree(built, tmp_path / "project"))
    return Path.cwd()


@pytest.fixture
def syncmri(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple]:
    """Runs a command; gives its status and what it prints to stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("LOGNAME", "anna")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["syncmri", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return run


def test_promote_prints_the_table_and_history_remembers(syncmri: Callable[..., tuple]) -> None:
    status, out, _ = syncmri("promote", "ddpm")
    assert status == 0
    (line,) = (line for line in out.splitlines() if "privacy.mia_auc " in line)
    assert line.split() == ["privacy.mia_auc", "≤", "0.9", "0.55", "0.4", "–", "0.7", "24", "0.7", "pass"]
    assert "A demo's limits" in out
    assert "syncmri-ddpm version 1 is approved: models:/syncmri-ddpm@approved" in out
    status, out, _ = syncmri("history", "syncmri-ddpm")
    assert (status, "anna" in out, "version 1 approved" in out) == (0, True, True)
    assert "privacy.mia_auc 0.7 ≤ 0.9" in out
    assert out.endswith("Approved now: version 1\n")


def test_a_refusal_is_status_1_and_says_why(root: Path, syncmri: Callable[..., tuple]) -> None:
    change_gate(root, lambda gate: gate["images"]["privacy"].update(mia_auc={"at_most": 0.6}))
    status, out, err = syncmri("promote", "ddpm", "--version", "1")
    assert status == 1
    assert "- privacy.mia_auc is 0.7, ≤ 0.6 was asked for" in out
    assert "error: refused" in err
    status, out, _ = syncmri("history", "ddpm")
    assert ("version 1 refused" in out, "Approved now: none. models:/syncmri-ddpm@approved" in out) == (True, True)


def test_an_override_is_shown_wherever_the_version_is(root: Path, syncmri: Callable[..., tuple]) -> None:
    change_gate(root, lambda gate: gate["images"]["privacy"].update(mia_auc={"at_most": 0.6}))
    status, out, _ = syncmri("promote", "ddpm", "--override", "phantoms only [no patients]")
    assert (status, "approved by override of the gate" in out) == (0, True)
    _, out, _ = syncmri("history", "ddpm")
    assert "by override: phantoms only [no patients]" in " ".join(out.split())
    assert out.endswith("Approved now: version 1, approved by override: phantoms only [no patients]\n")
    status, out, _ = syncmri("demote", "ddpm")
    assert (status, "syncmri-ddpm version 1 is no longer approved" in out) == (0, True)


def test_verify_says_each_step_and_fails_where_one_does_not_hold(root: Path, syncmri: Callable[..., tuple]) -> None:
    assert syncmri("verify", "ddpm")[0] == 1
    syncmri("promote", "ddpm")
    status, out, _ = syncmri("verify", "syncmri-ddpm")
    assert (status, out.splitlines()[-1]) == (0, "The approval of ddpm holds.")
    assert all(line.startswith("ok  ") for line in out.splitlines()[:-1])
    card = next((root / ".syncmri/registry").rglob("card.md"))
    card.write_text(card.read_text() + " ")
    status, out, err = syncmri("verify", "ddpm")
    assert (status, f"FAIL  {card}: changed" in out, "does not hold" in err) == (1, True, True)


def test_register_again_changes_nothing(syncmri: Callable[..., tuple]) -> None:
    status, out, _ = syncmri("register")
    assert (status, out) == (0, "syncmri-ddpm version 1 (candidate)\n")


def test_lineage_and_exclude(root: Path, syncmri: Callable[..., tuple]) -> None:
    syncmri("promote", "ddpm")
    status, out, _ = syncmri("lineage", PATIENT)
    assert status == 0
    assert "- syncmri-ddpm version 1 (" in out
    status, out, _ = syncmri("exclude", PATIENT)
    assert status == 0
    assert "`syncmri demote ddpm` takes that away" in out
    assert section("data", DataSettings, root).excluded == (f"mnms/{PATIENT}",)
    status, _, err = syncmri("promote", "ddpm", "--override", "please")
    assert (status, "withdrawn the consent" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("promote", "ddmp"), "Did you mean 'ddpm'?"),
        (("promote", "ddpm", "--version", "9"), "9"),
        (("demote", "fm"), "no version is approved"),
        (("lineage", "nobody"), "patient 'nobody'"),
        (("exclude", "nobody"), "patient 'nobody'"),
    ],
)
def test_a_slip_is_one_message_and_status_1(syncmri: Callable[..., tuple], words: tuple[str, ...], told: str) -> None:
    status, out, err = syncmri(*words)
    assert (status, out, "error: " in err, told in err) == (1, "", True, True)
