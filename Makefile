.DEFAULT_GOAL := help
.PHONY: help install up test test-full test-laws test-hostile test-fuzz lint bench-extras bench-verdicts bench-reads chaos bench soak console pictures lock clean

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# The tests that take as many random databases as they are told to.
RANDOM_DATABASES := $(addprefix tests/signals/test_,random_databases.py extras_off.py cost_extras.py)

# What pip fetches, counted: it takes minutes on a slow line. What goes wrong is told by pip itself, on standard error.
counted = { $(1) || touch $(VENV)/.failed; } | awk \
	'/^(Collecting|Processing) / && ++n % 10 == 0 { print "  fetched " n " packages"; fflush() } \
	/^Installing / { print "  unpacking them"; fflush() }' && test ! -e $(VENV)/.failed

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## Build .venv from the lock

# uv where it is on the PATH, else the system's venv and pip; both check the lock's hashes.
$(INSTALLED): requirements.lock pyproject.toml
	@python3 -c 'import sys; sys.exit("activity needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV): about a minute, several on a slow line or machine"
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --clear $(VENV) && \
		echo "  packages of requirements.lock, by uv" && \
		VIRTUAL_ENV=$(VENV) uv pip install --quiet --require-hashes -r requirements.lock && \
		VIRTUAL_ENV=$(VENV) uv pip install --quiet --no-deps --no-build-isolation -e . ; \
	else \
		echo "  an environment of its own, by venv" && \
		python3 -m venv --clear $(VENV) && \
		$(call counted,$(PYTHON) -m pip install --progress-bar off --disable-pip-version-check --require-hashes -r requirements.lock) && \
		$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $(INSTALLED)
	@echo "installed"

up: $(INSTALLED) ## Run the whole system with demo data; ARGS="..." goes to `activity up`
	@$(VENV)/bin/activity up $(ARGS)

test: lint ## Lint, types, schema check and the test suite on two cores; ARGS="..." goes to pytest
	$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-full: $(INSTALLED) ## The signals on thousands of random databases, and under every session default
	$(PYTHON) -m pytest $(RANDOM_DATABASES) -n 2 --dist worksteal --hypothesis-profile=full $(ARGS)
	$(PYTHON) -m pytest tests/signals/test_session_settings.py -n 2 --dist loadgroup --full-size $(ARGS)

test-laws: $(INSTALLED) ## Incremental refreshes against full ones on 500 random histories per PostgreSQL version
	$(PYTHON) -m pytest tests/worker/test_laws.py --hypothesis-profile=laws $(ARGS)

test-hostile: $(INSTALLED) ## Hostile requests, the contract and a killed database against real API processes, at full size
	$(PYTHON) -m pytest tests/served --full-size -o log_cli=true --log-cli-level=INFO $(ARGS)

test-fuzz: $(INSTALLED) ## 10,000 hostile bodies and lines of OTLP against a real receiver and the loader
	$(PYTHON) -m pytest tests/ingest/test_fuzz.py --full-size -o log_cli=true --log-cli-level=INFO $(ARGS)

lint: $(INSTALLED) ## Style, types and SQL
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/sqlfluff lint --disable-progress-bar -p 0 worker/engine/sql worker/signals ingest/assembly/sql

chaos: $(INSTALLED) ## Faults of every kind against a whole installation, 15 minutes; ARGS="--short" is a minute
	$(PYTHON) -m tests.chaos $(ARGS)

bench: $(INSTALLED) ## Refresh beside the spec's SQL per tenant and materialized views; ARGS="--scale s" takes the smallest scale
	$(PYTHON) -m benchmarks.refresh $(ARGS)

bench-extras: $(INSTALLED) ## Ticks with the extra fields and without, in turns; ARGS="--scale m"
	$(PYTHON) -m benchmarks.extras $(ARGS)

bench-verdicts: $(INSTALLED) ## False flags and detections of the two rules on cost, simulated; ARGS="--agents 4000"
	$(PYTHON) -m benchmarks.verdicts $(ARGS)

bench-reads: $(INSTALLED) ## The read layer beside a constant body and the spec's live SQL, with wrk; ARGS="--scale m"
	$(PYTHON) -m benchmarks.reads $(ARGS)

soak: $(INSTALLED) ## Writers and workers for 20 minutes: drift and sizes; ARGS="--minutes 1" is shorter
	$(PYTHON) -m benchmarks.soak $(ARGS)

console: $(INSTALLED) ## Build the console from api/console, its API types included; needs Node.js 20 or newer
	cd api/console && npm ci --silent
	$(PYTHON) -m api.openapi.typescript | npm --prefix api/console run --silent types
	cd api/console && npm run --silent build

pictures: $(INSTALLED) ## Take the console's pictures for the documentation from a running installation
	$(PYTHON) -m tests.browser.pictures

lock: $(INSTALLED) ## Pin what pyproject.toml asks for: names, versions and hashes, no addresses
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --group dev pyproject.toml -o requirements.lock

clean: ## Remove what the targets above made, the demo data included
	rm -rf $(VENV) .activity .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
