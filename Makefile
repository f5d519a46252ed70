# `make help` lists what there is. Everything runs in .venv, which each target sets up by itself.

PYTHON ?= python3
# An index of CPU-only builds of torch, to save 6 GB: make TORCH_INDEX=https://... demo
TORCH_INDEX ?=

BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-slow lint bench crash load clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .env ## the virtual environment, from the lock file; nothing where it is up to date
	@$(PYTHON) fashion_pipeline/bootstrap.py --torch-index "$(TORCH_INDEX)"

.env:
	@cp .env.example .env

demo: setup ## the whole line on embedded parts: two days, all demo stores, then a search
	@$(BIN)/fashion-pipeline demo

dev: setup ## the Dagster UI on the demo's data, on loopback
	@$(BIN)/fashion-pipeline dev

test: setup ## the tests, on up to four processors
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --hypothesis-profile=ci -m "not slow and not bench" $(ARGS)

test-slow: setup ## the tests that take long
	@$(BIN)/python -m pytest -m "slow and not bench" $(ARGS)

lint: setup ## style, types, import rules, secrets, known holes
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python .ci/scan_secrets.py
	@$(BIN)/python .ci/audit.py

bench: setup ## the benchmarks, as ratios against references in the same run
	@$(BIN)/python -m pytest fashion_pipeline_tests/benchmarks -m bench -s $(ARGS)

crash: setup ## kills and other faults against an undisturbed twin: KILLS=20 SEED=1 FAULTS=run,postgres REPORT=docs/crash.md
	@$(BIN)/python -m fashion_pipeline_tests.crash --kills $(or $(KILLS),20) $(if $(SEED),--seed $(SEED)) \
		$(if $(FAULTS),--faults $(FAULTS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(REPORT),--report $(REPORT))

load: setup ## growing catalogues through the whole line: SIZES="10000 100000" REPORT=docs/load.md
	@$(BIN)/python -m fashion_pipeline_tests.benchmarks.load $(SIZES) $(if $(REPORT),--report $(REPORT))

clean: ## remove the data of the demo and everything that was built, not the virtual environment
	@test ! -x $(BIN)/fashion-pipeline || FASHION_PIPELINE_PROFILE=embedded \
		FASHION_PIPELINE_DATA="$(CURDIR)/data" $(BIN)/fashion-pipeline down --delete
	rm -rf data build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
