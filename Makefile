# Two commands matter: `make serve` and `make test`. Both set up what they need first.
# Set PYTHON, LISTEN, ROOM (what to test) on the command line to change them.

# Debian builds its own interpreter with optimisations that a locally built one often lacks.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
LISTEN ?= 127.0.0.1:2049
ROOM ?= tests
VERSIONS ?= python3.11 python3.12 python3.13
VENV := .venv
BIN := $(VENV)/bin

# What mypy checks, and the tests of what has no process, no connection and no file system of the host in it.
TYPED := xdr statestore nfsd tests vagrant
CORE := $(wildcard $(addprefix tests/,attributes compound durable rpc state statestore support xdr))

.PHONY: serve test check unit process quick quick-check quick-test coverage versions kernel-setup bench hostile clean help
.DELETE_ON_ERROR:

help:
	@echo "make serve   set up, and serve ./demo-export on $(LISTEN)"
	@echo "make test    set up, and run every check and test"
	@echo "make quick   style, types and the tests of the core, in seconds: at every step of work"
	@echo "make unit    the tests that start nothing and connect to nothing (ROOM=tests/cli for a part)"
	@echo "make process the tests without a real Linux client, the unit tests among them"
	@echo "make check   ruff, mypy and generated code only"
	@echo "make coverage what those execute, by room, and which errors no test brings about"
	@echo "make versions the unit tests with each of $(VERSIONS) that is here"
	@echo "make hostile floods of a server for 20 s each, with an honest client beside them (most of an hour)"
	@echo "make bench   the benchmark against other servers (needs root)"
	@echo "make clean   remove $(VENV), demo-state and caches; demo-export stays"

# A virtual environment needs Debian's python3-venv, which a fresh machine may lack.
$(BIN)/python:
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy python3 python3-venv; \
	    else \
	        echo "Python 3.11 with venv is missing. Install it: sudo apt-get install python3 python3-venv" >&2; \
	        exit 1; \
	    fi; \
	fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11: set PYTHON=python3.11 or newer" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $(VENV)/.installed $@

# As root the server acts as each caller, so that the demo lets root in too; as an ordinary user every file
# is that user's, whoever asks.
serve: $(VENV)/.installed
	@mkdir -p demo-export
	@[ -e demo-export/README ] || echo "This directory is served by make serve." >demo-export/README
	@echo "To mount it:  mount -t nfs4 -o vers=4.2,port=$(lastword $(subst :, ,$(LISTEN))) $(firstword $(subst :, ,$(LISTEN))):/demo-export /mnt"
	@echo "The log:      demo-state/server.log;  the server: $(BIN)/understudy status --state demo-state"
	@mkdir -p -m 700 demo-state
	@exec $(BIN)/understudy serve --export demo-export=/demo-export,rw,insecure,no_root_squash \
	    --state demo-state --listen $(LISTEN) --log-file demo-state/server.log

# Packages for the tests with a real client; without root or apt those tests say what to install and skip.
# Continuous integration must run them, so there a missing package is a failure.
kernel-setup: $(VENV)/.installed-test
	$(BIN)/python -m tests.kernel.setup $(if $(filter true,$(CI)),--strict)

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy $(TYPED)
	$(BIN)/python -m xdr.compiler --check

# Both halves at once: one is ruff, mypy and the house style, the other the core. The many small messages of
# test_generated.py are for the longer runs.
quick: $(VENV)/.installed-test
	@$(MAKE) --no-print-directory -j2 quick-check quick-test

quick-check:
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy $(TYPED)
	@$(BIN)/pytest -q -m unit tests/style

quick-test:
	@$(BIN)/pytest -q -m unit --hypothesis-profile=quick $(CORE) --ignore=tests/xdr/test_generated.py

unit: $(VENV)/.installed-test
	$(BIN)/pytest -m "unit and not long" $(ROOM)

process: $(VENV)/.installed-test
	$(BIN)/pytest -m "not kernel and not long" $(ROOM)

# What the unit and process tests execute, servers included, by room; and that each error of the operations is brought
# about by some test, or named in tests/support/uncovered.txt. Without those that do nothing new: the soak (what random
# requests reach is another list each time) and the crash matrix. Tests that fail here fail in `make process` too.
UNMEASURED := --ignore=tests/soak --ignore=tests/once/test_matrix.py --ignore=tests/once/test_corruption.py
coverage: $(VENV)/.installed-test
	rm -rf build/coverage
	-$(BIN)/coverage run -m pytest -q -m "not kernel and not long" $(UNMEASURED) $(ROOM)
	$(BIN)/coverage combine -q
	$(BIN)/coverage json -q
	$(BIN)/python -m tests.support.errors build/coverage/report.json

# The unit tests with every Python that is supported, each with an environment of its own below build; one that is not
# on this machine is told and left out. VERSIONS may have paths.
versions:
	@for python in $(VERSIONS); do \
	    if ! $$python -c 'import venv' 2>/dev/null; then echo "no $$python here"; continue; fi; \
	    room=build/versions/$$(basename $$python); \
	    [ -x $$room/bin/pytest ] || { $$python -m venv $$room && \
	        $$room/bin/pip install --quiet --disable-pip-version-check -e '.[test]'; } || exit 1; \
	    $$room/bin/python --version && \
	    $$room/bin/python -m pytest -q -m "unit and not long" --hypothesis-profile=quick $(ROOM) || exit 1; \
	done

test: kernel-setup check
	$(BIN)/pytest -m "not long" $(ROOM)

bench: $(VENV)/.installed-test
	$(BIN)/python -m tests.bench

# Figures need a quiet machine.
hostile: $(VENV)/.installed-test
	$(BIN)/python -m tests.hostile --all

clean:
	rm -rf $(VENV) demo-state build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
