# Everything a checkout needs: Python 3.11 to 3.13 and make. `make run` and `make test` set up what they use.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# A module's tests stay in one process: they share what is dear to make. Modules are taken in order, so that the examples
# of docstrings come last, which are short: otherwise modules of few long tests do, and one process waits for the other.
PYTEST := $(BIN)/python -m pytest -q --numprocesses 2 --dist loadscope --no-loadscope-reorder

TOOLS := .venv-tools
TOOLS_READY := $(TOOLS)/.ready
# Both locks hold the hash of every file, for each supported Python and platform.
INSTALL := -m pip install --quiet --disable-pip-version-check
COMPILE = $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' $(UPGRADE)

.PHONY: setup run test test-slow nightly fuzz check format docs site notebook bench lock licences audit clean help

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(READY) ## make .venv with everything in it

$(READY): pyproject.toml requirements/setup.lock
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Octavo needs Python 3.11 to 3.13, and {sys.executable} is {v[0]}.{v[1]}. Set PYTHON, as in: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) --require-hashes --requirement requirements/setup.lock
	$(BIN)/python $(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

$(TOOLS_READY): requirements/tools.lock
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python $(INSTALL) --require-hashes --requirement requirements/tools.lock
	touch $@

run: $(READY) ## run the recipe `digits`: photographs to int8 model and report, offline
	$(BIN)/octavo run digits --out runs/digits

test: $(READY) ## the tests, but for the slow ones
	$(PYTEST)

test-slow: $(READY) ## all tests
	$(PYTEST) -m 'slow or not slow'

nightly: $(READY) $(TOOLS_READY) ## all tests, and why any was skipped: the C program and ARM64 need gcc, g++ and QEMU
	$(PYTEST) -m 'slow or not slow' -rs

fuzz: $(READY) ## damaged files for every command; SEED and COUNT, as in: make fuzz SEED=7 COUNT=1000
	$(BIN)/python -W ignore scripts/fuzz.py --seed $(or $(SEED),1) --count $(or $(COUNT),300)

check: $(READY) site ## style, types, generated documents, the docs site with the API reference
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/make_docs.py --check

format: $(READY) ## bring the code into the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## write the generated documents anew
	$(BIN)/python scripts/make_docs.py

site: $(TOOLS_READY) ## the docs site, with the API reference: build/site/index.html; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(TOOLS)/bin/mkdocs build --strict

notebook: $(READY) $(TOOLS_READY) ## run docs/notebook.ipynb, and write its outputs anew
	$(TOOLS)/bin/python scripts/run_notebook.py $(BIN)/python docs/notebook.ipynb

bench: $(READY) ## the PTQ benchmark, side by side
	$(BIN)/python bench/ptq.py

lock: $(TOOLS_READY) ## write the locks anew after a change of requirements; UPGRADE=--upgrade takes the newest versions
	$(COMPILE) --extra train --extra dev --output-file requirements/setup.lock pyproject.toml
	$(COMPILE) --output-file requirements/tools.lock requirements/tools.in

licences: $(READY) $(TOOLS_READY) ## whether every installed package has one of the licences that pyproject.toml allows
	$(TOOLS)/bin/pip-licenses --python $(BIN)/python

audit: $(TOOLS_READY) ## whether a locked version has a known vulnerability; needs the network
	$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements/setup.lock

clean: ## remove what setup made; runs stay
	rm -rf .venv $(TOOLS) build dist .pytest_cache .mypy_cache .ruff_cache
