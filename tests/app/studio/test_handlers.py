"""What the studio's buttons do, on a project with approved models."""

import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from app.studio import render
from app.studio.drawing import FRAMES, Drawn, draw
from app.studio.handlers import SEED_MOST, Handlers, Origin, Shown
from app.studio.model_cache import ModelCache
from app.studio.pictures import from_text, to_text
from app.studio.uploads import Upload
from cmr.errors import DataError
from mlops.connection import TrackingError
from mlops.lineage import lineage
from mlops.promotion import demote, promote
from tests.app.approved_project import PATIENT, SIZE, approved_by_override, consent_withdrawn
from tests.app.studio.conftest import asking
from tests.pipelines.report_project import heart

HEART = heart(np.random.default_rng(3), SIZE)


class Now(ModelCache):
    """Asks the registry each time."""

    def offers(self):
        self._answered = -1e9
        return super().offers()


@pytest.fixture(scope="module")
def model_cache(approved_project: Path) -> ModelCache:
    return Now(approved_project)


@pytest.fixture
def handlers(model_cache: ModelCache, tmp_path: Path) -> Handlers:
    return Handlers(model_cache, tmp_path)


@pytest.fixture
def drawn(model_cache: ModelCache) -> Drawn:
    """Shown whatever the guard of an untrained network may think of it."""
    approved = model_cache.take("ddpm")
    image = approved.images(HEART[None], [4])[0]
    return Drawn(approved, HEART, image, ((0.0, image), (1.0, image)), 4, 3, 0.1)


def _quiet(*_: Any, **__: Any) -> None:
    """In place of gradio's progress bar, which needs a page."""


def test_the_page_opens_with_what_is_approved(handlers: Handlers) -> None:
    offers, choices, blank, missing, note = handlers.opened()
    assert offers, note
    assert [offer.model for offer in offers if offer.number] == ["masks", "ddpm", "ldm"]
    assert [name for _, name in choices["choices"]] == ["ddpm", "ldm"]
    assert choices["value"] == ["ddpm"]
    assert blank == "0" * SIZE**2
    assert "syncmri register fm" in missing
    assert "Sample, upload or paint" in note


def test_the_image_is_the_one_that_the_model_draws(model_cache: ModelCache) -> None:
    approved, told = model_cache.take("ddpm"), []
    one = draw(approved, HEART, 4, 12, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert (one.seed, one.steps) == (4, 12)
    if one.image is not None:
        np.testing.assert_allclose(one.image, approved.images(HEART[None], [4], steps=12)[0], atol=0.02)
        assert 3 <= len(one.frames) <= FRAMES
        assert one.frames[0][0] == pytest.approx(0, abs=0.05)  # the noisiest step begins near pure noise
        np.testing.assert_allclose(one.frames[-1][1], one.image, atol=1e-5)


def test_a_mask_of_other_pixels_is_brought_onto_the_grid(model_cache: ModelCache) -> None:
    one = draw(model_cache.take("ddpm"), HEART.repeat(2, axis=0).repeat(2, axis=1), 4, None, _quiet)
    assert one.mask.shape == (SIZE, SIZE)
    assert (one.mask == HEART).mean() > 0.97


def test_drawing_shows_every_chosen_generator(handlers: Handlers, tmp_path: Path) -> None:
    page, button, shown, cards = handlers.draw(to_text(HEART), ["ddpm", "ldm"], 4, 0, Origin(), asking(), _quiet)
    assert re.findall(r'data-model="(\w+)"', page) == ["ddpm", "ldm"]
    assert page.count("no near-copy of a training slice") == shown.pictures
    assert len(shown.versions) == shown.pictures
    assert cards.count("# ") > 1
    assert "http" not in page
    assert ('href="download/' in button) == bool(shown.pictures)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("0" * SIZE**2, ["ddpm"], 4, 0), "mask is empty"),
        ((to_text(HEART), [], 4, 0), "at least one generator"),
        ((to_text(HEART), ["ddpm"], None, 0), "whole number"),
        ((to_text(HEART), ["ddpm"], -1, 0), "whole number"),
        ((to_text(HEART), ["ddpm"], SEED_MOST + 1, 0), "whole number"),
        ((to_text(HEART), ["ddpm"], 4, 5000), "0 to 1000"),
        ((to_text(HEART), ["ddpm", "ldm"], 4, 501), "1002 steps in all, for ddpm, ldm; one drawing may take 1000"),
        ((to_text(HEART), "ddpm", 4, 0), "at least one generator"),
        ((to_text(HEART), ["ddpm"], 4, 2.5), "number of steps"),
        ((to_text(HEART), ["ddpm"], 4, -1), "number of steps"),
        ((to_text(HEART), ["ddpm"], 4, "10"), "number of steps"),
        ((to_text(HEART), ["ddpm"], 4, ["10"]), "number of steps"),
        ((to_text(HEART), ["ddpm"], float("inf"), 0), "whole number"),
        (("1" * 600**2, ["ddpm"], 4, 0), "S at most 512"),
        ((["1"], ["ddpm"], 4, 0), "0 characters"),
        ((to_text(HEART), ["masks"], 4, 0), "no generator called"),
        ((to_text(HEART), ["fm"], 4, 0), "models:/syncmri-fm@approved does not exist"),
        ((to_text(HEART), ["gan"], 4, 0), "gan"),
        (("77", ["ddpm"], 4, 0), "2 characters"),
    ],
)
def test_a_request_that_cannot_be_met_is_explained(handlers: Handlers, arguments: tuple, expected: str) -> None:
    page, button, shown, _ = handlers.draw(*arguments, Origin(), asking(), _quiet)
    assert 'class="message fault"' in page
    assert expected in page
    assert button == render.download()
    assert shown == Shown()


def test_a_generator_that_is_named_often_draws_once(handlers: Handlers) -> None:
    page, *_ = handlers.draw(to_text(HEART), ["ddpm"] * 30, 4, 40, Origin(), asking(), _quiet)
    assert re.findall(r'data-model="(\w+)"', page) == ["ddpm"]


def test_a_drawing_ends_with_its_page(handlers: Handlers) -> None:
    def leave(done: float, **_: Any) -> None:
        handlers.left(asking())

    page, button, shown, _ = handlers.draw(to_text(HEART), ["ddpm", "ldm"], 4, 3, Origin(), asking(), leave)
    assert "The page was closed" in page
    assert (button, shown) == (render.download(), Shown())


def test_a_long_drawing_ends_where_others_wait(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.studio.handlers.SECONDS_MOST", 0.0)
    asked = to_text(HEART), ["ddpm"], 4, 3, Origin(), asking(), _quiet
    assert 'data-model="ddpm"' in handlers.draw(*asked)[0]
    monkeypatch.setattr(handlers, "others_wait", lambda visitor: visitor == "visitor")
    assert "others wait" in handlers.draw(*asked)[0]


def test_a_near_copy_is_not_in_the_page(drawn: Drawn) -> None:
    withheld = render.results([replace(drawn, image=None, frames=())])
    assert "<img" not in withheld
    assert "withheld: near-copy" in withheld
    assert render.results([drawn]).count("<img") == 6


def test_an_override_is_marked_and_nothing_it_says_is_taken_for_html(drawn: Drawn) -> None:
    marks = ("approved by override: <script>alert(1)</script>",)
    page = render.results([replace(drawn, approved=replace(drawn.approved, marks=marks))])
    assert "approved by override" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_a_sampled_mask_goes_to_the_editor_with_its_seed(handlers: Handlers) -> None:
    for seed in range(20):  # an untrained network's masks may be near-copies for its guard
        mask, origin, note = handlers.sample(seed, asking())
        if isinstance(origin, Origin):
            assert from_text(mask).shape == (SIZE, SIZE)
            assert origin == Origin(mask, seed, 1)
            assert "Anatomy" in note
            return
        assert "Withheld" in note
    pytest.fail("no mask in 20 draws")


def test_an_uploaded_volume_offers_its_slices(handlers: Handlers, tmp_path: Path) -> None:
    volume = np.zeros((SIZE, SIZE, 4), np.uint8)
    volume[..., 1:] = HEART.T[..., None]
    file = tmp_path / "patient7.nii.gz"
    image = nib.Nifti1Image(volume, np.eye(4))
    image.header.set_zooms((160 / SIZE, 160 / SIZE, 10))
    nib.save(image, file)
    read = handlers.model_cache.read_masks(file, file.name)
    key = handlers.uploads.keep("visitor", Upload(file.name, tuple(map(to_text, read))))
    mask, masks, slices, note = handlers.upload(key, asking())
    np.testing.assert_array_equal(from_text(mask), HEART)
    assert (len(masks), slices["visible"], slices["maximum"]) == (3, True, 3)
    assert "slice 2 of 3" in note
    assert handlers.choose(masks, 3)[0] == masks[2]
    assert "No mask" in handlers.choose([], 1)[1]
    for other in (0, 4, 1.5, None, "1", [1], float("inf")):
        assert "whole number from 1 to 3" in handlers.choose(masks, other)[1]


def test_an_uploaded_picture_may_be_wrong(model_cache: ModelCache, tmp_path: Path) -> None:
    for values, expected in (
        (HEART * 80, "expected the labels 0 background"),
        (HEART * 0, "are empty"),
        (HEART[:20], "20 × 32"),
    ):
        file = tmp_path / "upload.png"
        Image.fromarray(values).save(file)
        with pytest.raises(DataError, match=expected) as caught:
            model_cache.read_masks(file, "mine.png")
        assert str(tmp_path) not in str(caught.value)
        assert "mine.png" in str(caught.value)


def test_strokes_are_judged(handlers: Handlers) -> None:
    assert "plausible" in handlers.painted(to_text(HEART))
    broken = HEART.copy()
    broken[0, 0] = 1
    assert "several pieces" in handlers.painted(to_text(broken))
    assert "empty" in handlers.painted("0" * SIZE**2)


def test_what_is_taken_away_has_its_datasheet(handlers: Handlers, drawn: Drawn) -> None:
    key, shown = handlers._hand_out([drawn], handlers.model_cache.take("masks"), 9, asking())
    assert key is not None
    with handlers.downloads.open("visitor", key) as file, zipfile.ZipFile(file) as opened:
        names = set(opened.namelist())
        sheet = opened.read("syncmri-ddpm-1/datasheet.md").decode()
    assert {
        "syncmri-ddpm-1/png/images/synthetic-00000.png",
        "syncmri-ddpm-1/png/masks/synthetic-00000.png",
        "syncmri-ddpm-1/nifti/training/synthetic-00000/synthetic-00000_frame01.nii.gz",
        "syncmri-ddpm-1/provenance.json",
        "syncmri-ddpm-1/model-card-ddpm.md",
        "syncmri-ddpm-1/model-card-masks.md",
    } <= names
    assert "`syncmri-masks` version 1" in sheet
    assert shown == Shown((("ddpm", 1), ("masks", 1)), 1)


def test_what_is_handed_out_is_in_the_lineage_first(
    handlers: Handlers, approved_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(what: str) -> list[str]:
        return [line for line in lineage(approved_project, PATIENT).lines() if what in line]

    def draw(seed: int) -> str:
        return handlers.draw(to_text(HEART), ["ddpm"], seed, 3, Origin(), asking(), _quiet)[0]

    def refuse(*_: Any) -> None:
        raise TrackingError("no note can be made")

    shown = next(seed for seed in range(20) if "<img" in draw(seed))
    sampled = next(seed for seed in range(20) if isinstance(handlers.sample(seed, asking())[0], str))
    images, masks = noted("images drawn in the studio"), noted("mask sampled in the studio")
    assert images
    assert masks
    draw(shown)
    handlers.sample(sampled, asking())
    assert len(noted("images drawn in the studio")) == len(images) + 1
    assert len(noted("mask sampled in the studio")) == len(masks) + 1
    monkeypatch.setattr("app.studio.handlers.note_export", refuse)
    assert "<img" not in draw(shown)
    assert "cannot be used now" in draw(shown)
    mask, _, note = handlers.sample(sampled, asking())
    assert not isinstance(mask, str)
    assert "cannot be used now" in note


def test_a_demotion_takes_everything_out_of_an_open_page(
    handlers: Handlers, drawn: Drawn, approved_project: Path, tmp_path: Path
) -> None:
    offers, shown = handlers.opened()[0], Shown((("ddpm", 1),), 1)
    assert all(update == {"__type__": "update"} for update in handlers.looked_again(offers, ["ddpm"], shown))
    demote(approved_project, "ddpm", user="test")
    try:
        now, choices, missing, note, button, left = handlers.looked_again(offers, ["ddpm", "ldm"], shown)
        assert [name for _, name in choices["choices"]] == choices["value"] == ["ldm"]
        assert "syncmri promote ddpm" in missing
        assert "No longer approved: ddpm version 1" in note
        assert (button, left) == (render.download(), Shown())
        fresh = Handlers(ModelCache(approved_project), tmp_path)
        page, *_ = fresh.draw(to_text(HEART), ["ddpm"], 4, 0, Origin(), asking(), _quiet)
        assert "models:/syncmri-ddpm@approved does not exist" in page
    finally:
        promote(approved_project, "ddpm", user="test")
    assert "No longer" not in str(handlers.looked_again(now, ["ldm"], left)[3])


def test_a_withdrawn_consent_takes_everything_out_of_an_open_page(
    handlers: Handlers, approved_project: Path, tmp_path: Path
) -> None:
    offers, shown = handlers.opened()[0], Shown((("ddpm", 1),), 1)
    with consent_withdrawn(approved_project, "ddpm"):
        now, choices, missing, note, button, left = handlers.looked_again(offers, ["ddpm", "ldm"], shown)
        assert [name for _, name in choices["choices"]] == choices["value"] == ["ldm"]
        assert "withdrawn the consent" in missing
        assert "No longer approved: ddpm version 1" in note
        assert (button, left) == (render.download(), Shown())
        page, *_ = Handlers(ModelCache(approved_project), tmp_path).draw(
            to_text(HEART), ["ddpm"], 4, 0, Origin(), asking(), _quiet
        )
        assert "withdrawn the consent" in page
    assert [name for _, name in handlers.looked_again(now, ["ldm"], left)[1]["choices"]] == ["ddpm", "ldm"]


def test_the_registry_page_shows_versions_overrides_and_history(approved_project: Path) -> None:
    with approved_by_override(approved_project, "ldm", "agreed with <the officer>"):
        page = render.registry_state(approved_project)
    assert re.findall(r'data-name="([\w-]+)"', page) == ["syncmri-masks", "syncmri-ddpm", "syncmri-ldm", "syncmri-fm"]
    assert page.count('class="badge good">approved') == 3
    assert "agreed with &lt;the officer&gt;" in page
    assert "No version is registered" in page
    assert "version 1 approved" in page


def test_a_registry_that_is_down_is_told(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert "cannot be used now" in handlers.opened()[-1]
    assert "cannot be used now" in handlers.registry()
    assert "127.0.0.1" not in handlers.opened()[-1] + handlers.registry()
    assert all(update == {"__type__": "update"} for update in handlers.looked_again([], [], Shown()))
