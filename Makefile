# Everything that is done with this repository. `make help` lists it.
# A machine needs Python 3.11+ with venv, and make; the rest is installed into .venv from locked, hashed requirements.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup-stamp
PACKAGES := libs/api libs/common libs/local services/events services/capacity services/pricing services/gateway

# How often each fault is tried: a small share in `make test`, more in `make faults`, as many as given in `make faults-long`.
FAULT_TRIALS ?= 5
FAULT_KILLS ?= 100
FAULT_TRIALS_LONG ?= 50

.DEFAULT_GOAL := help
.PHONY: help setup run stop test lint format proto proto-check proto-lint proto-breaking compose-check docs docs-check \
	wheel lock bench faults faults-long audit clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'

$(STAMP): requirements/bootstrap.txt requirements/dev.txt $(addsuffix /pyproject.toml,$(PACKAGES))
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Holdfast needs Python 3.11 or newer, not " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@echo "installing locked requirements into .venv"
	@cat requirements/bootstrap.txt requirements/dev.txt > .venv/requirements.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes .venv/requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

setup: $(STAMP) ## install everything into .venv; quick when nothing changed

run: setup ## start the whole mesh on this machine with demo data; Ctrl-C stops it
	@exec $(BIN)/holdfast up

stop: setup ## stop a mesh that runs in another terminal
	@$(BIN)/holdfast stop

test: setup ## run every test, against real servers that the tests start themselves
	@$(BIN)/pytest -q -n 2 --dist loadscope --no-loadscope-reorder tests

lint: setup proto-check proto-lint proto-breaking compose-check docs-check ## formatting, types, import rules, security, architecture, contracts, compose file
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/bandit --quiet --recursive --severity-level high --confidence-level medium --configfile pyproject.toml libs services
	@$(BIN)/pytest -q tests/architecture

format: setup ## format and fix what can be fixed mechanically
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

proto: setup ## generate libs/api from protos/
	@.ci/contracts generate

proto-check: setup ## fail if libs/api is not what protos/ generates
	@.ci/contracts check

proto-lint: setup # buf lint, offline
	@.ci/contracts lint

proto-breaking: setup # buf breaking against the last tag's contracts
	@.ci/contracts breaking

compose-check: setup # check compose.yaml against its schema
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

docs: setup ## write docs/configuration.md from the settings and docs/reference from protos/
	@$(BIN)/python docs/generate_configuration.py
	@$(BIN)/python -m docs.generate_reference

docs-check: setup # fail if docs/configuration.md or docs/reference is not what is generated
	@$(BIN)/python docs/generate_configuration.py --check
	@$(BIN)/python -m docs.generate_reference --check

wheel: setup ## build the package of stubs for other services into dist/, without asking an index
	@rm -f dist/holdfast_api-*
	@$(BIN)/uv build --quiet --offline --no-build-isolation --no-build-logs --wheel --python $(BIN)/python --out-dir dist libs/api
	@echo "built $$(ls dist/holdfast_api-*.whl)"

bench: setup ## measure a whole mesh of its own; CASES="rest_hold_hot grpc_echo" chooses, BENCH="--runs 5" tells more
	@exec $(BIN)/python -m benchmarks $(BENCH) $(CASES)

faults: setup ## kill, freeze and cut things for some minutes
	@HOLDFAST_FAULT_TRIALS=$(FAULT_TRIALS) HOLDFAST_FAULT_KILLS=$(FAULT_KILLS) $(BIN)/pytest -q tests/faults -m faults

faults-long: setup ## the same, as often as FAULT_TRIALS_LONG says
	@HOLDFAST_FAULT_TRIALS=$(FAULT_TRIALS_LONG) HOLDFAST_FAULT_KILLS=$(FAULT_KILLS) $(BIN)/pytest -q tests/faults -m faults

audit: setup ## look for secrets, unsafe code and known vulnerabilities of the requirements
	@$(BIN)/bandit --quiet --recursive --severity-level high --confidence-level medium --configfile pyproject.toml libs services
	@.ci/secrets
	@.ci/audit-requirements

lock: setup ## resolve the requirements anew and write them, with hashes and without index hosts
	@$(BIN)/uv lock --quiet --upgrade
	@$(BIN)/uv export --quiet --frozen --no-emit-workspace --no-header --no-annotate --no-dev \
		--package holdfast-events --package holdfast-capacity --package holdfast-pricing --package holdfast-gateway -o requirements/runtime.txt
	@$(BIN)/uv export --quiet --frozen --no-emit-workspace --no-header --no-annotate -o requirements/dev.txt

clean: ## remove what was built; the mesh's data stays (holdfast reset removes it)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .bench dist uv.lock
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
