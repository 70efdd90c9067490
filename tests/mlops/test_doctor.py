import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.networks import weights
from mlops.doctor import Check, examine, report
from mlops.private import keep_private
from tests.mlops.conftest import REPOSITORY


@pytest.fixture
def healthy(demo: Path) -> Path:
    shutil.copyfile(REPOSITORY / "requirements.lock", demo / "requirements.lock")
    shutil.copyfile(REPOSITORY / ".dvc/config", demo / ".dvc/config")
    subprocess.run(["git", "init", "-q"], cwd=demo, check=True)  # DVC wants a repository
    keep_private(demo)
    return demo


def checks(root: Path | None) -> dict[str, Check]:
    return {check.name: check for check in examine(root)}


def move_acdc(root: Path, place: str) -> None:
    """Make ACDC a real dataset that lies at ``place``."""
    path = root / "params.yaml"
    text = path.read_text().replace("root: data/phantom/acdc", f"root: {place}")
    path.write_text(text.replace("datasets: [acdc, mnms]", "datasets: [mnms]"))


def test_a_configured_checkout_has_no_failures(healthy: Path) -> None:
    found = checks(healthy)
    assert {name for name, check in found.items() if check.state == "fail"} == set()
    assert {"Python", "torch", "device", "bfloat16", "cores", "memory", "disk", "git", "dvc", "packages", "tracking"} <= set(
        found
    )
    assert found["params.yaml"].found == "valid, profile demo"
    assert "phantom" in found["data acdc"].found


def test_every_warning_and_failure_says_what_to_do(healthy: Path) -> None:
    (healthy / "params.yaml").write_text("seed: x\n")
    told = list(examine(healthy))
    assert [check.name for check in told if check.state != "ok" and not check.advice] == []


def test_what_is_wrong_is_found(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move_acdc(healthy, "../nowhere")
    (healthy / "requirements.lock").write_text("# exact\nnumpy==0.1\nno-such-package==1.0\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    found = checks(healthy)
    assert found["data acdc"].state == "fail"
    assert "--acdc DIR" in found["data acdc"].advice
    assert found["packages"].state == "warn"
    assert "(locked: 0.1)" in found["packages"].found
    assert "no-such-package missing" in found["packages"].found
    assert found["tracking"].state == "warn"
    assert found["Ray cluster"].state == "fail"
    assert "ray start" in found["Ray cluster"].advice
    assert not report(healthy, lambda check: None)


def test_taken_in_data_that_is_not_checked_out(healthy: Path) -> None:
    move_acdc(healthy, "data/raw/acdc")
    (healthy / "data" / "raw").mkdir(parents=True)
    (healthy / "data" / "raw" / "acdc.dvc").write_text("outs: []\n")
    assert "dvc checkout data/raw/acdc" in checks(healthy)["data acdc"].advice


def test_weights_that_are_there(healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCMRI_WEIGHTS", str(tmp_path / "weights"))
    names = {name: f"weights for {of.figures}" for name, of in weights.WEIGHTS.items()}
    assert {checks(healthy)[name].state for name in names.values()} == {"warn"}

    (tmp_path / "weights").mkdir()
    content = b"tensors"
    for name in names:
        weights.weights_path(name).write_bytes(content)
    damaged = checks(healthy)[names["lpips-vgg16"]]
    assert (damaged.state, damaged.found.endswith("damaged")) == ("warn", True)
    assert "syncmri weights fetch" in damaged.advice

    known = {name: replace(of, sha256=hashlib.sha256(content).hexdigest()) for name, of in weights.WEIGHTS.items()}
    monkeypatch.setattr(weights, "WEIGHTS", known)
    assert {checks(healthy)[name].state for name in names.values()} == {"ok"}


def test_outside_of_a_checkout() -> None:
    told: list[Check] = []
    assert not report(None, told.append)
    assert told[-1].name == "project"
