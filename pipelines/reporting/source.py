"""What both reports are made of. Whatever is written for a :class:`ReportSource` can appear in the report for release."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd

from cmr.store import SliceStore
from mlops.gate import GateSettings
from pipelines.reporting.charts import Densities

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


class ReportSource(Protocol):
    """Parameters, figures, records of trainings and synthetic slices. It offers no scan, no mask of a patient and no path.

    :class:`pipelines.reporting.project.Project` reads them from a project folder for the in-house report,
    :class:`pipelines.reporting.release.Release` holds what may leave the house.
    """

    @property
    def params(self) -> dict[str, Any]:
        """The parameters in ``params.yaml``."""

    @property
    def gate(self) -> GateSettings:
        """The limits that the models are held to."""

    @property
    def datasets(self) -> list[str]:
        """The names of the datasets that have data."""

    @property
    def phantoms(self) -> list[str]:
        """Those of them that are drawn by the built-in program."""

    @property
    def networks(self) -> list[Network]:
        """All trained networks: the mask model, autoencoders, generators, segmenters, controls, each kind by name."""

    @property
    def revision(self) -> str:
        """The git revision that is checked out; empty outside git."""

    @property
    def generators(self) -> list[str]: ...

    @property
    def latent_generators(self) -> list[str]:
        """The generators that have an autoencoder."""

    @property
    def all_datasets(self) -> list[str]:
        """The paper's two, whether they have data or not, then any further ones."""

    def network(self, name: str) -> Network | None:
        """The trained network of that name (``ddpm``, ``autoencoder/ldm``), or None."""

    def stage(self, name: str) -> Stage | None:
        """The figures of one stage (``utility``, ``fidelity-ddpm``, ...), or None when the stage has not run."""

    def ingested(self, dataset: str) -> Mapping[str, Any] | None:
        """What ingest counted in the dataset (:func:`counted`), or None when it has not run."""

    def split_counts(self, dataset: str) -> Mapping[str, Mapping[str, int]] | None:
        """By split: ``patients`` and labelled ``slices`` of the dataset, or None when there are no slices yet."""

    def synthetic(self, name: str) -> SliceStore | None:
        """Synthetic masks (``masks``) or a generator's images of them (``ddpm``); None when there are none.

        ``subject`` in its index names the mask, the same in all of them.
        """

    def densities(self) -> Densities | None:
        """Densities of the shapes of real and of synthetic masks; None unless there are both."""


class Derived:
    """What follows from a source's own parts, the same for both reports."""

    @property
    def generators(self: ReportSource) -> list[str]:
        return list(self.params["generators"]["names"])

    @property
    def latent_generators(self: ReportSource) -> list[str]:
        return [name for name in self.generators if self.params.get(name, {}).get("autoencoder")]

    @property
    def all_datasets(self: ReportSource) -> list[str]:
        return [*PAPER_DATASETS, *(name for name in self.datasets if name not in PAPER_DATASETS)]

    def network(self: ReportSource, name: str) -> Network | None:
        return next((network for network in self.networks if network.name == name), None)


def counted(report: Mapping[str, Any]) -> dict[str, Any]:
    """The counts in the report of ingest (:class:`cmr.ingest.Ingested`): lists of patients become their lengths."""
    lists = ("duplicates", "skipped", "excluded", "warnings")
    return {**report, **{name: len(report.get(name) or []) for name in lists}}
