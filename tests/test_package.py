"The package as it is shipped, the shape of its code, and the shape of the course"
import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
import textwrap
import tokenize
import zipfile
from configparser import ConfigParser
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from statistics import median

import nbformat
import pytest
from docs import edited, join_promise
from kept import code_hash
from readme import readme

ROOT = Path(__file__).parent.parent
LINE = sorted((ROOT/'nbs').glob('[0-9]*.ipynb'))                  # the main line, in order
WORKSHOP = sorted((ROOT/'nbs'/'workshop').glob('*/*.ipynb'))
PAGES = LINE + WORKSHOP
DISTRIBUTION = re.search('^name = "(.*)"', (ROOT/'pyproject.toml').read_text(), re.M)[1]
pages = pytest.mark.parametrize('path', PAGES, ids=lambda p: p.relative_to(ROOT/'nbs').stem)


def notebook(path): return json.loads(Path(path).read_text(encoding='utf-8'))
def source(cell): return ''.join(cell['source'])
def texts(path, kind): return [source(c) for c in notebook(path)['cells'] if c['cell_type'] == kind]
def has_flag(text, *flags): return re.search(rf"^#\|\s*({'|'.join(flags)})\b", text, re.M)


# The wheel

@pytest.fixture(scope='session')
def wheel(tmp_path_factory):
    "Built from a copy: setuptools writes into the tree it builds from"
    copy, out = tmp_path_factory.mktemp('copy'), tmp_path_factory.mktemp('wheel')
    shutil.copytree(ROOT/'cargan', copy/'cargan', ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copytree(ROOT/'nbs', copy/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    for name in 'setup.py settings.ini pyproject.toml MANIFEST.in README.md LICENSE'.split():
        shutil.copy(ROOT/name, copy)
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation',
                    '-w', out, copy], check=True)
    return next(out.glob('*.whl'))


def test_wheel_holds_everything(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for p in (ROOT/'cargan').rglob('*.py'): assert p.relative_to(ROOT).as_posix() in names
    assert 'cargan/pretrained/small.safetensors' in names
    assert sum(n.startswith('cargan/pretrained/clips/') for n in names) == 13
    assert (ROOT/'cargan'/'pretrained'/'small.safetensors').stat().st_size < 25e6
    for p in LINE: assert f'cargan/notebooks/{p.name}' in names
    assert wheel.stat().st_size < 40e6


def test_the_course_comes_out_of_the_wheel(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path/'site')
    (tmp_path/'run.py').write_text('from cargan.deploy.course import cargan_course\n'
                                   'cargan_course()\n')
    def copy(): return subprocess.run([sys.executable, 'run.py', 'here'], cwd=tmp_path,
                                      capture_output=True, text=True,
                                      env={'PYTHONPATH': str(tmp_path/'site'), 'PATH': ''})
    assert copy().returncode == 0
    made = tmp_path/'here'
    assert {p.name for p in LINE} < {p.name for p in made.iterdir()} and (made/'images').is_dir()
    again = copy()
    assert again.returncode == 2 and 'is not empty' in again.stderr


def test_wheel_metadata(wheel):
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    cfg = ini['DEFAULT']
    z = zipfile.ZipFile(wheel)
    meta = z.read(next(n for n in z.namelist() if n.endswith('METADATA'))).decode()
    entry = z.read(next(n for n in z.namelist() if n.endswith('entry_points.txt'))).decode()
    assert f"Summary: {cfg['description']}" in meta and 'Requires-Dist: fastai' in meta
    for line in filter(None, cfg['console_scripts'].split('\n')):
        assert line in entry.replace(' = ', '=')


def test_wheel_runs_elsewhere(wheel, tmp_path):
    "Unpacked into an empty folder and run from another one, it finds its own bundle"
    zipfile.ZipFile(wheel).extractall(tmp_path/'site')
    code = ("import cargan; from cargan.deploy.translate import Translator, shipped_clips; "
            "t = Translator.from_pretrained()(shipped_clips()['tuba']); "
            "print(cargan.__file__, t.label)")
    out = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
                         env={'PYTHONPATH': str(tmp_path/'site'), 'PATH': ''})
    assert out.returncode == 0, out.stderr
    assert out.stdout.split() == [str(tmp_path/'site'/'cargan'/'__init__.py'), 'tuba']


def test_painting_needs_no_learner():
    "fastai's training, and scikit-learn with it, would be a quarter of the wait for a picture"
    code = ("import sys, cargan.deploy.translate; "
            "print({'fastai.learner', 'sklearn'} & set(sys.modules))")
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == 'set()'


def test_a_namesake_is_told(tmp_path):
    "The other project's metadata beside ours; nothing is said of ours under its former name"
    info = tmp_path/'cargan-0.0.3.dist-info'
    info.mkdir()
    for summary, told in (('Autoregressive voices', True), ('... the CAR-GAN paper ...', False)):
        (info/'METADATA').write_text(f'Name: cargan\nVersion: 0.0.3\nSummary: {summary}\n')
        out = subprocess.run([sys.executable, '-c', 'import cargan.core'], cwd=tmp_path,
                             env={'PYTHONPATH': f'{tmp_path}:{ROOT}', 'PATH': ''},
                             capture_output=True, text=True)
        assert out.returncode == 0
        assert ('another project named cargan' in out.stderr) == told


# The course

@pages
def test_page_begins(path):
    "Title, promise and a link to Colab; a page that asks has folded answers and solutions that run"
    text, code = '\n'.join(texts(path, 'markdown')), texts(path, 'code')
    assert re.match(r'# \S.*\n\n> \S', texts(path, 'markdown')[0]), 'title and promise'
    assert 'https://colab.research.google.com/' in text
    assert path.relative_to(ROOT).as_posix() in text, 'the link to Colab leads elsewhere'
    if re.search('^#+ (Check yourself|Exercises)', text, re.M): assert '<details>' in text
    if re.search('^#+ Exercises', text, re.M) and path in WORKSHOP:
        assert any('Solution' in c and not has_flag(c, 'eval: false') for c in code)


@pytest.mark.parametrize('path', LINE, ids=lambda p: p.stem)
def test_a_chapter_lets_the_reader_write(path):
    "A stub whose check fails, a solution that passes it; a slider; three exercises, folded answers"
    text, code = '\n'.join(texts(path, 'markdown')), texts(path, 'code')
    assert '### Your turn' in text or '## Your turn' in text
    stubs = [c for c in code if re.search(r'^(    )?def \w+\(.*\): \.\.\.', c, re.M)]
    assert stubs and any(c.startswith('def check') or '\ndef check' in c for c in code)
    solved = [c for c in notebook(path)['cells'] if re.search(
        r"^assert check\(.*\) == 'right'", ''.join(c['source']), re.M)]
    assert solved, 'the solution runs as a test'
    for cell in solved:
        assert cell['metadata']['jupyter']['source_hidden'], 'it is open in Jupyter'
        assert cell['source'][0] == '#| hide\n', 'it is open on the site'
    for answer in re.findall(r'</summary>([^\n][^<]*)', text):
        assert not re.search(r'[`*$]|\]\(', answer), f'Jupyter shows it raw: {answer}'
    assert any(re.search(r'^@?interact\(', c, re.M) for c in code)
    for n in (1, 2, 3): assert text.count(f"\n{n}. {'★'*n} (") == 1, 'graded, with minutes'
    assert text.count('<details>') == text.count('</details>') >= 5
    for block in re.findall(r'```python\n(.*?)```', text, re.S): ast.parse(textwrap.dedent(block))
    assert '*Next: ' in text or path == LINE[-1]


def test_the_site_has_the_whole_promise(tmp_path):
    "nbdev takes one line; the page data/sounds has two"
    page = shutil.copy(ROOT/'nbs'/'workshop'/'data'/'sounds.ipynb', tmp_path)
    before = texts(page, 'markdown')[0]
    with edited(page) as nb: join_promise(nb)
    title, promise = texts(page, 'markdown')[0].split('\n\n> ')
    assert before.count('\n> ') == 2 and '\n' not in promise
    assert promise.split() == before.replace('\n> ', ' ').split()[len(title.split()):]


@pages
def test_page_installs_on_colab(path):
    "Its first code does nothing elsewhere"
    first = next(c for c in texts(path, 'code') if 'default_exp' not in c)
    assert "if 'google.colab' in str(get_ipython()):" in first and has_flag(first, 'hide')
    assert f'{DISTRIBUTION}[' in first and 'git+https://github.com/cargan/cargan' in first


@pages
def test_page_is_clean(path):
    nb, text = notebook(path), path.read_text(encoding='utf-8')
    assert 'widgets' not in nb['metadata']
    assert path.stat().st_size < 600_000
    assert not re.search(r'/(home|Users|root|work|tmp)/\w', text), "a machine's path"
    outputs = [o for c in nb['cells'] if c['cell_type'] == 'code' for o in c['outputs']]
    assert not [o for o in outputs if o['output_type'] == 'error']


@pages
def test_imports_have_their_own_cells(path):
    "nbdev runs each cell with an import again, alone, when it makes the docs"
    for text in texts(path, 'code'):
        if has_flag(text, 'exports?', 'eval: false'): continue
        imports = [isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(text).body]
        assert all(imports) or not any(imports), text[:80]


def measured(path):
    """Words of all text, folded too; code cells, the median and the greatest number of their lines;
    stubs, sliders, exercises; seconds of the run that made the outputs, two chapters at a time"""
    text, code = texts(path, 'markdown'), texts(path, 'code')
    seen = [re.sub(r'<[^>]*>|\]\([^)]*\)', ' ', t) for t in text]
    lines = [len(re.findall(r'^.*\S', t, re.M)) for t in code]
    def count(pattern, cells): return sum(len(re.findall(pattern, t, re.M)) for t in cells)
    return dict(words=sum(len(t.split()) for t in seen), cells=len(lines), median=median(lines),
                longest=max(lines), stubs=count(r'^(?:    )?def \w+\(.*\): \.\.\.', code),
                sliders=count(r'^@?interact\(', code), exercises=count(r'^\d\. ★', text),
                seconds=notebook(path)['metadata'].get('seconds', 0))


def test_the_main_line_is_short():
    "The limits of a chapter, and of the whole; pytest shows the table where one is passed"
    limits = dict(words=(700, 1200), cells=(1, 25), median=(0, 5), longest=(1, 25), stubs=(1, 9),
                  sliders=(1, 9), exercises=(3, 9))
    rows = {path.stem: measured(path) for path in LINE}
    print('chapter'.ljust(20), *(f'{name:>9}' for name in rows[LINE[0].stem]), '  passed')
    passed = []
    for chapter, m in rows.items():
        here = [k for k, (low, high) in limits.items() if not low <= m[k] <= high]
        print(chapter.ljust(20), *(f'{n:9}' for n in m.values()), ' ', *here)
        passed += [f'{chapter}: {k}' for k in here]
    words = sum(m['words'] for m in rows.values())
    print(f"{words} words, {sum(m['seconds'] for m in rows.values())} seconds")
    assert LINE and not passed and words <= 14_000


@pytest.mark.parametrize('path', LINE, ids=lambda p: p.stem)
def test_the_main_line_has_outputs(path):
    "It is read where it is found, without being run; cells that only define or assert show nothing"
    cells = [c for c in notebook(path)['cells'] if c['cell_type'] == 'code']
    assert any('image/png' in o.get('data', ()) for c in cells for o in c['outputs'])


@pytest.mark.parametrize('path', LINE, ids=lambda p: p.stem)
def test_the_outputs_are_those_of_the_code(path):
    "`make outputs` stamps a page with its code's hash"
    nb = nbformat.read(path, as_version=4)
    assert nb.metadata.get('ran') == code_hash(nb), 'stale: run make outputs'


def listed(text): return sorted(re.findall(r'\b(?:workshop/\w+/\w+|\d\d_\w+)\.ipynb', text))


def test_index_and_sidebar_list_every_page():
    there = sorted(p.relative_to(ROOT/'nbs').as_posix() for p in PAGES)
    in_index = listed('\n'.join(texts(ROOT/'nbs'/'index.ipynb', 'markdown')))
    assert sorted(set(in_index)) == there # one may be named twice
    assert listed((ROOT/'_quarto.yml').read_text(encoding='utf-8')) == there


def test_readme_is_the_index():
    assert (ROOT/'README.md').read_text(encoding='utf-8') == readme()


# The code

def test_messages_install_ours():
    "The name of the package is that of another project on the index"
    for path in sorted((ROOT/'cargan').rglob('*.py')):
        for name in re.findall(r"pip install '?([\w-]+)\[", path.read_text(encoding='utf-8')):
            assert name == DISTRIBUTION, path.name


FOLDERS = ['core', 'data', 'models', 'training', 'evaluation', 'deploy', 'all']
FILES = {'.'.join(p.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): p
         for p in sorted((ROOT/'cargan').rglob('*.py')) if p.name != '_modidx.py'}
TREES = {name: ast.parse(p.read_text(encoding='utf-8')) for name, p in FILES.items()}
MODULES = [name for name, p in FILES.items() if p.name != '__init__.py']


def rank(module): return FOLDERS.index(module.split('.')[1]) if '.' in module else -1


def imported(module):
    "The modules of the package that `module` imports, at its head or inside functions"
    package = module if FILES[module].name == '__init__.py' else module.rpartition('.')[0]
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import): found |= {a.name for a in node.names}
        if isinstance(node, ast.ImportFrom):
            base = resolve_name('.'*node.level + (node.module or ''), package)
            found |= {name if (name := f'{base}.{a.name}') in FILES else base for a in node.names}
    return found & FILES.keys()


GRAPH = {module: imported(module) for module in FILES}


def test_imports_are_understood():
    assert 'cargan.core' in GRAPH['cargan.data.audio']              # from ..core import
    assert 'cargan.data.audio' in GRAPH['cargan.data.pairs']        # from .audio import
    assert sum(map(len, GRAPH.values())) > 50


def test_imports_point_one_way():
    up = [f'{m} imports {n}' for m, ns in GRAPH.items() for n in sorted(ns) if rank(n) > rank(m)]
    assert not up, '\n'.join(up)


def test_imports_have_no_circle():
    list(TopologicalSorter(GRAPH).static_order())   # raises, and names the circle


def test_modules_are_short():
    lines = {m: len(FILES[m].read_text(encoding='utf-8').splitlines()) for m in MODULES}
    assert not {m: n for m, n in lines.items() if n > 400}


def is_all(node):
    "Is this the assignment of `__all__`?"
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == '__all__'
                                                for t in node.targets)


@pytest.mark.parametrize('module', FILES)
def test_lines_are_short(module):
    "At most 100 columns, except in `__all__`, which nbdev writes"
    lines = FILES[module].read_text(encoding='utf-8').splitlines()
    for n in filter(is_all, TREES[module].body):
        lines[n.lineno - 1:n.end_lineno] = ['']*(n.end_lineno - n.lineno + 1)
    assert not {i: line for i, line in enumerate(lines, 1) if len(line) > 100}


def exported(module):
    "The names in `__all__`"
    lists = [n.value for n in filter(is_all, TREES[module].body)]
    return {name for value in lists if isinstance(value, ast.List) # `cargan.all` computes its own
            for name in ast.literal_eval(value)}


def test_names_and_modules_differ():
    "With `from cargan.all import *`, one of the two would hide the other"
    modules = {m.rpartition('.')[2] for m in MODULES} | set(FOLDERS)
    same = [f'{m}: {name}' for m in MODULES for name in sorted(exported(m) & modules)]
    assert sum(len(exported(m)) for m in MODULES) > 200 and not same, same


def is_patched(f): return any(ast.unparse(d).startswith('patch') for d in f.decorator_list)
def is_private(name): return name.startswith('_') and not name.startswith('__')


def classes(module):
    "The nodes of each class of a module: its own, and those of what `@patch` adds to it"
    found = {n.name: [n] for n in TREES[module].body if isinstance(n, ast.ClassDef)}
    for n in TREES[module].body:
        if isinstance(n, ast.FunctionDef) and is_patched(n):
            found.setdefault(ast.unparse(n.args.args[0].annotation), []).append(n)
    return found


def private_names(node):
    "Private names that `node` defines as functions or reaches as attributes"
    for n in ast.walk(node):
        if isinstance(n, ast.FunctionDef) and is_private(n.name): yield n.name
        if isinstance(n, ast.Attribute) and is_private(n.attr): yield n.attr


def is_fastai(cls): return cls.__module__.startswith('fastai')


def test_no_private_name_of_fastai():
    "None is imported, none is reached through a learner; those of the training loop are nowhere"
    loop = {'_do_one_batch', '_with_events', '_do_fit', '_do_epoch', '_do_grad_opt', '_split_hyper'}
    used = []
    for module, tree in TREES.items():
        used += [f'{module}: {name}' for name in private_names(tree) if name in loop]
        for n in ast.walk(tree):
            if isinstance(n, ast.ImportFrom) and (n.module or '').startswith('fastai'):
                used += [f'{module}: {a.name}' for a in n.names if is_private(a.name)]
            if isinstance(n, ast.Attribute) and is_private(n.attr):
                text = ast.unparse(n)
                if re.search(r'\blearn\._\w+$', text): used.append(f'{module}: {text}')
    assert not used, '\n'.join(used)


@pytest.mark.parametrize('module', MODULES)
def test_nothing_private_of_a_fastai_class(module):
    "A class neither overrides nor calls what is private to its base; no such name is patched on"
    used = []
    for name, nodes in classes(module).items():
        cls = getattr(importlib.import_module(module), name)
        theirs = {a for base in filter(is_fastai, cls.__mro__) for a in vars(base)}
        mine = {a for n in nodes for a in private_names(n)}
        used += [f'{name}.{a}' for a in sorted(mine & theirs)]
        if is_fastai(cls): used += [f'{name}.{n.name}' for n in nodes if is_private(n.name)]
    assert not used


def public_functions(module):
    "Name and node of a module's public functions and methods, `__init__` and `__call__` too"
    def of(body, where=''):
        for n in body:
            if not isinstance(n, (ast.FunctionDef, ast.ClassDef)): continue
            if n.name.startswith('_') and n.name not in ('__init__', '__call__'): continue
            if isinstance(n, ast.FunctionDef): yield where + n.name, n
            else: yield from of(n.body, f'{n.name}.')
    return of(TREES[module].body)


def parameters(name, f):
    "The parameters that a caller gives"
    args = f.args.posonlyargs + f.args.args
    static = any(ast.unparse(d) == 'staticmethod' for d in f.decorator_list)
    if ('.' in name and not static) or is_patched(f): args = args[1:]
    return args + f.args.kwonlyargs


def returns_something(node):
    "Is there a `return` with a value, but for those of functions inside?"
    if isinstance(node, ast.Return): return node.value is not None
    inside = [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.FunctionDef)]
    return any(map(returns_something, inside))


def check_none(offenders):
    "Fail with the number of offenders in each module, then each by name"
    if not any(offenders.values()): return
    count = {m: sum(len(names) for _, names in found) for m, found in offenders.items() if found}
    rows = [f'{n:5} {m}' for m, n in count.items()]
    rows += [f"{m}.{name}({', '.join(a)})" for m, found in offenders.items() for name, a in found]
    pytest.fail('\n'.join([f'{sum(count.values())} in all', *rows]))


def untyped(name, f):
    "Parameters without an annotation, and `return` where what is returned has none"
    missing = [a.arg for a in parameters(name, f) if not a.annotation]
    return missing + ['return']*(returns_something(f) and not f.returns)


def test_public_parameters_are_typed():
    found = {m: [(name, untyped(name, f)) for name, f in public_functions(m)] for m in MODULES}
    check_none({m: [(name, a) for name, a in rows if a] for m, rows in found.items()})


def later_names(module):
    "Names in quoted annotations that the module defines further down"
    known, found = set(), []
    defined = {getattr(node, 'name', None) for node in TREES[module].body}
    for node in TREES[module].body:
        known.add(getattr(node, 'name', None))
        notes = [n.annotation if isinstance(n, ast.arg) else n.returns for n in ast.walk(node)
                 if isinstance(n, (ast.arg, ast.FunctionDef))]
        quoted = [n.value for note in filter(None, notes) for n in ast.walk(note)
                  if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        found += [n for q in quoted for n in re.findall(r'\w+', q) if n in defined - known]
    return found


def test_annotations_name_what_stands_above():
    "The site documents a class where it stands on its page: names from further down are not there"
    assert not {m: names for m in MODULES if (names := later_names(m))}


def comments(path):
    "The numbers of the lines with a comment"
    with tokenize.open(path) as f: tokens = list(tokenize.generate_tokens(f.readline))
    return {t.start[0] for t in tokens if t.type == tokenize.COMMENT}


def test_public_parameters_have_docments():
    "Each parameter stands on a line with a comment; several may share it"
    found = {}
    for m in MODULES:
        lines = comments(FILES[m])
        rows = [(name, [a.arg for a in parameters(name, f) if a.end_lineno not in lines])
                for name, f in public_functions(m)]
        found[m] = [(name, a) for name, a in rows if a]
    check_none(found)
