"""What the statements of a model say together: which version may be used, whose consent is withdrawn, what is missing.

Each statement names the newest ones before it by their SHA-256. A signature on the newest one therefore vouches for all before
it: a statement that was changed or removed is missed. Statements of two people at one moment both stand beside each other until
the next one names both.

Rules:

- An approval counts if a trusted key has signed it and no later decision follows it.
- A demotion and a withdrawal of consent count with any signature or none, as long as they are there.
- What a statement without a trusted signature says of those before it vouches for nothing.
- What the in-house store remembers was trusted once: it counts as a part of the chain for good, whoever's key is removed.
- Where a demotion and an approval stand beside each other, nothing is approved.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from mlops.approvals.keys import TrustedKey
from mlops.approvals.statement import Statement, StatementFile, file_name


@dataclass(frozen=True)
class Chain:
    """The statements of one model.

    Attributes:
        files: by id; each agrees with its name.
        damaged: id in the name of a file -> what is wrong with its content.
        keys: that the project trusts.
        remembered: ids that the in-house store has; they were trusted when it took them in.
    """

    files: Mapping[str, StatementFile]
    damaged: Mapping[str, str]
    keys: Sequence[TrustedKey]
    remembered: frozenset[str] = frozenset()

    @cached_property
    def signers(self) -> dict[str, str]:
        """Id of each statement that a trusted key has signed -> the name of that key."""
        names = {one.fingerprint: one.name for one in self.keys}
        found = {one: file.signer([key.key for key in self.keys]) for one, file in self.files.items()}
        return {one: names[fingerprint] for one, fingerprint in found.items() if fingerprint}

    @cached_property
    def history(self) -> list[Statement]:
        """All statements that count, each after those before it; among equals the older first.

        They are the ones with a trusted signature, all that these name, and whatever takes something away. Others are left
        out: anybody could have written them.
        """
        counted = [one for one in self._ordered if one in self._counted]
        return [self.files[one].statement for one in counted]

    @property
    def ignored(self) -> list[Statement]:
        """Approvals and refusals without a trusted signature that no trusted statement names: they count for nothing."""
        return [file.statement for one, file in self.files.items() if one not in self._counted]

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Ids that no other counted statement names: what the next statement has to name.

        A withdrawal that nobody trusted has signed is not among them: it counts while it is there, and no longer.
        """
        counted = [self.files[one].statement for one in self._counted]
        named = {before for statement in counted for before in statement.previous}
        foreign = {one.id for one in counted if one.what == "consent withdrawn" and one.id not in self.signers}
        return tuple(sorted({statement.id for statement in counted} - named - (foreign - self.remembered)))

    @property
    def missing(self) -> dict[str, str]:
        """Id of each statement that is named and not there -> the id of one that names it."""
        return {
            before: one
            for one in self._counted
            for before in self.files[one].statement.previous
            if before not in self.files and self._vouches(one)
        }

    @property
    def approvals(self) -> list[Statement]:
        """The approvals in force: none, one, or the several of people who promoted at one moment."""
        decisions = [statement for statement in self.history if statement.decides]
        followed = self._before([statement.id for statement in decisions])
        said = {self.files[one].payload for one in followed if one in self.files}  # the same in another envelope, too
        latest = [one for one in decisions if one.id not in followed and self.files[one.id].payload not in said]
        if any(statement.what == "demoted" for statement in latest):
            return []
        return [statement for statement in latest if statement.id in self.signers]

    @property
    def withdrawn(self) -> set[str]:
        """Digests of the packages of which a patient has withdrawn the consent."""
        return {statement.package for statement in self.history if statement.what == "consent withdrawn"}

    @property
    def lost(self) -> dict[str, str]:
        """Id of each statement that was changed, or is named and missing -> what is wrong, in a sentence or two."""
        given_up = {one for signed in self.signers for one in self.files[signed].statement.disregarded}
        found = {one: f"{why} What it stated can't be known." for one, why in self.damaged.items()}
        for one, after in self.missing.items():
            found.setdefault(one, f"{file_name(one)}: missing, though {file_name(after)} names it as the one before it.")
        return {one: why for one, why in found.items() if one not in given_up}

    @cached_property
    def vouched(self) -> set[str]:
        """Ids of all that a trusted key has signed, that such a statement names, or that the in-house store remembers."""
        return set(self.signers) | self._vouched

    @property
    def foreign(self) -> set[str]:
        """Ids of the others: anybody could have written them."""
        return set(self.files) - self.vouched

    @cached_property
    def _counted(self) -> set[str]:
        return self.vouched | {one for one, file in self.files.items() if file.statement.takes_away}

    @cached_property
    def _vouched(self) -> set[str]:
        """Ids that a trusted statement names, directly or through others, and those that the in-house store remembers."""
        return (self._before([*self.signers, *self.remembered]) | self.remembered) & set(self.files)

    def _vouches(self, one: str) -> bool:
        """Whether what a statement says of those before it counts: anybody can write one that takes away."""
        return (
            one in self.signers or one in self.remembered or (one in self._vouched and not self.files[one].statement.takes_away)
        )

    def _before(self, starts: Iterable[str]) -> set[str]:
        """Ids of all that ``starts`` name, directly or through others that may vouch."""
        found: set[str] = set()
        waiting, trusted = set(starts), {*self.signers, *self.remembered}
        expanded: set[str] = set()
        named_first = set(waiting)
        while waiting:
            one = waiting.pop()
            file = self.files.get(one)
            if file is None or one in expanded:
                continue
            if one not in named_first and one not in trusted and file.statement.takes_away:
                continue
            expanded.add(one)
            found |= set(file.statement.previous)
            waiting |= set(file.statement.previous) - expanded
        return found

    @cached_property
    def _ordered(self) -> list[str]:
        by_time = sorted(self.files, key=lambda one: (self.files[one].statement.when, one))
        graph = {one: [before for before in self.files[one].statement.previous if before in self.files] for one in by_time}
        try:
            return _oldest_first(graph)
        except CycleError:  # no statement can name one that is made after it
            return by_time


def _oldest_first(graph: Mapping[str, Iterable[str]]) -> list[str]:
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    place = {one: number for number, one in enumerate(graph)}
    ready, found = list(sorter.get_ready()), []
    while ready:
        ready.sort(key=place.__getitem__)
        one = ready.pop(0)
        found.append(one)
        sorter.done(one)
        ready += sorter.get_ready()
    return found
