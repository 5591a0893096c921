# Everything runs in .venv, which is made when it is first needed; Python 3.11 or newer is enough.
#   make PYTHON=python3.12 ...   uses that interpreter        make test PYTEST_ARGS="-k lease -x"
#   make bench BENCH="..."       passes arguments on          make test WORKERS=4
#   make torture MINUTES=10 ROWS="R1 R2"                      make mutants MINUTES=30 MUTANTS="--again --only lane"

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH ?=
MINUTES ?= 60
MUTANTS ?=
ROWS ?=

BIN := $(VENV)/bin
PYTEST := -n $(WORKERS) --dist worksteal
LIBRARY := $(VENV)/.library-installed
TOOLS := $(VENV)/.tools-installed
PEERS := $(VENV)/.peers-installed
DOCS := $(VENV)/.docs-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# The tests start thousands of processes of Python; without bytecode each would compile everything that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check format docs bench bench-nats soak torture mutants clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    see abathur at work; leaves its database and report in ./abathur-demo/"
	@echo "make test    the checks, then all tests"
	@echo "make check   ruff, mypy, pyright, import-linter and our own check-isolation"
	@echo "make format  put the code into the form that the checks ask for"
	@echo "make docs    the documentation as a site, in ./site/; a warning or a broken link is a failure"
	@echo "make bench   reproducible comparisons, each printing its method"
	@echo "make bench-nats  the ten benchmarks of the NATS service; writes docs/benchmarks/nats.md"
	@echo "make soak    the memory of the NATS service under load for MINUTES=60"
	@echo "make torture the fault rows for MINUTES=60; ROWS=\"R1 R2\" selects, totals add up in .torture.json"
	@echo "make mutants small faults in the core for MINUTES=60: which of them do the tests notice?"
	@echo "make clean   remove .venv and everything else that was made here"

demo: $(LIBRARY)
	@$(BIN)/abathur demo

# The branch coverage of the core is that of tests/unit, conformance, shells and service alone: what only a fault test
# or a drawn example reaches is not covered. It is not measured for a selection of the tests.
test: check
ifeq ($(strip $(PYTEST_ARGS)),)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST) tests/unit tests/conformance tests/shells tests/service
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/python -m pytest $(PYTEST) --ignore=tests/unit --ignore=tests/conformance --ignore=tests/shells \
	  --ignore=tests/service tests
else
	$(BIN)/python -m pytest $(PYTEST) $(PYTEST_ARGS) tests
endif

check: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/abathur check-isolation --forbid app.db.database --exclude tests/testing/sample

format: $(TOOLS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS)
	rm -rf site
	PYTHONPATH=. $(BIN)/zensical build --strict --clean
	$(BIN)/python tools/check_site.py site

bench: $(PEERS)
	$(BIN)/python -m benchmarks $(BENCH)

bench-nats: $(TOOLS)
	$(BIN)/python -m benchmarks.nats_service $(BENCH)

soak: $(TOOLS)
	$(BIN)/python -m benchmarks.nats_service --only memory --minutes $(MINUTES)

torture: $(TOOLS)
	@$(BIN)/python -m tests.torture --minutes $(MINUTES) --rows "$(ROWS)"

mutants: $(TOOLS)
	@$(BIN)/python -m tests.mutants --minutes $(MINUTES) $(MUTANTS)

clean:
	rm -rf $(VENV) abathur-demo build dist site htmlcov .coverage .coverage.*
	rm -rf .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------- the environment

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "There is no '$(PYTHON)' here. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "abathur needs Python 3.11 or newer, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1)." \
	    "Name a newer one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: its modules 'venv' and 'ensurepip' are missing." \
	    "On Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)

$(LIBRARY): pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install --quiet --editable .
	@touch $@

$(TOOLS): $(LIBRARY)
	$(PIP) install --quiet --editable ".[all]" --group dev
	@touch $@

$(PEERS): $(TOOLS)
	$(PIP) install --quiet --group bench
	@touch $@

$(DOCS): $(LIBRARY)
	$(PIP) install --quiet --group docs
	@touch $@
