"""Which pages are kept: their outputs were made by the code, the package and the versions that are
here. A page is stamped when it is run in place: `ran` is the hash of its cells, `package` that of
what they stand on."""
import ast
import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
WRITTEN = 'pretrained/strip' # by the chapters themselves
TABLES = 'course_table' # what reads the package's tables
COMMANDS = 'cargan.deploy.cli' # import what they run when they run, which is not when others do


def code_hash(nb):
    "Of all code cells without their directives"
    cells = [c.source for c in nb.cells if c.cell_type == 'code']
    return short('\0'.join(re.sub(r'(?m)^#\|.*\n?', '', source) for source in cells).encode())


def short(data): return hashlib.sha256(data).hexdigest()[:16]


def module_file(name):
    "Of a module of the package; None where there is none"
    path = ROOT.joinpath(*name.split('.'))
    files = path/'__init__.py', path.with_suffix('.py')
    return next((f for f in files if f.exists()), None) if name.split('.')[0] == 'cargan' else None


def imported(code, package='', late=True):
    "The modules of the package that a piece of code imports; `late`: inside functions, too"
    found, tree = set(), ast.parse(code)
    for node in ast.walk(tree) if late else tree.body:
        names = []
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        if isinstance(node, ast.ImportFrom):
            above = package.split('.')[:len(package.split('.')) + 1 - node.level]
            home = '.'.join([*(above if node.level else []), *filter(None, [node.module])])
            names = [home, *(f'{home}.{a.name}' for a in node.names)]
        found |= {n for n in names if module_file(n)}
    return found


def stands_on(nb):
    "The files of the package that a notebook imports, with all that these import"
    code = [re.sub(r'(?m)^\s*[%!].*$', 'pass', c.source) for c in nb.cells if c.cell_type == 'code']
    files, new = {}, set().union(*map(imported, code))
    called = {COMMANDS} & new
    while new:
        name = new.pop()
        files[name] = module_file(name)
        is_package = files[name].name == '__init__.py'
        package = name if is_package else name.rpartition('.')[0]
        above = {'.'.join(name.split('.')[:n]) for n in range(1, name.count('.') + 1)}
        text = files[name].read_text(encoding='utf-8')
        inside = imported(text, package, late=name != COMMANDS or name in called)
        new |= (inside | {a for a in above if module_file(a)}) - set(files)
    return sorted(files.values())


def does(path):
    "What a module does: its code without comments and docstrings"
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef): continue
        if ast.get_docstring(node) is not None: del node.body[0]
    return ast.dump(tree).encode()


def data_of(nb):
    "The files that the package carries for a page; tables only where it asks for them"
    asks = any(TABLES in c.source for c in nb.cells if c.cell_type == 'code')
    return sorted(p for p in (ROOT/'cargan'/'pretrained').rglob('*') if p.is_file()
                  and WRITTEN not in p.as_posix() and (asks or p.suffix != '.csv'))


def package_hash(nb):
    "Of the modules, the data that the package carries, and the versions of what it needs"
    found = [(p, does(p)) for p in stands_on(nb)]
    found += [(p, p.read_bytes()) for p in [*data_of(nb), ROOT/'constraints.txt']]
    lines = [f'{p.relative_to(ROOT).as_posix()} {short(data)}' for p, data in found]
    return short('\0'.join(lines).encode())


def stamp(nb):
    "Write beside the outputs what made them"
    nb.metadata['ran'], nb.metadata['package'] = code_hash(nb), package_hash(nb)


def is_kept(nb):
    "Are code and package those of its stamp? Most pages have none, which is seen at once"
    if nb.metadata.get('ran') != code_hash(nb): return False
    return nb.metadata.get('package') == package_hash(nb)
