# Every command of the project. `make` alone lists them.

.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed

.PHONY: help setup up test browser simulate prove check format lock bench soak clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Install into .venv exactly what requirements-dev.txt lists
	@:

# Anything from Python 3.11 on will do; a version manager may put names on the path that do not run, so each is tried.
$(INSTALLED): requirements-dev.txt pyproject.toml
	@set -e; \
	new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(PYTHON) -c "$$new_enough" 2>/dev/null || ! $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	  for python in python3.11 python3.12 python3.13 python3.14 python3 python none; do \
	    if [ $$python = none ]; then echo "Python 3.11 or later is needed, and none was found on the path." >&2; exit 1; fi; \
	    if $$python -c "$$new_enough" 2>/dev/null; then break; fi; \
	  done; \
	  echo "Making $(VENV) with $$($$python --version)"; \
	  $$python -m venv --clear $(VENV) || { \
	    echo "This Python cannot make a virtual environment: install its venv package (python3-venv)." >&2; exit 1; }; \
	fi; \
	echo "Installing into $(VENV): less than a minute the first time"; \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt; \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .; \
	touch $@

up: $(INSTALLED) ## Run the whole system here, with embedded servers and a sandbox account where none are given
	@exec $(PYTHON) -m cli up $(ARGS)

# Three workers even on two cores: a test sometimes waits. Bytecode is kept even where the environment forbids it: many
# tests start commands, and each would compile all of our code again.
test: $(INSTALLED) ## Run every test, on servers of its own (ARGS="-k word" to choose)
	@PYTHONDONTWRITEBYTECODE= $(PYTHON) -m pytest --numprocesses 3 --dist worksteal $(ARGS)

# The browser tests are skipped without it, so a machine that cannot have it only says so.
browser: ## Install Chromium for the browser tests, where apt-get can
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; \
	then :; \
	elif [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "Chromium is not installed here, so the browser tests are skipped: install your system's package."; \
	else \
	  echo "Installing Chromium for the browser tests: about a minute"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium; } \
	    >/dev/null 2>&1 || echo "Chromium could not be installed, so the browser tests are skipped."; \
	fi

simulate: $(INSTALLED) ## Replay a world of the simulation (SEED=n; COUNT=n worlds from it on)
	@$(PYTHON) -m tests.simulation $(SEED) $(or $(COUNT),1) $(AT)

prove: $(INSTALLED) ## Attach to an account of 20,000 customers, damage the database, and let the audit repair it
	@PROVE_CUSTOMERS=20000 $(PYTHON) -m pytest -o timeout=7200 tests/worker/audit/test_attached.py $(ARGS)

check: $(INSTALLED) ## Formatting, lint, types and the layers
	@$(VENV)/bin/ruff format --check --quiet . || { echo "Run make format." >&2; exit 1; }
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo

format: $(INSTALLED) ## Format the code, and fix what the linter can fix
	@$(VENV)/bin/ruff check --fix --quiet . || true
	@$(VENV)/bin/ruff format .

COMPILE := $(VENV)/bin/uv pip compile pyproject.toml --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-header --quiet

# The others take their versions from the first: what is tested is what is deployed.
lock: $(INSTALLED) ## Pin the newest versions: requirements-dev.txt for us, the others for deployments
	@$(COMPILE) --extra embedded --extra traces --group dev --upgrade --output-file requirements-dev.txt
	@$(COMPILE) --constraint requirements-dev.txt --upgrade --output-file requirements.txt
	@$(COMPILE) --extra traces --constraint requirements-dev.txt --upgrade --output-file requirements-traces.txt

bench: $(INSTALLED) ## Measure: webhooks per second, answer times, events through to records
	@$(PYTHON) -m bench.run $(ARGS)

soak: $(INSTALLED) ## Run web and worker for an hour at a steady rate with faults, and judge (ARGS="--minutes 60 --rate 20")
	@$(PYTHON) -m bench.soak $(ARGS)

clean: ## Remove .venv, the embedded servers' data and every cache
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m local.clean .subledger; fi
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
