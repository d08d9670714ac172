# make demo       trains on the embedded digits        (ARGS="--time 60s" adds options)
# make test       every check there is                 (ARGS="-n 0 -x -k checkpoint" goes to pytest)
# make docs       the documentation as a site: site/index.html
# make figures    writes the tables of README.md and docs/ from benchmarks/results/
# make sessions   plays what README.md and docs/ show, and writes down what came: minutes
# make bench-X    runs benchmarks/X.py                 (ARGS="--quick" for a smoke run);  make peers: their environments
# make format     rewrites the code as `make test` wants it
# make clean      removes what was made here, runs/ excepted
#
# The first of them sets up .venv/ here; nothing outside of this folder is changed. Another Python: make demo PYTHON=python3.12

SHELL := /bin/bash
BIN := .venv/bin
PYTHON ?=
ARGS ?=

.PHONY: help demo test lint docs figures sessions peers format clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//;1,/^$$/p' Makefile

demo: .venv/made-all
	$(BIN)/gradlearn train images $(ARGS)

test: lint docs
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 $(ARGS)

lint: .venv/made-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

docs: .venv/made-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

figures: .venv/made-dev
	$(BIN)/python docs/figures.py

sessions: .venv/made-dev
	$(BIN)/python docs/sessions.py $(ARGS)

bench-%: .venv/made-all
	$(BIN)/python benchmarks/$*.py $(ARGS)
	$(BIN)/python docs/figures.py

peers: .venv/made-all
	benchmarks/peers.sh

format: .venv/made-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# .venv/made-all, .venv/made-dev: the extra of that name is installed, as pyproject.toml and constraints.txt have it now.
.venv/made-%: pyproject.toml constraints.txt
	@$(BIN)/python -c '' 2>/dev/null || { python=$$($(FIND_PYTHON)) && "$$python" -m venv --clear .venv; }
	@echo "setting up .venv with .[$*] (torch is a large download, once)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

# The first of these that is Python 3.11, 3.12 or 3.13 and can make an environment; else one line.
define FIND_PYTHON
for p in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	"$$p" -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo "$$p"; exit; }; done; \
echo "make: found no Python 3.11, 3.12 or 3.13 with venv$(if $(PYTHON), at $(PYTHON)); install one, or name it: make demo PYTHON=/path/to/python3.11" >&2; exit 1
endef

clean:
	rm -rf .venv site build dist .pytest_cache .ruff_cache .hypothesis src/gradlearn.egg-info
	find src tests docs benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
