"""Somebody can write to MLflow, over real HTTP and without a login: nothing altered or unapproved is loaded all the same.

Each attack is undone again, so that one server and one approved model serve all of them. It is tried against the house, which
has seen all statements, and against a fresh checkout, which knows only what MLflow shows.
"""

import contextlib
import hashlib
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from app.approved import load_approved
from cmr.errors import DataError
from mlops import registry
from mlops.approvals.statement import Statement
from mlops.connection import connect
from mlops.house import FILTER, inhouse_files
from mlops.promotion import demote, promote
from tests.app.approved_project import build_approved_project
from tests.app.attacks import (
    MODEL,
    NAME,
    REFUSED,
    Target,
    alias_by_hand,
    forged,
    fresh_checkout,
    huge_statement,
    many_runs,
    odd_names,
    removed_statement,
    statement_name,
    stray_statement,
)
from tests.mlops.mlflow_server import server


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Version 1 is approved; version 2, of other figures, is a candidate that nobody approved."""
    folder = tmp_path_factory.mktemp("attacked")
    with server(folder / "mlflow") as uri, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        root = build_approved_project(folder / "project", (MODEL,))
        figures = root / "reports/metrics.json"
        figures.write_text(figures.read_text().replace("0.64", "0.65"))
        from mlops.package import build_package

        tracking = connect(root)
        build_package(root, MODEL)
        assert registry.register(tracking, MODEL).number == 2
        version = registry.version(tracking, MODEL, 1)
        assert version.digest
        run = tracking.client.get_run(version.run_id)
        place = urllib.parse.urlparse(run.info.artifact_uri).path.strip("/")
        experiment = tracking.client.get_experiment_by_name("syncmri approvals")
        assert experiment is not None
        (approvals,) = tracking.client.search_runs([experiment.experiment_id])
        statements = urllib.parse.urlparse(approvals.info.artifact_uri).path.strip("/") + "/statements"
        yield Target(root, uri, version.run_id, f"{place}/packages/{version.digest[:16]}", statements)


@pytest.fixture(scope="module", autouse=True)
def an_older_statement(target: Target) -> None:
    promote(target.root, MODEL, 1, user="test")


@pytest.fixture(autouse=True)
def at_the_server(target: Target, monkeypatch: pytest.MonkeyPatch, no_server: None) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", target.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.parametrize("where", ["house", "fresh checkout"])
@pytest.mark.parametrize("attack", REFUSED)
def test_what_is_altered_or_unapproved_is_not_loaded(target: Target, tmp_path: Path, attack: str, where: str) -> None:
    how, *told = REFUSED[attack]
    expected = told[where != "house"]
    root = target.root if where == "house" else fresh_checkout(target, tmp_path)
    digest = registry.version(connect(target.root), MODEL, 1).digest
    with how(target):
        if expected:
            with pytest.raises(DataError, match=expected):
                load_approved(root, MODEL)
        else:
            assert load_approved(root, MODEL).digest == digest
    assert load_approved(root, MODEL).number == 1


@pytest.mark.parametrize("value", ["../../../../tmp/x", "/etc", "", "0" * 63, "0" * 64, "\N{PILE OF POO}", "[" * 4000])
def test_no_tag_is_used_as_a_path_or_decides_anything(target: Target, value: str) -> None:
    before = load_approved(target.root, MODEL)
    with contextlib.ExitStack() as tags:
        for key in ("package", "size", "licences", "train_on", "run_key", "revision"):
            tags.enter_context(target.tagged(f"syncmri.{key}", value or " "))
        tags.enter_context(target.tagged("approved.override", value or " "))
        found = load_approved(target.root, MODEL)
        for name in ("digest", "size", "licences", "train_on", "run_key", "override", "pixel_mm", "number"):
            assert getattr(found, name) == getattr(before, name)
    with target.tagged(registry.DIGEST, value or " "), pytest.raises(DataError):
        promote(target.root, MODEL, 1)
    assert load_approved(target.root, MODEL).number == 1


def test_a_registered_tag_that_is_no_json_disables_nothing(target: Target) -> None:
    for key in ("event.20260101T000000.0.x", "export.1"):
        target.call("registered-models/set-tag", name=NAME, key=key, value="{not json")
    target.call("model-versions/set-tag", name=NAME, version="1", key="export.1", value="{not json")
    assert demote(target.root, MODEL, user="test") == 1
    promote(target.root, MODEL, 1, user="test")


def test_taking_away_works_whatever_state_the_record_is_in(target: Target, tmp_path: Path, keys: Path) -> None:
    for broken in (stray_statement, many_runs, removed_statement, odd_names, huge_statement):
        with broken(target):
            assert demote(target.root, MODEL, user="test") == 1
            assert registry.approved(connect(target.root), MODEL) is None
        target.alias(1)
        with pytest.raises(DataError, match="demoted by test"):
            load_approved(target.root, MODEL)
        promote(target.root, MODEL, 1, user="test")
    with contextlib.ExitStack() as back:  # without any key
        (keys / "signing.key").rename(keys / "lost.key")
        back.callback((keys / "lost.key").rename, keys / "signing.key")
        assert demote(target.root, MODEL, user="test") == 1
    assert not (keys / "lost.key").exists()
    promote(target.root, MODEL, 1, user="test")


def test_a_demotion_counts_here_though_mlflow_is_down(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        with pytest.raises(DataError, match="version 1 is demoted in the in-house store"):
            demote(target.root, MODEL, user="test")
    with pytest.raises(DataError, match="demoted by test"):
        load_approved(target.root, MODEL)
    promote(target.root, MODEL, 1, user="test")


def test_a_replaced_approval_does_not_come_back_by_another_writing(target: Target) -> None:
    """Whoever has read an approval once may put it back, in whatever writing, after the version was demoted."""
    old = target.read(target.newest_statement)
    demote(target.root, MODEL, user="test")
    target.alias(1)
    envelope = json.loads(old)
    for content in (old + b"\n", json.dumps(envelope).encode(), json.dumps({**envelope, "x": 1}, indent=1).encode() + b"\n"):
        with target.added(f"{target.statements}/{statement_name(content)}", content), pytest.raises(DataError):
            load_approved(target.root, MODEL)
    with pytest.raises(DataError, match="demoted by test"):
        load_approved(target.root, MODEL)
    promote(target.root, MODEL, 1, user="test")


def test_a_demotion_can_not_be_undone_by_hand(target: Target, tmp_path: Path) -> None:
    demote(target.root, MODEL, user="test")
    target.alias(1)
    try:
        for root in (target.root, fresh_checkout(target, tmp_path)):
            with pytest.raises(DataError, match="demoted by test"):
                load_approved(root, MODEL)
        newest = target.newest_statement
        content = target.read(newest)
        target.delete(newest)  # the house has seen it
        with pytest.raises(DataError, match="demoted by test"):
            load_approved(target.root, MODEL)
        target.write(newest, content)
    finally:
        promote(target.root, MODEL, 1, user="test")


def test_a_withdrawal_stands_though_its_tag_is_deleted(target: Target, tmp_path: Path) -> None:
    """By a statement of version 2, which nobody may approve from then on."""
    from mlops.approvals.store import deliver, take_away

    tracking = connect(target.root)
    digest = registry.version(tracking, MODEL, 2).digest or ""
    take_away(target.root, Statement("consent withdrawn", MODEL, 2, digest, "test"))
    deliver(tracking, MODEL)
    assert "consent.withdrawn" not in registry.version(tracking, MODEL, 2).tags
    for root in (target.root, fresh_checkout(target, tmp_path)):
        with pytest.raises(DataError, match="withdrawn the consent"):
            promote(root, MODEL, 2, override="all the same")
    assert load_approved(target.root, MODEL).number == 1


def test_who_promotes_under_limits_of_their_own_approves_nothing_here(target: Target, tmp_path: Path) -> None:
    lax = fresh_checkout(target, tmp_path)
    params = (lax / "params.yaml").read_text()
    assert "at_least: 0.3" in params
    (lax / "params.yaml").write_text(params.replace("at_least: 0.3", "at_least: 0.0"))
    assert promote(lax, MODEL, 1, user="mallory").approved
    try:
        with pytest.raises(DataError, match=r"under other limits.*utility\.full_dice\.at_least was 0\.0, here 0\.3"):
            load_approved(target.root, MODEL)
        ours = (target.root / "params.yaml").read_text()
        (target.root / "params.yaml").write_text(ours.replace("gate:\n", "gate:\n  other_limits: mark\n"))
        try:
            assert "approved under other limits" in load_approved(target.root, MODEL).name
        finally:
            (target.root / "params.yaml").write_text(ours)
    finally:
        promote(target.root, MODEL, 1, user="test")


def test_a_package_that_was_not_made_in_this_house_is_not_approved(target: Target, tmp_path: Path) -> None:
    """The attacker's upload is consistent, its figures are fine, and it is registered."""
    tracking, root = connect(target.root), fresh_checkout(target, tmp_path)
    manifest = json.loads(target.read(f"{target.package}/manifest.json"))
    weights = target.read(f"{target.package}/model/artifacts/weights.safetensors")[:-4] + b"\0\0\x80\x3f"
    manifest["files"]["model/artifacts/weights.safetensors"] = hashlib.sha256(weights).hexdigest()
    text = json.dumps(manifest).encode()
    digest = hashlib.sha256(text).hexdigest()
    place = f"{target.package.rpartition('/')[0]}/{digest[:16]}"
    for name in manifest["files"]:
        if name.startswith("model/"):
            target.write(f"{place}/{name}", target.read(f"{target.package}/{name}"))
    target.write(f"{place}/model/artifacts/weights.safetensors", weights)
    target.write(f"{place}/manifest.json", text)
    made = tracking.client.create_model_version(NAME, f"runs:/{target.run}/x", target.run, tags={registry.DIGEST: digest})
    try:
        for override in (None, "it looks good"):
            with pytest.raises(DataError, match="near-copy filter and the names of the patients"):
                promote(root, MODEL, int(made.version), override=override)
    finally:
        tracking.client.delete_model_version(NAME, made.version)
    assert load_approved(target.root, MODEL).number == 1


def test_the_filter_can_not_be_exchanged(target: Target, tmp_path: Path) -> None:
    """Neither by another one of this house, nor by any other file."""
    root = fresh_checkout(target, tmp_path)
    digests = [registry.version(connect(root), MODEL, number).digest or "" for number in (1, 2)]
    ours, other = (inhouse_files(root, digest) / FILTER for digest in digests)
    whole = ours.read_bytes()
    for content in (b"", whole[:-1] + b"x", other.read_bytes() + b"x"):
        ours.write_bytes(content)
        with pytest.raises(DataError, match="changed"):
            load_approved(root, MODEL)
    ours.unlink()
    with pytest.raises(DataError, match="missing"):
        load_approved(root, MODEL)


def test_without_a_trusted_key_nothing_is_approved_and_nobody_can_promote(target: Target, tmp_path: Path, keys: Path) -> None:
    root = fresh_checkout(target, tmp_path)
    (root / "trusted_keys.yaml").write_text("keys: []\n")
    with pytest.raises(DataError, match="signed with no key of"):
        load_approved(root, MODEL)
    with pytest.raises(DataError, match="does not trust this key"):
        promote(root, MODEL, 1)
    assert load_approved(target.root, MODEL).number == 1


def test_another_run_under_the_same_tag_adds_nothing(target: Target) -> None:
    """The attacker opens a run of statements of their own, with a forged one."""
    tracking = connect(target.root)
    experiment = tracking.client.get_experiment_by_name("syncmri approvals")
    assert experiment is not None
    run = tracking.client.create_run(experiment.experiment_id, tags={"syncmri.approvals": MODEL})
    content = forged(target, CryptoSigner.generate_ed25519())
    place = urllib.parse.urlparse(run.info.artifact_uri).path.strip("/")
    target.write(f"{place}/statements/{statement_name(content)}", content)
    with alias_by_hand(target), pytest.raises(DataError, match="approves version 1"):
        load_approved(target.root, MODEL)
    assert load_approved(target.root, MODEL).number == 1
    tracking.client.delete_run(run.info.run_id)
