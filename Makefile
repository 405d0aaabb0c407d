# make repro: from nothing to two trained nets.   make test: the tests.   make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.runtime
STAMP_DEV := $(VENV)/.dev

# DVC takes `python` from PATH
export PATH := $(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export ORT_DISABLE_TELEMETRY := 1

.PHONY: help repro test soak lint smoke ui clean
help: ## list these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

repro: $(STAMP) ## run what is out of date of the pipeline
	dvc repro

test: $(STAMP_DEV) ## run the tests
	pytest

soak: $(STAMP_DEV) ## the slow faults alone: kills, resumed trainings
	pytest -m slow

lint: $(STAMP_DEV) ## formatter, linter, types, and the floors of the architecture
	ruff format --check .
	ruff check .
	mypy
	lint-imports

smoke: $(STAMP) ## the whole pipeline on the smallest preset (changes params.yaml)
	python -m pipeline.preset smoke
	dvc repro

ui: $(STAMP) ## MLflow's page on the runs so far
	mlflow ui --workers 1

clean: ## forget the environment (data and models stay)
	rm -rf $(VENV)

$(VENV)/bin/activate:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python: 3.11 or newer is needed, got %d.%d; make PYTHON=python3.11" % sys.version_info[:2])'
	@git rev-parse --git-dir > /dev/null || { echo "error: $(CURDIR): not a git checkout, which DVC needs; git init"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo 'export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true ORT_DISABLE_TELEMETRY=1' >> $@

$(STAMP): requirements.lock pyproject.toml | $(VENV)/bin/activate
	@echo "installing $$(grep -c == requirements.lock) packages into $(VENV): two minutes, more on a slow line"
	@python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(STAMP_DEV): requirements-dev.lock $(STAMP)
	@python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@
