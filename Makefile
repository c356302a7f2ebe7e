# Everything a checkout needs is python3 (3.11 or newer) and make; `make help` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
REQUIREMENTS := pyproject.toml constraints.txt

# The first of these that is 3.11 or newer makes the environment; `PYTHON=...` names another.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)

# `make -j demo test` must not install into the environment that the demo is running from, so both
# wait for the larger one.
INSTALLED := $(VENV)/.installed
ifneq (,$(filter test lint environment,$(MAKECMDGOALS)))
INSTALLED := $(VENV)/.installed-dev
endif

define find_python
found=; \
for candidate in $(CANDIDATES); do \
	if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then found=$$candidate; break; fi; \
done; \
if [ -z "$$found" ]; then \
	echo "error: none of $(CANDIDATES) is Python 3.11 or newer; install one, or name it with" \
		"make PYTHON=/path/to/python3" >&2; exit 1; \
fi
endef

define make_environment
"$$found" -m venv "$$folder" || { \
	echo "error: $$found cannot make a virtual environment, for the reason above; on Debian and" \
		"Ubuntu install the package python3-venv" >&2; exit 1; }
endef

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(INSTALLED) ## Run the whole loop on the bundled sample, or on PRICES=file.csv
	@$(BIN)/python -m quant_mlops demo $${PRICES:+--prices "$$PRICES"}

.PHONY: test
test: $(VENV)/.installed-dev ## Run every test; ARGS=... goes to pytest
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: dev
dev: $(INSTALLED) ## Serve Dagster's UI, schedules and sensors at http://127.0.0.1:3000
	@$(BIN)/python -m quant_mlops dev

.PHONY: lint
lint: $(VENV)/.installed-dev ## Check style, format and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

.PHONY: bench
bench: $(VENV)/.installed-bench ## Measure feature store, predictor and drift beside what their tasks cost at the least
	@$(BIN)/python benchmarks/feature_store.py $(ARGS)
	@$(BIN)/python benchmarks/predictor.py
	@$(BIN)/python benchmarks/drift.py

.PHONY: bench-demo
bench-demo: $(INSTALLED) ## Time the demo's stages, first and repeated run; PRICES=file.csv as above
	@$(BIN)/python benchmarks/demonstration.py $${PRICES:+--prices "$$PRICES"}

.PHONY: bench-daily
bench-daily: $(INSTALLED) ## Time the daily run and a year's backfill beside their budgets; PRICES=file.parquet is needed
	@$(BIN)/python benchmarks/orchestration.py --prices "$(PRICES)"

.PHONY: environment
environment: $(VENV)/.installed-dev ## Make .venv with what demo, test and lint need

.PHONY: constraints
constraints: ## Resolve every dependency anew and write constraints.txt
	@$(find_python); folder=build/constraints; rm -rf "$$folder"; $(make_environment); \
	pip="$$folder/bin/python -m pip --disable-pip-version-check --no-input"; \
	$$pip install --quiet -e '.[dev,bench]' && \
	$$pip freeze --exclude-editable > "$$folder/freeze" && \
	if grep -v '^[A-Za-z0-9._-]*==[A-Za-z0-9._-]*$$' "$$folder/freeze"; then \
		echo "error: the lines above are no plain versions" >&2; exit 1; \
	fi && \
	{ sed -n '/^#/p' constraints.txt; LC_ALL=C sort -f -t= -k1,1 "$$folder/freeze"; } > "$$folder/new" && \
	cp "$$folder/new" constraints.txt

.PHONY: clean
clean: ## Remove .venv, caches and build results; the data in .quant_mlops stay
	rm -rf $(VENV) .ci-venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(find_python); folder=$(VENV); $(make_environment)
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(REQUIREMENTS)
	@echo "installing into $(VENV), which takes a minute or two" >&2
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	@echo "installing what the benchmark compares with into $(VENV)" >&2
	@$(PIP) install -c constraints.txt -e '.[bench]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the tools of the tests into $(VENV)" >&2
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@
