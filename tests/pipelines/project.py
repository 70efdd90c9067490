"""A checkout of this repository in a temporary folder, with git and DVC, set to the smallest phantom that passes all stages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TINY = {
    "phantom.patients.acdc": "{training: 3, testing: 4}",
    "phantom.patients.mnms": "{training: 8, validation: 2, testing: 2}",
    "phantom.slices": "5",
    "phantom.matrix": "64",
    "preprocess.n4.iterations": "[5]",
    "slices.size": "32",
    "privacy.holdout.minimum_patients": "3",
    "privacy.membership.noises": "1",
    "privacy.control.max_steps": "20",
    "privacy.control.mask_steps": "20",
    "masks.network.widths": "[8, 16]",
    "masks.network.attention": "[false, true]",
    "masks.network.head_channels": "8",
    "masks.network.norm_groups": "8",
    "masks.train.max_steps": "40",
    "masks.train.validations": "2",
    "masks.train.checkpoint_seconds": "0.0",
    "masks.sampling.steps": "3",
    "ddpm.network.widths": "[8, 16]",
    "ddpm.network.attention": "[false, true]",
    "ddpm.network.norm_groups": "8",
    "ddpm.network.head_channels": "8",
    "ddpm.network.gaussian.cells": "8",
    "ddpm.network.gaussian.block": "4",
    "ddpm.network.gaussian.slices": "64",
    "ddpm.train.max_steps": "40",
    "ddpm.train.validations": "2",
    "ddpm.train.checkpoint_seconds": "0.0",
    "ddpm.sampling.steps": "3",
    "validation.images": "2",
    "ddpm.validation.steps": "2",
    "ldm.autoencoder.network.widths": "[8, 8]",
    "ldm.autoencoder.network.strides": "[1, 2]",
    "ldm.autoencoder.network.norm_groups": "8",
    "ldm.autoencoder.network.codebook": "64",
    "ldm.autoencoder.train.max_steps": "20",
    "ldm.autoencoder.train.validations": "2",
    "ldm.autoencoder.train.checkpoint_seconds": "0.0",
    "ldm.network.widths": "[8, 16]",
    "ldm.network.attention": "[false, true]",
    "ldm.network.head_channels": "8",
    "ldm.network.norm_groups": "8",
    "ldm.network.spade_channels": "8",
    "ldm.network.gaussian.cells": "8",
    "ldm.network.gaussian.block": "2",
    "ldm.network.gaussian.slices": "64",
    "ldm.train.max_steps": "20",
    "ldm.train.validations": "2",
    "ldm.train.checkpoint_seconds": "0.0",
    "ldm.validation.steps": "2",
    "ldm.sampling.steps": "3",
    "fm.network.widths": "[8, 16]",
    "fm.network.attention": "[false, true]",
    "fm.network.cross_attention": "16",
    "fm.network.norm_groups": "8",
    "fm.network.mask_embedding": "4",
    "fm.network.gaussian.cells": "8",
    "fm.network.gaussian.block": "4",
    "fm.network.gaussian.slices": "64",
    "fm.train.max_steps": "20",
    "fm.train.validations": "2",
    "fm.train.checkpoint_seconds": "0.0",
    "fm.validation.steps": "1",
    "fm.sampling.steps": "1",
    "segmenter.network.filters": "[4, 8, 8]",
    "segmenter.train.max_steps": "20",
    "segmenter.train.validations": "2",
    "evaluation.bootstrap": "50",
    "evaluation.permutations": "50",
    "generators.sources": "[full, test]",
    "utility.setups": "[acdc-real, mnms-real, ddpm-full, ldm-full, fm-full]",
}


def environment() -> dict[str, str]:
    """The caller's, with this Python first on the path, no tracking server but the project's own, and no weights of metric
    networks, so that no test depends on a connection: os.devnull is no folder to keep them in."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SYNCMRI_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), found.get("PATH", os.defpath)])
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "true", "PYTHONWARNINGS": "ignore"}
    return found | {"PATH": path, "SYNCMRI_WEIGHTS": os.devnull} | quiet


def run(root: Path, *command: str, check: bool = True, **variables: str) -> str:
    """What a command of this Python's environment prints; with ``check`` a failure shows it. ``variables``: further ones."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


def checkout(root: Path) -> Path:
    """The files of this repository that git has or would take, committed in a new one at ``root``."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, root / name)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "start")
    return root


def configure(root: Path, profile: str = "demo", *words: str, **overrides: str) -> None:
    """``syncmri configure`` with the settings of :data:`TINY` and further ones (dots written as two underscores)."""
    settings = TINY | {key.replace("__", "."): value for key, value in overrides.items()}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    run(root, "app.cli", "configure", profile, *words, *sets)


def ran(output: str) -> list[str]:
    """The stages that a ``dvc repro`` has run."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
