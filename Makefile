# make demo | test | test-all | lint | types | docs | outputs | lab | release | clean.
# Needs Python 3.10 to 3.12 and nothing else.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
export MPLBACKEND ?= Agg

# The pages of the workshop that take seconds; make test runs them beside the whole main line
FAST := core/core data/audio data/formats models/attention \
	models/discriminator models/generator training/losses

.PHONY: demo test test-all quick main-line pages pytest lint types docs outputs lab release clean

# AUDIO, LABEL and AT come through the environment, where no character of theirs means anything
demo: .venv/demo.stamp
	@case "$$AUDIO" in "~/"*) AUDIO="$$HOME/$${AUDIO#??}";; esac; \
	$(BIN)/cargan-demo --out demo.png $${AUDIO:+--audio "$$AUDIO"} \
		$${LABEL:+--label "$$LABEL"} $${AT:+--at "$$AT"}

# A quarter of an hour on two cores: does it work here?
test: quick main-line

quick: .venv/dev.stamp
	$(BIN)/python -m pytest -q tests -m "not slow"

main-line: .venv/dev.stamp
	$(BIN)/nbdev-test --n-workers 1 --timing --path-re '/(\d\d_\w+|$(subst $() ,|,$(FAST)))\.ipynb$$'

# Everything
test-all: pages pytest

pages: .venv/dev.stamp
	$(BIN)/nbdev-test --n-workers 1 --timing

pytest: .venv/dev.stamp
	$(BIN)/python -m pytest -q tests

lint: .venv/dev.stamp
	$(BIN)/ruff check cargan nbs tests tools benchmarks setup.py

types: .venv/dev.stamp
	$(BIN)/mypy

docs: .venv/dev.stamp
	$(BIN)/python tools/docs.py

# The main line is committed with its outputs: run it and keep them
outputs: .venv/dev.stamp
	$(BIN)/python tools/docs.py --in-place $(patsubst nbs/%.ipynb,%,$(wildcard nbs/[0-9]*.ipynb))
	$(BIN)/nbdev-clean

lab: .venv/dev.stamp
	$(BIN)/jupyter lab nbs

release: .venv/dev.stamp
	$(BIN)/python tools/release.py

clean:
	rm -rf .venv _docs _proc _proc_run build dist *.egg-info .ruff_cache .mypy_cache demo.png

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "cargan needs Python 3.10, 3.11 or 3.12: install one," \
		"or say make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python settings.ini setup.py pyproject.toml constraints.txt
	@echo "installing into .venv (PyTorch is large: some minutes the first time)"
	$(PIP) -e .
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	$(PIP) -e '.[dev]'
	@touch $@
