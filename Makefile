# make demo | test | test-all | fuzz | lint | types | docs | browser | outputs | lab | release |
# clean.
# Needs Python 3.10 to 3.14 and nothing else. Without make: python run.py demo | test
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3.10 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
RUN = @test -n "$(PYTHON)" || { echo "cargan needs Python 3.10 to 3.14: install one," \
	"or say make PYTHON=/path/to/python" >&2; exit 2; }; $(PYTHON) run.py
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
export MPLBACKEND ?= Agg

.PHONY: demo test test-all quick main-line pages pytest fuzz lint types docs browser outputs lab \
	release clean install-dev

# AUDIO, LABEL and AT come through the environment, where no character of theirs means anything.
# test: about half an hour on two cores: does it work here? It is quick and main-line
demo test quick main-line install-dev:
	$(RUN) $@

# Everything
test-all: pages pytest

pages: install-dev
	$(BIN)/nbdev-test --n-workers 1 --timing

# Two files of tests at a time, each with half of the threads
pytest: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --ignore tests/browser tests

# N mutated files of all kinds; other ones each time, or those of SEED
fuzz: install-dev
	$(BIN)/python tests/fuzz.py $(or $(N),10000) $(SEED)

lint: install-dev
	$(BIN)/ruff check cargan nbs tests tools benchmarks setup.py run.py

types: install-dev
	$(BIN)/mypy

docs: install-dev
	$(BIN)/python tools/docs.py

# The site that make docs has built, and chapters in JupyterLab, in Chromium; the live page alone, as
# it plays and records
browser: install-dev
	CARGAN_BROWSER=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile \
		--ignore tests/browser/test_live.py tests/browser
	CARGAN_BROWSER=1 $(BIN)/python -m pytest -q tests/browser/test_live.py

# The main line is committed with its outputs: run it and keep them
outputs: install-dev
	$(BIN)/python tools/docs.py --in-place $(patsubst nbs/%.ipynb,%,$(wildcard nbs/[0-9]*.ipynb))
	$(BIN)/nbdev-clean

lab: install-dev
	$(BIN)/jupyter lab nbs

release: install-dev
	$(BIN)/python tools/release.py

clean:
	rm -rf .venv _docs _proc _proc_run build dist *.egg-info .ruff_cache .mypy_cache demo.png
