# Remora: `make help` lists what there is. Settings: REMORA_HOME (~/.remora), REMORA_PORT (8765), …

PYTHON := .venv/bin/python
REMORA := .venv/bin/remora
PYTEST := $(PYTHON) -m pytest

.DEFAULT_GOAL := help
.PHONY: help up down clean test test-slow check bench lock

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 12

up:  ## install what is missing, start everything on this machine, run the sample; prints address and login
	@tools/bootstrap.sh
	@$(REMORA) server up

down:  ## stop it; `make up` starts it again with everything that was there
	@if [ -x $(REMORA) ]; then $(REMORA) server down; fi

clean:  ## stop it and remove all of it: state, virtual environment, images and engine that were made here
	@if [ -x $(REMORA) ]; then $(REMORA) server clean --yes; fi
	@tools/sample_image.sh remove
	@tools/engine.sh stop
	@rm -rf .venv remora.egg-info build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis

test:  ## install what the tests need and run them; lists at the end what could not run here
	@tools/bootstrap.sh --dev
	@$(MAKE) --no-print-directory check
	$(PYTEST) tests --ignore=tests/unit -m "not slow" -n 2 --dist loadfile

test-slow:  ## the long ones
	@tools/bootstrap.sh --dev
	$(PYTEST) tests -m slow

check:  ## the quick ones: style, types, who imports whom, unit tests
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyright
	.venv/bin/lint-imports
	$(PYTEST) tests/unit -m "not slow"

bench:  ## print the table of measured figures
	$(PYTHON) -m benchmarks

lock:  ## write the requirements*.lock files from pyproject.toml (needs uv)
	tools/lock.sh
