# make demo    the whole pipeline on built-in phantoms, minutes on two cores; prints where the report is
# make test    lint, types and tests
# make test-faults    the tests of faults that take minutes: servers that restart, many processes at once, bare environments
# make bench   each stage against the plain way, in under 20 minutes, and against the stored baseline
# make lock   the lock files anew, after a change of pyproject.toml;  make sbom   sbom.json, a list of what is installed
# make audit  the locked versions against the known vulnerabilities (needs a network)
# All make the virtual environment first where it is missing or out of date.

PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
TOOLS := .venv-tools/.installed
LOCKED = $(BIN)/python -m pip install --quiet --require-hashes --no-deps --no-build-isolation --requirement
# Its programs name the folder that the environment was made in: one that was moved with its project is made again. A link to
# another checkout's is left alone.
MOVED := $(shell test -L .venv || test ! -e $(BIN)/syncmri || grep -qsF "$(CURDIR)/$(BIN)/python" $(BIN)/syncmri || echo moved)
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: moved help install demo test test-faults bench lint lock sbom audit clean

help:
	@sed -n 's/^# //p' Makefile | head -7

install: $(INSTALLED)

# Touched last, so that an installation cut short is done again. Cleared first: another Python may have made it, and what an older
# lock installed must not hide what the new one lacks. The environment's own pip, which may be old, installs the locked pip and nothing
# else. --no-deps: the lock files have said everything, and `pip check` sees that they have. --no-build-isolation: the few packages that
# come as source are built with the locked setuptools, not with whatever the index offers.
$(INSTALLED): requirements.lock requirements.cpu.lock requirements.cuda.lock .ci/pip.lock pyproject.toml $(MOVED)
	$(PYTHON) -m venv --clear .venv
	$(LOCKED) .ci/pip.lock
	@# pip would prefer PyPI's torch to a CPU build in a folder: see .ci/lock.py.
	$(LOCKED) requirements.cpu.lock -qq || echo "There is no CPU build of torch here: the one of the package index is taken."
	$(LOCKED) requirements.lock
	@# PyPI's torch needs CUDA's libraries, its CPU build does not.
	$(BIN)/python -m pip check >/dev/null || $(LOCKED) requirements.cuda.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	chmod 700 .dvc_site_cache .dvc_site_cache/repo
	touch $@

# Tools that the program does not need, in an environment of their own.
$(TOOLS): .ci/tools.lock .ci/pip.lock
	$(PYTHON) -m venv --clear .venv-tools
	.venv-tools/bin/python -m pip install --quiet --require-hashes --no-deps --requirement .ci/pip.lock
	.venv-tools/bin/python -m pip install --quiet --require-hashes --no-deps --no-build-isolation --requirement .ci/tools.lock
	touch $@

# After a change of the dependencies in pyproject.toml. Versions that are locked stay; `make lock UPGRADE=1` takes newer ones.
lock: $(TOOLS)
	.venv-tools/bin/python .ci/lock.py $(if $(UPGRADE),--upgrade)

# What is installed, by name, version and licence, as CycloneDX reads it.
sbom: $(INSTALLED) $(TOOLS)
	.venv-tools/bin/cyclonedx-py environment .venv --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-format JSON --output-file sbom.json
	@echo "sbom.json: every installed package, as CycloneDX"

# Known vulnerabilities of the locked versions. Fails for each that is found, and where the advisories cannot be asked for.
audit: $(TOOLS)
	.venv-tools/bin/python .ci/audit.py

demo: $(INSTALLED)
	$(BIN)/syncmri configure demo
	$(BIN)/syncmri run

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread a worker: two workers with two threads each spend most of their time waiting for one another.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-faults: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults

# On all cores, alone on the machine: what runs beside it takes its share of either way, and not the same.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks --quick

# Removes what tools leave behind. Data, trained networks, the DVC cache and the tracking database stay.
clean:
	rm -rf .venv .venv-tools .mypy_cache .ruff_cache .pytest_cache build *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
