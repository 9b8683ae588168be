# Each target sets up what it needs in .venv: the very files whose hashes requirements.lock has.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.done
PIP = $(BIN)/pip --disable-pip-version-check --quiet
LOCKED = $(PIP) install --require-hashes --no-deps --requirement

.PHONY: book same pdf picture test demo runs bench faults bundle bundle-check lint clean

book: $(SETUP)  ## draw the book from the stored runs: _book/_build/html/index.html
	$(BIN)/fewft build

picture: $(SETUP)  ## draw the README's picture from the stored runs: book/readme/light.svg and dark.svg
	$(BIN)/python book/readme/draw.py

pdf: book  ## the same as one file to print: _book/fewft.pdf; needs a Chromium
	$(BIN)/fewft pdf

same: book  ## build the book once more: it must be the same, byte for byte
	$(BIN)/fewft build --out _book-again
	diff -r _book/_build/html _book-again/_build/html

demo: $(SETUP)  ## train the demo study from nothing and draw its book: _book-demo/_build/html/index.html
	rm -rf _demo && mkdir _demo && cp results/datasets.csv _demo/
	$(BIN)/fewft run demo --results _demo
	$(BIN)/fewft build -p study demo -p results _demo --out _book-demo

runs: $(SETUP)  ## the demo's runs, for CI: the stored ones, those that _runs keeps from before, and training for the rest
	mkdir -p _runs && cp results/datasets.csv _runs/
	$(BIN)/fewft merge _runs/demo.parquet results/demo.parquet || cp results/demo.parquet _runs/
	$(BIN)/fewft run demo --results _runs
	$(BIN)/fewft claims demo --results _runs --expect results/demo-claims.csv

test: $(SETUP) lint  ## check the code behind it
	$(BIN)/pytest -n auto --dist loadfile

faults: $(SETUP)  ## kill, fill, damage and mislead it at full length: the counts are printed
	$(BIN)/pytest tests/faults --long

bench: $(SETUP)  ## measure our speed beside transformers.Trainer's: benchmarks/cpu.md or gpu.md
	$(BIN)/fewft bench

bundle: $(SETUP)  ## all that a machine with no network needs, in one folder: _bundle/README.md
	tools/bundle/make

bundle-check:  ## install, draw the book and train from _bundle in a network namespace without a route
	tools/bundle/try

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv _book _book-demo _book-again _bundle _colab _demo _runs *.egg-info .pytest_cache .ruff_cache

# torch first: the wheel that this machine's pip prefers, with CUDA or without, if its hash is in the lock; only one with
# CUDA lacks something after the lock. The project is built with the lock's setuptools.
$(SETUP): pyproject.toml requirements.lock requirements-cuda.lock
	$(PYTHON) -m venv --clear .venv
	$(PIP) download --no-deps --only-binary :all: --dest .venv/torch $$(grep -o '^torch==[^ ]*' requirements.lock)
	$(BIN)/pip hash .venv/torch/*.whl | grep -o 'sha256:[0-9a-f]*' | grep -qFf - requirements.lock
	$(PIP) install --no-deps .venv/torch/*.whl && rm -r .venv/torch
	$(LOCKED) requirements.lock
	$(BIN)/pip check >/dev/null || $(LOCKED) requirements-cuda.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	touch $@
