# make demo    the whole pipeline on built-in phantoms, minutes on two cores; prints where the report is
# make test    lint, types and tests
# make test-faults    the tests of faults that take minutes: servers that restart, many processes at once, bare environments
# make bench   each stage against the plain way, in under 20 minutes, and against the stored baseline
# All make the virtual environment first where it is missing or out of date.

PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help install demo test test-faults bench lint clean

help:
	@sed -n 's/^# //p' Makefile | head -5

install: $(INSTALLED)

# Touched last, so that an installation cut short is done again. Cleared first: another Python may have made it, and what an older
# lock installed must not hide what the new one lacks. --no-deps: the lock file has said everything.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

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
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
