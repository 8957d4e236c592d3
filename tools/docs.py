"""The site: run copies of the notebooks, let nbdev process them, let smalldocs render them.

A page is run unless it is kept: its saved outputs were made by the code and the package that are
here (`kept`). `--all` runs those, too. Cells flagged `slow` or `cuda` are not run and show the
outputs they were saved with. With PAGES, such as `workshop/core/core`, the site has those and the
index alone, and links are not checked. `--in-place` writes the outputs of PAGES into the notebooks
themselves and builds nothing.
"""
import argparse
import ast
import base64
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import live
import nbdev.showdoc
import nbformat
from kept import is_kept, stamp
from nbclient import NotebookClient
from nbdev.serve import proc_nbs
from npm import npm_package
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from showdoc import DocmentsTable

from cargan import _modidx

ROOT = Path(__file__).parent.parent
NBS, RUN, PROC, DOCS = (ROOT/name for name in ('nbs', '_proc_run', '_proc', '_docs'))
SKIP = 'skip-execution'
LONGEST = 'train', '10_training' # begin with them
LATE = '06_label' # looks at chapter 5's row of the strip, and is begun when that is there
EXPORTED = re.compile(r'#\|\s*exports?\s*$', re.M)
FLAGGED = re.compile(r'^#\|\s*(slow|cuda|eval:\s*false)\b', re.M)


# A saved widget is dead, and nbclient sometimes waits for ever where one is shown
STATIC = '''
import ipywidgets

def interact(f=None, **ranges):
    "Without a widget: what is decorated is called once, with its defaults"
    def once(g):
        g()
        return g
    return once if f is None else None

ipywidgets.interact = interact
'''


def without_widgets():
    "A folder of IPython's settings whose kernels show no sliders"
    folder = Path(tempfile.mkdtemp())
    startup = folder/'profile_default'/'startup'
    startup.mkdir(parents=True)
    (startup/'00_static.py').write_text(STATIC)
    return folder


def solutions(nb):
    "The code in the folded solutions of a chapter's exercises, as cells"
    text = '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown')
    _, found, exercises = text.rpartition('\n## Exercises\n')
    if not found: return []
    return [nbformat.v4.new_code_cell(textwrap.dedent(code))
            for code in re.findall(r'```python\n(.*?)```', exercises, re.S)]


@contextmanager
def edited(path):
    "A notebook to be changed, and written at the end"
    nb = nbformat.read(path, as_version=4)
    yield nb
    nbformat.write(nb, path)


def execute(path):
    "Run a notebook and its exercises' solutions in place, but for flagged cells; gives the seconds"
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if FLAGGED.search(cell.source): cell.metadata.tags = [SKIP]
    n = len(nb.cells)
    nb.cells += solutions(nb)
    client = NotebookClient(nb, timeout=900, kernel_name='python3', skip_cells_with_tag=SKIP,
                            allow_errors=False, resources={'metadata': {'path': str(path.parent)}})
    start = time.time()
    client.execute()
    seconds = time.time() - start
    nb.metadata['seconds'] = round(seconds)
    del nb.cells[n:]
    for cell in nb.cells: cell.metadata.pop('tags', None)
    nb.metadata.pop('widgets', None)
    nbformat.write(nb, path)
    return seconds


def join_promise(nb):
    "nbdev takes the first line of what stands below a title; here it may have two"
    title, _, promise = nb.cells[0].source.partition('\n\n> ')
    nb.cells[0].source = title + '\n\n> ' + promise.replace('\n> ', ' ')


def definitions(code):
    "The lines at which a cell's public functions and classes begin, decorators included"
    return [min([d.lineno, *(x.lineno for x in d.decorator_list)]) - 1 for d in ast.parse(code).body
            if isinstance(d, ast.FunctionDef | ast.ClassDef) and not d.name.startswith('_')]


def one_by_one(nb):
    "An exported cell becomes one for each thing that it defines, so that its source stands with it"
    cells = []
    for cell in nb.cells:
        lines = cell.source.split('\n')
        starts = definitions(cell.source) if EXPORTED.match(cell.source) else []
        if not starts: cells.append(cell)
        for a, b in zip([1, *starts[1:]], [*starts[1:], None]) if starts else ():
            part = '\n'.join(['#| exports', *lines[a:b]]).rstrip()
            cells.append(nbformat.v4.new_code_cell(part))
    nb.cells = cells


def last_sentence(text):
    "Of a piece of Markdown, as plain text"
    text = re.sub(r'(?s)<details>.*?</details>|\$\$.*?\$\$|```.*?```', ' ', text)
    text = re.sub(r'(?m)^[#-].*$', ' ', text) # titles, lists
    text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', re.sub(r'[*`$]|\\\w+', '', text))
    return re.split(r'(?<=[.?!:]) (?=[A-Z])', ' '.join(text.split()))[-1].rstrip(':')


def alternative_texts(nb):
    "A picture that its cell does not describe (`fig-alt`) is described by the sentence before it"
    said = ''
    for cell in nb.cells:
        if cell.cell_type == 'markdown': said = last_sentence(cell.source) or said
        if not any('image/png' in o.get('data', ()) for o in cell.get('outputs', ())): continue
        if 'fig-alt' in cell.source: continue
        cell.source = f'#| fig-alt: {json.dumps("Picture: " + said)}\n{cell.source}'


def in_few_colours(im):
    "A picture as a small PNG, in the 256 colours that are least wrong: players keep their clothes'"
    few = im.convert('RGB').quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3,
                                     dither=Image.Dither.NONE)
    few.save(small := io.BytesIO(), 'png', optimize=True)
    return small.getvalue()


def shrink(nb, width=640):
    "Make the pictures in a notebook's outputs small enough to be committed"
    for output in (o for c in nb.cells for o in c.get('outputs', ())):
        png = output.get('data', {}).get('image/png')
        if not png: continue
        im = Image.open(io.BytesIO(base64.b64decode(png))).convert('RGB')
        if im.width > width: im = im.resize((width, round(im.height*width/im.width)), Image.LANCZOS)
        output['data']['image/png'] = base64.b64encode(in_few_colours(im)).decode()


def hide_places(nb):
    "No machine's folders in the outputs: what lies in the project or the home is named from there"
    for output in (o for c in nb.cells for o in c.get('outputs', ())):
        for kind, text in [('text', output.get('text'))] + list(output.get('data', {}).items()):
            if not isinstance(text, str) or kind.startswith('image/'): continue
            text = text.replace(f'{ROOT}/', '').replace(f'{Path.home()}/', '~/')
            if kind == 'text': output.text = text
            else: output.data[kind] = text


def keep_strip():
    "The rows that the chapters have painted here become those that are shipped"
    from cargan.deploy.course import Strip
    strip = Strip()
    strip.shipped.mkdir(exist_ok=True)
    for row in strip.own.glob('[a-z]*.png'): shutil.copy(row, strip.shipped)
    strip.show().savefig(drawn := io.BytesIO(), dpi=100)
    (NBS/'images'/'strip.png').write_bytes(in_few_colours(Image.open(drawn)))


def draw_strips(nb):
    "Chapters run two at a time: each strip as it is with the rows that were kept in the end"
    from cargan.deploy.course import Strip
    for cell in nb.cells:
        added = re.search(r"Strip\(\)\.add\('(\w+)'", cell.source)
        for output in cell.get('outputs', ()) if added else ():
            if 'image/png' not in output.get('data', {}): continue
            Strip().show(added[1]).savefig(drawn := io.BytesIO(), dpi=100, bbox_inches='tight')
            output['data']['image/png'] = base64.b64encode(drawn.getvalue()).decode()


def fold_sources(pages):
    "nbdev asks for open sources below the reference: closed ones"
    for page in pages.rglob('*.ipynb'):
        text = page.read_text(encoding='utf-8')
        text = text.replace('#| code-fold: show', '#| code-fold: true')
        page.write_text(text.replace('Exported source', 'Source'), encoding='utf-8')


def first_sentence(symbol):
    "What a docstring begins with, on one line of a table"
    text = ' '.join((inspect.getdoc(symbol) or '').split())
    return re.split(r'(?<=[^.][a-z)`])[.;] |: ', text)[0].replace('|', '\\|')


def api_page(page):
    "An index of all that the library exports, a table a module, written as a page"
    text = ['---', 'title: All functions and classes', '---', '']
    for module, found in sorted(_modidx.d['syms'].items()):
        tree = ast.parse(inspect.getsource(import_module(module)))
        patched = {f'{ast.unparse(d.args.args[0].annotation)}.{d.name}' for d in tree.body
                   if isinstance(d, ast.FunctionDef) and d.args.args and d.args.args[0].annotation}
        rows = []
        for name, (place, _) in sorted(found.items()):
            short = name.removeprefix(f'{module}.')
            if re.search(r'(?:^|\.)_', short) or ('.' in short and short not in patched): continue
            symbol = attrgetter(short)(import_module(module))
            rows.append(f'| [`{short}`]({place}) | {first_sentence(symbol)} |')
        if rows: text += [f'## {module}', '', '| name | what it is |', '|---|---|', *rows, '']
    page.write_text('\n'.join(text), encoding='utf-8')


def turn(path):
    "When a page is run, to sort by"
    return path.stem not in LONGEST, '08_z' if path.stem == LATE else path.name


def run_pages(paths, root):
    "Two at a time with half of the threads each: small networks gain little from the other half"
    threads = int(os.environ.get('OMP_NUM_THREADS') or os.cpu_count())
    os.environ['OMP_NUM_THREADS'] = str(max(1, threads//2))
    os.environ.pop('MPLBACKEND', None)   # the kernel's own puts the figures into the notebook
    os.environ['FASTPROGRESS_NO_BAR'] = '1'
    os.environ['IPYTHONDIR'] = str(without_widgets())
    def one(path):
        print(f'{execute(path):6.1f} s  {path.relative_to(root)}', flush=True)
    start = time.time()
    with ThreadPoolExecutor(2) as pool:
        jobs = {pool.submit(one, path): path for path in sorted(paths, key=turn)}
        for job in as_completed(jobs):
            try: job.result()
            except Exception as e:
                pool.shutdown(wait=False, cancel_futures=True)
                sys.exit(f'{jobs[job].relative_to(root)} failed\n{e}')
    print(f'{time.time() - start:6.1f} s  in all', flush=True)


def source_pages(site):
    "The modules as pages of the site, so that links to source work wherever the site is"
    for py in (ROOT/'cargan').rglob('*.py'):
        page = site/'source'/py.relative_to(ROOT).with_suffix('.html')
        page.parent.mkdir(parents=True, exist_ok=True)
        style = HtmlFormatter(full=True, title=str(py.relative_to(ROOT)), linenos='table',
                              lineanchors='L', anchorlinenos=True)
        text = highlight(py.read_text(encoding='utf-8'), PythonLexer(), style)
        page.write_text(text, encoding='utf-8')


def mend_links(site):
    "nbdev links to a repository's source and to chapters without their numbers: to pages here"
    numbered = {re.sub(r'^\d+_', '', p.name): p.name for p in site.glob('[0-9]*.html')}
    for page in site.rglob('*.html'):
        if page.relative_to(site).parts[0] == 'source': continue
        def to_chapter(m): return m[0].replace(m[2], numbered.get(m[2], m[2]))
        up = '../'*(len(page.relative_to(site).parts) - 1)
        text = page.read_text(encoding='utf-8')
        text = re.sub(r'blob/main/(cargan/[\w/]+)\.py#L(\d+)"', r'source/\1.html#L-\2"', text)
        text = re.sub(rf'href="({re.escape(up)})([a-z]\w*\.html)(?=["#])', to_chapter, text)
        # smalldocs renames links written in Markdown, not those in folded text, which is HTML
        text = re.sub(r'(<a href="[^":]+)\.ipynb(?=["#])', r'\1.html', text)
        page.write_text(text, encoding='utf-8')


KATEX = 'katex@0.16' # of npm; MIT licence, kept beside it
FROM_NET = re.compile(r'https://cdn\.jsdelivr\.net/npm/katex@[\d.]+/dist')


def vendor_katex(site):
    "Equations without a network: KaTeX out of its npm package, beside the pages"
    home = site/'site_libs'/'katex'
    try:
        with npm_package(KATEX) as package:
            for name in ('katex.min.css', 'katex.min.js', 'contrib/auto-render.min.js'):
                (home/name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(package/'dist'/name, home/name)
            (home/'fonts').mkdir()
            for font in (package/'dist'/'fonts').glob('*.woff2'): shutil.copy(font, home/'fonts')
            shutil.copy(package/'LICENSE', home)
    except (OSError, subprocess.CalledProcessError) as e:
        print(f'npm cannot fetch {KATEX} ({e}): equations will need a network', file=sys.stderr)
        return
    for page in site.rglob('*.html'):
        up = '../'*(len(page.relative_to(site).parts) - 1)
        text = page.read_text(encoding='utf-8')
        page.write_text(FROM_NET.sub(f'{up}site_libs/katex', text), encoding='utf-8')


def no_fonts_from_the_net(site):
    "The themes ask Google for theirs: the reader's own ones do"
    for css in site.rglob('*.css'):
        text = css.read_text(encoding='utf-8')
        mended = re.sub(r'@import\s+url\([^)]*fonts\.googleapis[^)]*\);?', '', text)
        if mended != text: css.write_text(mended, encoding='utf-8')


def check_links(site):
    "Stop where a page links to a page or a place that is not there"
    pages = {p: p.read_text(encoding='utf-8') for p in site.resolve().rglob('*.html')}
    places = {p: set(re.findall(r'(?:id|name)="([^"]+)"', text)) for p, text in pages.items()}
    for page, text in pages.items():
        for link in re.findall(r'href="([^":]+)"', text):
            path, _, place = link.partition('#')
            target = (page.parent/path).resolve() if path else page
            if not target.exists() or (place and target in places and place not in places[target]):
                sys.exit(f'{page.relative_to(site.resolve())}: links to {link}, which is not there')


def build(pages=(), run_all=False):
    "The whole site, or `pages` and the index; `run_all`: kept pages, too"
    for d in (RUN, PROC, DOCS): shutil.rmtree(d, ignore_errors=True)
    shutil.copytree(NBS, RUN, ignore=shutil.ignore_patterns('.ipynb_checkpoints', 'live'))
    found = sorted(RUN.rglob('*.ipynb'))
    wanted = {(RUN/p).with_suffix('.ipynb') for p in pages} | {RUN/'index.ipynb'}
    for p in found if pages else ():
        if p not in wanted: p.unlink()
    found = [p for p in found if p.exists()]
    kept = [] if run_all else [p for p in found if is_kept(nbformat.read(p, as_version=4))]
    print('kept as they are:', *sorted(p.stem for p in kept))
    run_pages(set(found) - set(kept), RUN)
    for p in found:
        with edited(p) as nb:
            join_promise(nb)
            one_by_one(nb)
            alternative_texts(nb)
    nbdev.showdoc.BasicMarkdownRenderer = DocmentsTable # in this process, so no other ones
    proc_nbs(path=str(RUN), n_workers=0, force=True)
    fold_sources(PROC)
    api_page(PROC/'api.qmd')
    shutil.copy(ROOT/'_quarto.yml', PROC/'_quarto.yml')
    shutil.rmtree(RUN)
    subprocess.run([Path(sys.executable).parent/'smalldocs', 'render', '_proc'], check=True)
    shutil.move(PROC/'_docs', DOCS)
    source_pages(DOCS)
    mend_links(DOCS)
    vendor_katex(DOCS)
    no_fonts_from_the_net(DOCS)
    if not pages:
        live.build(DOCS/'live')
        check_links(DOCS)
    print(f"the site is at {DOCS/'index.html'}")


def main():
    if sys.version_info < (3, 11):
        sys.exit('make docs needs Python 3.11 or later: smalldocs is not there for older ones')
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pages', nargs='*', help='pages under nbs, without .ipynb; all if none')
    parser.add_argument('--all', action='store_true', help='run kept pages, too')
    parser.add_argument('--in-place', action='store_true', help='run PAGES where they are')
    args = parser.parse_args()
    os.chdir(ROOT)
    if args.in_place:
        pages = [(NBS/p).with_suffix('.ipynb') for p in args.pages]
        run_pages(pages, NBS)
        for page in pages:
            with edited(page) as nb:
                draw_strips(nb)
                shrink(nb)
                hide_places(nb)
                stamp(nb)
        keep_strip()
    else: build(args.pages, args.all)


if __name__ == '__main__': main()
