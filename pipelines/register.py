"""Stages ``register@GEN`` and ``register_masks``: a trained network, its figures and its card as a package for the registry.

The package is put into MLflow by ``syncmri sync``, not here: a registry is no output that DVC could keep.
"""

from mlops.manifest import MANIFEST, manifest_digest
from mlops.package import build_package
from pipelines.stage import ROOT, run, say


def main(model: str) -> None:
    folder = build_package(ROOT, model)
    say(f"register {model}: {folder.relative_to(ROOT.absolute())}, package {manifest_digest(folder / MANIFEST)[:16]}")


if __name__ == "__main__":
    run(main)
