# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501

.PHONY: demo serve test check lint format bench clean

demo: $(VENV)/.ready ## install, serve the app, build the demo behind it
	$(BIN)/crossrec serve --demo --port $(PORT)

serve: $(VENV)/.ready ## serve the app
	$(BIN)/crossrec serve --port $(PORT)

test: $(VENV)/.ready-dev ## everything that must hold: lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --durations 10

# A hundred kills, thousands of requests, twenty browser sessions for five minutes, and the three journeys.
check: $(VENV)/.ready-dev ## what `make test` does in short, in its long form; some 40 minutes
	CROSSREC_LONG=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/hardening tests/app/test_journeys.py tests/app/test_many_sessions.py

lint: $(VENV)/.ready-dev ## style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# DATA: a folder of benchmark files, see bench/all.py; BENCH: its other options, such as --quick or --only train
bench: $(VENV)/.ready-dev bench/.venv/.ready ## side by side with what people would pick instead; writes bench/results.md
	$(BIN)/crossrec demo
	$(BIN)/python bench/all.py --home artifacts $(if $(DATA),--data $(DATA)) $(BENCH)

clean:
	rm -rf $(VENV) bench/.venv build *.egg-info

$(VENV)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "crossrec needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

bench/.venv/.ready: bench/requirements.txt
	$(PYTHON) -m venv bench/.venv
	bench/.venv/bin/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	touch $@
