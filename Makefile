# One command each. Everything sets itself up: only Python >= 3.11 (with its venv module) and make are needed.
# The environment is .venv, from the lock requirements/dev.txt; it is made again whenever that changes.

VENV   := .venv
LOCKS  := requirements
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.gpurec-installed
LOCKED := $(VENV)/.gpurec-locked
FAST   := --ignore=tests/real --ignore=tests/crash -n auto
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { command -v "$$p"; break; }; done)

COMPILE   = $(BIN)/python -m uv pip compile --quiet --upgrade --custom-compile-command 'make lock'
UNIVERSAL = --universal --python-version 3.11 --generate-hashes

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export GPUREC_LOCKS := $(abspath $(LOCKS))
# Where it is set, each of the thousands of commands that the tests start compiles the whole package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help docs demo test test-lowest test-newest lock catalogue schemas properties fuzz lint types imports bench real real-extra conformance crash transcripts clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(STAMP) ## a simulated fleet on this machine: plan, apply, break, repair
	$(BIN)/gpurec demo

test: $(STAMP) ## every test that needs no real model server
	$(BIN)/pytest $(FAST)

test-lowest: ## the same once, with the lowest versions that pyproject.toml lets users have
	$(MAKE) .venv-lowest/.gpurec-installed VENV=.venv-lowest
	$(MAKE) .venv-lowest/lowest.txt VENV=.venv-lowest
	.venv-lowest/bin/pytest $(FAST)

.venv-lowest/lowest.txt: .venv-lowest/.gpurec-installed
	$(COMPILE) --resolution lowest-direct --extra exact --extra postgres pyproject.toml -o $@
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python -r $@

test-newest: ## the tests and the real suite without locks, with the newest of everything: for once a week
	$(MAKE) lock LOCKS=build/newest
	$(MAKE) test real VENV=.venv-newest LOCKS=build/newest

lock: $(STAMP) ## writes every lock (requirements/*.txt) anew, with what is newest today
	mkdir -p $(LOCKS)
	$(COMPILE) $(UNIVERSAL) --all-extras pyproject.toml -o $(LOCKS)/dev.txt
	$(COMPILE) $(UNIVERSAL) requirements/ansible.in -o $(LOCKS)/ansible.txt
	$(COMPILE) $(UNIVERSAL) pyproject.toml requirements/users.in -o $(LOCKS)/users.txt
	$(COMPILE) $(UNIVERSAL) --no-emit-package pip -c $(LOCKS)/users.txt pyproject.toml -o $(LOCKS)/image.txt
	$(COMPILE) $(UNIVERSAL) requirements/review.in -o $(LOCKS)/review.txt
	$(COMPILE) $(UNIVERSAL) requirements/litellm.in -o $(LOCKS)/litellm.txt
	$(COMPILE) $(UNIVERSAL) requirements/llama.in -o $(LOCKS)/llama.txt
	$(COMPILE) $(UNIVERSAL) requirements/gemma.in -o $(LOCKS)/gemma.txt
	$(COMPILE) $(UNIVERSAL) requirements/service.in -o $(LOCKS)/service.txt
	$(COMPILE) $(UNIVERSAL) requirements/vllm.in --overrides requirements/vllm.overrides --excludes requirements/vllm.excludes -o $(LOCKS)/vllm.txt

catalogue: $(STAMP) ## the shipped catalogue.json anew, after catalogue.yaml was changed
	$(BIN)/python -c 'from reconciler.workspace.catalogue import write_compiled; write_compiled()'

schemas: $(STAMP) ## the shipped JSON Schemas anew, after a key of a file or a type of the plan was changed
	$(BIN)/python -c 'from reconciler.operations.schemas import write_schemas; write_schemas()'

properties: $(STAMP) ## what every plan promises, over drawn fleets; WORLDS=25000, FLEETS=3000, SEED (printed) for the same again
	$(BIN)/python tests/planning/properties.py
	$(BIN)/python tests/placement/planted_properties.py

SECONDS := 600
fuzz: $(STAMP) ## hostile bytes at every place where foreign ones come in, ten minutes each: SECONDS=60, RUNS=1000 (always the same ones), SEED (printed), ONLY='plan state'
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(SECONDS) $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed $(SEED)) $(ONLY)

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy reconciler

imports: $(STAMP) ## which room may import which
	$(BIN)/lint-imports

docs: $(STAMP) ## the documentation site, strictly (no dead link), with the reference from the code: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

bench: $(STAMP) ## growth of plan and probe
	$(BIN)/python benchmarks

real: $(STAMP) ## the tests against real servers; builds them first, in a cache outside this folder
	$(BIN)/python tests/real/provision.py
	$(BIN)/pytest tests/real --ignore=tests/real/extra -n 2 --durations=5

real-extra: $(STAMP) ## the same for what takes too long to build for every run: Docker Engine 28, with CDI, kube-apiserver, and Gitea
	$(BIN)/python tests/real/provision.py --extra
	$(BIN)/pytest tests/real/extra

OLLAMA_CI := 0.34.0
OLLAMA    ?= $(OLLAMA_CI)
ifeq ($(OLLAMA),$(OLLAMA_CI))
ASKED  := tests/conformance/test_conformance_sim.py tests/real/test_conformance_real.py
REPORT := docs/conformance.md
else
ASKED  := $(addprefix tests/real/test_,conformance_real.py real_admission.py real_engines.py real_ollama.py) -k 'ollama or admission'
REPORT := docs/conformance-ollama-$(OLLAMA).md $(OLLAMA) "$$(GPUREC_OLLAMA=$(OLLAMA) $(BIN)/python tests/real/provision.py --llama)"
endif

conformance: $(STAMP) ## asks every rule of every engine, simulated and real, and writes docs/conformance.md; OLLAMA=0.33.0 asks that one
	GPUREC_OLLAMA=$(OLLAMA) $(BIN)/python tests/real/provision.py
	GPUREC_OLLAMA=$(OLLAMA) $(BIN)/pytest $(ASKED) -n 2 -o junit_family=xunit1 --junitxml=build/conformance.xml; status=$$?; \
		$(BIN)/python tests/conformance/conformance_report.py build/conformance.xml $(REPORT); exit $$status

crash: $(STAMP) ## kills applies at commits, requests and random times, and fills their disk; KILLS=1000, SEED (printed) for the same again
	KILLS=$${KILLS:-1000} $(BIN)/pytest tests/crash -n auto

transcripts: $(STAMP) ## writes docs/reality.md from the real servers
	$(BIN)/python tests/real/provision.py
	$(BIN)/python tests/real/transcript.py

clean: ## removes the environment and every cache in this folder
	rm -rf .venv .venv-lowest .venv-newest .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): $(LOCKED) pyproject.toml
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(LOCKED): $(LOCKS)/dev.txt
	@test -n "$(PYTHON)" || { echo "gpurec needs Python 3.11 or newer, and none is on the PATH; install one and run make again" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) lacks the venv module; install it (Debian: apt-get install python3-venv) and run make again" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r $<
	@touch $@
