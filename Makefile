# Everything a checkout needs: Python 3.11 to 3.13 and make. `make run` and `make test` set up what they use.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# A module's tests stay in one process: they share what is dear to make.
PYTEST := $(BIN)/python -m pytest -q --numprocesses 2 --dist loadscope

.PHONY: setup run test test-slow nightly fuzz check format docs reference bench clean help

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(READY) ## make .venv with everything in it

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Octavo needs Python 3.11 to 3.13, and {sys.executable} is {v[0]}.{v[1]}. Set PYTHON, as in: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev]'
	touch $@

run: $(READY) ## run the recipe `digits`: photographs to int8 model and report, offline
	$(BIN)/octavo run digits --out runs/digits

test: $(READY) ## the tests, but for the slow ones
	$(PYTEST)

test-slow: $(READY) ## all tests
	$(PYTEST) -m 'slow or not slow'

nightly: $(READY) ## all tests, and why any was skipped: the C program and ARM64 need gcc, g++ and QEMU
	$(PYTEST) -m 'slow or not slow' -rs

fuzz: $(READY) ## damaged files for every command; SEED and COUNT, as in: make fuzz SEED=7 COUNT=1000
	$(BIN)/python -W ignore scripts/fuzz.py --seed $(or $(SEED),1) --count $(or $(COUNT),300)

check: $(READY) ## style, types, generated documents, the API reference
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/make_docs.py --check
	$(BIN)/python scripts/make_reference.py

format: $(READY) ## bring the code into the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## write the generated documents anew
	$(BIN)/python scripts/make_docs.py

reference: $(READY) ## the API reference as HTML: build/reference/index.html
	$(BIN)/python scripts/make_reference.py

bench: $(READY) ## the PTQ benchmark, side by side
	$(BIN)/python bench/ptq.py

clean: ## remove what setup made; runs stay
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
