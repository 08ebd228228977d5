# The one entrance: `make book` builds and checks the book, `make test` tests everything, `make help` lists the rest.
# Options, given as `make TARGET NAME=value`: PYTHON (which Python 3.11 or 3.12), TORCH_INDEX (an index with another
# build of torch, such as a CPU-only one), PRESET and ONLY (experiments), JOBS (parallel runs), PORT (serve).

$(if $(filter oneshell,$(.FEATURES)),,$(error GNU make 4 or newer is needed, this is $(MAKE_VERSION)))
MAKEFLAGS += --no-builtin-rules --no-print-directory
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help book test figures experiments reproduce verify check-experiments bench peers serve clean emptied always

PYTHON ?= python3
PRESET ?= smoke
ONLY ?=
JOBS ?= 2
PORT ?= 8000
PY := .venv/bin/python

# One thread a process: results don't depend on the machine's cores, and parallel runs don't fight over them.
export OMP_NUM_THREADS := 1
# Packages are installed uncompiled, so Python has to keep what it compiles.
unexport PYTHONDONTWRITEBYTECODE
# What a user's shell may say of other Pythons, of pip and of Jupyter is not for the environment here.
unexport PYTHONPATH PYTHONHOME PYTHONOPTIMIZE PYTHONSTARTUP
export PIP_USER := 0
export JUPYTER_PATH := $(CURDIR)/.venv/share/jupyter
# Keeps the debugger's advice out of the logs of notebook kernels.
export PYDEVD_DISABLE_FILE_VALIDATION := 1

# Two makes at once take turns: what builds the book, and what runs experiments, each among themselves.
define TURN
import filelock, subprocess, sys
lock = filelock.FileLock(f"_build/.{sys.argv[1]}.lock")
try:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print("Another make is at work here; waiting for it ...", file=sys.stderr, flush=True)
    with lock:
        sys.exit(subprocess.call(sys.argv[2:], close_fds=False))
except KeyboardInterrupt:
    sys.exit(130)
endef
export TURN
turn = mkdir -p _build; $(PY) -c "$$TURN" $(1)
# Before there is an environment with that lock in it: a lock of the system's, which ends with the process.
INSTALL = import fcntl, os, sys; lock = os.open("constraints.txt", os.O_RDONLY); fcntl.flock(lock, fcntl.LOCK_EX); \
  os.set_inheritable(lock, True); os.execvp(sys.argv[1], sys.argv[1:])

NOTEBOOKS := $(wildcard notebooks/*.ipynb)
tree = $(shell find $(1) -type f -not -path '*/.*' -not -path '*/__pycache__/*' -not -path '* *' 2>/dev/null)
CODE := $(filter %.py,$(call tree,trc))
RESULTS := $(call tree,results)
PAGES := $(call tree,book) _config.yml _toc.yml
# A stamp lists what was read or drawn, so that a file that is no longer there is noticed too.
lost = $(filter-out $(wildcard $(strip $(file <$(1)))),$(file <$(1)))

# The experiments of the paper's main text; the others are its ablations.
HEADLINE := teachers costate comparison test_time outside halting
CHOSEN := $(if $(ONLY),$(ONLY),$(notdir $(basename $(NOTEBOOKS))))
# A stamp says that an experiment is done: again only if its notebook or the library has changed.
DONE := _build/done/$(PRESET)

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## (.*)/\1|\2/' \
	  | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

ifndef HAVE_TURN

book:  ## build the HTML book from the committed results and check it
test:  ## lint, test the library, execute the notebooks at the smoke preset and one to the letter
figures:  ## make the paper's figures and tables from results/ in figures/ [ONLY=fig1]
verify:  ## check every claim of the book, and evaluate the committed checkpoints again
book test figures verify: .venv/.ready
	+@$(call turn,book) $(MAKE) HAVE_TURN=1 $@

experiments: check-experiments  ## re-run the notebooks: PRESET=smoke|paper [ONLY=name]
reproduce:  ## re-run the experiments of the paper's main text at the paper preset, then verify; `make clean` first: from nothing
bench: check-experiments  ## time it all against other ways to do the same (9 min); PRESET=paper writes results/bench
peers: check-experiments  ## race the solvers that engineers run (3 min, a C++ compiler); PRESET=paper writes results/peers
# Trials are short: notebooks side by side, one process each. A long run goes notebook by notebook, each with all processes.
experiments reproduce bench peers: .venv/.ready
	+@$(call turn,experiments) $(MAKE) HAVE_TURN=1 $(if $(filter smoke-experiments,$(PRESET)-$@),-j$(JOBS) -O) $@

clean: .venv/.ready  ## remove what was built, trained models too; results/, figures/ and .venv stay
	+@$(call turn,experiments) $(PY) -c "$$TURN" book $(MAKE) HAVE_TURN=1 emptied

serve: book  ## show the book on this machine's port 8000 (or PORT=...)
	@echo "http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"; \
	  $(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

else

book: _build/.book
	@echo "The book: $(CURDIR)/_build/html/index.html"

test: .venv/.ready
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m pytest -q -p no:cacheprovider
	@$(PY) -m pytest -q -p no:cacheprovider --nbval-lax --nbval-current-env $(NOTEBOOKS)
	@$(PY) -m pytest -q -p no:cacheprovider --nbval --nbval-current-env results/identities/identities.ipynb

figures: $(if $(ONLY),.venv/.ready,_build/.figures)
	@$(if $(ONLY),$(PY) -m trc.artifact.figures $(ONLY))

experiments: $(CHOSEN:%=$(DONE)/%)

reproduce:
	@$(foreach name,$(HEADLINE),$(MAKE) experiments PRESET=paper ONLY=$(name);) $(MAKE) figures verify

verify: .venv/.ready
	@$(PY) -m trc.artifact.claims

bench: .venv/.ready
	@PYTHONPATH=tests/support $(PY) benchmarks/bench.py --preset $(PRESET)

# The other solvers are kept apart from our packages: some ask for an older NumPy than they need.
peers: .venv/peers/.ready
	@PYTHONPATH=.venv/peers:tests/support:benchmarks $(PY) benchmarks/peers --preset $(PRESET)

.venv/peers/.ready: benchmarks/peers/requirements.txt .venv/.ready
	@rm -rf .venv/peers
	@$(PY) -m pip install -q --no-deps --target .venv/peers -r $<
	@touch $@

emptied:
	@find _build -mindepth 1 -maxdepth 1 -not -name '.*.lock' -exec rm -rf {} +; rm -rf .pytest_cache .ruff_cache
	@find trc tests benchmarks notebooks book -name __pycache__ -prune -exec rm -rf {} +

endif

check-experiments:
	$(if $(filter-out smoke paper,$(PRESET))$(word 2,$(PRESET)),$(error PRESET must be smoke or paper, it is "$(PRESET)"))
	$(if $(filter-out $(basename $(notdir $(NOTEBOOKS))),$(ONLY)),$(error ONLY must be among \
	  $(basename $(notdir $(NOTEBOOKS))), it is "$(ONLY)"))
	$(if $(shell [ "$(JOBS)" -gt 0 ] 2>/dev/null && echo yes),,$(error JOBS must be a whole number above 0, it is "$(JOBS)"))
	@:

WRITTEN := $(if $(filter paper,$(PRESET)),results,_build/smoke)
.SECONDEXPANSION:
$(DONE)/%: notebooks/%.ipynb $(CODE) .venv/.ready $$(if $$(call lost,$$@),always)
	@echo "$* ($(PRESET))"; $(PY) -m trc.artifact.runner $< --preset $(PRESET) --jobs $(if $(filter smoke,$(PRESET)),1,$(JOBS))
	@mkdir -p $(@D); ls -d $(WRITTEN)/$*/* >$@

# The others are judged by the optima that this one has found.
$(filter-out $(DONE)/teachers,$(CHOSEN:%=$(DONE)/%)): | $(filter $(DONE)/teachers,$(CHOSEN:%=$(DONE)/%))

# The stamp is written last, so an interrupted installation is simply completed by the next `make`.
# Python compiles what it imports by itself, once; compiling everything here would double the time.
.venv/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "'$(PYTHON)' was not found: give a Python 3.11 or 3.12 as make PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "'$(PYTHON)' is $$($(PYTHON) -V), but trc needs Python 3.11 or 3.12: give one as make PYTHON=..." >&2; exit 2; }
	+@$(PYTHON) -c '$(INSTALL)' $(MAKE) .venv/.installed
	@touch $@

.venv/.installed: pyproject.toml constraints.txt
	@mkdir -p .venv && echo "Installing (about a minute) ..."
	@{ $(PYTHON) -m venv .venv && \
	   $(PY) -m pip install --no-compile -c constraints.txt torch $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --retries 0) && \
	   $(PY) -m pip install --no-compile -c constraints.txt -e '.[book,test]' && \
	   $(PY) -m pip check; \
	 } >.venv/install.log 2>&1 || { tail -n 20 .venv/install.log >&2; \
	   echo "The installation failed; the whole log is .venv/install.log." >&2; exit 1; }
	@touch $@

DRAWN_FROM := $(filter %.csv %.json,$(RESULTS)) $(wildcard book/claims.yml)
_build/.figures: .venv/.ready $(CODE) $(DRAWN_FROM) $(if $(call lost,_build/.figures),always)
	@mkdir -p _build
	@$(PY) -m trc.artifact.claims --readme & $(PY) -m trc.artifact.figures; wait $$!
	@ls -d $(DRAWN_FROM) figures/* >$@

# What follows from a failing cell; its own message says more.
NOISE := No key .* in glue data|CellExecutionError|traceback saved in

# A full build every time something changed: an incremental one would pass over warnings that it has shown before.
_build/.book: .venv/.ready _build/.figures $(CODE) $(RESULTS) $(PAGES) tests/support/check_book.py \
    $(if $(wildcard _build/html/index.html),,always) $(if $(call lost,_build/.book),always)
	@$(PY) -c 'import importlib.metadata as m, sys; sys.exit(not m.version("jupyter-book").startswith("1."))' || { \
	  echo "The book needs jupyter-book 1, but .venv has another version: remove .venv, then make again." >&2; exit 2; }
	@rm -rf _build/html _build/.doctrees _build/jupyter_execute; echo "Building the book ..."
	@SECONDS=0; \
	 .venv/bin/jupyter-book build . -W -n --keep-going --all 2>&1 | sed -u $$'s/\e\\[[0-9;]*m//g' \
	  | tee _build/book.log | { grep --line-buffered -E '^reading sources\.\.\. \[' || true; } || { \
	    grep -E '(WARNING|ERROR|[A-Za-z]Error): ' _build/book.log | grep -vE '$(NOISE)' | awk '!seen[$$0]++' >&2 \
	      || tail -n 20 _build/book.log >&2; \
	    echo "The book did not build without warnings; the whole log is _build/book.log." >&2; exit 1; }; \
	 $(PY) -m pytest -q -p no:cacheprovider tests/support/check_book.py; \
	 echo "Built and checked in $$SECONDS s."
	@ls -d $(RESULTS) $(PAGES) >$@

always:
