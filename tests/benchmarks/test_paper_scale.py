"""benchmarks/paper_scale.py on a machine with torch, monai, diffusers and safetensors alone, and cut into many calls."""

import json
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from benchmarks.paper.export import settings_of
from benchmarks.paper.work import Given, Work
from benchmarks.paper_scale import run_all
from cmr.errors import DataError
from mlops.profiles import merged
from tests.evaluation.hearts import hearts

ROOT = Path(__file__).parents[2]
BARE = ("torch", "monai", "diffusers", "safetensors")
GIVEN = Given(steps=3, images=4, few_steps=True)
NETWORKS = ("ldm", "fm")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generators' settings of the demo, and slices of hearts."""
    folder = tmp_path_factory.mktemp("data")
    settings = settings_of(merged(ROOT, "demo"), slices=24, images=60)
    settings["generators"] = {name: settings["generators"][name] for name in NETWORKS}
    settings["membership"] = {"times": [0.5], "noises": 2, "batch": 8}
    (folder / "settings.json").write_text(json.dumps(settings))
    for seed, name in enumerate(("train", "val", "holdout", "test-acdc", "test-mnms")):
        masks = hearts(12, seed=seed)
        images = np.array([-0.8, 0.8, -0.3, 0.6], np.float16)[masks]
        patients = np.array([f"{name}-{row // 3}" for row in range(12)])
        np.savez(
            folder / f"{name}.npz", images=images, masks=masks, patients=patients, kinds=["mnms / X"] * 12, volumes=patients
        )
    np.savez(folder / "match.npz", members=np.arange(12), nonmembers=np.arange(12))
    return folder


@pytest.fixture(scope="module")
def bare(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it in one call, where nothing but the four packages and what they require can be imported."""
    out, words = tmp_path_factory.mktemp("bare"), ["--steps", "3", "--images", "4", "--few-steps"]
    code = f"import sys; sys.modules.update(dict.fromkeys({others()!r})); sys.argv[0] = 'run'; "
    code += "import runpy; runpy.run_module('benchmarks.paper_scale', run_name='__main__')"
    command = [sys.executable, "-c", code, "run", "--data", str(data), "--out", str(out), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith("finished")
    return out


def others() -> list[str]:
    """Modules of the installed packages that a bare machine lacks."""
    kept, todo = {"syncmri"}, list(BARE)  # this project's own modules are beside the script
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name not in kept:
            kept.add(name)
            required = metadata.requires(name) if installed(name) else None
            todo += [re.split(r"[^\w.-]", one)[0] for one in required or [] if "extra ==" not in one]
    places = metadata.packages_distributions().items()
    return sorted(module for module, names in places if not {one.lower().replace("_", "-") for one in names} & kept)


def installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.mark.slow
def test_what_a_bare_machine_makes_is_complete(bare: Path) -> None:
    assert {"pandas", "scipy", "einops", "torchdiffeq", "sklearn", "torchmetrics"} <= set(others())
    found = json.loads((bare / "results.json").read_text())
    assert found["given"] == {"steps": 3, "images": 4, "few_steps": True}
    assert {"masks", "ldm-autoencoder", "ldm", "fm", "segmenter-real", "judge-fm-full", "judge-real"} <= set(found["stages"])
    assert all(0 < found["stages"][name]["flops_utilisation"] < 1.5 for name in NETWORKS)
    assert found["protocol_hours"] == pytest.approx(sum(part["hours"] for part in found["protocol"]))
    drawing = next(part for part in found["protocol"] if part["name"] == "drawing fm")
    assert drawing["count"] == 60
    assert "| `fm` | 3 |" in (bare / "results.md").read_text()


@pytest.mark.slow
def test_calls_that_end_early_go_on_to_the_same(bare: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    calls, said = 0, ""
    while "\nfinished: " not in said:
        run_all(Work(data, tmp_path, GIVEN, deadline=time.monotonic() + 0.5))
        calls, said = calls + 1, "\n" + capsys.readouterr().out
    assert calls > 3
    for name in ("masks", "segmenter-real", *NETWORKS):
        once, often = (load_file(next((out / name).glob("*.safetensors"))) for out in (bare, tmp_path))
        assert all(np.allclose(once[key], often[key], atol=1e-6) for key in once)
    once, often = (np.load(out / "sample-fm-full" / "pixels.npy") for out in (bare, tmp_path))
    assert np.allclose(once, often, atol=2e-3)


@pytest.mark.slow
def test_other_settings_are_refused_in_the_same_folder(bare: Path, data: Path) -> None:
    with pytest.raises(DataError, match="other given"):
        run_all(Work(data, bare, Given(steps=5)))
