# DeepFake-o-meter. `make run` is all a visitor's machine needs; CONTRIBUTING.md says the rest.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# torch's builds for CPUs; asked only when the package index at hand has none
TORCH_CPU := https://download.pytorch.org/whl/cpu
# which build of torch, here and in the images: cuda (some 3 GB to download) where NVIDIA's driver is loaded, else cpu
NVIDIA_DRIVER := /proc/driver/nvidia/version
TORCH ?= $(if $(wildcard $(NVIDIA_DRIVER)),cuda,cpu)
ifeq ($(filter cpu cuda,$(TORCH)),)
$(error TORCH must be cpu or cuda, not "$(TORCH)")
endif
# every file is checked against the lock, and nothing that the lock does not name is installed
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps
RESOLVE := $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --python-version 3.11 --custom-compile-command "make lock"

.PHONY: help setup cluster run weights recommended references test test-slow test-gpu check-gpu soak coverage check translations pictures images bench lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

setup: $(BIN)/.ready  ## make the environment .venv with everything that is needed

# made anew when the other build of torch is wanted
$(VENV)/torch-$(TORCH):
	@mkdir -p $(VENV); rm -f $(VENV)/torch-cpu $(VENV)/torch-cuda; touch $@

$(BIN)/.ready: pyproject.toml requirements.lock torch-cpu.lock torch-cuda.lock Makefile $(VENV)/torch-$(TORCH)
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is missing. On Debian 12: apt-get install python3.11 python3.11-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing. On Debian 12: apt-get install python3.11-venv"; exit 1; }
	@echo "Installing into $(VENV), torch for $(TORCH) (a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -nE '/^(pip|setuptools|wheel)==/,/[^\\]$$/p' requirements.lock >$(VENV)/builders.txt
	@$(INSTALL) -r $(VENV)/builders.txt
	@if [ "$$(uname -s)" != Linux ]; then :; elif [ $(TORCH) = cuda ]; then \
	    $(INSTALL) -r torch-cuda.lock && \
	    if ls $(VENV)/lib/python3.11/site-packages | grep -q '^torch-.*+cpu[.]dist-info'; then $(BIN)/python -m pip uninstall -qq -y torch; fi; \
	else $(INSTALL) -r torch-cpu.lock 2>/dev/null || $(INSTALL) --extra-index-url $(TORCH_CPU) -r torch-cpu.lock; fi
	@$(INSTALL) --no-build-isolation -r requirements.lock
	@$(BIN)/pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

cluster: setup  ## install what several machines need (Ray); docs/cluster.md
	@$(INSTALL) -r cluster.lock

# The weights are fetched beside the portal, so that it starts at once with a slow network or none; the kernel ends the fetching with
# the portal. Detectors without weights say so on the page until they are there.
FETCH := $(BIN)/deepfake-o-meter weights fetch --small >"$$log" 2>&1 & fetch=$$!; trap "kill $$fetch; exit" TERM; \
    wait $$fetch && echo "The small weights are installed. Detectors that see more need a larger download: make recommended lists it first." \
    || echo "Some weights are not installed, so their detectors stay unavailable (see $$log). To try again: make weights"

run: setup  ## start the portal; Ctrl-C stops everything
	@export log="$${DFOM_DATA:-var}/weights.log"; mkdir -p "$${log%/*}"; \
	setpriv --pdeathsig TERM sh -c '$(FETCH)' & exec $(BIN)/deepfake-o-meter serve

weights: setup  ## fetch the published weights
	@$(BIN)/deepfake-o-meter weights fetch

recommended: setup  ## list the recommended detectors' weights (bytes, licences, speed), then fetch them
	@$(BIN)/deepfake-o-meter weights fetch --recommended --dry-run
	@printf 'Download them? [y/N] '; read answer; test "$$answer" = y || exit 0; $(BIN)/deepfake-o-meter weights fetch --recommended

test: setup  ## run the tests; what needs Docker, Chromium or the research data is skipped where that is absent
	@$(BIN)/pytest

test-slow: setup  ## run the tests that take over a minute
	@$(BIN)/pytest -m slow

test-gpu: setup  ## run the tests that need a CUDA device
	@$(BIN)/pytest -m gpu

check-gpu: setup  ## check this machine's GPU in under five minutes: scores beside the CPU's, speed, memory, decoding
	@$(BIN)/python -m tests.gpu

soak: setup  ## run the tests of endurance: many jobs and files, processes and nodes that die, scaling (an hour)
	@$(BIN)/pytest -m soak -rA

coverage: setup  ## run the tests and show which lines and branches they reach (workers are not counted)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest; status=$$?; $(BIN)/coverage combine --quiet; $(BIN)/coverage report; exit $$status

check: setup  ## style, spelling, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@git ls-files -z | xargs -0 $(BIN)/codespell
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

# a set of another version of a detector is void: this writes it anew
NAME ?= clips-2026
references: setup  ## write reference sets beside the detectors: SET=labelled-folder DETECTORS=a,b NAME=... ABOUT="..." (docs/evidence.md)
	@test -n "$(SET)" -a -n "$(DETECTORS)" || { echo 'Say which: make references SET=FOLDER DETECTORS=a,b NAME=clips-2026 ABOUT="what the material is"'; exit 2; }
	@$(BIN)/deepfake-o-meter benchmark "$(SET)" --detectors $(DETECTORS) --subset-by method --reference $(NAME) --about "$(ABOUT)" \
	    $(if $(MADE),--made) --ship --out "$(or $(OUT),var/references-$(NAME))"

translations: setup  ## bring the catalogues of other languages up to date with the program's texts (docs/translations.md)
	@$(BIN)/python -m shared.translations

pictures: setup  ## make README's picture, the tour and the help's pictures anew (needs Chromium, weights of mesonet); SHOTS=FOLDER: whole pages, too
	@$(BIN)/python -m tests.browser.pictures
	@$(BIN)/python -m tests.browser.tour $(if $(SHOTS),--shots $(SHOTS))

images: setup  ## build the worker images (needs a Docker engine); only what changed is built; TORCH=cuda: for GPUs
	@$(BIN)/python docker/build.py --torch $(TORCH)

bench: setup  ## measure speed: the targets, the published design, every network
	@$(BIN)/python -m tests.bench.targets; status=$$?; $(BIN)/python -m tests.bench; $(BIN)/python -m tests.bench.networks; exit $$status

lock: setup  ## resolve pyproject.toml into requirements.lock; what it pins stays, unless UPGRADE=--upgrade is given
	@$(RESOLVE) pyproject.toml --extra docker --extra dev --group beside $(UPGRADE) --output-file requirements.lock
	@torch=$$(sed -nE 's/^torch==([0-9.]+) .*/\1+cpu/p' requirements.lock); grep -q "^torch==$$torch " torch-cpu.lock || \
	    echo "torch==$$torch" | $(RESOLVE) - --no-deps --default-index $(TORCH_CPU) --output-file torch-cpu.lock
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["cluster"], sep="\n")' | \
	    $(RESOLVE) - --constraint requirements.lock $(UPGRADE) --output-file cluster.lock
	@torch=$$(sed -nE 's/^(torch==[0-9.]+) .*/\1/p' requirements.lock); grep -q " $$torch " torch-cuda.lock || { \
	    echo "# What $$torch of PyPI needs beside requirements.lock on Linux, x86-64: CUDA. By make lock."; echo "$$torch" | \
	    $(RESOLVE) - --no-header --no-config --python-platform x86_64-manylinux_2_28 --constraint requirements.lock | awk \
	    'FNR==NR {if (/^[a-z]/) {split($$1, a, "=="); known[a[1]]}; next} /^[a-z]/ {split($$1, a, "=="); drop = a[1] in known} !drop' \
	    requirements.lock -; } >torch-cuda.new; if grep -qs '^nvidia' torch-cuda.new; then mv torch-cuda.new torch-cuda.lock; fi; rm -f torch-cuda.new

clean:  ## remove what can be made again; data in var/ stays
	rm -rf build dist docker/context .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
