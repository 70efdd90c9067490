# The image of deploy/rayjob.yaml: Ray's own, with what the project needs. The code comes with the project folder, which all pods share.
# Build from the root of the repository: docker build -f deploy/ray.Dockerfile -t REGISTRY/syncmri-ray .
# The torch of the Python package index brings CUDA along: the same image serves CPUs and NVIDIA GPUs.
FROM rayproject/ray:2.60.0-py311
COPY requirements.lock requirements.cuda.lock .ci/pip.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps -r pip.lock && \
    pip install --no-cache-dir --require-hashes --no-deps --no-build-isolation -r requirements.lock -r requirements.cuda.lock
# The volume belongs to somebody else than the user of this image: git wants to be told that this is meant.
RUN git config --global --add safe.directory /project
