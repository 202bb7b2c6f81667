# One way to do each thing; every target makes the virtual environment if it is missing or stale.
PORT ?= 8000
SECONDS ?= 60
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST_OPTIONS := --numprocesses auto --maxprocesses 4 --dist loadfile
# Options that measure coverage; continuous integration gives some.
COVERAGE ?=

# Only what a lock names is installed, and only files with the hashes that it has.
INSTALL := -m pip install --quiet --require-hashes --only-binary :all:
COMPILE := build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-annotate --custom-compile-command 'make lock'
SUBSET := $(COMPILE) --constraint build/lock/all.txt

.PHONY: help serve test quick lint check types-of-scripts kserve ray fuzz bench docs lock format clean

help:
	@echo "make serve [PORT=8000]  serve captions and the demo page on 127.0.0.1"
	@echo "make test               run every test"
	@echo "make quick              run the tests that take seconds"
	@echo "make lint               check format, rules, types and import contracts"
	@echo "make check              lint and quick: what to run before a commit"
	@echo "make kserve             install KServe's client by itself, for its tests"
	@echo "make ray                install Ray by itself, for its tests and its part of the benchmark"
	@echo "make fuzz [SECONDS=60]  feed damaged photos and forms to what reads them"
	@echo "make bench              measure this machine; minutes, with nothing else running"
	@echo "make docs               write the tables of the documents from the code"
	@echo "make lock               renew the locks of what is installed"
	@echo "make format             reformat the code"
	@echo "make clean              remove the virtual environment and caches"

$(STAMP): pyproject.toml locks/build.txt locks/dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, found %d.%d; name another with make PYTHON=..." % v)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python $(INSTALL) --disable-pip-version-check --requirement locks/build.txt
	$(BIN)/python $(INSTALL) --requirement locks/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	@touch $@

serve: $(STAMP)
	$(BIN)/showtell-serve --port $(PORT)

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) $(COVERAGE)

quick: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "not slow and not browser"

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) types-of-scripts
	$(BIN)/lint-imports

check: lint quick

types-of-scripts:
	@if command -v npx >/dev/null; then npx --yes --package typescript@7.0.2 tsc --project tsconfig.json; \
	else echo "npx is not installed; the types of static/*.js are not checked"; fi

kserve: build/kserve/.installed

build/kserve/.installed: locks/build.txt locks/kserve.txt
	$(PYTHON) -m venv --clear build/kserve
	build/kserve/bin/python $(INSTALL) --disable-pip-version-check --requirement locks/build.txt
	build/kserve/bin/python $(INSTALL) --requirement locks/kserve.txt
	@touch $@

ray: build/ray/.installed

build/ray/.installed: pyproject.toml locks/build.txt locks/ray.txt
	$(PYTHON) -m venv --clear build/ray
	build/ray/bin/python $(INSTALL) --disable-pip-version-check --requirement locks/build.txt
	build/ray/bin/python $(INSTALL) --requirement locks/ray.txt
	build/ray/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Atheris has no wheel for every machine; without it the same targets get inputs that are damaged at random.
fuzz: $(STAMP)
	-$(BIN)/python $(INSTALL) --requirement locks/fuzz.txt
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

docs: $(STAMP)
	$(BIN)/python -m tests.docs.tables

bench: $(STAMP)
	$(BIN)/python -m bench
	$(BIN)/python -m bench.charts build/bench.json build/charts

# All in one first, so that the parts agree.
lock:
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python $(INSTALL) --requirement locks/lock.txt
	$(COMPILE) --upgrade --all-extras --group dev --group fuzz --group build --group lock pyproject.toml \
		--output-file build/lock/all.txt
	$(SUBSET) pyproject.toml --extra heic --output-file locks/serve.txt
	$(SUBSET) pyproject.toml --extra heic --extra tensorflow --output-file locks/tensorflow.txt
	$(SUBSET) pyproject.toml --extra heic --extra gpu --output-file locks/gpu.txt
	$(SUBSET) pyproject.toml --extra heic --extra ray --output-file locks/ray.txt
	$(SUBSET) pyproject.toml --group quick --output-file locks/quick.txt
	$(SUBSET) pyproject.toml --extra training --group dev --output-file locks/dev.txt
	$(SUBSET) --group fuzz --output-file locks/fuzz.txt
	$(COMPILE) --upgrade --group kserve --output-file locks/kserve.txt
	$(SUBSET) --group build --output-file locks/build.txt
	$(SUBSET) --group lock --output-file locks/lock.txt

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis findings build *.egg-info
