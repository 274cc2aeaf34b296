# One way to run each habit. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup lock check lint types protos protos-check servers servers-stop test test-unit chaos simulate bench \
	bench-peers clean

help: ## Lists the habits.
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Makes the virtual environment, with everything that developing needs.

$(VENV)/.ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	$(BIN)/pip install -q --no-deps --editable .
	@touch $@

lock: setup ## Pins the newest versions that pyproject.toml allows, with their hashes.
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --all-extras --group dev pyproject.toml -o requirements.lock
	for peer in ray dask celery; do \
		$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
			--python-version 3.11 bench/peers/requirements/$$peer.in -o bench/peers/requirements/$$peer.txt || exit 1; done

check: lint types protos-check ## Everything that needs no running of tests.

lint: setup ## ruff and buf.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy --strict.
	$(BIN)/mypy

protos: setup ## Draws the stubs from the protos.
	$(BIN)/python scripts/protos.py

protos-check: setup ## Fails where the committed stubs differ from the protos, or the protos are not lint-clean.
	$(BIN)/python scripts/protos.py --check

servers: setup ## Starts the MongoDB and S3 servers that tests talk to; builds what is missing (Go, Java, Maven).
	$(BIN)/python -m tests.servers start

servers-stop: ## Ends them, with all that they kept.
	$(BIN)/python -m tests.servers stop

test: setup ## Every test; those of MongoDB and S3 need `make servers`.
	$(BIN)/pytest

test-unit: setup ## The tests that start no process.
	$(BIN)/pytest tests/unit tests/golden tests/contract

simulate: setup ## 10,000 seeds of the whole system, simulated; the tests run 200.
	$(BIN)/python -m tests.simulation --seeds 10000

chaos: setup ## 200 seeded plans of faults against fleets of real processes; the tests run 40.
	$(BIN)/python -m tests.campaign --plans 200

bench: setup ## Every benchmark, small.
	$(BIN)/python -m bench

bench-peers: setup ## Our figures beside Ray's, Dask's, Celery's and bare gRPC's; installs these into a cache folder.
	$(BIN)/python -m bench.peers --markdown

clean: ## Forgets the virtual environment and what tools left.
	-$(BIN)/python -m tests.servers stop
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
