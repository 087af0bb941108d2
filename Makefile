# Everything is installed into .venv inside this directory; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On Linux the default package index serves a large CUDA build of torch. For a small CPU build:
#   make quickstart TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# Extra words for pytest, e.g. make test PYTEST_ARGS='-k ledger -x' (-n 0: in one process)
PYTEST_ARGS ?=
# One process a core, four at most, each of one thread: small models gain nothing from more threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all check venv clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

quickstart: $(VENV)/.core  ## install the core, then erase, restore and verify on the demo model
	$(BIN)/sepme quickstart

test: $(VENV)/.dev  ## run the tests, without the slow and the GPU ones
	$(PYTEST) -m "not slow and not gpu" $(PYTEST_ARGS)

test-all: $(VENV)/.dev  ## run every test (GPU tests need a CUDA device)
	$(PYTEST) $(PYTEST_ARGS)

check: $(VENV)/.dev  ## lint, format, types, import layers, house rules
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

venv: $(VENV)/.dev  ## create .venv with everything a developer needs

clean:  ## remove .venv and every cache
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# Stamps: each step runs again only when its inputs change.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sepme needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.core: $(VENV)/.torch pyproject.toml
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[dev]'
	@touch $(VENV)/.core $@
