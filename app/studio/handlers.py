"""What happens at each button of the studio: answers for the page's components, faults as messages in the page."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app.approved import Approved
from app.studio import render
from app.studio.bundle import FORMATS
from app.studio.downloads import Downloads
from app.studio.drawing import Drawn, draw
from app.studio.faults import fault
from app.studio.limits import visitor_of
from app.studio.model_cache import ModelCache, Offer, approved_generators
from app.studio.pictures import from_text, to_text
from app.studio.uploads import Uploads
from cmr.errors import DataError
from evaluation.validity import CHECKS, check_anatomy
from mlops.connection import TrackingError
from mlops.exports import note_export
from mlops.gate import MASKS
from models.registry import GENERATORS

SEED_MOST = 2**32 - 1  # JavaScript has whole numbers up to 2^53
STEPS_MOST = 1000
"""Largest number of steps of all generators of one drawing together: a drawing holds up everybody else's."""
SECONDS_MOST = 60.0
"""After which a drawing ends if others wait."""
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


class Handlers:
    """The handlers; all that differs between two open pages is in their arguments.

    Args:
        scratch: an existing folder for uploads while they are read, and for the archives that are offered for download.
    """

    def __init__(self, model_cache: ModelCache, scratch: Path):
        self.model_cache = model_cache
        self.uploads, self.downloads = Uploads(model_cache, scratch), Downloads(model_cache, scratch)
        self._drawing: set[str] = set()
        self.others_wait: Callable[[str], bool] = lambda visitor: False

    def opened(self) -> tuple[Any, Any, Any, str, str]:
        """What is offered, generators to choose, an empty mask, what is missing, a first message."""
        try:
            offers = self.model_cache.offers()
        except TrackingError as error:
            return [], _choices([], []), gr.skip(), "", fault(error)
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
            offers = self.model_cache.offers()
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
        return offers, select, missing, render.message(text, "fault"), render.download(), Shown()

    def sample(self, seed: object, request: gr.Request) -> tuple[Any, Any, str]:
        """A mask of the mask model for the editor."""
        try:
            number = _seed(seed)
            mask = self.model_cache.sample_mask(number)
            text = to_text(mask)
            origin = Origin(text, number, self.model_cache.take(MASKS).number)
            about = {"what": "mask sampled in the studio", "count": 1, "format": "png"}
            self._note([(MASKS, origin.number)], about, request)
            return text, origin, render.message(f"Sampled by the mask model from the seed {number}. {_anatomy(text)}")
        except DataError as error:
            return gr.skip(), gr.skip(), fault(error)

    def upload(self, key: object, request: gr.Request) -> tuple[Any, Any, Any, str]:
        """The masks of the file that the visitor sent, the first of them for the editor."""
        try:
            upload = self.uploads.take(_visitor(request), str(key))
            if upload.fault:
                raise DataError(upload.fault)
        except DataError as error:
            return gr.skip(), gr.skip(), gr.skip(), fault(error)
        masks = upload.masks
        first = len(masks) // 2  # the middle of a stack shows most of the heart
        several = f"slice {first + 1} of {len(masks)} with a heart; choose another below. " if len(masks) > 1 else ""
        slices = gr.update(visible=len(masks) > 1, maximum=max(2, len(masks)), value=first + 1)  # a slider needs two ends
        return masks[first], list(masks), slices, render.message(f"{upload.name}: {several}{_anatomy(masks[first])}")

    def choose(self, masks: Sequence[str], number: object) -> tuple[Any, str]:
        """Another slice of the uploaded masks."""
        try:
            number = _whole(number, "The slice", 1, len(masks)) if masks else 0
        except DataError as error:
            return gr.skip(), fault(error)
        if not masks:
            return gr.skip(), render.message("No mask is uploaded.", "fault")
        mask = masks[number - 1]
        return mask, render.message(f"Slice {number} of {len(masks)}. {_anatomy(mask)}")

    def painted(self, mask: object) -> str:
        """What there is to say of a mask after a stroke."""
        return render.message(f"Painted by hand. {_anatomy(mask)}")

    def draw(
        self,
        mask: object,
        chosen: object,
        seed: object,
        steps: object,
        origin: Origin,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how gradio finds it)
    ) -> tuple[str, Any, Any, Any]:
        """An image of each chosen generator: the pictures, the archive of them, what is shown, the models' cards."""
        try:
            labels, number = from_text(mask), _seed(seed)
            models, count = self._chosen(chosen), _whole(steps or 0, "The number of steps", 0, STEPS_MOST) or None
            self._afford(models, count)
            session = str(request.session_hash)
            self._drawing.add(session)
            start = time.monotonic()
            drawn: list[Drawn] = []
            for place, model in enumerate(models):

                def on_progress(done: float, place: int = place, model: str = model) -> None:
                    if session not in self._drawing:
                        raise DataError("The page was closed.")
                    if time.monotonic() - start > SECONDS_MOST and self.others_wait(_visitor(request)):
                        raise DataError(f"Ended after {SECONDS_MOST:g} s, for others wait: take fewer steps or generators.")
                    progress((place + done) / len(models), desc=f"{model.upper()} draws")

                approved = self.model_cache.take(model)
                drawn.append(draw(approved, labels, number, count, on_progress))
                self.model_cache.take(model)  # raises if it was demoted in the meantime
            source = self._source(origin) if origin.mask == mask else None
            key, shown = self._hand_out(drawn, source, origin.seed, request)
            page = render.results(drawn)
        except DataError as error:
            return fault(error), render.download(), Shown(), gr.skip()
        finally:
            self._drawing.discard(str(request.session_hash))
        cards = "\n\n---\n\n".join(one.approved.card for one in drawn)
        return page, render.download(key), shown, cards

    def registry(self) -> str:
        try:
            return render.registry_state(self.model_cache.root)
        except TrackingError as error:
            return fault(error)

    def left(self, request: gr.Request) -> None:
        """The page was closed: its drawing ends, and nothing that was offered to it stays."""
        self._drawing.discard(str(request.session_hash))
        self.downloads.drop(str(request.session_hash))

    def _chosen(self, chosen: object) -> list[str]:
        """The generators that a browser asks for, each once.

        Raises:
            DataError: none, or one that there is not.
        """
        names = list(dict.fromkeys(chosen)) if isinstance(chosen, list) else []
        if not names:
            raise DataError("Choose at least one generator.")
        for name in names:
            if name not in GENERATORS:
                raise DataError(f"There is no generator called '{str(name)[:40]}'. Known: {', '.join(GENERATORS)}.")
        return names

    def _note(self, versions: Sequence[tuple[str, int]], about: Mapping[str, Any], request: gr.Request) -> None:
        """Write into the ledger which versions had a part in what the page is about to get: ``syncmri lineage`` lists it.

        Raises:
            DataError: it can't be written; then nothing is handed out.
        """
        note_export(self.model_cache.root, versions, {**about, "out": f"a browser, {_person(request)}"})

    def _afford(self, models: Sequence[str], count: int | None) -> None:
        """Raises DataError where the steps of all generators are more than one drawing may take."""
        steps = sum(count or self.model_cache.take(model).steps for model in models)
        if steps > STEPS_MOST:
            raise DataError(
                f"{steps} steps in all, for {', '.join(models)}; one drawing may take {STEPS_MOST}, for others wait. Choose "
                "fewer generators, or fewer steps."
            )

    def _source(self, origin: Origin) -> Approved | None:
        """The mask model that drew a mask; None where another one is approved by now: the mask counts as given."""
        source = self.model_cache.take(MASKS)
        return source if source.number == origin.number else None

    def _hand_out(
        self, drawn: Sequence[Drawn], masks: Approved | None, mask_seed: int, request: gr.Request
    ) -> tuple[str | None, Shown]:
        """What may be seen is noted, then offered as an archive: its key, if any, and what stands for it in the registry."""
        seen = [one for one in drawn if one.image is not None]
        if not seen:
            return None, Shown()
        used = [one.approved for one in seen] + ([masks] if masks else [])
        shown = Shown(tuple((one.model, one.number) for one in used), len(seen))
        about = {"what": "images drawn in the studio", "count": shown.pictures, "format": " and ".join(FORMATS)}
        self._note(shown.versions, about, request)
        return self.downloads.offer(_visitor(request), str(request.session_hash), seen, masks, mask_seed), shown


def _choices(generators: Sequence[Offer], chosen: Sequence[str]) -> Any:
    known = [offer.model for offer in generators]
    return gr.update(
        choices=[(offer.label, offer.model) for offer in generators], value=[name for name in chosen if name in known]
    )


def new_seed() -> int:
    return secrets.randbelow(10_000)


def _person(request: gr.Request) -> str:
    """Who is logged in, or the client's address."""
    user = request.request.scope.get("user") if request.request else None
    return str(user.display_name) if user else "nobody is logged in"


def _visitor(request: gr.Request) -> str:
    assert request.request is not None
    return visitor_of(request.request.scope)


def _seed(value: object) -> int:
    return _whole(value, "The seed", 0, SEED_MOST)


def _whole(value: object, what: str, least: int, most: int) -> int:
    """A number that a browser sent, whatever it sent."""
    if isinstance(value, int | float) and least <= value <= most and value == int(value):
        return int(value)
    raise DataError(f"{what} is not a whole number from {least} to {most}.")


def _anatomy(mask: object) -> str:
    try:
        checks = check_anatomy(from_text(mask)[None]).iloc[0]
    except DataError:
        return "The mask is empty."
    faults = [text for name, text in _FAULTS.items() if not checks[name]]
    return f"Anatomy: {'; '.join(faults)}." if faults else "Anatomy: plausible."
