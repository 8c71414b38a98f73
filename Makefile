# The five words of the house. Everything a fresh machine lacks is installed by these rules; nothing by hand.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
export OMP_NUM_THREADS ?= 1
# What Python compiles is kept, whatever the machine's environment says: else every process that the tests start, and
# each of their workers, compiles all that it imports anew, for seconds without torch and for twenty with it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup forecast demo check test test-fast bench lock clean system-packages

help:           ## what can be asked for
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.base  ## the environment that runs Coldaisle

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Coldaisle needs Python 3.11 or newer: set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/uv.lock

$(VENV)/.base: requirements/base.lock pyproject.toml | $(UV)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement requirements/base.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.base
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements/dev.lock
	@touch $@

# Brings torch, some gigabytes: only for those who train and serve neural forecasts, and for the tests of these.
$(VENV)/.forecast: requirements/forecast.lock $(VENV)/.base
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements/forecast.lock
	@touch $@

forecast: $(VENV)/.forecast  ## torch and pytorch-forecasting beside it

demo: setup     ## a simulated AI hall with faults, the whole pipeline and the page (ARGS="--seed 7")
	$(BIN)/coldaisle demo $(ARGS)

check: $(VENV)/.dev  ## ruff, mypy --strict, import-linter, the rules' own tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coldaisle check-config config/example.toml

# The first run on a machine builds an InfluxDB, in the background of the tests that need none. Where time is short,
# INFLUXDB_WAIT_SECONDS says how long to wait for it then; the next run goes on with what was built.
INFLUXDB_WAIT_SECONDS ?= 3600
# They run one after another: the storm among them starts forty processes in two minutes and wants both cores.
test: $(VENV)/.dev $(VENV)/.forecast system-packages  ## every test, the ones with real servers and a real browser included
	@./deploy/build-influxd.sh --if-built >/dev/null 2>&1 || echo "make: building InfluxDB meanwhile, once a machine" >&2; \
	./deploy/build-influxd.sh >/dev/null 2>&1 </dev/null & builder=$$!; \
	$(BIN)/pytest -m "not influxdb" || exit 1; \
	timeout $(INFLUXDB_WAIT_SECONDS) tail --pid=$$builder -f /dev/null || true; \
	./deploy/build-influxd.sh --if-built >/dev/null || echo "make: NO TEST WILL MEET A REAL INFLUXDB" >&2; \
	exec $(BIN)/pytest -n 1 -m influxdb

test-fast: $(VENV)/.dev  ## unit, conformance and scenario tests only
	$(BIN)/pytest -m "not integration and not slow"

bench: $(VENV)/.dev  ## throughput of this machine beside its peers
	$(BIN)/python -m benchmarks $(ARGS)

# Integration tests drive a real browser, scrape a real exporter and compile the NVML stub.
system-packages:
	@./deploy/system-packages.sh

lock: $(UV)     ## solve the locked versions anew
	$(UV) pip compile --quiet --upgrade --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements/base.lock
	$(UV) pip compile --quiet --upgrade --generate-hashes --no-header --python-version 3.11 pyproject.toml --group dev -o requirements/dev.lock
	$(UV) pip compile --quiet --generate-hashes --no-header --python-version 3.11 pyproject.toml --extra forecast -c requirements/dev.lock -o requirements/forecast.lock
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
	  | $(UV) pip compile --quiet --upgrade --generate-hashes --no-header --python-version 3.11 - -o requirements/build.lock

clean:          ## forget the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
