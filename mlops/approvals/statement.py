"""One statement on a version of a model: an in-toto statement in a DSSE envelope, signed with a person's key.

The file of a statement is its envelope in JSON, called ``statement-SHA256.json`` after its own content, so that a change of any
byte shows. Formats: https://github.com/in-toto/attestation (Statement v1), https://github.com/secure-systems-lab/dsse.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from cmr.errors import DataError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:syncmri:approval:v1"
MOST_BYTES, MOST_PREVIOUS = 1 << 20, 1000
_NAME = re.compile(r"statement-([0-9a-f]{64})\.json")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
_DIGEST = re.compile(r"[0-9a-f]{64}")

What = Literal["approved", "refused", "demoted", "consent withdrawn"]


class StatementError(DataError):
    """A file is not a statement, or not the one that its name says."""


@dataclass(frozen=True)
class Policy:
    """The limits that a version was judged by: ``content`` as in ``gate`` of params.yaml, and its digest."""

    digest: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Statement:
    """What somebody states of a version.

    Attributes:
        what: ``approved`` and ``demoted`` change which version may be used; ``consent withdrawn`` bars a package for good.
        model, version: ``ddpm`` and the number in the registry.
        package: digest of the package's manifest.
        who, when: the user's name; time in UTC, ISO 8601.
        previous: ids of the newest statements before this one.
        policy: the limits; None where nothing was judged.
        verdicts: each limit with the figure that was compared and the outcome (:class:`mlops.gate.Verdict` as JSON).
        reasons: why the gate refuses, a sentence each; empty where it does not.
        override: why a person approved the version although the gate refuses.
        replaced: the version that was approved until then.
        disregarded: ids of earlier statements that are lost, and that the person went on without.
        about: the package: licences, size and pixel size, datasets, data hashes, run key, git revision.
        id: SHA-256 of the statement's file; empty until it is signed.
    """

    what: What
    model: str
    version: int
    package: str
    who: str
    when: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    previous: tuple[str, ...] = ()
    policy: Policy | None = None
    verdicts: tuple[Mapping[str, Any], ...] = ()
    reasons: tuple[str, ...] = ()
    override: str | None = None
    replaced: int | None = None
    disregarded: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    @property
    def decides(self) -> bool:
        """Whether it changes which version may be used."""
        return self.what in ("approved", "demoted")

    @property
    def takes_away(self) -> bool:
        """Whether it forbids a use; it counts without a signature, since everybody may be careful."""
        return self.what in ("demoted", "consent withdrawn")


@dataclass(frozen=True)
class StatementFile:
    """A statement as it is stored: its bytes, and what is in them."""

    content: bytes
    statement: Statement

    @property
    def name(self) -> str:
        return file_name(self.statement.id)

    @property
    def payload(self) -> bytes:
        """What is signed."""
        return _envelope(self.content).payload

    def signer(self, keys: Sequence[SSlibKey]) -> str | None:
        """Fingerprint of the key among ``keys`` that has signed the statement, or None."""
        if not keys:
            return None
        try:
            return next(iter(_envelope(self.content).verify(list(keys), 1)))
        except VerificationError:
            return None


def file_name(statement_id: str) -> str:
    return f"statement-{statement_id}.json"


def id_in_name(name: str) -> str | None:
    """The id that a file's name holds; None for a name that no statement has."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None


def sign(statement: Statement, signer: CryptoSigner | None) -> StatementFile:
    """The file of a statement; without a signer it has no signature."""
    envelope = Envelope(json.dumps(_to_intoto(statement), ensure_ascii=False).encode("utf-8"), PAYLOAD_TYPE, {})
    if signer:
        envelope.sign(signer)
    content = _bytes(envelope)
    if len(content) > MOST_BYTES:
        raise StatementError(f"a statement of {len(content)} bytes; expected at most {MOST_BYTES}")
    return StatementFile(content, replace(statement, id=hashlib.sha256(content).hexdigest()))


def read_statement(name: str, content: bytes) -> StatementFile:
    """A stored statement; its signature is not checked yet.

    Raises:
        StatementError: the content does not have the SHA-256 of the name, or is no statement.
    """
    found = hashlib.sha256(content).hexdigest()
    if id_in_name(name) != found:
        raise StatementError(f"{name}: changed: the SHA-256 of its content is {found[:16]}…, not the one in its name.")
    try:
        envelope = _envelope(content)
        # One signature stands in one file only: the same statement in other words would be one that nothing follows.
        if content != _bytes(envelope):
            raise ValueError("not written as statements are")
        return StatementFile(content, replace(_from_intoto(json.loads(envelope.payload)), id=found))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ValidationError) as error:
        raise StatementError(f"{name}: not readable as a statement ({type(error).__name__}).") from error


def _envelope(content: bytes) -> Envelope:
    if len(content) > MOST_BYTES:
        raise ValueError("too large")
    found = Envelope.from_dict(json.loads(content))
    if found.payload_type != PAYLOAD_TYPE:
        raise ValueError(f"payload type {found.payload_type!r}")
    if len(found.signatures) > 1 or any(one.unrecognized_fields for one in found.signatures.values()):
        raise ValueError("more than one plain signature")
    return found


def _bytes(envelope: Envelope) -> bytes:
    """The one way in which an envelope is written."""
    return json.dumps(envelope.to_dict(), indent=1).encode("ascii") + b"\n"


def _to_intoto(statement: Statement) -> dict[str, Any]:
    known = bool(_DIGEST.fullmatch(statement.package))
    predicate = {key: value for key, value in asdict(statement).items() if key not in ("id", "package")}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {
                "name": f"syncmri-{statement.model}/{statement.version}",
                "digest": {"sha256": statement.package} if known else {"unknown": "unknown"},
            }
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def _from_intoto(content: Mapping[str, Any]) -> Statement:
    if content["_type"] != STATEMENT_TYPE or content["predicateType"] != PREDICATE_TYPE:
        raise ValueError("another type of statement")
    (subject,) = content["subject"]
    predicate = {**content["predicate"], "package": subject["digest"].get("sha256", "")}
    # In strict JSON mode a list makes a tuple, and no text becomes a number.
    found = TypeAdapter(Statement).validate_json(json.dumps(predicate), strict=True)
    if subject["name"] != f"syncmri-{found.model}/{found.version}":
        raise ValueError("subject and predicate name different versions")
    if found.package and not _DIGEST.fullmatch(found.package):
        raise ValueError("the digest of the package is none")
    if any(not _DIGEST.fullmatch(one) for one in (*found.previous, *found.disregarded)):
        raise ValueError("an id of a previous statement is none")
    if not _TIME.fullmatch(found.when) or len(found.previous) > MOST_PREVIOUS:
        raise ValueError("an odd time, or too many statements before it")
    datetime.fromisoformat(found.when)
    _refuse_control_characters(predicate)
    return found


def _refuse_control_characters(value: Any) -> None:
    """Terminals obey them, and a statement is shown there."""
    if isinstance(value, str) and any(unicodedata.category(sign) == "Cc" for sign in value):
        raise ValueError("control characters in a text")
    for below in value.items() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _refuse_control_characters(below)
