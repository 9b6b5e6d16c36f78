# make demo | make test | make test-slow | make lint | make docs | make docs-outputs | make gpu-check | make setup
# Every target makes .venv if it is not there and reinstalls only when pyproject.toml changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-slow gpu-check lint docs docs-outputs

setup: $(STAMP)

$(STAMP): pyproject.toml
	test -x "$(BIN)/python" || $(PYTHON) -m venv "$(VENV)"
	rm -rf sambench.egg-info  # another build system's, whose entry points would be found before the installed ones
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --editable ".[sam,litemedsam,nnunet,test,dev]"
	touch "$(STAMP)"

demo: $(STAMP)
	"$(BIN)/python" -m sambench demo

# Two processes, since most of the time goes to tracing and exporting, which use one core; a file stays in one process, so
# that what it exports is exported once, and files begin in the order in which tests/conftest.py puts them. The files of
# both parts of the slow tests share a folder of what was exported.
PYTEST := "$(BIN)/python" -m pytest
IN_TWO := --numprocesses 2 --dist loadfile --no-loadscope-reorder --ignore tests/perf
COMMON := common="$$(mktemp -d)" && trap 'rm -rf "$$common"' EXIT && export SAMBENCH_TEST_COMMON="$$common"

test: $(STAMP)
	$(COMMON) && $(PYTEST) $(IN_TWO) -m "not slow"

# What is slow by nature: trainings (nnU-Net's, ours, their kills), whole exports of every model, runs of every example, the
# installed wheel, the notebook, the browser, simulations of the statistics; then the timed suite, alone on the machine and
# with as little time as its numbers can be told from. A failure in one part does not keep the other from running.
test-slow: $(STAMP)
	$(COMMON) && failed=0; \
	$(PYTEST) $(IN_TWO) -m slow || failed=1; \
	SAMBENCH_PERF_BUDGET_S=1 $(PYTEST) tests/perf || failed=1; \
	exit $$failed

# Everything that needs CUDA, in under 10 minutes. The first line asks about the GPU alone, so that a machine without one
# is told at once.
GPU_SPEC := docs/examples/gpu_check.yaml
gpu-check: $(STAMP)
	@"$(BIN)/python" -m sambench doctor $(GPU_SPEC) --device cuda
	"$(BIN)/python" -m sambench doctor $(GPU_SPEC)
	"$(BIN)/python" -m pytest -m gpu
	"$(BIN)/python" -m benchmark.doctor.phantom_task runs/gpu-check-data
	"$(BIN)/python" -m sambench run $(GPU_SPEC) --out runs/gpu-check

lint: $(STAMP)
	"$(BIN)/python" -m ruff check .
	"$(BIN)/python" -m ruff format --check .
	"$(BIN)/python" -m mypy

# The site of docs/ in site/; a warning is an error. The generator is installed for this target alone.
DOCS_STAMP := $(VENV)/.installed-docs
$(DOCS_STAMP): pyproject.toml | $(STAMP)
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	touch "$(DOCS_STAMP)"

docs: $(DOCS_STAMP)
	"$(BIN)/python" -m zensical build --clean --strict
	"$(BIN)/python" -m tests.docs.site_check site

# The outputs shown in README.md and docs/: make docs-outputs [ONLY="demo label"] [CHECK=1]
docs-outputs: $(STAMP)
	"$(BIN)/python" -m tests.docs.outputs $(if $(ONLY),--only $(ONLY)) $(if $(CHECK),--check)
