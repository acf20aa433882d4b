# Everything a newcomer, a reviewer and CI need, each with one word. `make help` lists the words.
#
# The recipes install what they need into this clone (.venv, .venv-tools, .caddy, node_modules) and nowhere else,
# and leave a stamp, so that the second time costs nothing. Plain enough for GNU make 3.81 (macOS).

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

ROOT := $(CURDIR)
PKG := pkgs/mcp-gateway
VENV := .venv
TOOLS := .venv-tools
STARTER_NPM := $(PKG)/starter
TESTS_NPM := $(PKG)/tests/npm
CONFORMANCE_NPM := $(PKG)/tests/conformance
TESTS_CLIENTS := $(PKG)/tests/clients
SITE := docs/site
TESTS_OPENWEBUI := $(PKG)/tests/openwebui_real/env
CADDY := $(ROOT)/.caddy/usr/bin/caddy
UV_VERSION := 0.13.8

UV := $(ROOT)/$(TOOLS)/bin/uv
UV_STAMP := $(TOOLS)/.stamp-uv-$(UV_VERSION)
BIN := $(ROOT)/$(VENV)/bin
UI := $(PKG)/ui
SOURCES := $(shell find $(PKG)/src -name '*.py')

# What a person may say on the command line: make run ARGS="--port 9000", make test ARGS="-k stdio -x".
ARGS ?=
PYTHON ?=
REQUIRE_ALL ?=
# Two at once, each with modules of its own: most of a test is waiting. WORKERS= runs one after the other, and
# WORKERS="-n 3 --dist=loadfile" is faster on two cores, where tests that watch the clock have less room.
WORKERS ?= --numprocesses=2 --dist=loadfile

# Interpreters of a person's own choosing only: uv would otherwise fetch a build from elsewhere.
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := $(ROOT)/$(VENV)
# Somebody else's activated environment must not become ours.
unexport VIRTUAL_ENV
unexport PYTHONPATH
unexport PYTHONHOME

# Sets $$python to an interpreter that really runs, is new enough and can make an environment; a version
# manager's shim answers to a name without having that version, so each one is tried, not looked up.
define find_python
python=; for name in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		python=$$("$$name" -c 'import sys; print(sys.executable)'); break; fi; done; \
if [ -z "$$python" ]; then \
	echo "MCP Gateway needs Python 3.11 or later with venv (on Debian: python3 and python3-venv); none was found." >&2; \
	echo "If you have one elsewhere, name it: make ... PYTHON=/path/to/python3" >&2; exit 1; fi
endef

HAVE_NODE := command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo '  Options: ARGS="..." for the program or pytest; PYTHON=... to choose the interpreter.'

.PHONY: run
run: ui $(VENV)/.stamp-run $(VENV)/.stamp-compiled starter-node ## set up and serve http://127.0.0.1:8085 with the starter servers
	@config=$$("$(BIN)"/python $(PKG)/starter/prepare.py) && \
		exec "$(BIN)"/mcp-gateway serve --config "$$config" $(ARGS)

.PHONY: setup
setup: ui $(VENV)/.stamp-dev ## make .venv with everything a developer needs

.PHONY: format
format: $(VENV)/.stamp-dev ## let ruff rewrite what it can
	@cd $(PKG) && "$(BIN)"/ruff check --fix --quiet . ; "$(BIN)"/ruff format .

.PHONY: ui
ui: $(UV_STAMP) ## build what browsers load, if it is not built of these sources already
	@node=$$($(TOOLS)/bin/python $(UI)/build.py --needs) || exit 1; \
		[ -z "$$node" ] || $(TOOLS)/bin/pip install --quiet --disable-pip-version-check "$$node"
	@$(TOOLS)/bin/python $(UI)/build.py

.PHONY: check
check: $(VENV)/.stamp-dev ## linter, formatter, types, import direction
	@cd $(PKG) && "$(BIN)"/ruff check .
	@cd $(PKG) && "$(BIN)"/ruff format --check .
	@cd $(PKG) && "$(BIN)"/mypy
	@cd $(PKG) && "$(BIN)"/lint-imports --no-logo

.PHONY: test
test: ui check tests-node tests-clients tests-caddy tests-chromium tests-nix .venv-docs/.stamp ## set up, check and pass the suite (REQUIRE_ALL=1: a skip is a failure)
	@cd $(PKG) && REQUIRE_ALL=$(REQUIRE_ALL) "$(BIN)"/python -m pytest -m "not long" $(WORKERS) $(ARGS)

.PHONY: test-full
test-full: ui check tests-node tests-clients tests-caddy tests-chromium tests-nix .venv-docs/.stamp test-pythons ## the same plus the long tier, and the suite on every other Python 3.11-3.13 there is
	@cd $(PKG) && REQUIRE_ALL=$(REQUIRE_ALL) "$(BIN)"/python -m pytest $(ARGS)

# One environment per interpreter; a version that is not on the machine is named, never passed over in silence.
.PHONY: test-pythons
test-pythons: $(VENV)/.stamp-dev tests-node tests-clients tests-caddy tests-chromium tests-nix .venv-docs/.stamp ## the suite on every other Python 3.11-3.13 there is
	@set -e; for version in 3.11 3.12 3.13; do \
		if [ -x "$(BIN)/python$$version" ]; then continue; fi; \
		python=; for name in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python; do \
			if "$$name" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" >/dev/null 2>&1; then \
				python=$$("$$name" -c 'import sys; print(sys.executable)'); break; fi; done; \
		if [ -z "$$python" ]; then echo "SKIPPED: Python $$version is not on this machine"; continue; fi; \
		echo "== Python $$version: $$python"; \
		(export UV_PROJECT_ENVIRONMENT="$(ROOT)/.venv-$$version"; cd $(PKG); \
			"$(UV)" sync --locked --group demo --python "$$python" --quiet; \
			REQUIRE_ALL=$(REQUIRE_ALL) "$(ROOT)"/.venv-$$version/bin/python -m pytest -m "not long" $(ARGS)); \
	done

.PHONY: test-openwebui
test-openwebui: ui $(VENV)/.stamp-dev tests-node tests-chromium .venv-openwebui/.stamp ## chats in a real Open WebUI that use the gateway's tools (installs 1.7 GB the first time)
	@cd $(PKG) && REQUIRE_ALL=1 "$(BIN)"/python -m pytest tests/openwebui_real $(ARGS)

.PHONY: conformance
conformance: ui $(VENV)/.stamp-dev tests-node ## all of the official MCP conformance suite, against the real gateway and through it
	@cd $(PKG) && REQUIRE_ALL=1 "$(BIN)"/python -m pytest tests/conformance $(ARGS)

.PHONY: chaos
chaos: ui $(VENV)/.stamp-dev ## three minutes of every fault at random against the real gateway (ARGS="--seed N --seconds N")
	@cd $(PKG) && "$(BIN)"/python -m tests.chaos $(ARGS)

.PHONY: bench
bench: ui $(VENV)/.stamp-bench $(VENV)/.stamp-compiled ## a direct call against the gateway, in one run; table and plot into bench/results
	@cd $(PKG) && "$(BIN)"/python -m bench $(ARGS)

.PHONY: icons
icons: $(VENV)/.stamp-dev tests-chromium ## draw the PNGs of the icon from its SVG, after a change of that
	@cd $(PKG) && "$(BIN)"/python -m tests.ui.drawing

.PHONY: reference
reference: $(VENV)/.stamp-dev tests-nix ## write the pages that are made of the code: options, routes, errors, the Nix modules
	@cd $(PKG) && "$(BIN)"/python -m tests.docs.reference
	@cd $(PKG) && "$(BIN)"/python -m tests.nix.reference

.PHONY: screenshots
screenshots: ui $(VENV)/.stamp-dev tests-chromium starter-node ## pictures of every page into pkgs/mcp-gateway/screenshots (ARGS="--only tools")
	@cd $(PKG) && "$(BIN)"/python -m tests.ui.screenshots $(ARGS)

.PHONY: docs
docs: $(VENV)/.stamp-dev .venv-docs/.stamp ## draw the documentation site into .docs/html; a broken link fails
	@cd $(PKG) && "$(BIN)"/python -m tests.docs.site --mkdocs "$(ROOT)"/.venv-docs/bin/mkdocs "$(ROOT)"/.docs

.PHONY: openwebui-pictures
openwebui-pictures: ui $(VENV)/.stamp-dev tests-chromium starter-node .venv-openwebui/.stamp ## pictures of a real Open WebUI for docs/open-webui.md, into docs/images (port 8085 has to be free)
	@cd $(PKG) && "$(BIN)"/python -m tests.openwebui_real.pictures $(ARGS)

.PHONY: clean
clean: ## remove what the other targets installed or left in this clone (never the state directory)
	rm -rf $(VENV) $(TOOLS) .caddy .docs .venv-3.* .venv-clients-* .venv-docs .venv-openwebui $(STARTER_NPM)/node_modules \
		$(TESTS_NPM)/node_modules $(CONFORMANCE_NPM)/node_modules $(UI)/node_modules
	rm -rf $(PKG)/src/mcp_gateway/faces/ui/static
	rm -rf $(PKG)/screenshots $(PKG)/.mypy_cache $(PKG)/.ruff_cache $(PKG)/.pytest_cache $(PKG)/.hypothesis $(PKG)/.import_linter_cache $(PKG)/dist
	find $(PKG) -name __pycache__ -type d -prune -exec rm -rf {} +

# Below: what the words above need.

# uv at one version, so that everybody resolves alike; pip because every venv has it.
$(UV_STAMP):
	@$(find_python); echo "Setting up uv $(UV_VERSION) with $$python"; \
		"$$python" -m venv --clear $(TOOLS) && $(TOOLS)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

# --inexact: the three environments are one directory, and setting up the smaller must not undo the larger.
$(VENV)/.stamp-run: $(PKG)/pyproject.toml $(PKG)/uv.lock $(UV_STAMP)
	@$(call sync,--no-dev --group demo)
	@touch $@

$(VENV)/.stamp-dev: $(PKG)/pyproject.toml $(PKG)/uv.lock $(UV_STAMP)
	@$(call sync,--group demo)
	@touch $@ $(VENV)/.stamp-run

$(VENV)/.stamp-bench: $(PKG)/pyproject.toml $(PKG)/uv.lock $(UV_STAMP)
	@$(call sync,--group demo --group bench)
	@touch $@ $(VENV)/.stamp-dev $(VENV)/.stamp-run

define sync
$(find_python); echo "Installing what uv.lock names into $(VENV)"; \
	cd $(PKG) && "$(UV)" sync --locked --inexact --compile-bytecode --quiet --python "$$python" $(1)
endef

# The package is installed in place, so uv does not compile it; the port opens in under a second only when it is.
$(VENV)/.stamp-compiled: $(SOURCES) $(VENV)/.stamp-run
	@"$(BIN)"/python -m compileall -q $(PKG)/src
	@touch $@

# Node makes the starter richer, so its absence, or a registry that does not answer, is a word of prepare.py's
# and not a failure.
.PHONY: starter-node
starter-node:
	@if { $(HAVE_NODE); }; then $(MAKE) -s $(STARTER_NPM)/node_modules/.stamp || true; fi

# The tests need Node: from the system, from apt where that is ours to do, else skipped aloud by each test that needs it.
.PHONY: tests-node
tests-node:
	@if ! { $(HAVE_NODE); } && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Installing Node from Debian"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nodejs npm; } </dev/null >/dev/null || true; fi; \
	if { $(HAVE_NODE); }; then \
		$(MAKE) -s $(STARTER_NPM)/node_modules/.stamp $(TESTS_NPM)/node_modules/.stamp $(CONFORMANCE_NPM)/node_modules/.stamp; \
	elif [ "$(REQUIRE_ALL)" = 1 ]; then echo "FAILED: REQUIRE_ALL=1 and Node with npm is not here" >&2; exit 1; \
	else echo "SKIPPED: Node with npm is not here, so tests with Node servers and clients, and the conformance suite, are skipped" >&2; fi

# Clients that cannot be installed beside the SDK of today, each in an environment of its own.
.PHONY: tests-clients
tests-clients: .venv-clients-sdk1/.stamp .venv-clients-fastmcp/.stamp .venv-clients-openapi/.stamp

.venv-clients-%/.stamp: $(TESTS_CLIENTS)/%/pyproject.toml $(TESTS_CLIENTS)/%/uv.lock $(UV_STAMP)
	@$(find_python); echo "Installing what $(TESTS_CLIENTS)/$*/uv.lock names"; cd $(TESTS_CLIENTS)/$* && \
		UV_PROJECT_ENVIRONMENT="$(ROOT)/.venv-clients-$*" "$(UV)" sync --locked --quiet --python "$$python"
	@touch $@

# What draws the documentation, which nothing of the gateway or its tests may come to lean on.
.venv-docs/.stamp: $(SITE)/pyproject.toml $(SITE)/uv.lock $(UV_STAMP)
	@$(find_python); echo "Installing what $(SITE)/uv.lock names"; cd $(SITE) && \
		UV_PROJECT_ENVIRONMENT="$(ROOT)/.venv-docs" "$(UV)" sync --locked --quiet --python "$$python"
	@touch $@

# Open WebUI, for its own tests alone. Python 3.13 is too new for it. Nothing is compiled in advance, since it
# imports a part of what it brings; the first start takes a minute for that.
.venv-openwebui/.stamp: $(TESTS_OPENWEBUI)/pyproject.toml $(TESTS_OPENWEBUI)/uv.lock $(UV_STAMP)
	@echo "Installing Open WebUI into .venv-openwebui: 1.7 GB, which make clean takes away again"
	@python=; for name in $(PYTHON) python3.12 python3.11 python3 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[12].*/bin/python; do \
		if "$$name" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1; then \
			python=$$("$$name" -c 'import sys; print(sys.executable)'); break; fi; done; \
	if [ -z "$$python" ]; then echo "Open WebUI needs Python 3.11 or 3.12; none was found." >&2; exit 1; fi; \
	cd $(TESTS_OPENWEBUI) && UV_PROJECT_ENVIRONMENT="$(ROOT)/.venv-openwebui" "$(UV)" sync --locked --quiet --python "$$python"
	@touch $@

# Caddy stands in for tailscaled and other proxies, as another user, which takes root. Unpacked into this clone and
# not installed: Debian's package would start a web server on port 80.
.PHONY: tests-caddy
tests-caddy:
	@if command -v caddy >/dev/null 2>&1 || [ -x $(CADDY) ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Unpacking Caddy from Debian"; \
		{ mkdir -p .caddy && apt-get update -qq && cd .caddy && apt-get download -qq caddy && dpkg -x caddy_*.deb .; } \
			</dev/null >/dev/null 2>&1 || true; fi; \
	if [ -x $(CADDY) ]; then exit 0; \
	elif [ "$(REQUIRE_ALL)" = 1 ]; then echo "FAILED: REQUIRE_ALL=1 and Caddy is not here" >&2; exit 1; \
	else echo "SKIPPED: Caddy is not here, so tests behind a real proxy are skipped" >&2; fi

# Chromium shows the pages to the tests; the names are those of `find_chromium` in tests/ui/browser.py.
.PHONY: tests-chromium
tests-chromium:
	@have_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null 2>&1; \
	if ! have_chromium && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Installing Chromium from Debian"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
			</dev/null >/dev/null || true; fi; \
	if have_chromium; then exit 0; \
	elif [ "$(REQUIRE_ALL)" = 1 ]; then echo "FAILED: REQUIRE_ALL=1 and Chromium is not here" >&2; exit 1; \
	else echo "SKIPPED: Chromium is not here, so tests of the pages are skipped" >&2; fi

# Nix evaluates the modules, systemd reads their units, and the desktop's validator the entry; nothing of them is
# set up or started, and there is no /nix. `--no-install-recommends`: that would be Nix's daemon.
NIX_PROGRAMS := nix-instantiate systemd-analyze desktop-file-validate jq
.PHONY: tests-nix
tests-nix:
	@missing() { for name in $(NIX_PROGRAMS); do command -v $$name >/dev/null 2>&1 || echo $$name; done; }; \
	if [ -n "$$(missing)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Installing Nix and what reads units from Debian"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			nix-bin systemd desktop-file-utils jq; } </dev/null >/dev/null || true; fi; \
	if [ -z "$$(missing)" ]; then exit 0; \
	elif [ "$(REQUIRE_ALL)" = 1 ]; then echo "FAILED: REQUIRE_ALL=1 and these are not here:" $$(missing) >&2; exit 1; \
	else echo "SKIPPED: tests of the NixOS modules are skipped, for want of:" $$(missing) >&2; fi

%/node_modules/.stamp: %/package.json %/package-lock.json %/.npmrc
	@echo "Installing what $*/package-lock.json names"
	@cd $* && npm ci --loglevel=error --no-progress </dev/null
	@touch $@
