# Everything that is done with this repository. `make help` lists it.
# A machine needs Python 3.11+ with venv, and make; the rest is installed into .venv from locked, hashed requirements.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup-stamp
PACKAGES := libs/api libs/common libs/local services/events services/capacity services/pricing services/gateway
SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PROTOS = $(shell cd protos && find holdfast -name '*.proto' | sort)
PROTOC = PATH=$(CURDIR)/.venv/bin:$$PATH $(BIN)/python -m grpc_tools.protoc -Iprotos -Ilibs/api/third_party -I$(SITE)

.DEFAULT_GOAL := help
.PHONY: help setup run stop test lint format proto proto-check lock bench faults audit clean

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
	@$(BIN)/pytest -q tests

lint: setup proto-check ## formatting, types, import rules, architecture, contracts, compose file
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q tests/architecture

format: setup ## format and fix what can be fixed mechanically
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

proto: setup ## generate libs/api from protos/
	@find libs/api/holdfast libs/api/buf -name '*_pb2*' -delete 2>/dev/null || true
	@$(PROTOC) --python_out=libs/api --mypy_out=quiet:libs/api $(PROTOS) buf/validate/validate.proto
	@$(PROTOC) --grpc_python_out=libs/api --mypy_grpc_out=quiet:libs/api $(filter %_service.proto,$(PROTOS))

lock: setup ## resolve the requirements anew and write them, with hashes and without index hosts
	@$(BIN)/uv lock --quiet --upgrade
	@$(BIN)/uv export --quiet --frozen --no-emit-workspace --no-header --no-annotate --no-dev \
		--package holdfast-events --package holdfast-capacity --package holdfast-pricing --package holdfast-gateway -o requirements/runtime.txt
	@$(BIN)/uv export --quiet --frozen --no-emit-workspace --no-header --no-annotate -o requirements/dev.txt

clean: ## remove what was built; the mesh's data stays (holdfast reset removes it)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .bench dist uv.lock
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
