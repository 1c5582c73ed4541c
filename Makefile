# Two commands matter: `make sweep` and `make test`. Both set everything up first.

PYTHON ?= python3
TORCH  ?= torch==2.13.0
ARGS   ?=
PORT   ?= 5000
PONG_TICKS ?= 2000000

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
PIP   := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help setup sweep test browser lint format bench faults cluster-faults ui sanitize fuzz reference levels clean

help:
	@echo "make sweep      set up, train a small sweep of reward weights, rank it (5 minutes on 2 cores)"
	@echo "make test       set up, run the tests"
	@echo "make ui         open MLflow on the newest sweep's charts, on this machine only (PORT=5000)"
	@echo "make bench      measure: simulator, training, scripted team;  make faults  what faults cost"
	@echo "make cluster-faults  the same on a cluster, half an hour; as root with cables that are pulled"
	@echo "make browser    the player in a real, headless Chromium"
	@echo "make lint       style and types;  make format  applies the style"
	@echo "make sanitize   the simulators under AddressSanitizer and UBSan;  make fuzz  fuzzes them"
	@echo "make reference  millions of random ticks against the plain-Python rules;  make levels  14,000 levels"
	@echo "make setup      only set up;  make clean  removes what was built"

setup: $(READY)

# What is compiled is checked by its hash at import; a stamp that is too old costs nothing.
$(READY): pyproject.toml setup.py constraints.txt native/build.py
	@$(PYTHON) -m native.build --check
	@echo "setting up $(VENV): some minutes, mostly for torch, Ray and MLflow"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	@$(PIP) --constraint $(VENV)/constraints.txt setuptools cffi
	@$(PIP) --constraint $(VENV)/constraints.txt $(TORCH)
	@$(PIP) --constraint $(VENV)/constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $(READY)

sweep: setup
	@$(BIN)/clowder sweep reward_sweep $(ARGS)

test: setup
	@$(BIN)/python -m pytest -q $(ARGS)

# Needs Chromium (Debian: apt-get install chromium); without it every test says that it was skipped.
browser: setup
	@$(PIP) --constraint $(VENV)/constraints.txt playwright
	@$(BIN)/python -m pytest -q tests/browser $(ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@if command -v clang-format >/dev/null; then \
	  clang-format --dry-run --Werror native/*.c native/*.h tests/native/*.c; \
	else echo "skipped: clang-format is not installed (Debian: apt-get install clang-format)"; fi

format: setup
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .
	@if command -v clang-format >/dev/null; then clang-format -i native/*.c native/*.h tests/native/*.c; fi

bench: setup
	@$(BIN)/python -m benchmarks.simulator --check
	@$(BIN)/python -m benchmarks.pong --check
	@$(BIN)/python -m benchmarks.training --check
	@$(BIN)/python -m benchmarks.scripted_team

faults: setup
	@$(BIN)/python -m benchmarks.faults

# Cables, a full disk and Redis need root (and redis-server); without them it says what it skips.
cluster-faults: setup
	@$(BIN)/python -m benchmarks.cluster_faults $(ARGS)

ui: setup
	@$(BIN)/python -m experiments.tracking ui --port $(PORT)

sanitize: setup
	@$(BIN)/python -m tests.native.sanitize

fuzz: setup
	@$(BIN)/python -m tests.native.fuzz

reference: setup
	@CLOWDER_REFERENCE_TICKS=200000 CLOWDER_PONG_TICKS=$(PONG_TICKS) $(BIN)/python -m pytest -q \
	  tests/env/test_against_reference.py tests/env/test_pong_against_reference.py --timeout 1200

levels: setup
	@CLOWDER_NUM_LEVELS=2000 $(BIN)/python -m pytest -q tests/env/test_levels.py

clean:
	rm -rf $(VENV) build dist *.egg-info *.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
