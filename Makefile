# Every target that needs it makes .venv first; nothing is installed into the system's Python.
#
#   make demo     run a real workflow of ours, with live progress
#   make test     all tests (make check: the quick ones with format, types and import contracts, about a minute)
#   make golden   recorded answers of the original programs against us   [FILES="…"]
#   make bench    measure, print a table, write benchmarks/latest.json   [ONLY=substring] [FULL=1: 100,000 nodes too]
#   make sim      deterministic simulation of the whole platform         [SEED=7 | SEEDS=10000]
#   make fuzz     a minute of fuzzing for each language                  [SECONDS_EACH=60]
#   make docs     check links and snippets of the docs, build ./site
#   make codegen  generate again what is generated (make check-codegen: is it up to date?)

SHELL := /bin/sh
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FAILED := $(VENV)/.failed
JOBS ?= 2
SECONDS_EACH ?= 60

.PHONY: help compiled demo test check golden bench sim docs codegen check-codegen fuzz clean

help:
	@sed -n 's/^#   //p' Makefile

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed (apt install python3 python3-venv; brew install python)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --disable-pip-version-check -e . --group dev
	@touch $(STAMP)

# Compiled ahead, so that a start is fast also where PYTHONDONTWRITEBYTECODE keeps Python from doing it.
compiled: $(STAMP)
	@$(BIN)/python -m compileall -q src

demo: compiled
	@BIN=$(BIN) sh examples/demo.sh

golden: compiled
	@$(BIN)/python -m tests.conformance.golden $(FILES)

check: $(STAMP)
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) check-codegen
	$(BIN)/pytest -m 'not slow and not e2e' -n $(JOBS) $(wildcard tests/unit tests/property tests/sim)

test: compiled
	@rm -f $(FAILED)
	TIPHYS_FAILED=$(FAILED) $(BIN)/pytest -rfEs -n $(JOBS) --durations=15 tests || $(BIN)/python -m tests.again $(FAILED)

bench: compiled
	@$(if $(FULL),TIPHYS_BENCH_FULL=1 )$(BIN)/python -m benchmarks $(ONLY)

sim: compiled
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS))

fuzz: compiled
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS_EACH)

docs: $(STAMP)
	@$(BIN)/python -m tools.docs

codegen: $(STAMP)
	@$(BIN)/python -m tools.codegen

check-codegen: $(STAMP)
	@$(BIN)/python -m tools.codegen --check

clean:
	rm -rf $(VENV) site .tiphys
