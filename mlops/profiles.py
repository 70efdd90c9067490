"""``syncmri configure``: profiles/paper.yaml, overlaid with a profile, the data's places and single values, as params.yaml."""

import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.tokens import CommentToken

from cmr.errors import DataError
from cmr.files import whole_file
from cmr.readers import READERS
from mlops.faults import key_paths, known_keys, nearest
from mlops.settings import PARAMS, find_root, validate_all
from mlops.take_in import take_in_raw
from mlops.yaml_files import read_text, read_yaml_in_any_encoding, unshared, yaml_fault

REFERENCE = "paper"
PAPER_DATASETS = ("acdc", "mnms")
BEFORE = Path(".syncmri", "params.before.yaml")
HEADER = "Written by `syncmri configure {profile}`. Edit values here, or write the file anew with --set KEY=VALUE."


class _Representer(RoundTripRepresenter):
    """Writes null as ``null``, where ruamel would leave the value out."""


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))


def configure(
    profile: str,
    acdc: Path | None = None,
    mnms: Path | None = None,
    overrides: Sequence[str] = (),
    take_in: bool = False,
    skip_bad: bool = False,
) -> Path:
    """Write params.yaml of the project that the working directory lies in. If anything is wrong it stays as it was.

    Args:
        profile: name of a file in ``profiles/``.
        acdc, mnms: raw data folders. A profile without phantoms needs one or both, and leaves out what needs the other.
        overrides: ``dotted.key=value``, the value in YAML.
        take_in: copy the folders to ``data/raw`` and put them under DVC; otherwise they are referenced where they lie.
        skip_bad: a subject that cannot be read is reported and left out, instead of stopping the run.

    Returns:
        The file written. One that it replaces is kept as ``.syncmri/params.before.yaml``.

    Raises:
        DataError: an unknown profile or key, a value of the wrong type, a folder that is missing or of another layout.
    """
    root = find_root()
    params = _profile(root, profile)
    _keep_excluded(params, root)
    folders = {name: folder for name, folder in (("acdc", acdc), ("mnms", mnms)) if folder is not None}
    for name, folder in folders.items():
        _check_layout(params, name, folder)
    if not params["phantom"]["datasets"]:
        _leave_out_missing(params, folders, profile)
    for name, folder in folders.items():
        place = f"data/raw/{name}" if take_in else _place(folder, root)
        _use_real(params, name, place)
    if skip_bad:
        _put(params["data"], "skip_bad", True, "by --skip-bad")
    for override in overrides:
        _override(params, override)
    validate_all(_plain(params))
    if take_in:
        for name, folder in folders.items():
            take_in_raw(folder, root, name)
    return _write(params, root, profile)


def exclude(root: Path, patients: Sequence[str]) -> None:
    """Add patients (DATASET/PATIENT) to ``data.excluded`` of params.yaml; all else in it stays, comments too."""
    params = _read(root / PARAMS)
    data = params["data"]
    _put(data, "excluded", [*data.get("excluded", []), *(name for name in patients if name not in data.get("excluded", []))])
    validate_all(_plain(params))
    with whole_file(root / PARAMS) as temporary, temporary.open("w", encoding="utf-8") as file:
        _yaml().dump(params, file)


def changed(path: Path, values: Mapping[str, Any]) -> str:
    """The text of a params.yaml with other values under known dotted keys; all else in it stays, comments too. Unchecked."""
    params, text = _read(path), io.StringIO()
    for key, value in values.items():
        _set(params, key, value)
    _yaml().dump(params, text)
    return text.getvalue()


def merged(root: Path, profile: str) -> dict[str, Any]:
    """The parameters of a profile as plain values, unchecked; :class:`DataError` where there is no such profile."""
    return _plain(_profile(root, profile))


def _profile(root: Path, profile: str) -> CommentedMap:
    known = sorted(path.stem for path in (root / "profiles").glob("*.yaml"))
    if profile not in known:
        raise DataError(
            f"There is no profile '{profile}' in {root / 'profiles'}; found: {', '.join(known) or 'none'}."
            + nearest(profile, known)
        )
    params = _read(root / "profiles" / f"{REFERENCE}.yaml")
    overlays: list[CommentedMap] = []
    below: str | None = profile if profile != REFERENCE else None
    while below is not None:
        overlays.append(_read(root / "profiles" / f"{below}.yaml"))
        below = overlays[-1].pop("based_on", None)
    for overlay in reversed(overlays):
        _overlay(params, overlay)
    return params


def _read(path: Path) -> CommentedMap:
    if not path.is_file():
        raise DataError(f"{path}: missing; fetch it again with `git checkout -- {path.name}`.")
    text = read_text(path)
    try:
        found = _yaml().load(text)
    except YAMLError as error:
        raise DataError(yaml_fault(path, error)) from error
    if not isinstance(found, CommentedMap):
        raise DataError(f"{path}: expected a mapping of settings, found {type(found).__name__}.")
    return unshared(found)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = 4096  # never fold a line
    return yaml


def _overlay(base: CommentedMap, over: CommentedMap) -> None:
    """Lay ``over`` on ``base`` in place: mappings are merged, all else is replaced; a comment replaces a comment.

    A mapping of another ``kind`` with keys of its own replaces the one below, whose other keys it does not have.
    """
    for key, value in over.items():
        comment = over.ca.items.get(key)
        reason = comment[2].value.splitlines()[0].lstrip("# ") if comment and comment[2] else None
        below = base.get(key)
        if isinstance(value, CommentedMap) and isinstance(below, CommentedMap) and not _of_another_kind(value, below):
            _overlay(base[key], value)
            _comment(base, key, reason)
        else:
            _put(base, key, value, reason)


def _of_another_kind(over: CommentedMap, base: CommentedMap) -> bool:
    return over.get("kind", base.get("kind")) != base.get("kind") and not set(over) <= set(base)


def _put(block: CommentedMap, key: str, value: Any, reason: str | None = None) -> None:
    """Replace one value, keeping the comment lines that follow it; ``reason`` replaces the comment beside it."""
    if isinstance(value, list):
        new = CommentedSeq(value)
        new.fa.set_flow_style()
        value = new
    block[key] = value
    _comment(block, key, reason)


def _comment(block: CommentedMap, key: str, reason: str | None) -> None:
    entry = block.ca.items.get(key)
    # One token holds the comment beside a value and the lines up to the next value.
    beside, _, after = entry[2].value.partition("\n") if entry and entry[2] else ("", "", "")
    beside = f"# {reason}" if reason else beside
    if beside or after:
        beside = f" {beside.lstrip()}" if beside else ""  # ruamel writes one space before it, the files have two
        block.ca.items[key] = [None, None, CommentToken(f"{beside}\n{after}", CommentMark(0), None), None]


def _check_layout(params: CommentedMap, name: str, folder: Path) -> None:
    reader = params["data"]["raw"][name]["reader"]
    if reader not in READERS:
        raise DataError(f"data.raw.{name}.reader: found '{reader}', expected one of: {', '.join(READERS)}.")
    READERS[reader](folder.expanduser(), name).subjects()


def _place(folder: Path, root: Path) -> str:
    """The folder as params.yaml names it: relative to the project where it lies inside or was given so, else absolute."""
    folder = folder.expanduser()
    absolute = Path(os.path.abspath(folder))
    if folder.is_absolute() and not absolute.is_relative_to(root):
        return absolute.as_posix()
    return Path(os.path.relpath(absolute, root)).as_posix()


def _use_real(params: CommentedMap, name: str, place: str) -> None:
    _put(params["data"]["raw"][name], "root", place, f"by --{name}")
    phantoms = [phantom for phantom in params["phantom"]["datasets"] if phantom != name]
    if len(phantoms) < len(params["phantom"]["datasets"]):
        _put(params["phantom"], "datasets", phantoms)


def _keep_excluded(params: CommentedMap, root: Path) -> None:
    """Who withdrew their consent stays left out under every profile, whatever else is wrong with the file that is replaced."""
    path = root / PARAMS
    if not path.is_file():
        return
    try:
        before = read_yaml_in_any_encoding(path)
    except DataError as error:
        raise DataError(
            f"{error} Patients that it excludes would be taken in again. Correct that line, or move the file away."
        ) from error
    data = before.get("data") if isinstance(before, dict) else None
    if isinstance(data, dict) and (kept := data.get("excluded")):
        _put(params["data"], "excluded", kept)


def _leave_out_missing(params: CommentedMap, folders: Mapping[str, Path], profile: str) -> None:
    """Take out of ``params`` each of the paper's datasets whose place neither the caller nor the profile states."""
    raw, generators, utility = params["data"]["raw"], params["generators"], params["utility"]
    missing = [name for name in PAPER_DATASETS if name not in folders and raw.get(name, {}).get("root") == f"data/raw/{name}"]
    if set(raw) <= set(missing):
        raise DataError(
            f"The profile '{profile}' works on real data: say where it lies with --acdc DIR, --mnms DIR or both. "
            "`syncmri configure demo` needs none."
        )
    for name in missing:
        del raw[name]
        without = [dataset for dataset in generators["train_on"] if dataset != name] or list(raw)[:1]
        if without != generators["train_on"]:
            _put(generators, "train_on", without, f"there is no {name}")
        _put(generators, "sources", [source for source in generators["sources"] if source != name])
        for key in ("setups", "with_real", "real_at_size_of"):
            _put(utility, key, [setup for setup in utility[key] if name not in setup.split("-")])


def _override(params: CommentedMap, override: str) -> None:
    key, equals, text = override.partition("=")
    known = known_keys(params)
    if not equals:
        raise DataError(f"--set {override}: expected KEY=VALUE, such as --set slices.size=64.{nearest(key, known)}")
    if key not in known:
        raise DataError(f"--set {override}: there is no key '{key}'.{nearest(key, known)}")
    try:
        value = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise DataError(f"--set {override}: '{text}' is not readable as a YAML value.") from error
    _set(params, key, value, "by --set")


def _set(params: CommentedMap, key: str, value: Any, reason: str | None = None) -> None:
    *parents, last = key_paths(params)[key]
    block = params
    for parent in parents:
        block = block[parent]
    _put(block, last, value, reason)


def _plain(value: Any) -> Any:
    """Round-trip containers and numbers as plain Python ones."""
    if isinstance(value, Mapping):
        return {str(key): _plain(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_plain(below) for below in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _write(params: CommentedMap, root: Path, profile: str) -> Path:
    path, before = root / PARAMS, root / BEFORE
    params.ca.comment = None  # the reference's own heading
    params.yaml_set_start_comment(HEADER.format(profile=profile) + "\n")
    with whole_file(path) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            _yaml().dump(params, file)
        if path.is_file() and path.read_bytes() != temporary.read_bytes():
            before.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, before)
    return path
