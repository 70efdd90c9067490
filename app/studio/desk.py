"""What happens at each button of the studio: answers for the page's components, faults as messages in the page."""

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app.studio import render
from app.studio.bundle import FORMATS, write_bundle
from app.studio.drawing import Drawn, draw
from app.studio.pictures import from_text, to_text
from app.studio.shelf import Offer, Shelf, approved_generators
from cmr.errors import DataError
from evaluation.validity import CHECKS, check_anatomy
from mlops.connection import TrackingError
from mlops.gate import MASKS
from mlops.lineage import note_export

SEED_MOST = 2**32 - 1  # JavaScript has whole numbers up to 2^53
_FAULTS = {
    "components": "a structure is in several pieces",
    "holes": "a structure has a hole",
    "ring": "the myocardium is no closed ring",
    "lv_inside": "the left ventricle is not inside the myocardium",
    "rv_touching": "the right ventricle does not touch the myocardium",
}
assert tuple(_FAULTS) == CHECKS


class Origin(NamedTuple):
    """The mask that the mask model drew last, to tell it from one that a person has painted on since."""

    mask: str = ""
    seed: int = 0
    number: int = 0


class Shown(NamedTuple):
    """The versions, (model, number), whose pictures a page shows, and the number of pictures."""

    versions: tuple[tuple[str, int], ...] = ()
    pictures: int = 0


class Desk:
    """The handlers; all that differs between two open pages is in their arguments.

    Args:
        scratch: an existing folder for the files that are offered for download.
    """

    def __init__(self, shelf: Shelf, scratch: Path):
        self.shelf, self._scratch = shelf, scratch

    def opened(self) -> tuple[Any, Any, Any, str, str]:
        """What is offered, generators to choose, an empty mask, what is missing, a first message."""
        try:
            offers = self.shelf.offers()
        except TrackingError as error:
            return [], _choices([], []), gr.skip(), "", render.message(str(error), "fault")
        generators, gone = approved_generators(offers), render.missing(offers)
        if not generators:
            text = (
                "No generator is approved, so nothing can be drawn. `syncmri promote ddpm` asks the gate for its newest version"
            )
            return offers, _choices([], []), gr.skip(), gone, render.message(f"{text}.", "fault")
        start = "Sample, upload or paint a mask, then draw an image for it. Choose several generators to compare them."
        blank = "0" * generators[0].size ** 2
        return offers, _choices(generators, [generators[0].model]), blank, gone, render.message(start)

    def looked_again(self, before: Sequence[Offer], chosen: Sequence[str], shown: Shown) -> tuple[Any, Any, Any, Any, Any, Any]:
        """Every few seconds: what is offered; nothing of a version that has lost its approval stays in the page.

        Where nothing has changed nothing is touched, so that no click of the user's in the meantime is undone.
        """
        try:
            offers = self.shelf.offers()
        except TrackingError:
            return (gr.skip(),) * 6  # drawing asks again, and says what is wrong
        if offers == before:
            return (gr.skip(),) * 6
        select, missing = _choices(approved_generators(offers), chosen), render.missing(offers)
        approved = {(offer.model, offer.number) for offer in offers}
        gone = [f"{model} version {number}" for model, number in shown.versions if (model, number) not in approved]
        if not gone:
            return offers, select, missing, gr.skip(), gr.skip(), gr.skip()
        text = f"No longer approved: {', '.join(gone)}. What was drawn with it is not shown any longer."
        return offers, select, missing, render.message(text, "fault"), gr.update(value=None, interactive=False), Shown()

    def sample(self, seed: float | None) -> tuple[Any, Any, str]:
        """A mask of the mask model for the editor."""
        try:
            number = _seed(seed)
            mask = self.shelf.sample_mask(number)
            text = to_text(mask)
            origin = Origin(text, number, self.shelf.take(MASKS).number)
            return text, origin, render.message(f"Sampled by the mask model from the seed {number}. {_anatomy(text)}")
        except DataError as error:
            return gr.skip(), gr.skip(), render.message(str(error), "fault")

    def upload(self, file: str) -> tuple[Any, Any, Any, str]:
        """The masks of a file, the first of them for the editor; the file itself, perhaps a patient's, is not kept."""
        path = Path(file)
        try:
            masks = [to_text(mask) for mask in self.shelf.read_masks(path)]
        except DataError as error:
            return gr.skip(), gr.skip(), gr.skip(), render.message(str(error), "fault")
        finally:
            path.unlink(missing_ok=True)
        first = len(masks) // 2  # the middle of a stack shows most of the heart
        several = f"slice {first + 1} of {len(masks)} with a heart; choose another below. " if len(masks) > 1 else ""
        slices = gr.update(visible=len(masks) > 1, maximum=max(2, len(masks)), value=first + 1)  # a slider needs two ends
        return masks[first], masks, slices, render.message(f"{path.name}: {several}{_anatomy(masks[first])}")

    def choose(self, masks: Sequence[str], number: int) -> tuple[Any, str]:
        """Another slice of the uploaded masks."""
        if not 1 <= number <= len(masks):
            return gr.skip(), render.message("No mask is uploaded.", "fault")
        mask = masks[number - 1]
        return mask, render.message(f"Slice {number} of {len(masks)}. {_anatomy(mask)}")

    def painted(self, mask: str) -> str:
        """What there is to say of a mask after a stroke."""
        return render.message(f"Painted by hand. {_anatomy(mask)}")

    def draw(
        self,
        mask: str,
        chosen: Sequence[str],
        seed: float | None,
        steps: float | None,
        origin: Origin,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how gradio finds it)
    ) -> tuple[str, Any, Any, Any]:
        """An image of each chosen generator: the pictures, the archive of them, what is shown, the models' cards."""
        try:
            labels, number = from_text(mask), _seed(seed)
            if not chosen:
                raise DataError("Choose at least one generator.")
            drawn: list[Drawn] = []
            for place, model in enumerate(chosen):

                def told(done: float, place: int = place, model: str = model) -> None:
                    progress((place + done) / len(chosen), desc=f"{model.upper()} draws")

                approved = self.shelf.take(model)
                drawn.append(draw(approved, labels, number, int(steps) if steps else None, told))
                self.shelf.take(model)  # raises if it was demoted in the meantime
            page = render.results(drawn)
            archive, shown = self._bundle(drawn, origin if origin.mask == mask else None)
        except DataError as error:
            return render.message(str(error), "fault"), gr.update(value=None, interactive=False), Shown(), gr.skip()
        cards = "\n\n---\n\n".join(one.approved.card for one in drawn)
        return page, gr.update(value=archive, interactive=archive is not None), shown, cards

    def downloaded(self, shown: Shown) -> None:
        """Every version that had a part in it is told so: `syncmri lineage` lists the download."""
        try:
            about = {"what": "download from the studio", "count": shown.pictures, "format": " and ".join(FORMATS)}
            note_export(self.shelf.root, shown.versions, about | {"out": "a browser"})
        except TrackingError as error:
            gr.Warning(f"The download could not be noted in the registry: {error}")

    def registry(self) -> str:
        try:
            return render.registry_state(self.shelf.root)
        except TrackingError as error:
            return render.message(str(error), "fault")

    def _bundle(self, drawn: Sequence[Drawn], origin: Origin | None) -> tuple[str | None, Shown]:
        """The archive of what may be seen, if anything, and what stands for it in the registry."""
        seen = [one for one in drawn if one.image is not None]
        source = self.shelf.take(MASKS) if origin else None
        if source and origin and source.number != origin.number:
            source = None  # another mask model is approved by now: the mask counts as given
        versions = [(one.approved.model, one.approved.number) for one in seen]
        if source:
            versions.append((MASKS, source.number))
        if not seen:
            return None, Shown()
        path = self._scratch / f"syncmri-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}.zip"
        write_bundle(path, seen, source, origin.seed if origin else 0)
        return str(path), Shown(tuple(versions), len(seen))


def _choices(generators: Sequence[Offer], chosen: Sequence[str]) -> Any:
    known = [offer.model for offer in generators]
    return gr.update(
        choices=[(offer.label, offer.model) for offer in generators], value=[name for name in chosen if name in known]
    )


def new_seed() -> int:
    return secrets.randbelow(10_000)


def _seed(value: float | None) -> int:
    if value is None or value != int(value) or not 0 <= value <= SEED_MOST:
        raise DataError(f"The seed {value} is not a whole number from 0 to {SEED_MOST}.")
    return int(value)


def _anatomy(mask: str) -> str:
    try:
        checks = check_anatomy(from_text(mask)[None]).iloc[0]
    except DataError:
        return "The mask is empty."
    faults = [text for name, text in _FAULTS.items() if not checks[name]]
    return f"Anatomy: {'; '.join(faults)}." if faults else "Anatomy: plausible."
