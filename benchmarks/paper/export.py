"""What a bare machine is given of a project: its slices and the settings of its networks, in one folder.

`settings.json` and, as `.npz`, the sets `train`, `val`, `holdout` and `test-DATASET` (the whole volumes of each dataset) with
images (N, S, S) float16 in [-1, 1], masks (N, S, S) uint8, and of each slice its patient, kind (dataset and vendor) and volume.
`match.npz` holds the rows of training and of hold-out slices that a membership attack compares. Slices of patients are in
the folder: it is to be kept as the project's own data are.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cmr.files import whole_folder
from cmr.store import SliceStore
from evaluation.privacy.membership.figures import NoMatchError, kinds_of_slices, match_members
from mlops.settings import check, generator_config, load_params, lookup, resolve, sections

SETTINGS, MATCH = "settings.json", "match.npz"


def export(project: Path, folder: Path, patients: int | None) -> None:
    """Writes the folder, in place of one that was there.

    Args:
        project: a project whose slices have been cut (`dvc repro` up to the cohort).
        patients: at most so many of each set, evenly from the sorted names; None: all.
    """
    params = load_params(project)
    known = sections(params)

    def store(path: str) -> SliceStore:
        return SliceStore.open(project / "data" / path)

    data = {split: store(f"cohort/{split}") for split in ("train", "val", "holdout")}
    for dataset in check(params["data"], resolve(known["data"]), "data").raw:
        whole = store(f"slices/{dataset}")
        data[f"test-{dataset}"] = whole.select(whole.index["split"] == "test")
    sources = check(params["generators"], resolve(known["generators"]), "generators").sources
    settings = settings_of(params, len(data["train"]), sum(_masks_of(project, one, len(data["train"])) for one in sources))
    cut = {name: one if patients is None else _few(one, patients) for name, one in data.items()}
    with whole_folder(folder) as temporary:
        (temporary / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")
        for name, one in cut.items():
            _write(temporary / f"{name}.npz", one)
        try:
            match = match_members(
                cut["train"].index, cut["holdout"].index, settings["seed"], slices=settings["attacked_slices"]
            )
            np.savez(temporary / MATCH, members=match.members, nonmembers=match.nonmembers)
        except NoMatchError as error:
            print(f"no membership attack: {error}")
    print(f"{folder}: profile {settings['profile']}, slices " + ", ".join(f"{name} {len(one)}" for name, one in cut.items()))


def settings_of(params: dict[str, Any], slices: int, images: int) -> dict[str, Any]:
    """What `run` needs of the parameters.

    Args:
        slices: for training; images: that the whole protocol draws with each generator.
    """
    known = sections(params)

    def of(key: str) -> Any:
        return check(lookup(params, key), resolve(known[key]), key)

    membership = of("privacy.membership")
    return {
        "profile": of("profile"),
        "seed": of("seed"),
        "augment": asdict(of("augment")),
        "checked_images": of("validation.images"),
        "masks": {part: asdict(of(f"masks.{part}")) for part in ("network", "train", "sampling")},
        "segmenter": {part: asdict(of(f"segmenter.{part}")) for part in ("network", "train")},
        "generators": {name: _generator(params, of, name) for name in of("generators").names},
        "membership": {"times": membership.times, "noises": membership.noises, "batch": membership.batch},
        "attacked_slices": membership.slices,
        "protocol": {
            "slices": slices,
            "images": images,
            "segmenters": len(of("utility.setups")) * (1 + len(of("utility.more_seeds"))),
        },
    }


def _generator(params: dict[str, Any], of: Any, name: str) -> dict[str, Any]:
    parts = {part: asdict(of(f"{name}.{part}")) for part in ("train", "validation", "sampling")}
    autoencoder = of(f"{name}.autoencoder")
    return {
        "network": asdict(generator_config(params, name)),
        "autoencoder": None if autoencoder is None else asdict(autoencoder),
        **parts,
    }


def _masks_of(project: Path, source: str, training: int) -> int:
    """How many masks images are drawn for; of those that are drawn themselves there are as many as training slices."""
    return training if source == "full" else len(SliceStore.open(project / "data/masks" / source))


def _few(store: SliceStore, patients: int) -> SliceStore:
    names = sorted(store.index["subject"].unique())
    kept = [names[place] for place in np.unique(np.linspace(0, len(names) - 1, patients).astype(int))]
    return store.select(store.index["subject"].isin(kept))


def _write(path: Path, store: SliceStore) -> None:
    index = store.index
    assert store.images is not None  # stores of real slices
    np.savez_compressed(
        path,
        images=store.images,
        masks=store.masks,
        patients=index["subject"].to_numpy(dtype=str),
        kinds=kinds_of_slices(index),
        volumes=(index["subject"].astype(str) + " " + index["phase"].astype(str)).to_numpy(dtype=str),
    )
