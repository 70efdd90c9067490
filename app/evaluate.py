"""``syncmri evaluate``: the figures of sets of images or masks from anywhere, without the pipeline."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from evaluation.sets import Evaluated

app = typer.Typer(
    help="Figures of any two sets: slice stores, or folders of PNG or NIfTI files that another generator made.",
    no_args_is_help=True,
)
_SETS = "STORE|DIR"
Real = Annotated[Path, typer.Option(metavar=_SETS, help="Real ones.")]
Synthetic = Annotated[Path, typer.Option(metavar=_SETS, help="Synthetic ones.")]
Floor = Annotated[
    Path | None, typer.Option(metavar=_SETS, help="Further real ones, of other patients: for the floor.", show_default=False)
]
Out = Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the figures there too.", show_default=False)]
_READ = """

    A folder holds images of one size, or is an export of `syncmri generate`. PNG (8 or 16 bits, grey): the range of the type is
    taken as black to white. NIfTI (2D, or 3D): values in [-1, 1] with negative ones are taken as they are, others scaled by the
    headers' black and white, or slice by slice from their 1st and 99th percentile. Patients: patients.csv in the folder
    (file,patient), else the file names (sub-01_…, ACDC_001_0000, patient001_slice3).
    """


@app.command(
    help="Are synthetic images like real ones? SSIM, PSNR, LPIPS of pairs (same file names, or the same masks), FID, KID."
    + _READ
)
def fidelity(real: Real, synthetic: Synthetic, floor: Floor = None, out: Out = None) -> None:
    from cmr.folder import read_images
    from evaluation.sets import evaluate_fidelity

    further = read_images(floor) if floor else None
    _tell("Fidelity", evaluate_fidelity(read_images(real), read_images(synthetic), further), out)


@app.command(help="Do synthetic images lie nearer to those trained on than to real ones held out?" + _READ)
def privacy(
    synthetic: Synthetic,
    train: Annotated[Path, typer.Option(metavar=_SETS, help="The images that the generator was trained on.")],
    holdout: Annotated[Path, typer.Option(metavar=_SETS, help="Real images of patients that it has not seen.")],
    test: Annotated[
        Path | None, typer.Option(metavar=_SETS, help="Real images of yet other patients: for the floor.", show_default=False)
    ] = None,
    out: Out = None,
) -> None:
    from cmr.folder import read_images
    from evaluation.sets import evaluate_privacy

    further = read_images(test) if test else None
    _tell("Privacy", evaluate_privacy(read_images(synthetic), read_images(train), read_images(holdout), further), out)


_LABELS = " Labels: 0 background, 1 LV, 2 MYO, 3 RV."


@app.command(help="Are synthetic masks shaped like real ones, and anatomically valid?" + _LABELS)
def masks(real: Real, synthetic: Synthetic, floor: Floor = None, out: Out = None) -> None:
    from cmr.folder import read_masks
    from evaluation.sets import evaluate_masks

    further = read_masks(floor) if floor else None
    _tell("Masks", evaluate_masks(read_masks(real), read_masks(synthetic), further), out)


@app.command(
    help="How well do predicted masks agree with the true ones: as volumes where there are some, and slice by slice?" + _LABELS
)
def utility(
    predicted: Annotated[Path, typer.Option(metavar=_SETS, help="What a segmenter made of real images.")],
    truth: Annotated[Path, typer.Option(metavar=_SETS, help="Their true masks: the same rows, or file names.")],
    out: Out = None,
) -> None:
    from cmr.folder import read_masks
    from evaluation.sets import evaluate_utility

    _tell("Utility", evaluate_utility(read_masks(predicted), read_masks(truth)), out)


def _tell(title: str, found: "Evaluated", out: Path | None) -> None:
    from rich.console import Console

    from app.console import print_table
    from cmr.files import whole_file
    from evaluation.figure import to_json

    console, figures = Console(), to_json(found.figures)
    print_table(_table(title, figures))
    for reason, names in _reasons(figures).items():
        console.print(f"- {', '.join(names)}: {reason}", highlight=False, markup=False)
    for pair in found.pairs[:5]:
        console.print("{synthetic}: nearest training image {train}, {train_distance:.3g}".format(**pair), highlight=False)
    for note in found.notes:
        console.print(f"- {note}", highlight=False, markup=False)
    if out:
        content = {"figures": figures, "notes": found.notes, "pairs": found.pairs}
        with whole_file(out) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _table(title: str, figures: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="Intervals of 95 % over patients.")
    for heading in ("Figure", "Value", "Interval", "N", "Floor"):
        table.add_column(heading, justify="left" if heading == "Figure" else "right", no_wrap=heading != "Figure")
    for name, figure, floor in _rows(figures):
        interval = f"{_number(figure['ci_low'])} – {_number(figure['ci_high'])}" if figure.get("ci_low") is not None else ""
        beside = _number(floor["value"]) if floor and floor["value"] is not None else ""
        count = str(figure["n"]) if figure.get("n") is not None else ""
        table.add_row(name, _number(figure["value"]), interval, count, beside)
    return table


def _rows(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """Each figure under its dotted name, with its floor."""
    floor = figures.get("floor", {})
    beside = {} if "value" in floor else floor
    for name, entry in figures.items():
        if "value" in entry:
            yield prefix + name, entry, beside.get(name)
        elif name != "floor":
            yield from _rows(entry, f"{prefix}{name}.")


def _reasons(figures: dict[str, Any]) -> dict[str, list[str]]:
    """Why figures, or their intervals, are missing, and which."""
    found: dict[str, list[str]] = {}
    for name, figure, _ in _rows(figures):
        if figure.get("reason"):
            found.setdefault(figure["reason"], []).append(name)
    return found


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
