# discovery: `make run` runs the quickstart campaign, `make test` runs the tests.
# Both install everything into .venv first, where that is not done yet.

PYTHON  ?= $(shell command -v python3.11 || echo python3)
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip
STAMP   := $(VENV)/.installed
UNIT    := not campaign and not chaos and not long
APT     := libxc-dev libopenblas-dev libfftw3-dev libcurl4 g++ make

export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: setup run browser test test-unit test-campaign test-chaos test-long fuzz audit docs lint clean

setup: $(STAMP)

# torch comes first: whatever is asked for before it may bring another build of it. DeePMD-kit is built against it.
$(STAMP): pyproject.toml constraints.txt tools/system-packages.sh tools/install-deepmd.sh
	@sh tools/system-packages.sh $(APT)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh tools/system-packages.sh python3 python3-venv python3-dev
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --upgrade pip
	@$(PIP) install --quiet "$$(grep '^torch==' constraints.txt)"
	@sh tools/install-deepmd.sh $(BIN)/python
	CC=g++ CXX=g++ $(PIP) install --quiet --constraint constraints.txt --editable '.[embedded,dft,openlam,serve,report,docs,dev]'
	@$(PIP) check
	@touch $@

run: setup
	@$(BIN)/discovery run --campaign quickstart

# The dashboard is tested in a real browser, completion in real shells.
browser:
	@sh tools/system-packages.sh chromium fish zsh

# Tests of logic run in two processes; campaigns start processes of their own and come one after the other.
test: setup browser
	@$(BIN)/python -m pytest tests -m "$(UNIT)" --numprocesses 2 --dist loadfile --durations 15
	@$(BIN)/python -m pytest tests -m "(campaign or chaos) and not long" --durations 5

test-unit: setup browser
	@$(BIN)/python -m pytest tests -m "$(UNIT)" --numprocesses 2 --dist loadfile

test-campaign: setup browser
	@$(BIN)/python -m pytest tests -m "campaign and not long"

test-chaos: setup
	@$(BIN)/python -m pytest tests -m "chaos and not long"

# Faults of every kind in a campaign of real processes, and a table of them at the end.
chaos-short: setup
	@$(BIN)/python -m pytest tests/chaos -m "chaos and not long" --durations 5

chaos: setup
	@$(BIN)/python -m pytest tests/chaos -m chaos --timeout 3600 --durations 5

test-long: setup browser
	@$(BIN)/python -m pytest tests -m "long" --timeout 3600

# 100,000 bad inputs: docs/security.md. FUZZ="--engine coverage --target cif": guided by coverage.
fuzz: setup
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[fuzz]'
	PYTHONPATH=tests/fuzz:tests/support $(BIN)/python -m fuzzing.run --inputs 100000 --out fuzz-out $(FUZZ)

# Known vulnerabilities of the installed packages; needs the network.
audit: setup
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[audit]'
	$(BIN)/python tools/audit.py

# The pages of docs/ as a site in site/; a broken link or a page that no menu names is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .discovery site
