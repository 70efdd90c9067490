"""Why MLflow cannot be used: each cause has a way out of its own, and none is reported as another."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlparse

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from cmr.errors import DataError, without_secrets

ADDRESSES = (
    "MLFLOW_TRACKING_URI is http://HOST:PORT or https://HOST of a server, a database such as sqlite:////FOLDER/mlflow.db or "
    "postgresql://HOST/NAME, or not set: then it is mlflow.db in the project folder."
)
_LONGEST = 300
_PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "google": "google-cloud-storage",
    "azure": "azure-storage-blob",
}
"""Name of an import -> name of the package, where they differ."""


class AddressError(DataError):
    """The address of the tracking server or database cannot be one."""


@dataclass(frozen=True)
class Cause:
    """What has happened, as the end of a sentence that begins with "MLflow at ADDRESS", and what to do, in sentences."""

    what: str
    way_out: str


def _unusable(why: str, way_out: str) -> Cause:
    return Cause(f"cannot be used now: {why}", way_out)


_DOWN = _unusable("it does not answer", "Start it, or wait until it is back.")
# Patterns, searched in code, type and text of the error and of what caused it. The first that is found counts.
_KNOWN: tuple[tuple[str, Cause], ...] = (
    (
        r"filesystem tracking backend|UnsupportedModelRegistryStoreURI|InvalidUrl|ArgumentError|NoSuchModuleError|AddressError",
        _unusable("the address cannot be used", ADDRESSES),
    ),
    (
        r"database or disk is full|No space left|Disk quota exceeded",
        _unusable("the disk is full", "Free some space where the database and mlartifacts/ lie."),
    ),
    (
        r"readonly database|Read-only file system|EROFS",
        _unusable("it may only be read", "Make the database and its folder writable for you (`ls -l` shows whose they are)."),
    ),
    (
        r"unable to open database file",
        _unusable("the database cannot be opened", "Make its folder exist, and file and folder readable and writable for you."),
    ),
    (
        r"not a database|disk image is malformed|no such table|no such column",
        _unusable(
            "the file is damaged, or no database of MLflow",
            "Bring it back from a copy, or move it away: a new one is made, and approvals are read from inhouse/statements.",
        ),
    ),
    (
        r"database is locked|Timeout\b.*\.lock|could not be acquired",
        _unusable(
            "another program is writing to it",
            "Try again when that has ended. On a network folder SQLite's locks may not work: use a server (docs/deploy.md).",
        ),
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSL:",
        _unusable(
            "its TLS connection cannot be trusted",
            "Name the file of its certificate authority in MLFLOW_TRACKING_SERVER_CERT_PATH, or write http:// where the "
            "server speaks no TLS.",
        ),
    ),
    (
        r"NameResolutionError|gaierror|Failed to resolve|could not translate host name|Name or service not known",
        _unusable(
            "no machine of that name is known here", "Correct MLFLOW_TRACKING_URI, or connect to the network that has it."
        ),
    ),
    (
        r"UNAUTHENTICATED|error code 401|401 Client Error|password authentication failed|NoCredentials|InvalidAccessKeyId",
        _unusable(
            "it asks for a login",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN) to an account of yours; for "
            "a database they stand in its address.",
        ),
    ),
    (
        r"PERMISSION_DENIED|error code 403|403 Client Error|permission denied for|AccessDenied",
        Cause("does not allow this to your account", "Ask whoever runs the server for the right, or use another account."),
    ),
    (
        r"PermissionError|Permission denied",
        _unusable("a file of it is not yours to use", "Ask its owner for the right (`ls -l` shows who that is)."),
    ),
    (
        r"not in a valid JSON|redirects|ENDPOINT_NOT_FOUND|error code 404",
        _unusable("what answers there is no MLflow server", f"A proxy or another program does. {ADDRESSES}"),
    ),
    (
        r"RESOURCE_DOES_NOT_EXIST|FileNotFoundError|No such artifact|NoSuchKey|404 Client Error|Failed to download artifacts",
        Cause(
            "no longer has something that was recorded there",
            "Somebody has deleted it (`mlflow gc` deletes for good). `syncmri sync` records anew what is on disk here, and "
            "says what it cannot bring back.",
        ),
    ),
    (r"too many (429|502|503|504) error responses", _DOWN),
    (
        r"error responses|error code 5\d\d|5\d\d Server Error",
        _unusable("it answers with an error of its own", "The log of the server says why."),
    ),
    (r"NewConnectionError|ConnectionError|Connection refused|could not connect|[Tt]imed out|Timeout", _DOWN),
    (
        r"INVALID_PARAMETER_VALUE|BAD_REQUEST",
        _unusable("it refuses what was asked", "Something in it was made by another program, or by another version of MLflow."),
    ),
)


def check_address(uri: str) -> None:
    """Refuse an address at which nothing can be, before MLflow makes a database in a folder that nobody has.

    Raises:
        AddressError: says what is wrong with it.
    """
    try:
        parts = urlparse(uri)
        if parts.scheme in ("http", "https"):
            if not parts.hostname:
                raise AddressError("it names no machine")
            _ = parts.port
        elif parts.scheme.partition("+")[0] == "sqlite":
            database = make_url(uri).database or ""
            folder = Path(database).absolute().parent
            if not database.startswith("file:") and not folder.is_dir():
                raise AddressError(f"there is no folder {folder}; was it moved?")
    except (ValueError, ArgumentError) as error:
        raise AddressError(str(error)) from error


def cause_of(error: BaseException) -> Cause:
    """What an error that MLflow, its database or its store of artifacts has raised comes from."""
    if isinstance(error, ImportError) and error.name:
        package = _PACKAGES.get(error.name.partition(".")[0], error.name)
        return _unusable(f"this address needs the package {package}", f"Install it: `python -m pip install {package}`.")
    text = "\n".join(_texts(error))
    if found := re.search(r"out-of-date database schema \(found version (\w+)", text):
        return _schema(found[1])
    return next(
        (cause for pattern, cause in _KNOWN if re.search(pattern, text)),
        _unusable("it does not work", "If this stays, its log, or this line, says why."),
    )


def last_line(error: BaseException) -> str:
    """The last line of an error that says something, without secrets, its end where it is long."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("(Background on this error", "[SQL:", "[parameters:"))]
    telling = [line for line in telling if re.match(r"\(?[\w.]*(Error|Exception)\b", line)] or telling
    text = without_secrets(telling[-1] if telling else type(error).__name__)  # before it is cut
    return text if len(text) <= _LONGEST else f"… {text[-_LONGEST:]}"


def _texts(error: BaseException) -> Iterator[str]:
    found: BaseException | None = error
    while found is not None:
        code = getattr(found, "error_code", "")
        yield f"{type(found).__name__} {code} {found}"
        found = found.__cause__ or found.__context__


def _schema(version: str) -> Cause:
    """The way out for a database of another version of MLflow: an older one is upgraded, a newer one is not."""
    spec = find_spec("mlflow.store.db_migrations")
    places = [Path(place) / "versions" for place in (spec.submodule_search_locations or ())] if spec else []
    if any(path for place in places for path in place.glob(f"{version}_*.py")):
        return _unusable(
            "its database was made by an older MLflow",
            "Copy it for safety, then `mlflow db upgrade ADDRESS` with the address above.",
        )
    return _unusable(
        "its database was made by a newer MLflow than the one installed here",
        "Use the environment that it was made with, or a database of this project's own (unset MLFLOW_TRACKING_URI).",
    )
