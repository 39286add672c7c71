# make demo        the main job, from nothing: needs Python >= 3.11 and make
# make test        format, lint, types, tests: the same
# make test-full   what needs Debian packages (installed when root): lint of Lua, units, the oldest server we support
# make check       the same as test, in the environment as it is
# make format      rewrite the code in the one format
# make bench       measure; see bench/ (bench-peers: beside other queues; bench-scale: 1,000 nodes;
#                  bench-recovery: a node that dies with 100,000 tasks; bench-outage: Redis away, 300 nodes;
#                  bench-instructions: what a task costs the server, counted; needs valgrind and redis-server;
#                  bench-child: what a task costs its process, and leaves in it, and in the worker)
# make quality     how good the schedules are: the workloads in TRACES (else the shipped ones); see bench/quality.py
# make simulate-faults SEEDS=3000 FIRST=0   play so many seeds of the simulation of faults, or SEED=17 alone
# make vandal SEEDS=2000 FIRST=0   play so many seeds of somebody who changes what is in Redis, or SEED=17 alone
# make controls    plant all bugs that the model and the simulation must catch; the tests plant some
# make chaos SECONDS=600 SEED=1   real processes, killed, frozen, cut off; Redis too
# make graphs TASKS=100000   a graph of so many tasks through real workers, some of which are killed
# make limits TASKS=2000   a limit of 20, and cards, on five real workers, some of which are killed
# make docs        the site, into build/site; broken links and missing functions fail
# make clean       remove everything that was made

VENV := .venv
BIN := $(VENV)/bin
OK := import sys; sys.exit(sys.version_info < (3, 11))
# The first Python that is new enough; PYTHON=… on the command line overrides it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(OK)' 2>/dev/null && echo $$p && break; done)
# Tests run on all cores, each file on one, those of the long folders first (tests/conftest.py). One more file than cores at a
# time: many tests wait for processes. JOBS=0: one after the other.
CORES := $(shell getconf _NPROCESSORS_ONLN)
JOBS ?= $(shell echo $$(($(CORES) + 1)))
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# What lint holds besides the style: imports run one way, links lead somewhere, commands in the docs exist.
HELD := tests/system/test_imports.py tests/docs/test_pages.py tests/docs/test_command_lines.py
DEBIAN := redis-server:redis-server openssl:openssl luacheck:lua-check systemd-analyze:systemd

# Without compiled modules each of the thousands of processes that tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-full full oldest check lint style format-check format bench bench-peers bench-scale bench-recovery bench-outage bench-child bench-instructions quality simulate-faults vandal controls chaos graphs limits docs clean debian
.DEFAULT_GOAL := test

demo: $(VENV)/.embedded
	$(BIN)/python -m examples.census

test: $(VENV)/.dev check

# Types are checked beside the tests.
check: format-check
	@$(BIN)/mypy & types=$$!; $(PYTEST); tested=$$?; wait $$types && exit $$tested

lint: style
	$(BIN)/python -m pytest -q $(HELD) -k 'not site_builds'

style: format-check
	$(BIN)/mypy

format-check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m tools.twins --check

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Side by side: what waits for failovers, and what computes.
oldest: JOBS = 1
test-full: $(VENV)/.dev debian
	@$(MAKE) --no-print-directory --output-sync=target -j2 full oldest

full:
	$(PYTEST) -m full $$(grep -rlE 'mark\.full\b' --include='*.py' tests)

oldest:
	$(PYTEST) tests/lua tests/process/test_embedded.py tests/system/test_acl.py --server "$$(command -v redis-server)" \
		-k 'not fakeredis' --ignore tests/lua/test_arguments.py

bench: $(VENV)/.embedded
	$(BIN)/python -m bench.throughput

bench-peers: $(VENV)/.peers
	$(BIN)/python -m bench.peers --plot docs/img/peers.png

bench-scale: $(VENV)/.embedded
	$(BIN)/python -m bench.scale

bench-child: $(VENV)/.embedded
	$(BIN)/python -m bench.child
	$(BIN)/python -m bench.child --memory
	$(BIN)/python -m bench.growth

bench-instructions: $(VENV)/.embedded
	$(BIN)/python -m bench.instructions

bench-outage: $(VENV)/.embedded
	$(BIN)/python -m bench.outage

bench-recovery: $(VENV)/.embedded
	$(BIN)/python -m bench.recovery

quality: $(VENV)/.embedded
	$(BIN)/python -m bench.quality

vandal: $(VENV)/.dev
	$(BIN)/python -m tests.faults.vandal $(if $(SEED),--seed $(SEED) --verbose,--seeds $(or $(SEEDS),2000) --keep-going --first $(or $(FIRST),0))

simulate-faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults.sim $(if $(SEED),--seed $(SEED) --verbose,--seeds $(or $(SEEDS),3000) --first $(or $(FIRST),0))

controls: $(VENV)/.dev
	RQ_SCHED_BUGS=all $(PYTEST) tests/faults/test_controls.py tests/faults/test_simulation_controls.py

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.faults.chaos --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

graphs: $(VENV)/.dev
	$(BIN)/python -m tests.faults.graphs --tasks $(or $(TASKS),100000) --seed $(or $(SEED),1)

limits: $(VENV)/.dev
	$(BIN)/python -m tests.faults.limits --tasks $(or $(TASKS),2000) --seed $(or $(SEED),1)

docs: $(VENV)/.dev
	$(BIN)/zensical build --strict

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say what the environment holds; only a change of pyproject.toml makes it anew. Modules are compiled when they
# are imported: pip would compile ten times as many.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
$(VENV)/.python: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python >= 3.11 not found: install it, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c '$(OK)' || { echo "$(PYTHON) is older than Python 3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.embedded: $(VENV)/.python
	$(PIP) -e '.[embedded]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python
	$(PIP) -e '.[embedded,dev]'
	@touch $(VENV)/.embedded $@

# For bench-peers alone: some 300 MB more. Without them it leaves out who is missing.
$(VENV)/.peers: $(VENV)/.dev
	-$(PIP) -e '.[embedded,dev,peers]' && touch $@

# Installs only what is missing; who isn't root is told what to install.
debian:
	@missing=; for pair in $(DEBIAN); do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; done; \
	test -z "$$missing" && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
	else echo "missing Debian packages:$$missing (install them, then try again)" >&2; exit 1; fi
