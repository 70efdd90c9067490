"""One project with approved models for all tests of this folder: making it takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "SYNCMRI_PARENT_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def approved_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Approved are masks, ddpm and ldm. A test that changes an approval puts it back."""
    from tests.app.approved_project import build_approved_project  # brings torch and MLflow, which few tests here need

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield build_approved_project(tmp_path_factory.mktemp("approved") / "project")
