# Every target that needs it makes .venv first; nothing is installed into the system's Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check golden bench sim docs codegen fuzz clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/pip install -q --disable-pip-version-check -e . --group dev
	@touch $(STAMP)

golden: $(STAMP)
	@$(BIN)/python -m tests.conformance.golden $(FILES)

check: $(STAMP)
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m 'not slow and not e2e' -n 2 tests/unit tests/property tests/sim

test: $(STAMP)
	$(BIN)/pytest -n 2 tests

clean:
	rm -rf $(VENV)
