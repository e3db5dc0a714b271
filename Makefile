# `make run` and `make test` need Python 3.11, 3.12 or 3.13 and the package registries. PYTHON=... names another Python
# than the first that scripts/environment.sh finds.
export PYTHON
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-fast test-replicas test-soak test-pooler test-ministack test-budgets check format bench lock clean

run: $(VENV)/.installed
	$(BIN)/threadkeeper serve

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not budget and not replicas"

test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not slow and not budget" -q

# Two replicas behind haproxy on one Postgres: killed, stopped, without network, and failover. They wait most of the time,
# one of them for half a minute, so they run apart from all others. With TEST_POOLER=transaction or session, all of them
# are behind PgBouncer.
test-replicas: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m replicas tests/replicas --ignore tests/replicas/test_soak.py

# Two replicas under load for three minutes, with a fault of each kind.
test-soak: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m replicas tests/replicas/test_soak.py

# The contracts once more, with PgBouncer before Postgres: all in transaction mode, and those of connections in session
# mode, which has one connection of the server for each of the pooler. One case of each test: `_first_cases`.
test-pooler: export HYPOTHESIS_PROFILE := pooler
test-pooler: $(VENV)/.installed-dev
	TEST_POOLER=transaction $(BIN)/python -m pytest -n auto --dist loadgroup -m "not budget" tests/contracts -q
	TEST_POOLER=session $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not budget and not slow" -q \
		tests/contracts/test_steps.py tests/contracts/test_threads.py tests/contracts/test_votes.py \
		tests/contracts/test_concurrent_writers.py tests/contracts/test_write_order.py tests/contracts/test_search.py

# The contracts of DynamoDB once more, on another server than moto.
test-ministack: $(VENV)/.installed-dev
	$(BIN)/python -m tests.support.ministack -n 2 --dist loadgroup -m "not budget" -k dynamodb -q tests/contracts

# Measurements need the machine to themselves. Only their files are collected: importing all others takes ten seconds.
test-budgets: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m budget $$(grep -rl --include='test_*.py' 'mark\.budget' tests)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.methods
	$(BIN)/python -m benchmarks.chat_load
	$(BIN)/python -m benchmarks.embedded
	$(BIN)/python -m benchmarks.unindexed
	$(BIN)/python -m benchmarks.review
	$(BIN)/python -m benchmarks.usage
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.pooler
	$(BIN)/python -m benchmarks.gateway
	$(BIN)/python -m benchmarks.knowledge
	$(BIN)/python -m benchmarks.knowledge --speed

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# An unusable environment is created again: its creation was interrupted, its Python is missing, or it was moved.
ifneq ($(shell sh scripts/environment.sh check && echo yes),yes)
.PHONY: $(VENV)/pyvenv.cfg
endif
$(VENV)/pyvenv.cfg:
	@sh scripts/environment.sh

$(VENV)/.installed: $(VENV)/pyvenv.cfg requirements.lock pyproject.toml
	@echo "Installing the packages of requirements.lock into $(VENV); the first time takes about a minute."
	@$(BIN)/python scripts/install.py --no-deps -r requirements.lock --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "Installing the packages of requirements-dev.lock into $(VENV); the first time takes about a minute."
	@$(BIN)/python scripts/install.py --no-deps -r requirements-dev.lock
	@touch $@

# The locks hold exact versions and no registry's address. What is served runs on the versions that were tested: S3's
# library holds some others back.
lock: $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --extra app --extra knowledge --extra telemetry --extra azure --extra s3 --extra dynamodb pyproject.toml --group dev --group postgres --group bench -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --extra app --extra knowledge -c requirements-dev.lock pyproject.toml -o requirements.lock
	cd tests/support/ministack && $(CURDIR)/$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate requirements.in -o requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build artifacts *.egg-info
