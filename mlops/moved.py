"""The artifacts of a project whose folder was renamed, moved or copied: its own database names them by absolute path.

MLflow makes each location absolute when an experiment is created and has no command to change it. A location that holds
wherever the project lies would need an MLflow server between the project and its folder, also on a laptop.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from sqlalchemy.engine import make_url

ARTIFACTS = "mlartifacts"
_LOG = logging.getLogger(__name__)
_PATIENCE_S = 60.0
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
"""Tables and columns of MLflow's database that name artifacts."""


def artifacts_beside(uri: str) -> Path | None:
    """The folder of artifacts of a project's own database (``mlflow.db`` beside ``params.yaml``); None for any other store."""
    if not uri.startswith("sqlite:///"):
        return None
    database = Path(make_url(uri).database or "").absolute()
    own = database.name == "mlflow.db" and (database.parent / "params.yaml").is_file()
    return database.parent / ARTIFACTS if own else None


def follow_the_folder(uri: str, experiment: str) -> bool:
    """Bring the artifact locations in a project's own database up to date with where the project lies now.

    Changed are all locations below the old folder of the project, in one transaction: so old artifacts are found, a copy writes
    nothing into the original's, and the old folder is not made again. The caller holds the project's lock on its database.

    Args:
        experiment: that of the trainings; its location says where the project lay.

    Returns:
        Whether something was changed.
    """
    here = artifacts_beside(uri)
    if here is None or not (here.parent / "mlflow.db").is_file():
        return False
    with closing(sqlite3.connect(here.parent / "mlflow.db", timeout=_PATIENCE_S, isolation_level=None)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return False
        old = _old_folder(database, experiment, here)
        if old is None:
            return False
        database.execute("BEGIN IMMEDIATE")
        for before, now in ((old.as_uri(), here.parent.as_uri()), (str(old), str(here.parent))):
            for table, column in _LOCATIONS:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, len(before) + 1, f"{before}/"),
                )
        database.execute("COMMIT")
    _artifact_repos_cache.clear()  # of this process: MLflow remembers where the artifacts of a run lie
    _LOG.warning("This project lay at %s before: its database now looks for artifacts in %s.", old, here)
    return True


def _old_folder(database: sqlite3.Connection, experiment: str, here: Path) -> Path | None:
    """Where the project lay, by the location of its experiment, or of another one whose folder is gone; None if it lies there
    still."""
    for name, location in database.execute("SELECT name, artifact_location FROM experiments").fetchall():
        if location and _moved(location, here) and (name == experiment or not _path(location).is_dir()):
            return _path(location).parent
    return None


def _moved(location: str, here: Path) -> bool:
    """Whether a location is the folder of artifacts of a project, and another folder than ``here``."""
    scheme = urlparse(location).scheme
    if scheme not in ("", "file") or _path(location).name != ARTIFACTS:
        return False
    if _path(location).is_relative_to(here.parent) and _path(location).is_dir():
        return False  # of a study's copy of the project, inside of it
    return _path(location).resolve() != here.resolve()  # one folder may be reached by two names


def _path(location: str) -> Path:
    return Path(unquote(urlparse(location).path))
