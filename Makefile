# make demo | test | docs | lab | release. Needs Python 3.10 to 3.12 and nothing else.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
export MPLBACKEND ?= Agg

.PHONY: demo test chapters pytest docs lab release clean

demo: .venv/demo.stamp
	$(BIN)/cargan-demo --out demo.png $(if $(AUDIO),--audio "$(AUDIO)") $(if $(LABEL),--label $(LABEL)) $(if $(AT),--at $(AT))

test: chapters pytest

chapters: .venv/dev.stamp
	$(BIN)/nbdev-test --n-workers 1 --timing

pytest: .venv/dev.stamp
	$(BIN)/python -m pytest -q tests

docs: .venv/dev.stamp
	$(BIN)/python tools/docs.py

lab: .venv/dev.stamp
	$(BIN)/jupyter lab nbs

release: .venv/dev.stamp
	$(BIN)/python tools/release.py

clean:
	rm -rf .venv _docs _proc build dist *.egg-info demo.png

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "cargan needs Python 3.10, 3.11 or 3.12: install one, or say make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python settings.ini setup.py pyproject.toml constraints.txt
	@echo "installing into .venv (PyTorch is large: some minutes the first time)"
	$(PIP) -e .
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	$(PIP) -e '.[dev]'
	@touch $@
