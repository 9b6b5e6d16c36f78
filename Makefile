# make demo | make test | make lint | make setup
# Every target makes .venv if it is not there and reinstalls only when pyproject.toml changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint

setup: $(STAMP)

$(STAMP): pyproject.toml
	test -x "$(BIN)/python" || $(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --editable ".[sam,litemedsam,nnunet,test,dev]"
	touch "$(STAMP)"

demo: $(STAMP)
	"$(BIN)/python" -m benchmark.cli demo

# Two processes, since most of the time goes to tracing and exporting, which use one core; a file stays in one process, so
# that what it exports is exported once. The timed suite runs alone.
test: $(STAMP)
	"$(BIN)/python" -m pytest --numprocesses 2 --dist loadfile --ignore tests/perf
	"$(BIN)/python" -m pytest tests/perf

lint: $(STAMP)
	"$(BIN)/python" -m ruff check .
	"$(BIN)/python" -m ruff format --check .
	"$(BIN)/python" -m mypy
