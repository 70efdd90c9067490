from pathlib import Path

import numpy as np
import pytest
import torch

from app.approved import ApprovalWatch, Approved, NotApprovedError, load_approved, spawned_seeds
from app.export.make import Request, make_set
from cmr.errors import DataError
from cmr.store import SliceStore, concatenate
from mlops.connection import TrackingError
from mlops.profiles import exclude
from mlops.promotion import demote, promote
from models.data import one_hot
from tests.app.approved_project import PATIENT, SIZE, build_approved_project, consent_withdrawn, network


@pytest.fixture(scope="module")
def ddpm(approved_project: Path) -> Approved:
    return load_approved(approved_project, "ddpm")


@pytest.fixture(scope="module")
def masks(approved_project: Path) -> Approved:
    return load_approved(approved_project, "masks")


def test_it_says_what_it_is(ddpm: Approved, masks: Approved) -> None:
    assert (ddpm.name, ddpm.number, ddpm.override, ddpm.size) == ("syncmri-ddpm 1", 1, None, SIZE)
    assert ddpm.pixel_mm == 160 / SIZE
    assert (ddpm.sampler, ddpm.steps, ddpm.most_steps) == ("ancestral", 3, 1000)
    assert ddpm.figures["fidelity"]["mask_adherence"]["value"] == 0.64
    assert ddpm.card.startswith("#")
    assert masks.model == "masks"


def test_an_image_follows_from_its_mask_and_seed_alone(ddpm: Approved, masks: Approved) -> None:
    drawn = masks.masks([5, 6, 7])
    assert drawn.shape == (3, SIZE, SIZE)
    assert drawn.max() <= 3
    together = ddpm.images(drawn, [1, 2, 3])
    alone = ddpm.images(drawn[1:2], [2])
    assert together.dtype == np.float32
    assert np.abs(together).max() <= 1
    np.testing.assert_allclose(alone[0], together[1], atol=1e-3)
    assert np.abs(ddpm.images(drawn[1:2], [3])[0] - together[1]).max() > 0.1


def test_the_way_from_noise_can_be_watched(ddpm: Approved, masks: Approved) -> None:
    seen: list[float] = []
    ddpm.images(masks.masks([5]), [1], steps=4, watch=lambda done, state: seen.append(done))
    assert len(seen) == 5
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda ddpm, masks: ddpm.images(np.zeros((2, 8, 8), np.uint8), [1, 2]), "32 × 32"),
        (lambda ddpm, masks: ddpm.images(np.full((1, SIZE, SIZE), 7), [1]), "labels"),
        (lambda ddpm, masks: ddpm.images(np.zeros((2, SIZE, SIZE), np.uint8), [1]), "one seed a mask"),
        (lambda ddpm, masks: ddpm.images(np.zeros((1, SIZE, SIZE), np.uint8), [-1]), "seed"),
        (lambda ddpm, masks: ddpm.images(np.zeros((1, SIZE, SIZE), np.uint8), [1], steps=0), "1 to 1000"),
        (lambda ddpm, masks: ddpm.images(np.zeros((1, SIZE, SIZE), np.uint8), [1], guidance=np.nan), "guidance"),
        (lambda ddpm, masks: ddpm.masks([1]), "drawn by the model 'masks'"),
        (lambda ddpm, masks: masks.images(np.zeros((1, SIZE, SIZE), np.uint8), [1]), "drawn by a generator"),
    ],
)
def test_what_it_cannot_draw_from_is_refused(ddpm: Approved, masks: Approved, draw, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        draw(ddpm, masks)


def test_a_model_that_is_not_there_is_refused_by_the_name_of_the_alias(approved_project: Path) -> None:
    with pytest.raises(NotApprovedError, match=r"models:/syncmri-fm@approved does not exist: no version.*syncmri register fm"):
        load_approved(approved_project, "fm")
    with pytest.raises(DataError, match="gan"):
        load_approved(approved_project, "gan")


def test_a_demotion_is_noticed_and_taken_back(approved_project: Path, ddpm: Approved) -> None:
    eager = ApprovalWatch(approved_project, ddpm, every=0, patience=60)
    patient = ApprovalWatch(approved_project, ddpm, every=600)
    eager.check()
    demote(approved_project, "ddpm", user="test")
    try:
        with pytest.raises(NotApprovedError, match=r"models:/syncmri-ddpm@approved does not exist.*syncmri promote ddpm"):
            eager.check()
        patient.check()  # it is not time to ask yet
        with pytest.raises(NotApprovedError, match="demoted"):
            load_approved(approved_project, "ddpm")
    finally:
        promote(approved_project, "ddpm", user="test")
    eager.check()


def test_a_version_whose_patient_has_withdrawn_is_refused_though_it_is_approved(approved_project: Path, ddpm: Approved) -> None:
    watch = ApprovalWatch(approved_project, ddpm, every=0, patience=60)
    with consent_withdrawn(approved_project, "ddpm"):
        for use in (lambda: load_approved(approved_project, "ddpm"), watch.check):
            with pytest.raises(NotApprovedError, match=r"syncmri-ddpm 1 learnt.*withdrawn the consent.*syncmri demote ddpm"):
                use()
        load_approved(approved_project, "ldm")
    watch.check()


def test_the_parameters_know_of_a_withdrawal_that_the_registry_has_forgotten(approved_project: Path, ddpm: Approved) -> None:
    params, watch = approved_project / "params.yaml", ApprovalWatch(approved_project, ddpm, every=0, patience=60)
    before = params.read_text()
    try:
        exclude(approved_project, ["mnms/somebody-else"])
        watch.check()
        exclude(approved_project, [f"mnms/{PATIENT}"])
        for use in (lambda: load_approved(approved_project, "ddpm"), watch.check):
            with pytest.raises(NotApprovedError, match="withdrawn the consent"):
                use()
    finally:
        params.write_text(before)
    watch.check()


def test_a_registry_that_is_down_is_borne_for_a_while(
    approved_project: Path, ddpm: Approved, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, strict = (ApprovalWatch(approved_project, ddpm, every=0, trusted=trusted, patience=60) for trusted in (600, 0))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    watch.check()
    with pytest.raises(TrackingError, match="has not answered"):
        strict.check()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    watch.check()


def test_near_copies_are_withheld_drawn_again_and_counted(tmp_path: Path) -> None:
    """A generator that draws two of its training slices, and a mask model that draws one of its training masks."""
    root = build_approved_project(tmp_path / "project", ("masks", "ddpm"), leak=_plant)
    made = make_set(root, Request("ddpm", tmp_path / "set", count=4))
    assert (made.count, made.images_withheld, made.masks_withheld) == (4, 2, 1)
    given_out, training = SliceStore.open(tmp_path / "set"), SliceStore.open(root / "data/cohort/train")
    planted = np.asarray(training.images[-3:-1], np.float32)
    distances = np.abs(np.asarray(given_out.images, np.float32)[:, None] - planted).mean(axis=(2, 3))
    assert distances.min() > 0.05
    assert not (given_out.masks[:, None] == training.masks[-1]).all(axis=(2, 3)).any()
    assert "2 were nearer to one than" in (tmp_path / "set/datasheet.md").read_text()


def _plant(root: Path) -> None:
    """Puts what the models will draw first among what they were trained on."""
    with torch.no_grad():
        masks = network(root, "masks").eval().sample(SIZE, spawned_seeds(0, 4, 0, 0), sampler="ancestral", steps=3)
        images = network(root, "ddpm").eval().sample(one_hot(masks), spawned_seeds(0, 4, 1, 0), sampler="ancestral", steps=3)
    training = SliceStore.open(root / "data/cohort/train")
    leaked = training.select(np.arange(3))
    leaked.images[:2] = images[:2, 0].float().clamp(-1, 1).numpy().astype(np.float16)
    leaked.masks[2] = masks[2].numpy()
    both = concatenate([training.select(np.arange(len(training))), leaked])
    SliceStore.write(root / "data/cohort/train", both.index, both.masks, both.images)
