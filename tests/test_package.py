"The package as it is shipped, and the shape of the course"
import ast
import json
import re
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((p for p in (ROOT/'nbs').rglob('*.ipynb') if p.name != 'index.ipynb' and '.ipynb_checkpoints' not in p.parts),
                  key=lambda p: p.name)
ORDER = ['data', 'models', 'training', 'evaluation', 'deploy']


def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']
def source(cell): return ''.join(cell['source'])


@pytest.fixture(scope='session')
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp('wheel')
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', out, ROOT], check=True)
    return next(out.glob('*.whl'))


def test_wheel_holds_everything(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for p in (ROOT/'cargan').rglob('*.py'): assert p.relative_to(ROOT).as_posix() in names
    assert 'cargan/pretrained/small.safetensors' in names
    assert sum(n.startswith('cargan/pretrained/clips/') for n in names) == 13
    assert (ROOT/'cargan'/'pretrained'/'small.safetensors').stat().st_size < 25e6


def test_wheel_metadata(wheel):
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    cfg = ini['DEFAULT']
    z = zipfile.ZipFile(wheel)
    meta = z.read(next(n for n in z.namelist() if n.endswith('METADATA'))).decode()
    entry = z.read(next(n for n in z.namelist() if n.endswith('entry_points.txt'))).decode().replace(' = ', '=')
    assert f"Summary: {cfg['description']}" in meta and 'Requires-Dist: fastai' in meta
    for line in filter(None, cfg['console_scripts'].split('\n')): assert line in entry


def test_wheel_runs_elsewhere(wheel, tmp_path):
    "Unpacked into an empty folder and run from another one, it finds its own bundle"
    zipfile.ZipFile(wheel).extractall(tmp_path/'site')
    code = ("import cargan, sys; from cargan.deploy.translate import Translator, shipped_clips; "
            "t = Translator.from_pretrained()(shipped_clips()['tuba']); print(cargan.__file__, t.label)")
    out = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
                         env={'PYTHONPATH': str(tmp_path/'site'), 'PATH': ''})
    assert out.returncode == 0, out.stderr
    assert out.stdout.startswith(str(tmp_path/'site'))


@pytest.mark.parametrize('path', CHAPTERS, ids=lambda p: p.stem)
def test_chapter_shape(path):
    cs = cells(path)
    first, text = source(cs[0]), '\n'.join(source(c) for c in cs if c['cell_type'] == 'markdown')
    assert re.match(r'# \S.*\n\n> \S', first), 'title and promise'
    for part in ('Open in Colab', '**You will learn**', '## Check yourself', '<details>', '## Exercises', '## Further reading'):
        assert part in text, part
    assert any('Solution' in source(c) for c in cs if c['cell_type'] == 'code'), 'a solution that runs'


@pytest.mark.parametrize('path', CHAPTERS, ids=lambda p: p.stem)
def test_chapter_is_clean(path):
    nb = json.loads(path.read_text(encoding='utf-8'))
    assert 'widgets' not in nb['metadata']
    for c in nb['cells']:
        flagged = re.search(r'^#\|\s*(slow|cuda)\b', source(c), re.M)
        if c['cell_type'] == 'code' and not flagged: assert not c['outputs'], source(c)[:80]
    assert not re.search(r'/(home|Users|root|work)/\w', path.read_text(encoding='utf-8')), "a machine's path"


@pytest.mark.parametrize('path', CHAPTERS, ids=lambda p: p.stem)
def test_imports_have_their_own_cells(path):
    "nbdev runs each cell with an import again, alone, when it makes the docs"
    for c in cells(path):
        if c['cell_type'] != 'code' or re.search(r'^#\|\s*(export|eval: false)', source(c), re.M): continue
        imports = [isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(source(c)).body]
        assert all(imports) or not any(imports), source(c)[:80]


def test_imports_point_up_the_page():
    "A module imports modules of earlier chapters"
    number, seen = {}, []
    later = {('cargan.data.pairs', 'cargan.data.store')}   # the one that hands on: `pairs_dls(cache='disk')`, inside the function
    for p in CHAPTERS:
        m = re.search(r'#\| ?default_exp (\S+)', '\n'.join(source(c) for c in cells(p)))
        if m: number['cargan.' + m[1]] = p.name
    for module, chapter in number.items():
        tree = ast.parse((ROOT/(module.replace('.', '/') + '.py')).read_text(encoding='utf-8'))
        imported = [resolve_name('.'*n.level + (n.module or ''), module.rpartition('.')[0]) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        seen += [m for m in imported if m in number]
        for m in imported: assert m not in number or number[m] < chapter or (module, m) in later, (module, m)
    assert len(seen) > 10   # relative imports were understood


def test_readme_is_the_index():
    before = (ROOT/'README.md').read_text(encoding='utf-8')
    subprocess.run([sys.executable, ROOT/'tools'/'readme.py'], check=True)
    assert (ROOT/'README.md').read_text(encoding='utf-8') == before
