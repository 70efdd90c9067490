#!/bin/sh
# The paper's networks on one GPU: trains, draws and evaluates, in calls that each end after 8 minutes and go on where the one
# before stopped.
#
#   sh benchmarks/paper_scale.sh --data FOLDER --out OUT [--minutes 8] [--steps N] [--images N] [--few-steps] [--smallest]
#
# FOLDER  what `python -m benchmarks.paper_scale export --project PROJECT --data FOLDER` wrote where the project is
# OUT     all that is made; keep it between calls. OUT/results.json and OUT/results.md are small and tell what there is so far
#
# The last line is `finished: …` or `not finished: …`; give the same command again until it is finished. A fault ends with a
# status other than 0. Order: mask model, segmenter on real slices, autoencoder and generator by generator, masks drawn, images
# drawn and a segmenter trained on each set, figures. Needs Python with torch, monai, diffusers and safetensors; no network
# access. PYTHON names the interpreter (python3). docs/results.md tells the rest.
set -eu
cd "$(dirname "$0")/.."
exec env PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 "${PYTHON:-python3}" -m benchmarks.paper_scale run "$@"
