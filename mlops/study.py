"""Studies: the pipeline run several times with one thing changed, each time in a folder of its own.

A study's folder is a copy of the project's own files with the project's DVC cache, so that what does not change is fetched and
not made again, the project's results stay as they are, and a study that was stopped goes on where it was.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from cmr.errors import DataError
from cmr.files import whole_file
from cmr.store import SliceStore
from mlops.connection import tracking_uri
from mlops.private import keep_private
from mlops.repro import reproduce
from mlops.settings import PARAMS, GeneratorsSettings, load_params, section

_STUDIES = Path(".syncmri/studies")
FIGURES = ("patients", "model", "figure", "value", "ci_low", "ci_high", "n", "reason")
"""Columns of a study's table."""

# What the study shows of metrics.json: fidelity and privacy of the generator, utility of the images from generated masks.
_FIDELITY = ("kid", "fid", "mask_adherence", "ssim")
_PRIVACY = ("mia_auc", "closer_to_train", "copies")


def limited_data(root: Path, generator: str, patients: Sequence[int], say: Callable[[str], None]) -> Path:
    """Trains the mask model and ``generator`` on so many patients each time, gathers what it can then do, and draws it.

    Returns:
        The table ``reports/studies/limited-data-GEN.csv``, with the drawing (``.svg``) beside it. Columns :data:`FIGURES`, a
        row a number of patients and figure: the generator's fidelity and privacy, and ``dice`` (clinical) of a segmenter
        trained on its images from generated masks, on the test patients of its own dataset; as the model ``real``, that of
        the segmenter trained on all real patients.

    Raises:
        DataError: no such generator, numbers that the data does not allow, a project that has not been run, or a run that
            failed.
    """
    settings = section("generators", GeneratorsSettings, root)
    if generator not in settings.names:
        raise DataError(f"study: '{generator}' is not among generators.names: {', '.join(settings.names)}")
    if not (root / "dvc.lock").is_file() or not (root / "data/cohort/train").is_dir():
        raise DataError(f"{root}: a study starts from finished results. Run `syncmri run` first.")
    there_are = SliceStore.open(root / "data/cohort/train").index["subject"].nunique()
    wrong = [count for count in patients if not 2 <= count <= there_are]
    if wrong or not patients or len(set(patients)) < len(patients):
        raise DataError(
            f"study: found {', '.join(map(str, patients)) or 'no'} patients, expected different numbers from 2 to {there_are}, "
            "the patients that the generators train on now"
        )
    tables = []
    for place, count in enumerate(sorted(patients), start=1):
        say(f"{generator} on {count} patients ({place} of {len(patients)})")
        folder = root / _STUDIES / "limited-data" / f"{generator}-{count}"
        _copy_project(root, folder)
        _change(folder, generator, settings.train_on[0], count)
        _reproduce(root, folder)
        tables.append(_table(folder, generator, settings.train_on[0], count))
    path = Path("reports/studies") / f"limited-data-{generator}.csv"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(root / path) as temporary:
        pd.concat(tables, ignore_index=True).to_csv(temporary, index=False)
    _python(root, "pipelines.draw_study", str(path))
    return root / path


def _copy_project(root: Path, folder: Path) -> None:
    """The files that git has or would take, and DVC's cache."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        raise DataError(f"{root}: git does not list its files ({listed.stderr.strip()}); a study copies them")
    for name in filter(None, listed.stdout.split("\0")):
        own = name == "dvc.lock" or name.startswith("reports/")  # once there, they tell what the study has done
        if (root / name).is_file() and not (own and (folder / name).is_file()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copyfile(root / name, folder / name)
    keep_private(folder)
    cache = _dvc(root, "cache", "dir").strip()
    (folder / ".dvc").mkdir(exist_ok=True)
    (folder / ".dvc/config.local").write_text(f"[core]\n    no_scm = true\n[cache]\n    dir = {(root / cache).resolve()}\n")


def _change(folder: Path, generator: str, dataset: str, patients: int) -> None:
    params: dict[str, Any] = load_params(folder)
    params["generators"] |= {"names": [generator], "patients": patients, "sources": ["full", "test"]}
    params["utility"] |= {"setups": [f"{dataset}-real", f"{generator}-full"]}
    params["utility"] |= {"with_real": [], "real_at_size_of": [], "more_seeds": []}
    params["tracking"]["experiment"] += "-limited-data"
    with whole_file(folder / PARAMS) as temporary:
        YAML().dump(params, temporary)


def _reproduce(root: Path, folder: Path) -> None:
    """What lies before the choice of patients is fetched, what follows from it is run."""
    _dvc(folder, "checkout", "--quiet", "--force", "--allow-missing")
    if reproduce(folder, ["--downstream", "cohort"], {"MLFLOW_TRACKING_URI": tracking_uri(root)}):
        raise DataError(f"{folder}: the pipeline stopped there, see above. The same command goes on from there.")


def _table(folder: Path, generator: str, dataset: str, patients: int) -> pd.DataFrame:
    metrics = YAML(typ="safe").load(folder / "reports/metrics.json")
    found = {(generator, name): metrics["fidelity"][generator][name] for name in _FIDELITY}
    found |= {(generator, name): metrics["privacy"][generator][name] for name in _PRIVACY}
    for model, setup in ((generator, f"{generator}-full"), ("real", f"{dataset}-real")):
        found[model, "dice"] = metrics["utility"][setup][dataset]["clinical"]["dice"]
    rows = [{"patients": patients, "model": model, "figure": name, **figure} for (model, name), figure in found.items()]
    return pd.DataFrame(rows).reindex(columns=FIGURES)


def _dvc(folder: Path, *words: str) -> str:
    return _python(folder, "dvc", *words)


def _python(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{folder}: `{' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
