# Each target sets up what it needs in .venv: the very files whose hashes requirements.lock has.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.done
PIP = $(BIN)/pip --disable-pip-version-check --quiet
LOCKED = $(PIP) install --require-hashes --no-deps --requirement

.PHONY: book test demo bench faults lint clean

book: $(SETUP)  ## draw the book from the stored runs: _book/_build/html/index.html
	$(BIN)/fewft build

demo: $(SETUP)  ## train the demo study from nothing and draw its book: _book-demo/_build/html/index.html
	rm -rf _demo && mkdir _demo && cp results/datasets.csv _demo/
	$(BIN)/fewft run demo --results _demo
	$(BIN)/fewft build -p study demo -p results _demo --out _book-demo

test: $(SETUP) lint  ## check the code behind it
	$(BIN)/pytest -n auto --dist loadfile

faults: $(SETUP)  ## kill, fill, damage and mislead it at full length: the counts are printed
	$(BIN)/pytest tests/faults --long

bench: $(SETUP)  ## measure our speed beside transformers.Trainer's: benchmarks/cpu.md or gpu.md
	$(BIN)/fewft bench

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv _book _book-demo _demo *.egg-info .pytest_cache .ruff_cache

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
