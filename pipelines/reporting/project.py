"""What the in-house report reads: all of one project folder, scans and names of patients among it."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cmr.errors import DataError
from cmr.store import SliceStore
from evaluation.shapes import measure_shapes
from mlops.gate import MASKS, GateSettings
from mlops.revision import revision as revision_of
from mlops.settings import check, lookup
from pipelines.reporting.charts import Densities, shape_densities
from pipelines.reporting.names import SPLITS
from pipelines.reporting.source import Derived, Network, Stage, counted

_MEASURED = 400  # masks of each kind behind the density chart: at 5 ms each, seconds


@dataclass(frozen=True)
class Denoising:
    """One image on its way from noise, as ``sample@GEN-test`` kept it.

    Attributes:
        times: (F,) time steps, falling to 0, the image.
        states: (F, S, S) the picture at each of them, not clipped.
        mask: (S, S) labels that it was made for.
    """

    times: NDArray[np.floating]
    states: NDArray[np.floating]
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class Project(Derived):
    """A project folder, read on demand.

    Raises (on reading):
        DataError: a file is broken; it is named, with what to do about it. A file that is not there is no error.
    """

    root: Path

    @cached_property
    def params(self) -> dict[str, Any]:
        path = self.root / "params.yaml"
        if not path.is_file():
            raise DataError(f"{path}: missing; write it with `syncmri configure demo` (or real, or paper)")
        try:
            return dict(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
        except (YAMLError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not readable as YAML ({error}); write it anew with `syncmri configure`") from error

    @cached_property
    def gate(self) -> GateSettings:
        return check(lookup(self.params, "gate"), GateSettings, "gate")

    @cached_property
    def datasets(self) -> list[str]:
        return [name for name, block in self.params["data"]["raw"].items() if block]

    @cached_property
    def phantoms(self) -> list[str]:
        """Told by where the raw data lies."""
        return [name for name in self.datasets if Path(self.raw_root(name)).parts[:2] == ("data", "phantom")]

    def raw_root(self, dataset: str) -> str:
        """Where the raw files of a dataset lie, as params.yaml names the place."""
        return str(self.params["data"]["raw"][dataset].get("root", ""))

    def stage(self, name: str) -> Stage | None:
        path = self.root / "reports" / "figures" / f"{name}.json"
        if not path.is_file():
            return None
        content = _read_json(path)
        return Stage(content.get("figures") or {}, content.get("notes") or {})

    def ingest_report(self, dataset: str) -> dict[str, Any] | None:
        """What ingest found in the dataset (:class:`cmr.ingest.Ingested`, ``report``), or None when it has not run."""
        path = self.root / "reports" / "figures" / f"ingest-{dataset}.json"
        return _read_json(path) if path.is_file() else None

    @cached_property
    def duplicates(self) -> list[list[str]]:
        """[kept, dropped] of every scan that was found twice; names of patients, which stay in-house."""
        reports = (self.ingest_report(dataset) or {} for dataset in self.datasets)
        return [list(pair) for report in reports for pair in report.get("duplicates", [])]

    @cached_property
    def patients(self) -> set[str]:
        """The ids of all patients that the project knows of: of its manifests, slices, ingest reports and parameters."""
        found = {str(name).rpartition("/")[2] for name in self.params["data"].get("excluded") or ()}
        tables = [path for kind in ("manifests/*.parquet", "slices/*/index.parquet") for path in self.root.glob(f"data/{kind}")]
        for table in map(pd.read_parquet, tables):
            found |= {str(name) for column in {"subject", "duplicate_of"} & set(table) for name in table[column].unique()}
        for dataset in self.datasets:
            report = self.ingest_report(dataset) or {}
            found |= {str(name) for group in ("duplicates", "excluded") for names in report.get(group, []) for name in names}
            found |= {str(one["subject"]) for one in report.get("skipped", [])}
        return found - {""}

    def ingested(self, dataset: str) -> dict[str, Any] | None:
        report = self.ingest_report(dataset) if dataset in self.datasets else None
        return None if report is None else counted(report)

    def split_counts(self, dataset: str) -> dict[str, dict[str, int]] | None:
        store = self.store(f"slices/{dataset}") if dataset in self.datasets else None
        if store is None:
            return None
        labelled = store.index[store.index["labelled"].astype(bool)]
        by_split = {split: labelled[labelled["split"] == split] for split in SPLITS}
        return {split: {"patients": int(rows["subject"].nunique()), "slices": len(rows)} for split, rows in by_split.items()}

    def synthetic(self, name: str) -> SliceStore | None:
        return self.store("masks/full" if name == MASKS else f"sets/{name}-full")

    def densities(self) -> Densities | None:
        shapes = []
        for store in (self.store("cohort/train"), self.synthetic(MASKS)):
            if store is None:
                return None
            rows = np.unique(np.linspace(0, len(store) - 1, min(len(store), _MEASURED)).round().astype(np.int64))
            shapes.append(measure_shapes(np.asarray(store.masks[rows])))
        return shape_densities(*shapes)

    @cached_property
    def networks(self) -> list[Network]:
        order = {"masks": 0, "autoencoder": 1, "generator": 2, "segmenter": 3, "control": 4}
        found = [self._network(path) for path in sorted((self.root / "runs").rglob("run.json"))]
        return sorted(found, key=lambda network: order.get(network.record.get("kind", ""), len(order)))

    def _network(self, path: Path) -> Network:
        history = path.with_name("history.csv")
        try:
            table = pd.read_csv(history)
        except (OSError, ValueError) as error:
            raise DataError(f"{history}: not readable as CSV ({error}); train again with `dvc repro`") from error
        record = _read_json(path)
        return Network(record.get("name") or path.parent.relative_to(self.root / "runs").as_posix(), record, table)

    def store(self, path: str) -> SliceStore | None:
        """The slice store at ``path`` below ``data/``; None when there is none or it is empty."""
        folder = self.root / "data" / path
        if not folder.is_dir():
            return None
        store = SliceStore.open(folder)
        return store if len(store) else None

    def denoising(self, generator: str) -> Denoising | None:
        """One test image of the generator on its way, or None when it has not been sampled."""
        path = self.root / "data" / "denoising" / f"{generator}-test.npz"
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as content:
                return Denoising(content["times"], content["states"], content["mask"])
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise DataError(f"{path}: not readable ({error}); sample again: `dvc repro -f sample@{generator}-test`") from error

    @cached_property
    def revision(self) -> str:
        return revision_of(self.root).commit[:12]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); delete it and run `dvc repro` again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}; delete it and run `dvc repro` again")
    return content
