"""The REST API over real HTTP, on a project with approved models of random weights."""

import base64
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from typer.testing import CliRunner

from app.approved import NotApprovedError
from app.cli import app
from app.login import Login
from app.serving.api import _public, build_api
from app.serving.bodies import most_bytes
from app.serving.service import Limits, ModelService
from cmr.errors import DataError
from evaluation.privacy.guard import build_guard
from mlops.connection import TrackingError
from mlops.exports import exports
from mlops.promotion import demote, promote
from tests.app.approved_project import SIZE, consent_withdrawn
from tests.app.serving.malformed import IMAGES, MASKS, heart, malformed, npy, one_hot
from tests.app.serving.running import running

LIMITS = Limits(pictures=4, in_flight=2, work=4000, recheck_seconds=0.2)
HEART = heart(SIZE, 2)


@pytest.fixture(scope="module")
def services(approved_project: Path) -> list[ModelService]:
    return [ModelService(approved_project, model, LIMITS) for model in ("ddpm", "masks")]


@pytest.fixture(scope="module")
def address(services: list[ModelService]) -> Iterator[str]:
    with running(build_api(services, LIMITS)) as address:
        yield address


def _images(address: str, **asked: Any) -> dict[str, Any]:
    asked = {"masks": HEART.tolist(), "seed": 3, "steps": 2} | asked
    answer = requests.post(address + IMAGES, json=asked, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _array(text: str) -> np.ndarray:
    return np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)


def test_images_answer_masks_and_say_where_they_come_from(address: str) -> None:
    answer = _images(address)
    assert np.shape(answer["images"]) == (2, SIZE, SIZE)
    assert np.abs(answer["images"]).max() <= 1
    assert {key: answer[key] for key in ("model", "version", "seed", "steps", "rows", "withheld", "approved_by_override")} == {
        "model": "syncmri-ddpm",
        "version": 1,
        "seed": 3,
        "steps": 2,
        "rows": [0, 1],
        "withheld": [],
        "approved_by_override": None,
    }
    assert len(set(answer["seeds"])) == 2
    assert _images(address) == answer
    assert _images(address, seed=4)["images"] != answer["images"]


def test_masks_may_come_and_images_go_in_every_form(address: str) -> None:
    expected = np.array(_images(address)["images"])
    for masks in (npy(HEART), npy(one_hot(HEART)), one_hot(HEART).tolist(), npy(np.asfortranarray(HEART.astype(float)))):
        np.testing.assert_allclose(_images(address, masks=masks)["images"], expected, atol=2e-3)
    full = _array(_images(address, format="npy")["images"])
    assert full.dtype == np.float32
    np.testing.assert_allclose(full, expected, atol=2e-3)
    for text, image in zip(_images(address, format="png")["images"], expected, strict=True):
        np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) / 127.5 - 1, image, atol=0.01)


def test_masks_are_drawn(address: str) -> None:
    asked = {"count": 3, "seed": 1, "steps": 2, "format": "npy"}
    answer = requests.post(address + MASKS, json=asked, timeout=60).json()
    masks = _array(answer["masks"])
    assert masks.shape == (len(answer["rows"]), SIZE, SIZE)
    assert set(np.unique(masks)) <= {0, 1, 2, 3}
    assert requests.post(address + MASKS, json=asked | {"format": "list"}, timeout=60).json()["masks"] == masks.tolist()


def test_the_api_says_what_it_serves(address: str) -> None:
    assert requests.get(f"{address}/health", timeout=60).json() == {"ddpm": "served", "masks": "served"}
    ddpm, masks = requests.get(f"{address}/v1/models", timeout=60).json()
    assert (ddpm["registered_as"], ddpm["approved"], ddpm["size"], ddpm["most_pictures"]) == ("syncmri-ddpm", True, SIZE, 4)
    assert ddpm["pixel_mm"] == pytest.approx(160 / SIZE)
    assert masks["output"] == f"masks (N, {SIZE}, {SIZE})"
    schema = requests.get(f"{address}/openapi.json", timeout=60).json()
    assert set(schema["paths"]) == {"/health", "/v1/models", "/v1/models/{model}/images", MASKS}
    assert "409" in schema["paths"][MASKS]["post"]["responses"]


def test_two_hundred_malformed_requests_get_clear_refusals_and_harm_nothing(address: str) -> None:
    expected = _images(address)["images"]
    with requests.Session() as session:
        for bad in malformed(200, SIZE, LIMITS.pictures):
            answer = session.request(bad.method, address + bad.path, data=bad.body, headers=bad.headers, timeout=60)
            assert 400 <= answer.status_code < 500, f"{bad.what}: {answer.status_code} {answer.text[:200]}"
            detail = answer.json()["detail"]
            assert 5 < len(detail) < 1500, f"{bad.what}: {detail}"
            assert "Traceback" not in detail
    assert _images(address)["images"] == expected


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({"masks": HEART[:, 1:].tolist()}, 422, f"shape (2, {SIZE - 1}, {SIZE}); expected (N, {SIZE}, {SIZE}) labels or"),
        ({"masks": npy(one_hot(HEART) / 2)}, 422, "not one-hot"),
        ({"masks": npy(heart(SIZE, 5))}, 422, "5 of them; expected 1 to 4"),
        ({"masks": npy(np.full((1, SIZE, SIZE), np.nan))}, 422, "not finite (NaN or infinity)"),
        ({"masks": HEART.tolist(), "seed": -1}, 422, "seed: Input should be greater than or equal to 0"),
        ({"masks": HEART.tolist(), "steps": 2000}, 422, "steps: 2000; syncmri-ddpm 1 takes 1 to 1000"),
        ({"masks": "A" * (1 << 20)}, 413, "a body of 10485"),
    ],
)
def test_a_refusal_says_what_was_found_and_expected(address: str, asked: dict[str, Any], status: int, told: str) -> None:
    answer = requests.post(address + IMAGES, json=asked, timeout=60)
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True), answer.text


def test_a_body_without_a_length_is_refused(address: str) -> None:
    chunks = (b"[" * 100_000 for _ in range(20))
    answer = requests.post(address + IMAGES, data=chunks, headers={"Content-Type": "application/json"}, timeout=60)
    assert (answer.status_code, "expected the header Content-Length" in answer.json()["detail"]) == (411, True)


def test_a_token_is_asked_for_by_all_but_health(services: list[ModelService]) -> None:
    with running(build_api(services, LIMITS, login=True), Login("secret")) as address:
        assert requests.get(f"{address}/health", timeout=60).status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}, {"Authorization": "Bearer sécret"}):
            encoded = {key: value.encode() for key, value in headers.items()}
            answer = requests.post(address + IMAGES, data=b"x", headers=encoded, timeout=60)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        known = {"Authorization": "Bearer secret"}
        assert requests.get(f"{address}/v1/models", headers=known, timeout=60).status_code == 200
        schema = requests.get(f"{address}/openapi.json", headers=known, timeout=60).json()
        assert schema["components"]["securitySchemes"]


def test_under_load_further_requests_are_told_to_come_again_and_who_hangs_up_frees_the_place(address: str) -> None:
    asked = {"masks": heart(SIZE, 4).tolist(), "steps": 1000}  # minutes

    def hang_up() -> None:
        with pytest.raises(requests.Timeout):
            requests.post(address + IMAGES, json=asked, timeout=3)

    waiting = [threading.Thread(target=hang_up) for _ in range(LIMITS.in_flight)]
    for thread in waiting:
        thread.start()
    time.sleep(1)
    busy = requests.post(address + IMAGES, json={"masks": HEART.tolist(), "steps": 1}, timeout=60)
    assert busy.status_code == 429, busy.text
    assert busy.headers["Retry-After"] == "5"
    assert requests.get(f"{address}/health", timeout=60).status_code == 200
    for thread in waiting:
        thread.join()
    deadline = time.monotonic() + 15
    while (
        answer := requests.post(address + IMAGES, json={"masks": HEART.tolist(), "steps": 1}, timeout=60)
    ).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert answer.status_code == 200


def test_near_copies_are_withheld(services: list[ModelService]) -> None:
    service = ModelService.__new__(ModelService)
    service.__dict__ |= services[0].__dict__
    with running(build_api([service], LIMITS)) as address:
        drawn = _array(_images(address, format="npy")["images"])
        noise = np.random.default_rng(0).normal(0, 0.02, (50, SIZE, SIZE))
        unseen = np.repeat(drawn[1:], 50, axis=0) + noise.astype(np.float32)
        # Whoever comes nearer than these is a copy.
        service.approved = dataclasses.replace(service.approved, _near_copy_filter=build_guard(drawn[1:], unseen))
        answer = _images(address, format="npy")
    assert (answer["rows"], answer["withheld"], len(answer["seeds"])) == ([0], [1], 1)
    np.testing.assert_allclose(_array(answer["images"]), drawn[:1], atol=2e-3)


def test_a_demoted_version_is_no_longer_served_and_comes_back(approved_project: Path, address: str) -> None:
    demote(approved_project, "ddpm", user="test")
    try:
        time.sleep(2 * LIMITS.recheck_seconds)
        refused = requests.post(address + IMAGES, json={"masks": HEART.tolist()}, timeout=60)
        assert refused.status_code == 409
        assert "models:/syncmri-ddpm@approved does not exist" in refused.json()["detail"]
        assert requests.get(f"{address}/health", timeout=60).json() == {"ddpm": "not served", "masks": "served"}
        ddpm = requests.get(f"{address}/v1/models", timeout=60).json()[0]
        assert (ddpm["approved"], "no longer approved" in ddpm["reason"]) == (False, True)
    finally:
        promote(approved_project, "ddpm", user="test")
    time.sleep(2 * LIMITS.recheck_seconds)
    assert _images(address)["rows"] == [0, 1]


def test_a_version_whose_patient_withdraws_is_no_longer_served(approved_project: Path, address: str) -> None:
    with consent_withdrawn(approved_project, "ddpm"):
        time.sleep(2 * LIMITS.recheck_seconds)
        refused = requests.post(address + IMAGES, json={"masks": HEART.tolist()}, timeout=60)
        assert (refused.status_code, "withdrawn the consent" in refused.json()["detail"]) == (409, True)
        assert requests.get(f"{address}/health", timeout=60).json() == {"ddpm": "not served", "masks": "served"}
        with pytest.raises(NotApprovedError, match="withdrawn the consent"):
            ModelService(approved_project, "ddpm", LIMITS)
    time.sleep(2 * LIMITS.recheck_seconds)
    assert _images(address)["rows"] == [0, 1]


def test_a_demotion_ends_what_is_being_drawn(approved_project: Path, address: str) -> None:
    timer = threading.Timer(1, demote, (approved_project, "ddpm"), {"user": "test"})
    timer.start()
    try:
        answer = requests.post(address + IMAGES, json={"masks": heart(SIZE, 4).tolist(), "steps": 1000}, timeout=60)
        assert answer.status_code == 409
    finally:
        timer.join()
        promote(approved_project, "ddpm", user="test")
    time.sleep(2 * LIMITS.recheck_seconds)


def test_what_is_not_approved_is_not_served(approved_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(approved_project)
    done = CliRunner().invoke(app, ["serve", "--model", "fm"])
    assert isinstance(done.exception, NotApprovedError)
    assert "models:/syncmri-fm@approved does not exist" in str(done.exception)


def test_a_request_has_a_budget_of_pictures_and_steps(approved_project: Path) -> None:
    service = ModelService(approved_project, "ddpm", Limits())
    with running(build_api([service], Limits()), most_bytes=most_bytes(service)) as address:
        usual = {"masks": npy(heart(SIZE, 32))}
        assert requests.post(address + IMAGES, json=usual, timeout=60).status_code == 200
        for asked in ({"masks": npy(heart(SIZE, 32)), "steps": 1000}, {"masks": npy(heart(SIZE, 2)), "steps": 1000}):
            refused = requests.post(address + IMAGES, json=asked, timeout=60)
            assert (refused.status_code, "expected at most 1000 in a request" in refused.json()["detail"]) == (422, True)
        state = requests.get(f"{address}/v1/models", timeout=60).json()[0]
        assert state["most_work"] == 1000


def test_every_answer_is_in_the_lineage_before_it_leaves(
    approved_project: Path, address: str, services: list[ModelService], monkeypatch: pytest.MonkeyPatch
) -> None:
    _images(address, format="png")
    noted = _last_note(approved_project)
    assert (noted["what"], noted["count"], noted["format"], noted["out"]) == ("REST answer", 2, "png", "127.0.0.1")
    with running(build_api(services, LIMITS), Login("secret")) as closed:
        asked = {"masks": HEART.tolist(), "steps": 2}
        assert requests.post(closed + IMAGES, json=asked, auth=("x", "secret"), timeout=60).status_code == 200
        assert _last_note(approved_project)["out"] == "token"
    for error in (TrackingError(f"{SECRET} is down"), OSError(28, "No space left"), DataError(f"{SECRET}: spoilt")):
        monkeypatch.setattr("app.serving.service.note_export", _raising(error))
        refused = requests.post(address + IMAGES, json={"masks": HEART.tolist(), "steps": 1}, timeout=60)
        assert (refused.status_code, list(refused.json())) == (503, ["detail"])
        assert "hunter2" not in refused.text
        assert "/srv" not in refused.text


def test_messages_show_no_address_and_no_path() -> None:
    shown = _public(
        f"MLflow at {SECRET} cannot be used; file:///srv/x, ~/a/b, C:\\a\\b and models:/syncmri-ddpm@approved stays"
    )
    assert not any(word in shown for word in ("hunter2", "srv", "~", "C:"))
    assert "models:/syncmri-ddpm@approved stays" in shown


def test_a_broken_project_is_told_without_its_places(
    approved_project: Path, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    params = approved_project / "params.yaml"
    before = params.read_text()
    try:
        params.write_text("tracking: [\n")
        time.sleep(2 * LIMITS.recheck_seconds)
        refused = requests.post(address + IMAGES, json={"masks": HEART.tolist()}, timeout=60)
        ddpm = requests.get(f"{address}/v1/models", timeout=60).json()[0]
    finally:
        params.write_text(before)
    assert (refused.status_code, "is still approved cannot be known" in refused.json()["detail"]) == (409, True), refused.text
    assert (ddpm["approved"], "`syncmri verify ddpm`" in ddpm["reason"]) == (False, True)
    assert str(approved_project) not in refused.text + ddpm["reason"]
    assert "Traceback" not in capsys.readouterr().err
    time.sleep(2 * LIMITS.recheck_seconds)
    assert _images(address)["rows"] == [0, 1]


def test_messages_show_no_place_of_the_project_though_its_path_has_blanks(
    approved_project: Path, services: list[ModelService], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = "/home/Maria Muster/heart study/inhouse"
    monkeypatch.setenv("SYNCMRI_INHOUSE", house)
    monkeypatch.setenv("SYNCMRI_KEYS", "/home/Maria Muster/my keys")
    error = NotApprovedError(
        f"{house}/packages/1a2b and /home/Maria Muster/my keys/house.key in '{approved_project}/x': missing"
    )
    with running(build_api(services, LIMITS)) as address, monkeypatch.context() as patch:
        patch.setattr(services[0], "_watch", SimpleNamespace(check=_raising(error)))
        refused = requests.post(address + IMAGES, json={"masks": HEART.tolist()}, timeout=60)
        state = requests.get(f"{address}/v1/models", timeout=60).json()[0]
    for said in (refused.json()["detail"], state["reason"]):
        assert said == "[path] and [path] in '[path]': missing"


@pytest.mark.parametrize("part", [b"[],", b"{},", b'"",', b"1,"])
def test_a_body_that_unfolds_in_memory_is_refused(address: str, part: bytes) -> None:
    body = b'{"masks": [' + part * (200_000 // len(part)) + b"0]}"
    answer = requests.post(address + IMAGES, data=body, headers={"Content-Type": "application/json"}, timeout=60)
    assert (answer.status_code, "expected masks of at most 4 pictures" in answer.json()["detail"]) == (422, True)


SECRET = "postgresql://mlflow:hunter2@db/mlflow /srv/project/mlflow.db"


def _last_note(root: Path) -> dict[str, Any]:
    return dict([one.about for one in exports(root) if one.about.get("what") == "REST answer"][-1])


def _raising(error: Exception) -> Any:
    def fails(*_: Any) -> None:
        raise error

    return fails


@pytest.mark.slow
def test_the_command_serves_until_it_is_stopped(approved_project: Path) -> None:
    words = ["serve", "--model", "ddpm", "--port", "0"]
    environment = os.environ | {"SYNCMRI_TOKEN": "secret", "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli", *words], cwd=approved_project, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "running on" in line)
        address = next(word for word in line.split() if word.startswith("http://"))
        assert requests.get(f"{address}/v1/models", timeout=60).status_code == 401
        asked = json.dumps({"masks": HEART.tolist(), "steps": 1})
        headers = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
        assert requests.post(address + IMAGES, data=asked, headers=headers, timeout=60).json()["rows"] == [0, 1]
        server.send_signal(signal.SIGTERM)
        rest = server.stderr.read()
        assert "Traceback" not in rest
    assert server.returncode == 0
