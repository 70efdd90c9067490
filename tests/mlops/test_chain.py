"""What statements say together, without MLflow: who may be believed, and what is missed."""

import hashlib
import json
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from mlops.approvals.chain import Chain
from mlops.approvals.keys import TrustedKey
from mlops.approvals.statement import Statement, StatementError, StatementFile, file_name, read_statement, sign

ANNA, BERT, EVE = (CryptoSigner.generate_ed25519() for _ in range(3))
TRUSTED = [TrustedKey("anna", ANNA.public_key), TrustedKey("bert", BERT.public_key)]
PACKAGES = {number: f"{number:064x}" for number in range(5)}


def stated(what: str, version: int, *before: StatementFile, by: CryptoSigner | None = ANNA, when: int = 0) -> StatementFile:
    moment = f"2026-01-01T00:00:{when:02d}.000+00:00"
    previous = tuple(sorted(one.statement.id for one in before))
    return sign(Statement(what, "ddpm", version, PACKAGES[version], "test", moment, previous), by)  # type: ignore[arg-type]


def chain(*files: StatementFile, keys: list[TrustedKey] = TRUSTED, remembered: tuple[StatementFile, ...] = ()) -> Chain:
    return Chain({one.statement.id: one for one in files}, {}, keys, frozenset(one.statement.id for one in remembered))


def approved(found: Chain) -> list[int]:
    return [one.version for one in found.approvals]


def test_the_newest_approval_counts() -> None:
    first = stated("approved", 1)
    second = stated("approved", 2, first, by=BERT)
    assert approved(chain(second, first)) == [2]
    assert chain(second, first).heads == (second.statement.id,)
    assert [one.version for one in chain(second, first).history] == [1, 2]
    assert approved(chain(first)) == [1]
    assert approved(chain()) == []


def test_a_refusal_changes_nothing_and_a_demotion_ends_it() -> None:
    first = stated("approved", 1)
    refused = stated("refused", 2, first)
    assert approved(chain(first, refused)) == [1]
    demoted = stated("demoted", 1, refused)
    assert approved(chain(first, refused, demoted)) == []
    assert approved(chain(first, refused, demoted, stated("approved", 1, demoted))) == [1]


@pytest.mark.parametrize("by", [None, EVE])
def test_what_nobody_trusted_has_signed_takes_away_and_gives_nothing(by: CryptoSigner | None) -> None:
    first = stated("approved", 1)
    forged = stated("approved", 2, first, by=by)
    assert approved(chain(first, forged)) == [1]
    assert [one.version for one in chain(first, forged).ignored] == [2]
    assert forged.statement.id not in chain(first, forged).heads
    assert approved(chain(first, stated("demoted", 1, first, by=by))) == []
    assert chain(stated("consent withdrawn", 3, by=by)).withdrawn == {PACKAGES[3]}
    assert not chain(first, stated("refused", 1, first, by=by)).history[1:]


def test_a_refusal_by_a_stranger_does_not_hide_the_statement_before() -> None:
    first = stated("approved", 1)
    stranger = stated("refused", 1, first, by=EVE)
    assert chain(first, stranger).heads == (first.statement.id,)


def test_a_demotion_that_names_nothing_still_ends_every_approval_until_one_names_it() -> None:
    first = stated("approved", 1)
    demoted = stated("demoted", 1, by=None)
    assert approved(chain(first, demoted)) == []
    assert approved(chain(first, demoted, stated("approved", 2, first, demoted))) == [2]


def test_two_at_one_moment_both_count_until_the_next_and_a_demotion_beside_them_wins() -> None:
    first = stated("approved", 1)
    left, right = stated("approved", 2, first), stated("approved", 3, first, by=BERT, when=1)
    assert approved(chain(first, left, right)) == [2, 3]
    assert approved(chain(first, left, right, stated("demoted", 1, first, when=2))) == []
    assert approved(chain(first, left, right, stated("approved", 4, left, right))) == [4]


def test_a_statement_that_is_gone_is_missed() -> None:
    first = stated("approved", 1)
    demoted = stated("demoted", 1, first)
    second = stated("approved", 2, demoted)
    found = chain(first, second)
    assert set(found.lost) == {demoted.statement.id}
    assert file_name(second.statement.id) in found.lost[demoted.statement.id]
    # Also further back: the signature on the newest vouches for all before it.
    assert set(chain(demoted, second).lost) == {first.statement.id}
    given_up = sign(replace(second.statement, disregarded=(demoted.statement.id,), id=""), ANNA)
    assert not chain(first, given_up).lost
    by_a_stranger = sign(replace(second.statement, disregarded=(demoted.statement.id,), id=""), EVE)
    assert set(chain(first, second, by_a_stranger).lost) == {demoted.statement.id}


def test_a_key_that_is_no_longer_trusted_approves_nothing_and_breaks_no_chain() -> None:
    first = stated("approved", 1)
    second = stated("approved", 2, first, by=BERT)
    left = chain(first, second, keys=TRUSTED[:1])
    assert approved(left) == [1]
    third = stated("approved", 3, first, second)  # anna has seen both
    assert approved(chain(first, second, third, keys=TRUSTED[:1])) == [3]
    assert not chain(first, second, third, keys=TRUSTED[:1]).lost
    refused = stated("refused", 1, second)
    assert approved(chain(first, second, refused, keys=TRUSTED[:1])) == []  # the newest approval is bert's
    # Where the in-house store has seen bert's approval, the one before it does not come back.
    assert approved(chain(first, second, keys=TRUSTED[:1], remembered=(first, second))) == []


def test_what_a_stranger_names_is_neither_vouched_for_nor_missed() -> None:
    first = stated("approved", 1)
    forged = stated("approved", 4, by=EVE)
    invented = sign(Statement("demoted", "ddpm", 1, PACKAGES[1], "eve", previous=("b" * 64, forged.statement.id)), None)
    assert approved(chain(first, forged, invented)) == []
    second = stated("approved", 2, first, invented)
    found = chain(first, forged, invented, second)
    assert (approved(found), found.lost) == ([2], {})
    assert forged.statement.id not in [one.id for one in found.history]


def test_the_same_statement_in_other_words_is_none() -> None:
    """A signature covers what is stated, not how the file is written; a second file would be one that nothing follows."""
    first = stated("approved", 1)
    envelope = json.loads(first.content)
    (signature,) = envelope["signatures"]
    another = {"keyid": "a" * 64, "sig": signature["sig"]}
    others = [
        first.content + b"\n",
        json.dumps(envelope).encode(),
        json.dumps({**envelope, "more": 1}, indent=1).encode() + b"\n",
        json.dumps({**envelope, "signatures": [{**signature, "more": "x"}]}, indent=1).encode() + b"\n",
        json.dumps({**envelope, "signatures": [signature, another]}, indent=1).encode() + b"\n",
        first.content.replace(b'"payloadType"', b'"payload\\u0054ype"'),
        first.content.replace(b"==", b"= =") if b"==" in first.content else first.content.replace(b"\n", b"\r\n"),
    ]
    for content in others:
        with pytest.raises(StatementError, match="not readable as a statement"):
            read_statement(file_name(hashlib.sha256(content).hexdigest()), content)


def test_a_twin_of_a_statement_that_is_followed_does_not_come_back() -> None:
    first = stated("approved", 1)
    second = stated("approved", 2, first)
    twin = replace(first, statement=replace(first.statement, id="f" * 64))
    assert approved(chain(first, second, twin)) == [2]


@pytest.mark.parametrize("text", ["\x1b[31mred", "two\nlines", "\x00", "\x9b1m"])
def test_texts_that_a_terminal_obeys_are_refused(text: str) -> None:
    for changed in ({"who": text}, {"override": text}, {"reasons": (text,)}, {"about": {"revision": text}}):
        file = sign(replace(stated("approved", 1).statement, id="", **changed), ANNA)
        with pytest.raises(StatementError, match="not readable"):
            read_statement(file.name, file.content)


def test_a_statement_that_could_not_be_read_again_is_not_signed() -> None:
    with pytest.raises(StatementError, match="expected at most"):
        sign(replace(stated("approved", 1).statement, override="x" * (1 << 20)), ANNA)


def test_a_withdrawal_is_for_good() -> None:
    withdrawn = stated("consent withdrawn", 1)
    again = stated("approved", 1, withdrawn)
    assert chain(withdrawn, again).withdrawn == {PACKAGES[1]}


def test_a_file_is_the_statement_that_its_name_says() -> None:
    file = stated("approved", 1)
    assert read_statement(file.name, file.content) == file
    for spot in range(0, len(file.content), 7):
        changed = file.content[:spot] + bytes([file.content[spot] ^ 1]) + file.content[spot + 1 :]
        with pytest.raises(StatementError, match=file.name):
            read_statement(file.name, changed)
    for content in (b"", b"{}", b"[]", b"[" * 5000, b'{"payload": "", "payloadType": "", "signatures": []}', b"\xff"):
        name = file_name(hashlib.sha256(content).hexdigest())
        with pytest.raises(StatementError, match="not readable as a statement"):
            read_statement(name, content)
