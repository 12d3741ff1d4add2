# Set-up, demo and tests. `make` alone says what there is. Works with GNU make 3.81 (macOS) and any POSIX shell.

comma := ,
PYTHON ?=
# what was installed stays, if it is enough; else the pipeline's packages, with those of the tests unless for the demo
there := $(subst -,$(comma),$(patsubst .venv/installed-%,%,$(firstword $(wildcard .venv/installed-*))))
tested := $(if $(findstring dev,$(there)),$(there),cpu$(comma)dev)
EXTRAS ?= $(if $(filter-out demo,$(or $(MAKECMDGOALS),help)),$(tested),$(or $(there),cpu))
DATA ?=
PYTEST_OPTIONS ?= -n 2 --dist loadgroup

bin := .venv/bin
stamp := .venv/installed-$(subst $(comma),-,$(EXTRAS))
# the extra vllm needs other versions of some packages; the first pin of a name counts
pins := $(foreach extra,vllm pyserini,$(if $(findstring $(extra),$(EXTRAS)),constraints-$(extra).txt)) constraints.txt
# `python` in dvc.yaml and `densespec` are those of .venv
export PATH := $(CURDIR)/$(bin):$(PATH)
# where it is set, as in some containers, every process would compile anew what pip did not
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo scifact test lint clean

help: ## this page
	@printf 'densespec: specialise a dense retriever for a corpus, with an honest verdict\n\n'
	@awk -F ':[^#]*## ' '/^[a-z]+:[^#]*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile
	@echo
	@printf '%s\n' 'variables, for example: make install PYTHON=/opt/python3.12/bin/python3.12' \
	  '  PYTHON          interpreter of a new .venv (default: the first of python3.12, python3.11, python3' \
	  '                  and python3.13 that runs and is 3.11 to 3.13)' \
	  '  EXTRAS          parts of pyproject.toml to install (default: those that are, else cpu,dev, for the demo cpu;' \
	  '                  also cpu,pyserini,dev for tests with Lucene; after `make clean` gpu,dev or gpu,vllm,dev)' \
	  '  PYTEST_OPTIONS  default: -n 2 --dist loadgroup; for example: -x tests/unit' \
	  '' \
	  'afterwards: source .venv/bin/activate; dvc repro; densespec --help'

install: $(stamp) ## .venv with the pinned packages; does nothing when it is up to date

demo: install ## the pipeline on the shipped domain pydocs, then its verdict
	$(bin)/python -m dvc repro
	@echo
	@$(bin)/densespec show pydocs

scifact: install ## the published scifact figure: make scifact DATA=path/to/scifact (a BEIR folder)
	@test -n "$(DATA)" || { printf '%s\n' 'error: DATA' '  expected: a BEIR folder of scifact' \
	  '  found:    nothing' '  remedy:   make scifact DATA=path/to/scifact' >&2; exit 2; }
	$(bin)/python benchmarks/real_collections.py --only scifact-log --data "$(DATA)"

test: lint ## import contracts, ruff, mypy, then all tests
	OMP_NUM_THREADS=1 $(bin)/python -m pytest $(PYTEST_OPTIONS)

lint: install ## the checks of `make test` that run no code
	$(bin)/lint-imports
	$(bin)/ruff check .
	$(bin)/mypy

clean: ## drop .venv and caches of tools; data, models, DVC's cache and scratch stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	@echo 'kept: .dvc/cache (dvc gc -w drops what no stage uses), .densespec/scratch (densespec clean)'

# A .venv that does not work (interrupted installation, clone moved, Python removed) is made anew.
ifneq ($(shell $(bin)/densespec --version >/dev/null 2>&1 && echo works),works)
.PHONY: $(stamp)
endif

runs := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# no-compile: modules are compiled when they are first imported, not all of them now, which takes two minutes
$(stamp): pyproject.toml $(pins)
	@if $(bin)/densespec --version >/dev/null 2>&1; then exit 0; fi; \
	for candidate in $(or $(PYTHON),python3.12 python3.11 python3 python3.13); do \
	  if "$$candidate" -c '$(runs)' >/dev/null 2>&1; then \
	    echo "new .venv with $$("$$candidate" --version) ($$candidate)"; \
	    exec "$$candidate" -m venv --clear .venv; \
	  fi; \
	done; \
	printf '%s\n' 'error: $(or $(PYTHON),python3)' \
	  '  expected: Python 3.11, 3.12 or 3.13 with its modules venv and ensurepip' \
	  "  found:    $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1)" \
	  '  remedy:   install one (on Debian and Ubuntu also python3-venv), or name it: make install PYTHON=PATH' >&2; \
	exit 2
	awk -F== '!seen[$$1]++' $(pins) > .venv/constraints.txt
	$(bin)/python -m pip install --no-compile -c .venv/constraints.txt -e '.[$(EXTRAS)]'
	@rm -f .venv/installed-*
	@touch $@
