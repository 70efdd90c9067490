"""The audit of an approval: it holds, and it names whatever was changed, to the byte."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.approved import load_approved
from mlops import registry
from mlops.approvals.verify import Step, verify
from mlops.connection import connect
from mlops.house import house_folder
from mlops.promotion import demote, promote
from tests.mlops.registered import MODEL


@pytest.fixture(scope="module")
def root(registered_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 of a tiny model, approved twice, and loaded once so that the package is kept here as well."""
    root = Path(shutil.copytree(registered_once, tmp_path_factory.mktemp("verify") / "project"))
    _own_artifacts(root)
    promote(root, MODEL)
    promote(root, MODEL)
    load_approved(root, MODEL)
    return root


def _own_artifacts(root: Path) -> None:
    """Register anew, so that the artifacts that are changed here are not those of other tests."""
    shutil.rmtree(root / "mlartifacts", ignore_errors=True)
    (root / "mlflow.db").unlink()
    from mlops.sync import sync

    sync(root)
    registry.register(connect(root), MODEL)


def audit(root: Path) -> list[Step]:
    return list(verify(root, MODEL))


def test_a_promoted_model_holds(root: Path) -> None:
    steps = audit(root)
    assert all(step.holds for step in steps), steps[-1]
    text = "\n".join(step.text for step in steps)
    for part in ("trusts", "2 statements in MLflow", "signed by", "alias and newest statement agree", "10 limits", "in MLflow"):
        assert part in text


def places(root: Path) -> dict[str, list[Path]]:
    """Every file that an approval rests on, by where it is."""
    digest = registry.version(connect(root), MODEL, 1).digest
    assert digest
    (stored,) = (root / "mlartifacts").rglob(f"packages/{digest[:16]}")
    (statements,) = (root / "mlartifacts").rglob("statements")
    folders = {
        "MLflow's package": stored,
        "the copy here": registry.cached_package(root, digest),
        "the in-house part": house_folder(root) / "packages" / digest,
        "MLflow's statements": statements,
        "the in-house statements": house_folder(root) / "statements" / MODEL,
        "the project's package": root / "packages" / MODEL,
    }
    return {name: sorted(path for path in folder.rglob("*") if path.is_file()) for name, folder in folders.items()}


@pytest.mark.slow
def test_any_byte_that_is_changed_is_found_and_its_file_named(root: Path) -> None:
    random = np.random.default_rng(0)
    tried = 0
    for place, files in places(root).items():
        assert files, place
        # All of MLflow's files; of the same files elsewhere a part, which is checked by the same code.
        for path in files if place.startswith("MLflow") or len(files) < 5 else files[:: len(files) // 4]:
            whole = path.read_bytes()
            if not whole:
                continue
            spot = int(random.integers(len(whole)))
            path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 1]) + whole[spot + 1 :])
            last = audit(root)[-1]
            assert not last.holds, f"{place}: {path}, byte {spot}"
            assert path.name in last.text, f"{place}: {path}, byte {spot}: {last.text}"
            path.write_bytes(whole)
            tried += 1
    assert tried > 60
    assert all(step.holds for step in audit(root))


def test_a_file_that_was_added_or_removed_is_named(root: Path) -> None:
    for place, files in places(root).items():
        if "package" in place or place == "the copy here":
            added = next(path for path in files if path.name == "card.md").with_name("more.py")
            added.write_text("x")
            assert "more.py: not listed" in audit(root)[-1].text, place
            added.unlink()
        removed = files[0]
        whole = removed.read_bytes()
        removed.unlink()
        last = audit(root)[-1]
        if place == "the in-house statements":
            assert last.holds  # MLflow has it, and it is remembered again
        else:
            assert not last.holds, place
            assert removed.name in last.text, (place, last.text)
        removed.write_bytes(whole)


def test_what_is_not_approved_does_not_hold(root: Path) -> None:
    demote(root, MODEL)
    try:
        last = audit(root)[-1]
        assert (last.holds, "does not exist" in last.text) == (False, True)
    finally:
        promote(root, MODEL)


def test_a_broken_list_of_keys_is_named(root: Path) -> None:
    path = root / "trusted_keys.yaml"
    before = path.read_text()
    other = [before.replace("MCow", "MCox"), before.replace("fingerprint: ", "fingerprint: 0")]
    for broken in ("", "keys: []\n", "keys: {", *other):
        path.write_text(broken)
        last = audit(root)[-1]
        assert (last.holds, "trusted_keys.yaml" in last.text) == (False, True), broken
    path.write_text(before)
