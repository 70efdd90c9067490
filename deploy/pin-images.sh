#!/usr/bin/env bash
# Writes the digest behind each image's tag into compose.yaml and the Dockerfiles, so that the same images are taken everywhere.
# Needs Docker and a network. Run it again after a change of a tag; commit what it changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
images=$(sed -nE 's/^ *image: ([^ @]+:[^ @]+)(@sha256:[0-9a-f]+)?$/\1/p; s/^ARG PYTHON=([^ @]+)(@.*)?$/\1/p; s/^FROM (rayproject[^ @]+)(@.*)?$/\1/p' \
    compose.yaml Dockerfile ray.Dockerfile | sort -u)
for image in $images; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    [[ "$digest" =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "error: no digest of $image was found" >&2; exit 1; }
    sed -i -E "s|(image: \|ARG PYTHON=\|FROM )$image(@sha256:[0-9a-f]{64})?( .*)?\$|\1$image@$digest\3|" compose.yaml Dockerfile ray.Dockerfile
    echo "$image@$digest"
done
