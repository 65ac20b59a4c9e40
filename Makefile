# Every target sets up .venv in this folder by itself. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# Only packages released before this day are locked, so that each has been out for a while.
LOCK_DATE := 2026-11-07

# Without .pyc files every start of every process would compile a thousand modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format bench faults up down compose clean lock

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/base: requirements/base.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "NO_PYTHON: '$(PYTHON)' was not found; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"; exit 69; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "OLD_PYTHON: gradstream needs Python 3.11 or newer, this is $$($(PYTHON) --version); name another: make PYTHON=/path/to/python3"; exit 69; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "NO_VENV: $(PYTHON) cannot create a virtual environment; on Debian: apt install python3-venv"; exit 69; }
	@echo "Setting up $(VENV) (about 200 MB are downloaded the first time) ..."
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/base.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m gradstream.wire
	@touch $@

$(VENV)/dev: $(VENV)/base requirements/dev.txt requirements/ksql.txt
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/dev.txt
	@$(PIP) install --require-hashes --no-binary ksql --no-deps --no-build-isolation -r requirements/ksql.txt
	@touch $@

$(VENV)/backends: $(VENV)/dev requirements/backends.txt
	@echo "Adding JAX, TensorFlow and PyTorch to $(VENV) (the first time about 3 GB are downloaded, 7 GB on disk: PyTorch for Linux brings CUDA along) ..."
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/backends.txt
	@touch $@

demo: $(VENV)/base ## run the whole pipeline on real parts and show the result
	@$(BIN)/gradstream demo $(ARGS)

# Most tests wait, for Kafka or for a process that they start: three at a time keep two cores busy.
SIDE_BY_SIDE = -n 3 --max-worker-restart 0 --durations 40

test: $(VENV)/backends ## all tests, on a real local Kafka and registry, with every backend
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

check: lint ## format, lint, types and the fast tests
	@$(BIN)/python -m pytest -q -m "not integration" $(ARGS)

lint: $(VENV)/dev ## format, lint and types only
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/dev ## rewrite the code in the project's format
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(VENV)/backends ## measure the hot paths against their limits
	@$(BIN)/python -m benchmarks $(ARGS)

faults: $(VENV)/backends ## kill trainers, brokers and the rest, and count what it costs: an hour or more
	@$(BIN)/python -m faults $(ARGS)

up: $(VENV)/base ## start the local Kafka, registry and KSQL engine
	@$(BIN)/gradstream up $(ARGS)

down: $(VENV)/base ## stop them; the data stays
	@$(BIN)/gradstream down $(ARGS)

compose: ## the production shape in containers, after a look at what could be in the way; ARGS="--profile embedded-ksql"
	@start=$$($(PYTHON) docker/preflight.py $(ARGS)) && echo "$$start up" && exec $$start up

clean: ## remove .venv, caches and out; the stack's data stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each set is held to the versions of the one before, so that they install over each other.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --exclude-newer $(LOCK_DATE) --upgrade \
  --generate-hashes --no-emit-index-url --no-header -c requirements/constraints.txt pyproject.toml requirements/build.in
# Images start no Kafka of their own, and only Jupyter's draws pictures.
IMAGE = $(COMPILE) -c requirements/backends.txt --override requirements/images/without.in
HEADLESS = $(IMAGE) --override requirements/images/headless.in
# Peers of the benchmarks live in environments of their own.
PEERS = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --exclude-newer $(LOCK_DATE) --upgrade \
  --generate-hashes --no-emit-index-url --no-header

lock: $(VENV)/dev ## pin the dependencies anew
	@$(COMPILE) -o requirements/base.txt
	@$(COMPILE) -c requirements/base.txt --extra dev -o requirements/dev.txt
	@$(COMPILE) -c requirements/dev.txt --extra jax --extra tensorflow --extra torch -o requirements/backends.txt
	@$(HEADLESS) -o requirements/images/slim.txt
	@for backend in jax tensorflow torch; do $(HEADLESS) --extra $$backend -o requirements/images/$$backend.txt; done
	@$(IMAGE) --extra jupyter --extra tensorflow -o requirements/images/jupyter.txt
	@for set in learners quix bytewax pathway; do $(PEERS) benchmarks/peers/requirements/$$set.in -o benchmarks/peers/requirements/$$set.txt; done
