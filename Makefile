# One command for each thing there is to do here. Each makes the environments it needs, from their locks, on first use.
#
# STORE=seaweedfs          the data bucket in a SeaweedFS server, as R2 would be used, instead of in the local AWS
# STOCKTAKE_PORT=4566      where the local AWS answers
# STOCKTAKE_STORE_PORT=8333  where SeaweedFS answers
# STOCKTAKE_PYTHON=...     the Python 3.13 to use, when it is not found by itself

SHELL = /bin/sh
PYTHON = .venv/bin/python
STACK_PYTHON = .venv-stack/bin/python
# Two processes for the tests that share servers, which wait as much as they work, and one for all others.
SIDE_BY_SIDE = -n 3 --dist loadscope

# Compiled files go to one place, not between the sources: a build is made again when its sources change, not when a test has run.
export PYTHONPYCACHEPREFIX = $(CURDIR)/build/pycache
export PYTHONPATH = $(CURDIR)/layers/core:$(CURDIR)/cli:$(CURDIR)
export SAM_CLI_TELEMETRY = 0
unexport VIRTUAL_ENV PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help demo up down status token test test-fast check bench build openapi command-line dashboard screenshots format lock clean dev-environment stack-environment dashboard-environment
.NOTPARALLEL:

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: dev-environment stack-environment  ## the whole story on the local stack: some hundred images, what goes wrong in life, the stocktake
	@$(STACK_PYTHON) -m tools.stack up
	@$(PYTHON) -m tools.demo

up: dev-environment stack-environment  ## start the local stack, build and deploy what has changed; prints the API's address and a token
	@$(STACK_PYTHON) -m tools.stack up

down: stack-environment  ## stop the local stack; what it stored is kept under .local/
	@$(STACK_PYTHON) -m tools.stack down

status: stack-environment  ## what runs, and where
	@$(STACK_PYTHON) -m tools.stack status

token: stack-environment  ## print a token that may everything on the local stack for 12 hours
	@$(STACK_PYTHON) -m tools.stack token

test: dev-environment stack-environment  ## every test, from the cheapest kind to the whole stack; line and branch coverage of the layer at 90 % or more
	@mkdir -p build
	@$(PYTHON) -m pytest $(SIDE_BY_SIDE) --cov --cov-report=term

test-fast: dev-environment stack-environment  ## every test but those of the deployed stack
	@$(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/unit tests/contract tests/functions tests/template tests/browser

check: dev-environment stack-environment  ## formatting, lint, types, the direction of imports, the template
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy layers/core/stocktake cli/stocktake_cli functions tools tests $(if $(wildcard benchmarks/*.py),benchmarks)
	@.venv/bin/lint-imports --no-cache
	@.venv-stack/bin/cfn-lint --non-zero-exit-code informational template.yaml
	@if sh tools/bootstrap.sh dashboard; then cd dashboard && npm run --silent types; \
	else echo "dashboard: the types of its sources are not checked"; fi
	@AWS_DEFAULT_REGION=us-east-1 .venv-stack/bin/sam validate --lint --template-file template.yaml

bench: dev-environment stack-environment  ## measure the hot paths side by side; writes build/bench.json
	@mkdir -p build
	@$(PYTHON) -m benchmarks

build: stack-environment  ## the artefacts that `sam deploy` sends, in .aws-sam/build, smoke-tested
	@$(STACK_PYTHON) -m tools.stack build

openapi: dev-environment  ## write docs/openapi.json, the contract, as the code has it
	@$(PYTHON) -m tools.openapi

dashboard: dashboard-environment  ## make layers/core/stocktake/dashboard.html, the page, of what lies in dashboard/ (needs npm)
	@cd dashboard && npm run --silent types && npm run --silent bundle

screenshots: dev-environment  ## photograph the dashboard over made-up data into docs/dashboard-*.png (needs Chromium)
	@$(PYTHON) -m tools.dashboard

command-line: dev-environment  ## write docs/command-line.md, the page of the command line, as the code has it
	@$(PYTHON) -m stocktake_cli.page

format: dev-environment  ## put every file into the one format
	@.venv/bin/ruff check --fix --quiet . || true
	@.venv/bin/ruff format .

lock:  ## resolve requirements/*.in and layers/*/requirements.in afresh into their .txt
	@sh tools/bootstrap.sh tools
	@sh tools/lock.sh

clean: stack-environment  ## stop the local stack and remove all that was built or stored by it
	@$(STACK_PYTHON) -m tools.stack down
	@rm -rf .aws-sam .local build .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis

dev-environment:
	@sh tools/bootstrap.sh dev

dashboard-environment:
	@sh tools/bootstrap.sh dashboard

stack-environment:
	@sh tools/bootstrap.sh stack
