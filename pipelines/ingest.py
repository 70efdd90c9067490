"""Stage ``ingest@DATASET``: checks every raw scan and writes the manifest."""

from pathlib import Path

from cmr.files import whole_file
from cmr.ingest import ingest
from cmr.readers import READERS
from mlops.settings import DataSettings, section
from pipelines.stage import run, say, write_json


def main(dataset: str) -> None:
    settings = section("data", DataSettings)
    raw = settings.raw[dataset]
    excluded = settings.excluded_of(dataset)
    found = ingest(READERS[raw.reader](Path(raw.root), dataset), skip_bad=settings.skip_bad, excluded=excluded)
    with whole_file(Path(f"data/manifests/{dataset}.parquet")) as temporary:
        found.manifest.to_parquet(temporary, index=False)
    write_json(Path(f"reports/figures/ingest-{dataset}.json"), found.report)
    report = found.report
    for warning in report["warnings"]:
        say(f"warning: {warning}")
    for fault in report["skipped"]:
        say(f"skipped {fault['subject']}: {fault['reason']}")
    for names in report["excluded"]:
        say(f"{' = '.join(names)}: excluded (data.excluded)")
    for kept, dropped in report["duplicates"]:
        say(f"{dropped} is the same scan as {kept}: {dropped} is left out")
    subjects, skipped = sum(report["subjects"].values()), len(report["skipped"])
    say(f"ingest {dataset}: {subjects} subjects, {report['frames']} labelled frames, {skipped} skipped")


if __name__ == "__main__":
    run(main)
