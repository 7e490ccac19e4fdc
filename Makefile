# make demo: try it. make run: run it with the environment's provider. make test, make check: work on it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# How many processes run the tests, and what else pytest is told.
JOBS ?= 2
ARGS ?=

# A new requirements file is a new stamp, so the packages follow it by themselves.
sum = $(shell cat $(1) | cksum | tr ' ' '-')
SETUP := $(VENV)/.setup-$(call sum,requirements.txt)
DEV := $(VENV)/.setup-dev-$(call sum,requirements-dev.txt)

.PHONY: help setup demo run test chaos bench check lint audit fmt lock messages screenshots
.DEFAULT_GOAL := help

help:
	@echo "make demo    try the panel with a simulated provider (PORT=8001 make demo for another port)"
	@echo "make run     run the panel with the provider of the environment or of .env"
	@echo "make setup   install the pinned packages into $(VENV)"
	@echo "make test    run the tests (ARGS=orders make test for a part of them)"
	@echo "make chaos   kill everything at random and prove the orders (ARGS=\"--minutes 10 --seed 1\" make chaos)"
	@echo "make bench   measure what the panel costs (ARGS=--quick make bench for two minutes)"
	@echo "make check   everything that must be green before a change is merged"
	@echo "make audit   look the pinned packages up among the published weaknesses"
	@echo "make fmt     format the code"
	@echo "make lock    resolve requirements*.in anew"
	@echo "make screenshots  draw every page into screenshots/ (needs Chromium)"
	@echo "make messages  collect the texts to translate"

setup: $(SETUP)

$(SETUP):
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed, as $(PYTHON)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; \
	  echo "Name another one: PYTHON=python3.13 make $(or $(firstword $(MAKECMDGOALS)),setup)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is needed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing the pinned packages into $(VENV); this takes a minute the first time."
	@$(PYTHON) -m venv $(VENV)
	@rm -f $(VENV)/.setup-*
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(DEV): | $(SETUP)
	@echo "Installing what the tests and checks need."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(SETUP)
	@$(BIN)/python manage.py demo

run: $(SETUP)
	@$(BIN)/python manage.py serve

# Each worker and each process that a test starts would compile all of it anew.
test: export PYTHONDONTWRITEBYTECODE =
test: $(DEV)
	@$(BIN)/python manage.py compile_translations -v 0
	@$(BIN)/pytest -n $(JOBS) $(ARGS)

# Brings its own servers on free ports, and prints its seed and figures.
chaos: $(DEV)
	@$(BIN)/python -m tests.chaos $(ARGS)

# On a PostgreSQL and a Redis that it makes databases of its own in; ARGS=--sqlite needs neither.
bench: $(DEV)
	@$(BIN)/python -m bench $(ARGS)

check: lint audit test

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --fail-level WARNING
	$(BIN)/djlint --lint --quiet templates

# Known weaknesses of the pinned packages; without network it says that it could not look.
audit: $(DEV)
	@$(BIN)/python -m tests.advisories

fmt: $(DEV)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# uv resolves for every platform and Python at once; it lives apart, so that nothing else sees it.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv
	for name in requirements requirements-dev; do \
	  $(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-header --output-file $$name.txt $$name.in || exit 1; done

messages: $(SETUP)
	$(BIN)/python manage.py makemessages --all --no-obsolete --ignore '$(VENV)*' --ignore var

screenshots: $(DEV)
	@$(BIN)/python manage.py compile_translations -v 0
	@$(BIN)/pytest tests/screenshots.py -p no:xdist
