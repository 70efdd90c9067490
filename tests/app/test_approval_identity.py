"""An approval is of a package, not of a number: a model that is deleted and made again counts its versions from 1 again."""

import shutil
from pathlib import Path

import pytest

from app.approved import ApprovalWatch, NotApprovedError, load_approved
from mlops import registry
from mlops.connection import connect
from mlops.promotion import promote
from tests.mlops.conftest import registered_once
from tests.mlops.registered import MODEL, retrain

__all__ = ["registered_once"]


def test_a_held_network_of_the_old_version_1_is_not_the_new_one(registered_once: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(registered_once, tmp_path / "project"))
    promote(root, MODEL, user="test")
    held = load_approved(root, MODEL)
    watch = ApprovalWatch(root, held, every=0, patience=60)
    watch.check()

    name, client = registry.registered_name(MODEL), connect(root).client
    client.delete_registered_model(name)
    with pytest.raises(NotApprovedError, match="no longer approved"):
        watch.check()
    assert retrain(root).number == held.number
    # Whoever may write to MLflow sets the alias: what counts is the package that was signed, never the new one by its number.
    client.set_registered_model_alias(name, registry.APPROVED, "1")
    assert load_approved(root, MODEL).digest == held.digest

    promote(root, MODEL, user="test")
    with pytest.raises(NotApprovedError, match="another network with the number 1 has taken its place"):
        watch.check()
    assert load_approved(root, MODEL).digest != held.digest
