# DeepFake-o-meter. `make run` is all a visitor's machine needs; CONTRIBUTING.md says the rest.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# torch's builds for CPUs; asked only when the package index at hand has none
TORCH_CPU := https://download.pytorch.org/whl/cpu
TORCH := $(shell sed -n 's/^torch==//p' requirements.lock)
# MTCNN's published weights lie in this wheel; its own requirements (an old torch) are not wanted
FACENET := $(shell grep ^facenet-pytorch== requirements.lock)

.PHONY: help setup run weights test test-slow test-gpu check images bench lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

setup: $(BIN)/.ready  ## make the environment .venv with everything that is needed

$(BIN)/.ready: pyproject.toml requirements.lock Makefile
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is missing. On Debian 12: apt-get install python3.11 python3.11-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing. On Debian 12: apt-get install python3.11-venv"; exit 1; }
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint requirements.lock --upgrade pip setuptools
	@# PyPI's torch for Linux carries CUDA (gigabytes): take the CPU build wherever it is published
	@if [ "$$(uname -s)" = Linux ]; then \
	    $(BIN)/pip install -qq "torch==$(TORCH)+cpu" 2>/dev/null || \
	    $(BIN)/pip install -qq --extra-index-url $(TORCH_CPU) --constraint requirements.lock "torch==$(TORCH)+cpu"; \
	else $(BIN)/pip install -qq --constraint requirements.lock torch; fi
	@$(BIN)/pip install -qq --constraint requirements.lock --editable '.[docker,dev]'
	@$(BIN)/pip install -qq --no-deps "$(FACENET)"
	@touch $@

# The weights are fetched beside the portal, so that it starts at once with a slow network or none; the kernel ends the fetching with
# the portal. Detectors without weights say so on the page until they are there.
FETCH := $(BIN)/deepfake-o-meter weights fetch --small >"$$log" 2>&1 & fetch=$$!; trap "kill $$fetch; exit" TERM; \
    wait $$fetch || echo "Some weights are not installed, so their detectors stay unavailable (see $$log). To try again: make weights"

run: setup  ## start the portal; Ctrl-C stops everything
	@export log="$${DFOM_DATA:-var}/weights.log"; mkdir -p "$${log%/*}"; \
	setpriv --pdeathsig TERM sh -c '$(FETCH)' & exec $(BIN)/deepfake-o-meter serve

weights: setup  ## fetch the published weights
	@$(BIN)/deepfake-o-meter weights fetch

test: setup  ## run the tests; what needs Docker, Chromium or the research data is skipped where that is absent
	@$(BIN)/pytest

test-slow: setup  ## run the tests that take over a minute
	@$(BIN)/pytest -m slow

test-gpu: setup  ## run the tests that need a CUDA device
	@$(BIN)/pytest -m gpu

check: setup  ## style, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

images: setup  ## build the worker images (needs a Docker engine); only what changed is built
	@$(BIN)/python docker/build.py

bench: setup  ## measure speed against the targets and the published design
	@$(BIN)/python -m tests.bench
	@$(BIN)/python -m tests.bench.media_pass
	@$(BIN)/python -m tests.bench.render
	@$(BIN)/python -m tests.bench.networks

lock: setup  ## write what is installed to requirements.lock
	@$(BIN)/pip freeze --all | grep -E '^[A-Za-z0-9_.-]+==' | sed 's/+cpu$$//' > requirements.lock

clean:  ## remove what can be made again; data in var/ stays
	rm -rf build dist out docker/context .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
