"""What the report reads: parameters, figures, trained networks and slice stores of one project folder."""

import json
import subprocess
from dataclasses import dataclass, field
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
from mlops.gate import GateSettings
from mlops.settings import check, lookup

PAPER_DATASETS = ("acdc", "mnms")


@dataclass(frozen=True)
class Network:
    """A trained network: its ``run.json`` and its ``history.csv`` (step, epoch, train_loss, validation, ...)."""

    name: str
    record: dict[str, Any]
    history: pd.DataFrame


@dataclass(frozen=True)
class Stage:
    """One file of ``reports/figures``: the figures of a stage, and its notes (everything that is no figure)."""

    figures: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


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
class Project:
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
        """The limits that the models are held to."""
        return check(lookup(self.params, "gate"), GateSettings, "gate")

    @property
    def generators(self) -> list[str]:
        return list(self.params["generators"]["names"])

    @property
    def latent_generators(self) -> list[str]:
        """The generators that have an autoencoder."""
        return [name for name in self.generators if self.params.get(name, {}).get("autoencoder")]

    @property
    def datasets(self) -> dict[str, dict[str, Any]]:
        """The datasets that have data, by name: their ``data.raw`` blocks."""
        return {name: block for name, block in self.params["data"]["raw"].items() if block}

    @property
    def all_datasets(self) -> list[str]:
        """The paper's two, whether they have data or not, then any further ones."""
        return [*PAPER_DATASETS, *(name for name in self.datasets if name not in PAPER_DATASETS)]

    def is_phantom(self, dataset: str) -> bool:
        """Whether the dataset is the built-in phantom, told by where its raw data lies."""
        return Path(self.datasets.get(dataset, {}).get("root", "")).parts[:2] == ("data", "phantom")

    def stage(self, name: str) -> Stage | None:
        """The figures of one stage (``utility``, ``fidelity-ddpm``, ...), or None when the stage has not run."""
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
    def networks(self) -> list[Network]:
        """All trained networks: the mask model, autoencoders, generators, segmenters, positive controls, each kind by name."""
        order = {"masks": 0, "autoencoder": 1, "generator": 2, "segmenter": 3, "control": 4}
        found = [self._network(path) for path in sorted((self.root / "runs").rglob("run.json"))]
        return sorted(found, key=lambda network: order.get(network.record.get("kind", ""), len(order)))

    def network(self, name: str) -> Network | None:
        """The trained network of that name (``ddpm``, ``autoencoder/ldm``), or None."""
        return next((network for network in self.networks if network.name == name), None)

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
        """The git revision that is checked out; empty outside git."""
        command = ["git", "-C", str(self.root), "rev-parse", "--short=12", "HEAD"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); delete it and run `dvc repro` again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}; delete it and run `dvc repro` again")
    return content
