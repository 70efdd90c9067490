"""Seconds and memory of each stage against the number of patients: phantoms at 1, 2, 4 and 8 times a cohort.

    python -m benchmarks.growth [--quick]    # writes benchmarks/growth.json and docs/growth.svg; --quick: neither

Networks train for one epoch and draw with few steps, so that a stage's work grows with its data and with nothing else. There is
no plain way. Memory: how much more the stage that grows most needs at the largest size; the limit is a quarter more. Time: what
the last step in size multiplied the seconds of the stage by that grows most; the limit is that step, and a tenth for noise.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import arguments, finish, machine, within
from benchmarks.stages import Usage, project, run

GROWTH = Path("benchmarks/growth.json")
FIGURE = Path("docs/growth.svg")
SIZES = (1, 2, 4, 8)
PATIENTS = 10  # of the larger dataset at size 1, the hold-out among them
DATA = ["phantom mnms", "ingest mnms", "preprocess mnms", "slices mnms", "cohort"]
NETWORKS = ["features", "train_masks", "sample_masks", "segment mnms-real", "train_generator ddpm", "sample ddpm full"]
NETWORKS += ["sample ddpm test", "score mnms-real", "fidelity ddpm", "privacy ddpm"]
Found = dict[str, list[Usage]]


def main() -> None:
    """Prints and records the figures; see the module."""
    given = arguments(__doc__).parse_args()
    sizes = (1, 4) if given.quick else SIZES
    measured = [stage for stage in (DATA if given.quick else DATA + NETWORKS) if stage != "features"]
    found: Found = {stage: [] for stage in measured}
    for size in sizes:
        with TemporaryDirectory(prefix="syncmri-benchmark-") as folder:
            root = project(Path(folder) / "project", settings(size * PATIENTS))
            for stage in ["phantom acdc", "ingest acdc", "preprocess acdc", "slices acdc"]:
                run(root, stage)
            for stage in DATA if given.quick else DATA + NETWORKS:
                used = run(root, stage)
                print(f"{size} ×: {stage}: {used.seconds:.1f} s, {used.peak:.0f} MB", flush=True)
                if stage in found:
                    found[stage].append(used)
    record(found, sizes)
    if not given.quick:
        told = {stage: [{"seconds": one.seconds, "peak_mb": one.peak} for one in used] for stage, used in found.items()}
        about = {"machine": machine(), "patients": [size * PATIENTS for size in sizes], "stages": told}
        GROWTH.write_text(json.dumps(about, indent=1) + "\n")
        draw(found, [size * PATIENTS for size in sizes])
        print(f"Wrote {GROWTH} and {FIGURE}")
    finish(given)


def settings(patients: int) -> dict[str, str]:
    """Of a project whose larger dataset has so many training patients."""
    trained = {"epochs": "1", "max_steps": "null", "validations": "1", "warmup_steps": "0"}
    networks = {f"{network}.train.{key}": value for network in ("masks", "ddpm", "segmenter") for key, value in trained.items()}
    drawn = {"masks.sampling.steps": "2", "ddpm.sampling.steps": "2", "ddpm.sampling.sampler": "ddim"}
    return (
        networks
        | drawn
        | {
            "phantom.patients.mnms": f"{{training: {patients}, validation: 3, testing: {max(2, patients // 5)}}}",
            "phantom.patients.acdc": "{training: 3, testing: 4}",
            "privacy.holdout.minimum_patients": "3",
        }
    )


def record(found: Found, sizes: tuple[int, ...]) -> None:
    """One row for memory and one for time, each of the stage that grows most."""
    more = {stage: used[-1].peak / used[0].peak for stage, used in found.items()}
    worst = max(more, key=lambda stage: more[stage])
    work = f"{len(found)} stages at {sizes[-1]} × the patients against {sizes[0]} ×; most: {worst}"
    limit = (
        f"{worst} holds what it works on: {found[worst][0].peak:.0f} MB at 1 ×, {found[worst][-1].peak:.0f} MB at {sizes[-1]} ×"
    )
    within("growth of memory", [more[worst]], 1.25, "×", work=work, limit=limit)
    step = sizes[-1] / sizes[-2]
    slower = {stage: used[-1].seconds / used[-2].seconds for stage, used in found.items()}
    worst = max(slower, key=lambda stage: slower[stage])
    work = f"{len(found)} stages at {sizes[-1]} × the patients against {sizes[-2]} ×; most: {worst}"
    within("growth of time", [slower[worst]], 1.1 * step, "×", work=work, limit=f"{worst} grows faster than its data")


def draw(found: Found, patients: list[int]) -> None:
    """Two panels: seconds and memory against patients, both axes logarithmic; a dashed line shows proportional growth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.fonttype"] = "none"
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    colours = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for panel, key, label in zip(panels, ("seconds", "peak"), ("seconds of the stage", "peak memory, MB"), strict=True):
        for colour, (stage, used) in zip(colours, found.items(), strict=False):
            panel.plot(patients, [getattr(one, key) for one in used], marker="o", markersize=3, color=colour, label=stage)
        panel.set(xscale="log", yscale="log", xlabel="training patients", ylabel=label, xticks=patients)
        panel.set_xticks(patients, [str(count) for count in patients])
        panel.minorticks_off()
        panel.spines[["top", "right"]].set_visible(False)
    start = min(used[0].seconds for used in found.values())
    panels[0].plot(patients, [start * count / patients[0] for count in patients], "--", color="grey", label="proportional")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(FIGURE, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
