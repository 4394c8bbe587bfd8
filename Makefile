# Everything a person needs: `make quickstart`, `make test`; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
N ?= 200
SEEDS ?= 0,1,2
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.stamp-installed
DEVELOPED := $(VENV)/.stamp-developed
TORCH := $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' constraints.txt)

# Larger test data, where they are at hand; tests that need them skip with a reason where they are not.
ifneq ($(wildcard ../shared/data/.),)
export PENCHANT_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help quickstart test lint slow kills results gpu docs clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-11s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  TORCH_INDEX=URL takes torch from another index, e.g. https://download.pytorch.org/whl/cpu"

quickstart: $(INSTALLED) ## raw files to a pretrained, tuned, evaluated model and its report (ARGS="key=value ...")
	$(BIN)/penchant run quickstart $(ARGS)

test: lint ## lint, types, import contracts, and the tests that take seconds
	$(BIN)/python -m pytest -n 2 -m "not slow and not gpu" $(ARGS)

lint: $(DEVELOPED) ## the checks of `make test` without the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	printf '%s\n' 3.11 3.12 3.13 | xargs -P 2 -I VERSION $(BIN)/mypy --python-version VERSION
	$(BIN)/lint-imports

slow: $(DEVELOPED) ## the tests that take longer
	$(BIN)/python -m pytest -n 2 -m "slow and not gpu" --timeout 3600 $(ARGS)

kills: $(DEVELOPED) ## kill a small run N times (200), go on each time, and compare every bit with a run left alone
	PENCHANT_KILLS=$(N) $(BIN)/python -m pytest tests/faults/test_kills.py --timeout 36000 $(ARGS)

results: $(INSTALLED) ## the quickstart over several training seeds (SEEDS=0,1,2), for docs/results.md
	$(BIN)/python benchmarks/results.py --seeds $(SEEDS) $(ARGS)

gpu: $(DEVELOPED) ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu $(ARGS)

docs: $(INSTALLED) ## write docs/help.md and docs/algorithms.md from the code
	$(BIN)/python docs/make_help.py
	$(BIN)/python docs/make_algorithms.py

clean: ## remove the virtual environment and every cache; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a second call reuses what stands, and installs again only what changed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Penchant needs Python 3.11 or later; give one as make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
ifneq ($(TORCH_INDEX),)
	$(PIP) install --index-url $(TORCH_INDEX) --no-deps "$(TORCH)"
endif
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(DEVELOPED): $(INSTALLED)
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@
