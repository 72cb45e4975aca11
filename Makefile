# `make run` and `make test` do all their own set-up; README.md shows what they print.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export PYTHON
FAST := tests/definitions tests/raster/placement tests/raster/times tests/storage tests/catalogue tests/project/test_architecture.py \
  --ignore tests/raster/placement/test_properties.py

run: ## set up, start the database, register sample_data/, serve the API until Ctrl-C
	@./setup.sh requirements.lock
	@exec $(BIN)/python -m pipeline.cli up --config sample_data/sources.toml --create

test: ## set up, then the whole test suite on a real PostGIS
	@./setup.sh requirements-dev.lock
	tests/run.sh --numprocesses 4 --dist loadfile

test-fast: ## the tests that need no database, in half a minute
	@./setup.sh requirements-dev.lock
	tests/run.sh --numprocesses 2 --dist worksteal --without-servers $(FAST)

coverage: ## the whole test suite, with the lines that no test reaches
	@./setup.sh requirements-dev.lock
	tests/run.sh --numprocesses 4 --dist loadfile --cov --cov-report term-missing:skip-covered

lint: ## set up, then check style and types
	@./setup.sh requirements-dev.lock
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: ## set up, then put the code into the common format
	@./setup.sh requirements-dev.lock
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

soak: ## the tests of kills and load at full length; the suite runs them shortened
	@./setup.sh requirements-dev.lock
	tests/run.sh --soak -m soak

fuzz: ## read 20,000 mutated headers; each must give a record or a rejection
	@./setup.sh requirements-dev.lock
	$(BIN)/python -m tests.support.fuzz 20000

ROWS ?= 10000,100000,1000000
ITEMS ?= 100000
bench: ## measure the speed beside other programs in 25 minutes, and write docs/performance.md (ROWS=1e5,1e7: other sizes of the catalogue; ITEMS=1e6: of STAC)
	@./setup.sh requirements-dev.lock
	@$(BIN)/python -m compileall -q pipeline flows # as in a new installation; Python may not have permission to write it later
	$(BIN)/python -m benchmarks --rows $(ROWS) --items $(ITEMS) --page docs/performance.md

bench-peers: ## install the programs for `make bench` in a cache folder of the user
	@./setup.sh requirements-dev.lock
	$(BIN)/python -m benchmarks.peers

schema: ## write docs/sources.schema.json from the models
	$(BIN)/python -m pipeline.cli sources schema > docs/sources.schema.json

screenshots: ## make the pictures of the pages in docs/images again
	@./setup.sh requirements-dev.lock
	tests/run.sh --screenshots docs/images tests/api/site/test_screenshots.py

assets: ## download the third-party files of the pages from npm (needs node)
	$(BIN)/python -m tests.support.assets

docs: ## build the documentation in site/, which `up` and `serve` show at /docs/; warnings are errors
	@./setup.sh requirements-dev.lock
	$(BIN)/python -m reference
	$(BIN)/zensical build --strict --clean

lock: ## resolve the lock files again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-strip-extras \
	  --no-header --no-annotate --extra build --extra dev pyproject.toml -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-strip-extras \
	  --no-header --no-annotate --extra build -c requirements-dev.lock pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-strip-extras \
	  --no-header --no-annotate benchmarks/requirements.in -o benchmarks/requirements.lock

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

.PHONY: run test test-fast coverage lint format soak fuzz bench bench-peers schema docs screenshots assets lock help
