# Every target makes or reuses .venv in this checkout. `make` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Installs what $(1) names, and says every few seconds how far it is.
define install
@$(INSTALL) $(1) & pid=$$!; seconds=0; \
while kill -0 $$pid 2>/dev/null; do \
  sleep 1; seconds=$$((seconds + 1)); \
  if [ $$((seconds % 5)) -eq 0 ]; then \
    echo "installing into .venv: $$(ls -d .venv/lib/python*/site-packages/*.dist-info | wc -l) packages ($$seconds s)" >&2; \
  fi; \
done; wait $$pid
endef

.DEFAULT_GOAL := help
.PHONY: help setup system-packages run down test test-fast test-cluster check lint types imports proto proto-fresh clients clients-fresh boards boards-fresh bench wheel clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

setup: .venv/.dev  ## Make .venv with everything for development

system-packages:  ## Install what tests start: Debian's Chromium, Prometheus, iproute2, OpenSSH, rsync
	@tools/system_packages.sh

run: .venv/.run  ## Train eight small kernels if need be, start them, ask them three questions
	@echo "eight small kernels: what is not trained is trained, then they are started and asked"
	@$(BIN)/python -m cluster.quickstart

down: .venv/.run  ## Stop what `make run` left running
	@$(BIN)/constellation down

test: .venv/.dev  ## Run all tests: first those without Ray, two files at a time, then those with
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not ray and not gpu and not cluster" --durations=5
	$(BIN)/python -m pytest -m "ray and not gpu and not cluster" --durations=5

test-fast: .venv/.dev  ## Run the tests that start no Ray and train nothing, on two cores (about a minute)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not ray and not gpu and not slow and not cluster"

test-cluster: .venv/.dev  ## Run the tests on three hosts in namespaces: power cuts, partitions, TLS (needs root)
	$(BIN)/python -m pytest -m cluster --durations=5

check: lint types imports proto-fresh clients-fresh boards-fresh  ## Lint, types, layers, generated code

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell constellation actors training cluster tests benchmarks tools docs proto *.md

types: .venv/.dev
	$(BIN)/mypy

imports: .venv/.dev
	$(BIN)/lint-imports

proto: .venv/.dev  ## Generate constellation/v1 from proto/
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=. --pyi_out=. proto/constellation/v1/*.proto

proto-fresh: .venv/.dev
	@rm -rf .venv/proto && mkdir -p .venv/proto
	@$(BIN)/python -m grpc_tools.protoc -I proto --python_out=.venv/proto --pyi_out=.venv/proto proto/constellation/v1/*.proto
	@diff -r -x __init__.py -x __pycache__ .venv/proto/constellation/v1 constellation/v1 \
	  || (echo "constellation/v1 is stale: run make proto" && exit 1)

clients: .venv/.dev  ## Generate the synchronous clients from the asynchronous ones
	$(BIN)/python tools/sync_clients.py

clients-fresh: .venv/.dev
	@$(BIN)/python tools/sync_clients.py --check

boards: .venv/.dev  ## Generate the Grafana dashboards in cluster/grafana
	$(BIN)/python -m tools.grafana_boards

boards-fresh: .venv/.dev
	@$(BIN)/python -m tools.grafana_boards --check

bench: .venv/.dev  ## List the benchmarks; run one with: .venv/bin/python -m benchmarks.NAME --json
	@for file in benchmarks/[a-z]*.py; do name=$$(basename $$file .py); echo "$(BIN)/python -m benchmarks.$$name --help"; done

wheel: .venv/.dev  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## Remove what was trained, built or left by runs (not .venv)
	rm -rf artifacts runs dist build *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv

.venv/.run: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing into .venv (about two minutes the first time)"
	$(call install,-e .)
	@touch $@

.venv/.dev: .venv/.run
	$(call install,-e '.[dev]')
	@touch $@
