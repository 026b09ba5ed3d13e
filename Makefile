# Everything runs from .venv, made here from the pinned set in constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
# Where a machine turns it off, each of the tests' many processes would compile everything again.
export PYTHONDONTWRITEBYTECODE :=

PYTEST := pytest --dist loadfile --no-loadscope-reorder
FAST := not slow and not slurm and not gpu

.PHONY: demo test test-fast coverage programs test-chaos test-gpu check docs bench clean

demo: .venv/.installed            ## the whole method on a tiny model, from scratch
	$(BIN)/wmss demo

test: programs                    ## the whole suite, with the share of lines that its first part runs
	$(MAKE) --no-print-directory coverage
	$(BIN)/python -m $(PYTEST) --numprocesses 4 --durations 60 -m 'not (measured or ($(FAST)))'

test-fast: .venv/.installed       ## what needs no Slurm, sandbox, browser or GPU, and takes seconds
	$(BIN)/python -m $(PYTEST) --numprocesses 3 -m '$(FAST)'

coverage: .venv/.installed        ## the share of lines that the fast tests and some trainings run
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m $(PYTEST) --numprocesses 2 -m 'measured or ($(FAST))'
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --sort=cover

programs: .venv/.installed        ## what the whole suite needs beside Python, if it can be installed
	tests/install.sh

test-chaos: .venv/.installed      ## kill -9, full and failing disks, flipped bits at every place: an hour
	WMSS_CHAOS=full $(BIN)/python -m pytest -n 2 --dist worksteal -rP tests/chaos

test-gpu: .venv/.installed        ## what only a GPU can show, in minutes on one; numbers in gpu-results/
	$(BIN)/python -m pytest -n 0 tests/gpu
	for part in loss step score generate; do \
	  $(BIN)/wmss bench $$part --rounds 1 --json --force --out gpu-results/$$part >gpu-results/$$part.json || exit 1; \
	done

check: .venv/.installed           ## format, lint, types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

docs: .venv/.installed            ## the documentation, into site/
	$(BIN)/python docs/generate.py --check
	$(BIN)/mkdocs build --strict --quiet

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	# On all processors, where pip uses one; some packages contain files that are no Python.
	$(BIN)/python -m compileall -qq -j 0 -x '/tests/' .venv/lib || true
	touch $@

bench: .venv/.installed           ## fast paths against their rivals, on this machine
	$(BIN)/wmss bench all --plot bench.png

clean:
	rm -rf .venv .kernels build dist site *.egg-info
