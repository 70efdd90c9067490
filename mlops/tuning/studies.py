"""The studies of a project: a new one, those that there are, one by its name."""

import dataclasses
import json
import time
from pathlib import Path

from cmr.errors import DataError
from cmr.files import whole_file, whole_folder
from mlops.faults import nearest
from mlops.settings import PARAMS, load_params, section, validate_all
from mlops.tuning.space import SearchSettings, value_at
from mlops.tuning.study import SWEEPS, Study, encoded


def create(root: Path, network: str, *, several: bool, trials: int | None = None, name: str | None = None) -> Study:
    """A new study of the search space in params.yaml. Its first trial has the present values, as far as they lie in the space.

    Args:
        several: weigh the objectives against one another, instead of ranking by the metric.
        trials: instead of those of params.yaml.
        name: instead of the next free ``NET-NUMBER``.

    Raises:
        DataError: parameters that cannot be used, or several objectives of a network that has one.
    """
    search = section(f"{network}.search", SearchSettings, root)
    if several and not search.objectives:
        raise DataError(f"{network}.search.objectives is empty: this network is judged by {search.metric} alone.")
    validate_all(load_params(root))
    number = max([int(one.rpartition("-")[2]) for one in names(root, network) if one.rpartition("-")[2].isdecimal()], default=0)
    study = Study(
        root=root.absolute(),
        name=name or f"{network}-{number + 1}",
        network=network,
        objectives=search.objectives if several else (),
        trials=trials or search.trials,
        created=time.time(),
    )
    with whole_folder(study.folder) as folder:
        (folder / PARAMS).write_text((root / PARAMS).read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "study.json").write_text(_text(study))
    now = {key: value_at(load_params(root)[network], key) for key in search.space}
    study.optuna.enqueue_trial({key: encoded(one, now[key]) for key, one in search.space.items() if one.holds(now[key])})
    return study


def extended(study: Study, trials: int) -> Study:
    """The same study with another number of trials."""
    study = dataclasses.replace(study, trials=trials)
    with whole_file(study.folder / "study.json") as temporary:
        temporary.write_text(_text(study))
    return study


def load(root: Path, name: str) -> Study:
    """The study of that name; :class:`DataError` where there is none."""
    try:
        said = json.loads((root / SWEEPS / name / "study.json").read_text())
        return Study(root=root.absolute(), **said | {"objectives": tuple(said["objectives"])})
    except (FileNotFoundError, NotADirectoryError) as error:
        there = names(root)
        told = f" There are: {', '.join(there)}." if there else " There is none yet: `syncmri tune NET` makes one."
        raise DataError(f"There is no study '{name}' in {root / SWEEPS}.{told}{nearest(name, there)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{root / SWEEPS / name / 'study.json'}: not readable ({error}); delete the folder.") from error


def names(root: Path, network: str | None = None) -> list[str]:
    """All studies, the oldest first; of one network."""
    return [study.name for study in studies(root) if network in (None, study.network)]


def studies(root: Path) -> list[Study]:
    """All studies, the oldest first."""
    found = [load(root, path.parent.name) for path in (root / SWEEPS).glob("*/study.json")]
    return sorted(found, key=lambda study: study.created)


def _text(study: Study) -> str:
    said = dataclasses.asdict(study)
    del said["root"]
    return json.dumps(said, indent=1) + "\n"
