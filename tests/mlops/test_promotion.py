"""Who gets the alias ``approved``, and what is left when somebody is interrupted."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cmr.errors import DataError
from mlops import registry
from mlops.approvals.current import NotApprovedError, approved_now
from mlops.approvals.statement import Statement
from mlops.approvals.store import read_chain
from mlops.connection import connect
from mlops.promotion import OVERRIDE, REFUSED, demote, promote
from mlops.settings import load_params
from tests.mlops.conftest import REPOSITORY
from tests.mlops.records import figure
from tests.mlops.registered import MODEL, draw_training_images, good_figures, measure, retrain, take_in


@pytest.fixture
def root(registered: Path) -> Path:
    return registered


def approved(root: Path) -> int | None:
    found = registry.approved(connect(root), MODEL)
    return found.number if found else None


def history(root: Path) -> list[Statement]:
    return read_chain(connect(root), MODEL).history


def tags(root: Path, number: int) -> dict[str, str]:
    return dict(registry.version(connect(root), MODEL, number).tags)


def change_gate(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    yaml = YAML()
    params = yaml.load(root / "params.yaml")
    change(params["gate"])
    yaml.dump(params, root / "params.yaml")


def test_all_limits_kept_is_approved(root: Path) -> None:
    decision = promote(root, MODEL, user="anna")
    assert (decision.approved, decision.reasons, decision.override, decision.replaced) == (True, (), None, None)
    assert {verdict.outcome for verdict in decision.verdicts} == {"pass"}
    assert len(decision.verdicts) == 10
    assert approved(root) == 1
    assert not {REFUSED, OVERRIDE} & set(tags(root, 1))
    (event,) = history(root)
    assert (event.what, event.who, event.version, event.id) == ("approved", "anna", 1, decision.statement)
    verdicts = {f"{one['axis']}.{one['name']}": one for one in event.verdicts}
    auc, closer = verdicts["privacy.mia_auc"], verdicts["privacy.closer_to_train"]
    assert (auc["compared"], auc["bound"], auc["outcome"]) == (0.7, 0.9, "pass")  # the upper end was compared
    assert (closer["bound"], closer["limit"]["at_most"]) == (0.7, "closer_to_train_null")
    assert auc["figure"] == good_figures()["membership"]["mia_auc"]
    assert event.policy is not None
    assert event.policy.content["limits"]["privacy"]["mia_auc"] == {"at_most": 0.9, "compare": "worst"}
    assert event.about["licences"] == ["CC0 1.0"]
    assert (event.about["size"], event.about["pixel_mm"]) == (32, 5.0)


def test_one_limit_not_kept_refuses_and_says_which(root: Path) -> None:
    figures = good_figures()
    figures["membership"]["mia_auc"] = figure(0.8, 0.7, 0.95, 24)
    version = retrain(root, figures)
    decision = promote(root, MODEL, user="anna")
    assert (decision.version.number, decision.approved) == (version.number, False)
    assert decision.reasons == ("privacy.mia_auc is 0.95, ≤ 0.9 was asked for",)
    assert approved(root) is None
    assert tags(root, 2)[REFUSED] == decision.reasons[0]
    (event,) = history(root)
    assert (event.what, event.reasons) == ("refused", decision.reasons)


def test_a_refusal_leaves_the_approved_version_alone(root: Path) -> None:
    promote(root, MODEL)
    change_gate(root, lambda gate: gate["images"]["privacy"].update(mia_auc={"at_most": 0.6}))
    assert not promote(root, MODEL, 1).approved
    assert approved(root) == 1


def test_a_planted_leak_is_refused_by_the_name_of_the_privacy_limits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures are measured, not written by hand: a set of training images goes through the stage ``privacy``."""
    from pipelines import privacy
    from pipelines.weights import LPIPS

    retrain(root)
    draw_training_images(root)
    (root / "data/features").mkdir()
    (root / "data/features/weights.json").write_text(json.dumps({LPIPS: "not needed here"}))
    monkeypatch.chdir(root)
    privacy.main(MODEL)
    measure(root, {axis: figures for axis, figures in good_figures().items() if axis != "privacy"})
    leaky = take_in(root)
    decision = promote(root, MODEL)
    assert (decision.version.number, decision.approved) == (leaky.number, False)
    assert any(reason.startswith("privacy.copies is ") for reason in decision.reasons)
    assert all(reason.startswith("privacy.") for reason in decision.reasons)
    assert approved(root) is None


@pytest.mark.parametrize("table", ["deleted", "changed"])
def test_a_metric_that_is_gone_from_the_run_refuses(root: Path, table: str) -> None:
    change = {
        "deleted": "DELETE FROM {} WHERE key LIKE '%/mia_auc' OR key LIKE '%/mia_auc/%'",
        "changed": "UPDATE {} SET value = 0.5 WHERE key LIKE '%/mia_auc/high'",
    }[table]
    with sqlite3.connect(root / "mlflow.db") as database:
        changed = [database.execute(change.format(name)).rowcount for name in ("metrics", "latest_metrics")]
    assert all(changed)
    decision = promote(root, MODEL)
    assert not decision.approved
    (reason,) = decision.reasons
    assert reason.startswith("privacy.mia_auc is missing: ")
    assert "MLflow run" in reason
    assert tags(root, 1)[REFUSED] == reason


def test_a_deleted_run_refuses(root: Path) -> None:
    tracking = connect(root)
    tracking.client.delete_run(registry.version(tracking, MODEL, 1).run_id)
    decision = promote(root, MODEL)
    assert not decision.approved
    assert len(decision.reasons) == len(decision.verdicts)


def test_a_figure_that_the_version_lacks_refuses(root: Path) -> None:
    figures = good_figures()
    del figures["membership"]["mia_auc_control"]
    retrain(root, figures)
    decision = promote(root, MODEL)
    assert [reason.partition(" is missing")[0] for reason in decision.reasons] == ["privacy.mia_auc_control"]


def test_an_override_is_noted_with_who_and_why(root: Path) -> None:
    change_gate(root, lambda gate: gate["images"]["privacy"].update(mia_auc={"at_most": 0.6}))
    decision = promote(root, MODEL, override="for a phantom study", user="anna")
    assert (decision.approved, decision.override) == (True, "for a phantom study")
    assert approved(root) == 1
    assert tags(root, 1)[OVERRIDE] == "for a phantom study"
    assert "privacy.mia_auc" in tags(root, 1)[REFUSED]
    (event,) = history(root)
    assert (event.override, event.who, len(event.reasons)) == ("for a phantom study", "anna", 1)
    demote(root, MODEL)
    assert OVERRIDE not in tags(root, 1)
    assert history(root)[0].override == "for a phantom study"


def test_an_override_that_is_not_needed_is_not_noted(root: Path) -> None:
    decision = promote(root, MODEL, override="to be sure")
    assert (decision.approved, decision.override) == (True, None)
    assert OVERRIDE not in tags(root, 1)


def test_an_override_without_a_reason_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="needs a reason"):
        promote(root, MODEL, override="  ")
    assert approved(root) is None


def test_demotion_and_the_way_back(root: Path) -> None:
    promote(root, MODEL)
    retrain(root)
    assert promote(root, MODEL).replaced == 1
    assert approved(root) == 2
    assert demote(root, MODEL, user="bert") == 2
    assert approved(root) is None
    back = promote(root, MODEL, 1)
    assert (back.version.number, back.replaced) == (1, None)
    assert approved(root) == 1
    told = [(event.what, event.version, event.replaced) for event in history(root)]
    assert told == [("approved", 1, None), ("approved", 2, 1), ("demoted", 2, None), ("approved", 1, None)]
    chain = history(root)
    assert [event.previous for event in chain] == [(), *((event.id,) for event in chain[:-1])]
    with pytest.raises(DataError, match="no version is approved"):
        demote(root, "masks")


def test_what_is_not_there_can_not_be_promoted(root: Path) -> None:
    with pytest.raises(DataError, match="7"):
        promote(root, MODEL, 7)
    with pytest.raises(DataError, match="syncmri register masks"):
        promote(root, "masks")


def test_the_licence_of_the_data_must_allow_the_use_that_the_gate_demands(root: Path) -> None:
    params = load_params(root)
    params["phantom"]["datasets"], params["data"]["licences"]["mnms"] = [], "CC BY-NC-SA 4.0"
    with (root / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    assert take_in(root).number == 2
    tracking = connect(root)
    tracking.client.set_model_version_tag(registry.registered_name(MODEL), "2", "syncmri.licences", "CC BY 4.0")  # no help
    change_gate(root, lambda gate: gate.update(use="commercial"))
    decision = promote(root, MODEL)
    assert decision.reasons == ("gate.use asks for commercial use; CC BY-NC-SA 4.0 allows research only",)
    change_gate(root, lambda gate: gate.update(use="research"))
    assert promote(root, MODEL).approved


def test_a_withdrawn_consent_is_beyond_override(root: Path) -> None:
    tracking = connect(root)
    tracking.client.set_model_version_tag(registry.registered_name(MODEL), "1", "consent.withdrawn", "2026-01-01")
    for override in (None, "never mind"):
        with pytest.raises(DataError, match="withdrawn the consent"):
            promote(root, MODEL, override=override)
    assert approved(root) is None


def test_two_promotions_at_once_leave_one_winner_and_both_in_the_history(root: Path) -> None:
    retrain(root)
    call = "promote(Path('.'), 'ddpm', int(sys.argv[1]))"
    code = f"import sys; from pathlib import Path; from mlops.promotion import promote; {call}"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "MLFLOW_DISABLE_TELEMETRY": "true"}
    both = [subprocess.Popen([sys.executable, "-c", code, number], cwd=root, env=environment) for number in "12"]
    assert [process.wait(120) for process in both] == [0, 0]
    first, second = history(root)
    assert {first.version, second.version} == {1, 2}
    assert (first.replaced, second.replaced) == (None, first.version)
    assert (second.previous, approved(root)) == ((first.id,), second.version)


@pytest.mark.parametrize("after", ["statement", "alias"])
def test_a_killed_promotion_leaves_no_half_state(root: Path, after: str) -> None:
    """Killed once it has signed, and once the alias has moved: what is not agreed on by both is not used."""
    change_gate(root, lambda gate: gate["images"]["privacy"].update(mia_auc={"at_most": 0.6}))
    halt = {"statement": "mlops.promotion._tag", "alias": "mlflow.tracking.MlflowClient.set_registered_model_alias"}[after]
    code = f"""
import os, signal
from pathlib import Path
import mlflow.tracking, mlops.promotion
owner, name = {halt.rpartition(".")[0]}, {halt.rpartition(".")[2]!r}
there = getattr(owner, name)
def halt(*words):
    there(*words)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, halt)
mlops.promotion.promote(Path("."), "ddpm", override="why not")
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "MLFLOW_DISABLE_TELEMETRY": "true"}
    killed = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment)
    assert killed.returncode == -signal.SIGKILL
    (event,) = history(root)
    assert (event.what, event.override) == ("approved", "why not")
    if after == "statement":
        with pytest.raises(NotApprovedError, match="does not exist"):
            approved_now(connect(root), MODEL)
    else:
        assert approved_now(connect(root), MODEL).marks == ("approved by override: why not",)  # never without its mark
    change_gate(root, lambda gate: gate["images"]["privacy"].update(mia_auc={"at_most": 0.9}))
    assert promote(root, MODEL).approved
    assert approved_now(connect(root), MODEL).marks == ()
    assert OVERRIDE not in tags(root, 1)
