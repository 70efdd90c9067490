"""What was run with which data: datasets (paper, Table II), patients and slices by split, networks, parameters."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from pipelines.reporting import paper_values
from pipelines.reporting.cells import Cell, Column, Table, figure, paper, text
from pipelines.reporting.metrics import no_data
from pipelines.reporting.names import HIGHER, LOWER, SPLITS, Metric, dataset_name, network_name
from pipelines.reporting.project import Project
from pipelines.reporting.source import PAPER_DATASETS, Network, ReportSource
from pipelines.reporting.tables import paper_group

Nested = dict[str, Any]

_LISTED = 8  # warnings shown in full; the ingest report has all of them


def datasets_table(project: ReportSource) -> Table:
    """What ingest found in each dataset (paper, Table II), in numbers."""
    datasets = project.all_datasets
    features: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
        "Source": lambda name, found: "built-in phantom" if name in project.phantoms else "scans",
        "Layout": lambda name, found: dataset_name(found["layout"]),
        "Patients found": lambda name, found: _total(found["found"]),
        "Patients used": lambda name, found: _total(found["subjects"]),
        "Labelled frames": lambda name, found: str(found["frames"]),
        "Vendors (patients)": lambda name, found: _counts(found["vendors"]),
        "Centres (patients)": lambda name, found: _counts(found["centres"]),
        "Pathologies (patients)": lambda name, found: _counts(found["pathologies"]),
        "Present and not used": lambda name, found: _counts(found["unused"]) or "none",
        "Duplicate scans dropped": lambda name, found: _number(found["duplicates"]),
        "Skipped": lambda name, found: _number(found["skipped"]),
        "Excluded patients": lambda name, found: _number(found["excluded"]),
        "Warnings": lambda name, found: _number(found["warnings"]),
    }
    rows = [[text(name, "label"), *(_fact(project, one, describe) for one in datasets)] for name, describe in features.items()]
    return Table("The datasets as found on disk.", _dataset_columns(datasets), rows)


def named_table(project: Project) -> Table:
    """Where the raw data lies, and who was left out or remarked on, by name. In-house only."""
    features: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
        "Place": lambda name, found: project.raw_root(name),
        "Duplicate scans": lambda name, found: (
            "; ".join(f"{kept} kept, {dropped} dropped" for kept, dropped in found["duplicates"]) or "none"
        ),
        "Skipped": lambda name, found: _listed([f"{one['subject']}: {one['reason']}" for one in found["skipped"]]) or "none",
        "Excluded": lambda name, found: _listed([" = ".join(names) for names in found.get("excluded", [])]) or "none",
        "Warnings": lambda name, found: _listed(found["warnings"]) or "none",
    }
    reports = {name: report for name in project.datasets if (report := project.ingest_report(name)) is not None}
    rows = [
        [text(feature, "label"), *(text(describe(name, found), "prose") for name, found in reports.items())]
        for feature, describe in features.items()
        if reports
    ]
    return Table(
        "By name: the places of the raw data, and the patients behind the numbers above.", _dataset_columns(reports), rows
    )


def _dataset_columns(datasets: Iterable[str]) -> list[Column]:
    return [Column("Feature"), *(Column(dataset_name(name), kind="prose") for name in datasets)]


def paper_datasets_table() -> Table:
    """The paper's Table II as printed."""
    columns = [Column("Feature"), *(Column(dataset_name(name), kind="prose") for name in PAPER_DATASETS)]
    rows = [[text(name, "label"), *(paper(value, "paper prose") for value in values)] for name, values in paper_values.TABLE_II]
    caption = "The paper's Table II as printed: the complete public datasets, from which this run's may be a part or phantoms."
    return Table(caption, columns, rows, [("", 1), *paper_group("Table II", list(PAPER_DATASETS))])


def _fact(project: ReportSource, dataset: str, describe: Callable[[str, Mapping[str, Any]], str]) -> Cell:
    found = project.ingested(dataset)
    if found is None:
        reason = f"no data: {no_data(project, dataset)}"
        if dataset in project.datasets:
            reason = f"no data: the stage ingest@{dataset} has not run"
        return Cell("–", title=reason, reason=reason, kind="missing")
    return text(describe(dataset, found), "prose")


def _number(count: int) -> str:
    return str(count) if count else "none"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'unknown'}: {count}" for name, count in counts.items())


def _total(counts: Mapping[str, int]) -> str:
    return f"{sum(counts.values())} ({_counts(counts)})"


def _listed(sentences: list[str]) -> str:
    more = len(sentences) - _LISTED
    return "; ".join(sentences[:_LISTED]) + (f"; and {more} more" if more > 0 else "")


def splits_table(metrics: Nested, datasets: list[str]) -> Table:
    """Patients and labelled slices of every split."""
    columns = [Column("Dataset")]
    groups = [("", 1)]
    for name in SPLITS.values():
        columns += [Column("patients"), Column("slices")]
        groups.append((name, 2))
    whole = Metric("count", digits=0)
    rows = []
    for dataset in datasets:
        counts = [metrics["data"][dataset][split][kind] for split in SPLITS for kind in ("patients", "slices")]
        cells = [text(value, "count") if isinstance(value, int) else figure(value, whole) for value in counts]
        rows.append([text(dataset_name(dataset), "label"), *cells])
    caption = (
        "Patients and labelled slices by split, duplicates dropped. Hold-out patients are drawn from the generators' training "
        "patients before any training: no network sees them."
    )
    return Table(caption, columns, rows, groups)


def networks_table(networks: list[Network]) -> Table:
    """Every trained network with its budget: what the figures were bought with."""
    columns = [
        Column("Network"),
        Column("Parameters", "millions"),
        Column("Steps", "optimisation"),
        Column("Time", "h:min:s"),
        Column("Device", kind="prose"),
        Column("Best", "validation @ step"),
        Column("Seed"),
        Column("Run key", kind="prose"),
        Column("Trained"),
    ]
    rows = []
    for network in networks:
        run = network.record
        best = run.get("best") or {}
        score = best.get("score")
        shown = f"{score:.4g} @ {best.get('step')}" if score is not None else "not validated"
        rows.append(
            [
                text(network_name(network.name), "label"),
                text(f"{run['parameters'] / 1e6:.2f}" if "parameters" in run else "", "count"),
                text(f"{run.get('steps', 0):,}".replace(",", "\u202f"), "count"),
                text(duration(run.get("seconds", 0)), "count"),
                text(run.get("device", ""), "prose"),
                text(shown, "count"),
                text(run.get("seed", ""), "count"),
                Cell(str(run.get("run_key", ""))[:12] or "–", title=str(run.get("run_key", "")), kind="code"),
                text(str(run.get("created", ""))[:16].replace("T", " "), "count"),
            ]
        )
    return Table("The trained networks. Time is wall-clock time.", columns, rows)


def autoencoders_table(project: ReportSource) -> Table:
    """What the autoencoders of the latent generators keep of a validation slice; no rows where no generator is latent."""
    columns = {
        ("codebook", "used"): Metric("Codebook used", "% of its entries", HIGHER, 1, 100),
        ("codebook", "perplexity"): Metric("Perplexity", "of the codes", HIGHER, 1),
        ("reconstruction", "l1"): Metric("L1", "images in [0, 1]", LOWER, 4),
        ("reconstruction", "psnr"): Metric("PSNR", "dB", HIGHER),
    }
    rows = []
    for name in project.latent_generators:
        network = project.network(f"autoencoder/{name}")
        cells = [text(network_name(name), "label")]
        for (block, key), metric in columns.items():
            why = f"no figures: the stage train_autoencoder@{name} has not run" if network is None else None
            value = (network.record.get(block) or {}).get(key) if network else None
            cells.append(figure({"value": value, "reason": why}, metric))
        rows.append(cells)
    return Table(
        "Codebook and reconstruction error of the autoencoders on the validation slices. No image of a latent generator can be "
        "sharper than its autoencoder's reconstructions.",
        [Column("Generator"), *(Column(f"{metric.name} {metric.arrow}", metric.unit) for metric in columns.values())],
        rows,
    )


def duration(seconds: float) -> str:
    """Seconds as h:min:s."""
    return str(timedelta(seconds=round(seconds)))


def hashes_table(networks: list[Network]) -> Table:
    """Which version of which data each network was trained on."""
    by_data: dict[tuple[str, str], list[str]] = {}
    for network in networks:
        for path, digest in (network.record.get("data") or {}).items():
            by_data.setdefault((path, str(digest)), []).append(network_name(network.name))
    rows = [
        [Cell(path, kind="code label"), Cell(digest[:16], title=digest, kind="code"), text(", ".join(names), "prose")]
        for (path, digest), names in sorted(by_data.items())
    ]
    return Table(
        "The data versions that the networks were trained on.",
        [Column("Data"), Column("SHA-256", kind="prose"), Column("Used by", kind="prose")],
        rows,
    )


def parameters(params: Nested) -> list[tuple[str, list[tuple[str, str]]]]:
    """params.yaml as (top-level key, [(dotted name, value)]), in file order."""
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    general: list[tuple[str, str]] = []
    for key, value in params.items():
        if isinstance(value, Mapping):
            groups.append((key, _flat(value, "")))
        else:
            general.append((key, str(value)))
    return [("general", general), *groups] if general else groups


def _flat(values: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat += _flat(value, f"{name}.")
        else:
            flat.append((name, ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else str(value)))
    return flat
