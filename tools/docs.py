"""The site: run copies of the notebooks, let nbdev process them, let smalldocs render what `_quarto.yml` describes.

The notebooks are committed without outputs, so that the pictures come from a run; cells flagged `slow` or `cuda` are not
run and show the outputs they were saved with.
"""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
RUN = ROOT/'_proc_run'
SKIP = 'skip-execution'


def execute(path):
    "Run a notebook in place; the flagged cells keep their saved outputs"
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        flags = [l for l in cell.source.splitlines() if l.startswith('#|')]
        if any(f.split()[1:2] in (['slow'], ['cuda']) or f.split()[1:] == ['eval:', 'false'] for f in flags): cell.metadata.tags = [SKIP]
    client = NotebookClient(nb, timeout=900, kernel_name='python3', resources={'metadata': {'path': str(path.parent)}},
                            skip_cells_with_tag=SKIP, allow_errors=False)
    client.execute()
    nb.metadata.pop('widgets', None)
    nbformat.write(nb, path)


def main():
    if sys.version_info < (3, 11): sys.exit('make docs needs Python 3.11 or 3.12: smalldocs is not there for older ones')
    from nbdev.serve import proc_nbs
    os.chdir(ROOT)
    os.environ.pop('MPLBACKEND', None)   # the kernel's inline backend puts the figures into the notebook
    os.environ['FASTPROGRESS_NO_BAR'] = '1'
    for d in (RUN, ROOT/'_proc', ROOT/'_docs'): shutil.rmtree(d, ignore_errors=True)
    shutil.copytree(ROOT/'nbs', RUN, ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    for path in sorted(RUN.rglob('*.ipynb'), key=lambda p: p.name):
        start = time.time()
        execute(path)
        print(f'{time.time() - start:6.1f} s  {path.relative_to(RUN)}', flush=True)
    proc_nbs(path=str(RUN), n_workers=2, force=True)
    shutil.copy(ROOT/'_quarto.yml', ROOT/'_proc'/'_quarto.yml')
    shutil.rmtree(RUN)
    subprocess.run([Path(sys.executable).parent/'smalldocs', 'render', '_proc'], check=True)
    shutil.move(ROOT/'_proc'/'_docs', ROOT/'_docs')
    print(f"the site is at {ROOT/'_docs'/'index.html'}")


if __name__ == '__main__': main()
