from typing import Any

import pytest

from pipelines.reporting.metrics import gather
from pipelines.reporting.project import Project
from tests.pipelines.report_project import GENERATORS, build_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(build_project(tmp_path_factory.mktemp("finished"), generators=GENERATORS, size=16))


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Before any figure was measured and any network trained."""
    return Project(build_project(tmp_path_factory.mktemp("empty"), figures=False, size=16))


@pytest.fixture
def metrics(finished: Project) -> dict[str, Any]:
    return gather(finished)
