"""The site: run copies of the notebooks, let nbdev process them, let smalldocs render what `_quarto.yml` describes.

The notebooks are committed without outputs, so that the pictures come from a run; cells flagged `slow` or `cuda` are not
run and show the outputs they were saved with.
"""
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

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


def run_chapters(paths):
    "All chapters, two at a time with half of the threads each: small networks gain little from the other half"
    os.environ['OMP_NUM_THREADS'] = str(max(1, int(os.environ.get('OMP_NUM_THREADS') or os.cpu_count())//2))
    def one(path):
        start = time.time()
        execute(path)
        print(f'{time.time() - start:6.1f} s  {path.relative_to(RUN)}', flush=True)
    with ThreadPoolExecutor(2) as pool:
        jobs = {pool.submit(one, path): path for path in paths}
        for job in as_completed(jobs):
            try: job.result()
            except Exception as e:
                pool.shutdown(wait=False, cancel_futures=True)
                sys.exit(f'{jobs[job].relative_to(RUN)} failed\n{e}')


def source_pages(site):
    "The package's modules as pages of the site, so that links to source work wherever the site is"
    for py in (ROOT/'cargan').rglob('*.py'):
        page = site/'source'/py.relative_to(ROOT).with_suffix('.html')
        page.parent.mkdir(parents=True, exist_ok=True)
        style = HtmlFormatter(full=True, title=str(py.relative_to(ROOT)), linenos='table', lineanchors='L', anchorlinenos=True)
        page.write_text(highlight(py.read_text(encoding='utf-8'), PythonLexer(), style), encoding='utf-8')


def mend_links(site):
    "nbdev links to a repository's source and to chapters without their numbers: lead both to pages of the site"
    pages = [p for p in site.rglob('*.html') if 'source' not in p.relative_to(site).parts]
    numbered = {p.with_name(re.sub(r'^\d+_', '', p.name)): p.name for p in pages}
    for page in pages:
        def to_chapter(m):
            name = numbered.get((page.parent/m[1]/m[2]).resolve())
            return f'href="{m[1]}{name}{m[3] or ""}"' if name else m[0]
        text = re.sub(r'blob/main/(cargan/[\w/]+)\.py#L(\d+)"', r'source/\1.html#L-\2"', page.read_text(encoding='utf-8'))
        page.write_text(re.sub(r'href="((?:[\w.]+/)*)([a-z]\w*\.html)(#[^"]*)?"', to_chapter, text), encoding='utf-8')


def check_links(site):
    "Stop where a page links to a page or a place that is not there"
    names = {p: set(re.findall(r'(?:id|name)="([^"]+)"', p.read_text(encoding='utf-8'))) for p in site.resolve().rglob('*.html')}
    for page in names:
        for link in re.findall(r'href="([^":]+)"', page.read_text(encoding='utf-8')):
            path, _, place = link.partition('#')
            target = (page.parent/path).resolve() if path else page
            if not target.exists() or (place and target in names and place not in names[target]):
                sys.exit(f'{page.relative_to(site.resolve())}: links to {link}, which is not there')


def main():
    if sys.version_info < (3, 11): sys.exit('make docs needs Python 3.11 or 3.12: smalldocs is not there for older ones')
    from nbdev.serve import proc_nbs
    os.chdir(ROOT)
    os.environ.pop('MPLBACKEND', None)   # the kernel's inline backend puts the figures into the notebook
    os.environ['FASTPROGRESS_NO_BAR'] = '1'
    for d in (RUN, ROOT/'_proc', ROOT/'_docs'): shutil.rmtree(d, ignore_errors=True)
    shutil.copytree(ROOT/'nbs', RUN, ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    run_chapters(sorted(RUN.rglob('*.ipynb'), key=lambda p: (p.stem != 'train', p.name))) # the longest first
    proc_nbs(path=str(RUN), n_workers=2, force=True)
    shutil.copy(ROOT/'_quarto.yml', ROOT/'_proc'/'_quarto.yml')
    shutil.rmtree(RUN)
    subprocess.run([Path(sys.executable).parent/'smalldocs', 'render', '_proc'], check=True)
    shutil.move(ROOT/'_proc'/'_docs', ROOT/'_docs')
    source_pages(ROOT/'_docs')
    mend_links(ROOT/'_docs')
    check_links(ROOT/'_docs')
    print(f"the site is at {ROOT/'_docs'/'index.html'}")


if __name__ == '__main__': main()
