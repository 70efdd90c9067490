"""Stage ``features``: what the metric networks see in the real images, once for all generators.

It is also where their weights are fetched. Where they can't be had it says why, and the figures of the later stages that rest
on them are missing with that reason; `dvc repro --force --single-item features` tries again.
"""

from cmr.errors import DataError
from cmr.files import whole_file
from evaluation.fidelity.crowds import Crowd
from evaluation.networks.inception import InceptionFeatures
from evaluation.networks.weights import obtain
from mlops.settings import section
from pipelines.references import FEATURES, real_crowds, write_features
from pipelines.stage import run, say, write_json
from pipelines.weights import INCEPTION, LPIPS, RECORD, explained


def main() -> None:
    crowds = real_crowds(section("seed", int))
    missing = {name: _why_not(name) for name in (INCEPTION, LPIPS)}
    features = {}
    if not missing[INCEPTION]:
        network = InceptionFeatures()
        features = {name: Crowd(network(one.rows), one.patients) for name, one in crowds.items()}
    with whole_file(FEATURES) as temporary:
        write_features(features, temporary)
    write_json(RECORD, missing)
    for name, reason in missing.items():
        if reason:
            say(f"features: no weights {name}: {reason}")
    say(f"features: of {sum(len(one.rows) for one in features.values())} real images")


def _why_not(name: str) -> str:
    try:
        obtain(name)
    except DataError as error:
        return explained(error)
    return ""


if __name__ == "__main__":
    run(main)
