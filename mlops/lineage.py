"""Which model versions, synthetic sets and exports a patient's scans went into, and how a patient is left out from now on."""

import json
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from cmr.errors import DataError
from cmr.store import SliceStore
from mlops import registry
from mlops.approvals.keys import person
from mlops.approvals.statement import Statement
from mlops.approvals.store import alone, deliver, remembered_chain, take_away
from mlops.connection import Tracking, TrackingError, connect, explained
from mlops.exports import Export, exports
from mlops.faults import nearest
from mlops.house import inhouse_files, known_packages, patients_of
from mlops.profiles import exclude as write_excluded
from mlops.settings import DataSettings, GeneratorsSettings, section

WITHDRAWN = "consent.withdrawn"
"""Tag of a version: since when it is known that a patient whom it was trained on has withdrawn the consent."""

_ROLES = {
    "train": "trains the mask model and the generators, and the segmenters",
    "val": "chooses the checkpoint of each network; is trained on by none of the generators",
    "holdout": "held out of all training; the privacy figures compare with these scans",
    "test": "in no training; the figures are measured on these scans",
}
_ELSEWHERE = {"train": "trains segmenters", "val": "chooses the checkpoints of segmenters"}  # generators learn from others


@dataclass(frozen=True)
class Lineage:
    """What became of a patient's scans.

    Attributes:
        names: the patient as DATASET/PATIENT, with the other names under which the same scans are stored.
        uses: what the data of this project does with them now, a sentence each.
        versions: the model versions that were trained or chosen on them.
        sets: synthetic sets below ``data``, each with how the scans went into it.
        unknown: the versions of which it is not known here whom they learnt from.
        packages: model and digest of every package that was trained or chosen on the scans, whatever MLflow's tags say.
        exports: what was handed out from one of the versions.
    """

    names: tuple[str, ...]
    uses: tuple[str, ...]
    versions: tuple[registry.Version, ...]
    unknown: tuple[registry.Version, ...]
    packages: tuple[tuple[str, str], ...]
    sets: tuple[tuple[str, str], ...]
    exports: tuple[Export, ...]

    def lines(self) -> Iterator[str]:
        """The whole in words."""
        yield " = ".join(self.names)
        yield from (f"- {use}" for use in self.uses)
        yield from _block("Model versions", [f"{_name(one)}{_state(one)}" for one in self.versions])
        if self.unknown:
            yield from _block("Versions whose patients are not known here", [_name(one) for one in self.unknown])
        shown = {version.digest for version in self.versions}
        if hidden := [f"{model}, package {digest[:16]}" for model, digest in self.packages if digest not in shown]:
            yield from _block("Packages of no version that MLflow shows now", hidden)
        yield from _block("Synthetic sets", [f"{path}: {how}" for path, how in self.sets])
        yield from _block("Exports", [_export(export) for export in self.exports])


def lineage(root: Path, patient: str) -> Lineage:
    """Everything that the scans of ``patient`` (its id, or DATASET/PATIENT) went into.

    Raises:
        DataError: nobody is called so, or patients of two datasets are.
        TrackingError: the registry cannot be reached.
    """
    root = root.absolute()
    with explained(root):
        tracking = connect(root)
        versions = _all_versions(tracking)
    trained = [(version, found) for version in versions if (found := _trained_on(tracking, version)) is not None]
    unknown = tuple(version for version in versions if version not in [known for known, _ in trained])
    packages = _packages(root)
    known = {name for _, names in trained for name in names} | {name for _, _, names in packages for name in names}
    return _trace(root, _names(root, patient, known), trained, unknown, packages)


def exclude(root: Path, patient: str) -> Lineage:
    """Leave a patient out of everything that is made from now on: ``data.excluded`` of params.yaml names the patient.

    Each version that the scans went into gets a statement that the consent is withdrawn, which bars it for good; a tag shows
    that in MLflow. Repeating it is safe.

    Returns:
        What the scans went into until now.

    Raises:
        DataError: as for :func:`lineage`; nothing is changed then.
        TrackingError: the registry cannot be reached. params.yaml names the patient all the same: nothing that learnt from the
            scans is given out here.
    """
    root = root.absolute()
    with alone(root):
        # Here first: params.yaml and the in-house store count whatever MLflow says, and nobody can change them there.
        packages = _packages(root)
        try:
            found, down = lineage(root, patient), None
        except TrackingError as error:
            names = _names(root, patient, {name for _, _, behind in packages for name in behind})
            found, down = _trace(root, names, [], (), packages), error
        write_excluded(root, found.names)
        numbers = {version.digest: version.number for version in found.versions}
        for model, digest in found.packages:
            if digest not in remembered_chain(root, model).withdrawn:
                take_away(root, Statement("consent withdrawn", model, numbers.get(digest, 0), digest, person()))
        if down:
            raise TrackingError(
                f"{down} Here {' and '.join(found.names)} is excluded, and the withdrawal counts; repeat this command then."
            ) from down
        _show_in_mlflow(root, found)
    return found


def _show_in_mlflow(root: Path, found: "Lineage") -> None:
    """Bring the statements to MLflow, and tag the versions for people who look there."""
    try:
        with explained(root):
            tracking = connect(root)
            for model in {model for model, _ in found.packages}:
                deliver(tracking, model)
            for version in found.versions:
                if WITHDRAWN not in version.tags:
                    now = datetime.now(UTC).isoformat(timespec="seconds")
                    tracking.client.set_model_version_tag(version.name, str(version.number), WITHDRAWN, now)
    except DataError as error:
        print(f"warning: the withdrawal counts here, and MLflow does not show it: {error}", file=sys.stderr)


def _packages(root: Path) -> list[tuple[str, str, set[str]]]:
    """Model, digest and patients of every package that was made in this house."""
    found = []
    for digest, model in known_packages(root).items():
        try:
            found.append((model, digest, _names_in(patients_of(inhouse_files(root, digest)))))
        except DataError as error:
            print(f"warning: whom a package of {model} learnt from can't be read: {error}", file=sys.stderr)
    return found


def withdrawn(tracking: Tracking, version: registry.Version, package: str, stated: Container[str]) -> bool:
    """Whether a patient of the version has withdrawn: by a statement, by its tag, or by ``data.excluded``, which outlives both.

    Args:
        package: digest of the version's package.
        stated: digests of the packages that are withdrawn by a statement (:attr:`mlops.approvals.chain.Chain.withdrawn`).

    Raises:
        DataError: patients are excluded, and whom the version learnt from is not known on this machine.
    """
    if package in stated or WITHDRAWN in version.tags:
        return True
    excluded = set(section("data", DataSettings, tracking.root).excluded)
    return bool(excluded and excluded & _names_in(registry.patients_behind(tracking, package)))


def _all_versions(tracking: Tracking) -> list[registry.Version]:
    return [version for model in registry.MODELS for version in reversed(registry.versions(tracking, model))]


def _trained_on(tracking: Tracking, version: registry.Version) -> set[str] | None:
    """DATASET/PATIENT of everybody whom a version was trained or its checkpoint chosen on; None where it is not known here."""
    try:
        return _names_in(registry.patients_behind(tracking, version.digest)) if version.digest else None
    except DataError:
        return None


def _names_in(subjects: Mapping[str, Iterable[str]]) -> set[str]:
    return {name for names in subjects.values() for name in names}


def _names(root: Path, patient: str, of_versions: set[str]) -> tuple[str, ...]:
    excluded = set(section("data", DataSettings, root).excluded)
    groups = [{name} for name in of_versions | excluded]
    for dataset in section("data", DataSettings, root).raw:
        groups += [{f"{dataset}/{name}" for name in group} for group in _same(root, dataset)]
    known = {name for group in groups for name in group}
    meant = [name for name in known if patient in (name, name.partition("/")[2])]
    if len(meant) != 1:
        told = f"several datasets have one: {', '.join(sorted(meant))}. Name it so" if meant else "no dataset has one"
        raise DataError(f"patient '{patient}': {told}.{'' if meant else nearest(patient, sorted(known))}")
    names = set(meant)
    for group in groups:
        if names & group:
            names |= group
    return (meant[0], *sorted(names - set(meant)))


def _same(root: Path, dataset: str) -> Iterator[set[str]]:
    """All patients that ingest found in a dataset, each with all names of the same scans."""
    manifest, report = root / "data/manifests" / f"{dataset}.parquet", root / "reports/figures" / f"ingest-{dataset}.json"
    if manifest.is_file():
        table = pd.read_parquet(manifest, columns=["subject", "duplicate_of"]).drop_duplicates()
        yield from ({subject, kept} - {""} for subject, kept in table.itertuples(index=False))
    if report.is_file():
        found = json.loads(report.read_text(encoding="utf-8"))
        yield from (set(group) for group in found.get("excluded", []))
        yield from ({one["subject"]} for one in found.get("skipped", []))


def _trace(
    root: Path,
    names: tuple[str, ...],
    trained: list[tuple[registry.Version, set[str]]],
    unknown: tuple[registry.Version, ...],
    packages: list[tuple[str, str, set[str]]],
) -> Lineage:
    of_patient = {(model, digest) for model, digest, patients in packages if patients & set(names)}
    versions = [version for version, patients in trained if patients & set(names)]
    of_patient |= {(version.model, version.digest) for version in versions if version.digest}
    run_keys = {version.tags.get("syncmri.run_key", ""): version in versions for version, _ in trained}
    return Lineage(
        names,
        tuple(_uses(root, names)),
        tuple(versions),
        unknown,
        tuple(sorted(of_patient)),
        tuple(_sets(root, set(names), run_keys)),
        tuple(_exports(root, set(names), {(one.model, one.number): one in versions for one, _ in trained})),
    )


def _uses(root: Path, names: tuple[str, ...]) -> Iterator[str]:
    excluded, train_on = section("data", DataSettings, root).excluded, section("generators", GeneratorsSettings, root).train_on
    for name in names:
        roles = _ROLES if name.partition("/")[0] in train_on else _ROLES | _ELSEWHERE
        if name in excluded:
            yield f"{name}: excluded (data.excluded in params.yaml)"
        if split := _split(root, name):
            yield f"{name}: {split}; {roles[split]}"


def _split(root: Path, name: str) -> str | None:
    """The split of DATASET/PATIENT in the project's data; None where the patient is not in it."""
    dataset, _, subject = name.partition("/")
    if not (root / "data/slices" / dataset).is_dir():
        return None
    index = SliceStore.open(root / "data/slices" / dataset).index
    return next(iter(index.loc[index["subject"] == subject, "split"]), None)


def _sets(root: Path, names: set[str], trained: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """Synthetic sets that a patient went into; ``trained``: run key of a version -> whether it was trained on the patient."""
    for folder in sorted([*(root / "data/sets").glob("*"), *(root / "data/masks").glob("*")]):
        index = SliceStore.open(folder).index
        if "generator" not in index:  # a real set
            continue
        drawn = index[index["generator"].notna()]
        how = []
        if any(trained.get(key, False) for key in drawn["model"].unique()):
            how.append("drawn by a model that learnt from the scans")
        elif unknown := [key for key in drawn["model"].unique() if key not in trained]:
            how.append(f"drawn by a model that is not registered (run key {unknown[0][:12]}…): whom it learnt from is unknown")
        rows = int((drawn["dataset"].astype(str) + "/" + drawn["subject"].astype(str)).isin(names).sum())
        if rows:
            how.append(f"{rows} of its images were drawn for the patient's own masks")
        if how:
            yield folder.relative_to(root).as_posix(), "; ".join(how)


def _exports(root: Path, names: set[str], versions: Mapping[tuple[str, int], bool]) -> Iterator[Export]:
    """What was handed out that a patient went into: from versions that learnt from the scans (True), or for their masks.

    What is not known to have had no part in it counts as well.
    """
    masks_of = {name.partition("/")[0] for name in names if _split(root, name) in ("train", None)}
    for export in exports(root):
        if any(versions.get(one, True) for one in export.versions or [("", 0)]) or export.about.get("masks") in masks_of:
            yield export


def _block(title: str, lines: list[str]) -> Iterator[str]:
    yield f"{title}:" if lines else f"{title}: none"
    yield from (f"- {line}" for line in lines)


def _name(version: registry.Version) -> str:
    return f"{version.name} version {version.number}"


def _state(version: registry.Version) -> str:
    return f" ({', '.join(version.aliases)})" if version.aliases else ""


def _export(export: Export) -> str:
    versions = ", ".join(f"{registry.registered_name(model)} version {number}" for model, number in export.versions)
    return f"{versions or 'unknown version'}: {', '.join(f'{key} {value}' for key, value in export.about.items())}"
