"""Makes a synthetic set: masks, images, files, datasheet, and the note in the registry that it went out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.approved import SEED_LIMIT, ApprovalWatch, Approved, load_approved
from app.conditions import given_masks
from app.export import writer
from app.export.datasheet import Datasheet, write_datasheet
from app.export.draw import Check, Conditions, draw_images, draw_masks
from cmr.errors import DataError
from cmr.files import whole_folder
from cmr.store import SliceStore
from mlops.exports import note_export
from mlops.gate import MASKS
from mlops.licences import licences_of
from mlops.settings import DataSettings, PhantomData, section

USUAL_COUNT = 100


@dataclass(frozen=True)
class Request:
    """What is asked for; see :func:`app.generate.generate`."""

    model: str
    out: Path
    count: int | None = None
    masks: Path | None = None
    dataset: str | None = None
    format: str = "store"
    seed: int = 0
    steps: int | None = None


@dataclass(frozen=True)
class Made:
    """What came of it; ``masks_withheld`` is None where the masks were given."""

    count: int
    model: str
    images_withheld: int
    masks_withheld: int | None


def make_set(root: Path, request: Request) -> Made:
    """Draw the set and write it to ``request.out`` as a whole, or not at all.

    Raises:
        NotApprovedError: a model that it needs has no approved version, or loses it on the way.
        DataError: a request that can't be met.
        TrackingError: the registry can't be reached.
    """
    write, out = writer(request.format), request.out.absolute()
    _check(request)
    model = load_approved(root, request.model)
    watches = [ApprovalWatch(root, model)]
    conditions, used = _real_or_given(root, request, model), [model]
    if conditions is None:
        source = load_approved(root, MASKS)
        _fit(model, source)
        watches.append(ApprovalWatch(root, source))
        used.append(source)
        conditions = draw_masks(source, request.count or USUAL_COUNT, request.seed, _all(watches))
    drawn, count = draw_images(model, conditions, request.seed, _all(watches), steps=request.steps)
    datasheet = Datasheet(model, used[1] if len(used) > 1 else None, conditions, drawn, count, request.format, request.seed)
    with whole_folder(out) as folder:
        layout = write(folder, drawn)
        write_datasheet(folder, datasheet, layout)
        for one in used:
            ApprovalWatch(root, one, every=0).check()
        # Before the folder appears: no set goes out that the registry does not know of.
        about = {"what": "synthetic set", "count": len(drawn), "format": request.format, "out": str(out)}
        note_export(root, [(one.model, one.number) for one in used], about | {"masks": conditions.source})
    withheld = conditions.count.withheld if conditions.seeds is not None else None
    return Made(len(drawn), model.name, count.withheld, withheld)


def _check(request: Request) -> None:
    if request.model == MASKS:
        raise DataError("--model masks draws no images; name a generator, such as ddpm: masks are drawn for it by themselves")
    if request.masks and request.dataset:
        raise DataError("--masks and --dataset both say whose masks to draw for; give one of them")
    if not 0 <= request.seed < SEED_LIMIT:
        raise DataError(f"--seed {request.seed}: expected 0 to 2^63 - 1")
    out = request.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: exists already; give the name of a new folder, nothing is written over")


def _real_or_given(root: Path, request: Request, model: Approved) -> Conditions | None:
    if request.masks:
        masks, source, licence = given_masks(request.masks, model.size, model.pixel_mm), "given", ""
    elif request.dataset:
        masks, source = _of_dataset(root, request.dataset, model), request.dataset
        stated, phantoms = section("data", DataSettings, root).licences, section("phantom", PhantomData, root).datasets
        licence = licences_of([source], stated, phantoms)[source]
    else:
        return None
    count = request.count or len(masks)
    # In an order that says nothing of the patients'; a mask comes up again only after all others.
    rounds = [np.random.default_rng([request.seed, turn]).permutation(len(masks)) for turn in range(-(-count // len(masks)))]
    return Conditions(masks[np.concatenate(rounds)[:count]], source, licence=licence)


def _of_dataset(root: Path, dataset: str, model: Approved) -> np.ndarray:
    folder = root / "data/masks" / dataset
    known = sorted(section("data", DataSettings, root).raw)
    if dataset not in known or not (folder / "index.parquet").is_file():
        raise DataError(
            f"{folder}: there are no masks of a dataset '{dataset}'; known: {', '.join(known) or 'none'}. `syncmri run` or "
            "`dvc checkout` brings them."
        )
    masks = np.asarray(SliceStore.open(folder).masks)
    if masks.shape[1] != model.size:
        raise DataError(f"{folder}: masks of {masks.shape[1]} pixels; {model.name} draws {model.size}. Run `dvc repro slices`.")
    return masks


def _fit(model: Approved, masks: Approved) -> None:
    if masks.size != model.size:
        raise DataError(
            f"{model.name} draws {model.size} pixels, but {masks.name} draws masks of {masks.size}. Approve versions of one "
            "`slices.size`, or give masks with --masks."
        )


def _all(watches: list[ApprovalWatch]) -> Check:
    def check() -> None:
        for watch in watches:
            watch.check()

    return check
