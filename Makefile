# Everything a person does here, by name: `make help`.
SHELL := /bin/bash
BIN := .venv/bin
DATA ?= var/demo
PYTHON ?= python3
export PYTHON
# Programs are started by the hundred here: Python may keep what it has compiled, whatever this machine says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

.PHONY: run
run: ## set everything up and run a demo zone on this machine (Ctrl-C stops it; run again to go on)
	@.ci/setup run
	@exec $(BIN)/fleet demo --data $(DATA) $(ARGS)

.PHONY: clean-data
clean-data: ## forget the demo zone: its keys, its history, all
	rm -rf $(DATA)

.PHONY: test
test: dev servers ## set everything up and run all tests (ARGS="-k name" to choose)
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: check
check: dev ## format, lint, types, import arrows
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

.PHONY: format
format: dev ## put the code into our format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: bench
bench: dev servers ## measure speed (JSON and a table; minutes, not seconds)
	@$(BIN)/hil bench $(ARGS)

.PHONY: grafana-smoke
grafana-smoke: dev ## see data source, board and alarm on a real Grafana, where one is at hand (about 10 minutes)
	@$(BIN)/python -m tests.integration.grafana.smoke

.PHONY: lock
lock: dev ## renew the pinned requirements
	@.ci/lock

.PHONY: dev
dev:
	@.ci/setup dev

.PHONY: servers
servers:
	@.ci/system
	@$(BIN)/python -m tests.servers.influxdb || true
	@$(BIN)/python -m tests.servers.pebble_server || true

.PHONY: clean
clean: ## remove what can be made again (.venv, caches); data in var/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
