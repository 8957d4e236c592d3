"run.py: the two commands of the README where there is no make, and what make hands to it"
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch, tmp_path):
    "run.py in an empty folder, with a list of the commands that it would have started"
    spec = importlib.util.spec_from_file_location('run', ROOT/'run.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in 'settings.ini setup.py pyproject.toml constraints.txt'.split():
        shutil.copy(ROOT/name, tmp_path)
    started = []
    monkeypatch.setattr(module, 'ROOT', str(tmp_path))
    monkeypatch.setattr(module, 'run', lambda *command: started.append(command))
    (tmp_path/'.venv').mkdir()

    def call(*arguments, **env):
        for name in ('AUDIO', 'LABEL', 'AT', 'TORCH_INDEX'): monkeypatch.delenv(name, raising=False)
        for name, value in env.items(): monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, 'argv', ['run.py', *arguments])
        started.clear()
        module.main()
        return list(started)
    return call


def test_demo_installs_once(script):
    first = script('demo')
    assert first[-1][1:] == ('--out', 'demo.png')
    assert any(c[-2:] == ('-e', '.') for c in first)
    assert len(script('demo')) == 1                  # what is installed is not installed again


def test_what_is_given_arrives_as_it_is(script, tmp_path):
    given = dict(AUDIO='~/my sound $(x);.wav', LABEL='double bass', AT='1.5')
    told = script('demo', **given)[-1][3:]
    assert told == ('--audio', os.path.expanduser('~/my sound $(x);.wav'),
                    '--label', 'double bass', '--at', '1.5')
    assert script('demo', *(f'{k}={v}' for k, v in given.items()))[-1][3:] == told
    if not shutil.which('make'): return
    show = "import os; print(os.environ['AUDIO'], os.environ['LABEL'])"
    where = tmp_path/'show'
    where.write_text(f'#!{sys.executable}\n{show}\n')
    where.chmod(0o755)
    out = subprocess.run(['make', '-s', 'demo', f'PYTHON={where}', 'AUDIO=~/my "sound".wav',
                          'LABEL=double bass'], cwd=ROOT, capture_output=True, text=True)
    assert out.stdout == '~/my "sound".wav double bass\n'


def test_a_smaller_torch(script):
    commands = script('install', TORCH_INDEX='INDEX')
    torch = next(c for c in commands if 'torch' in c)
    assert torch[-5:] == ('--index-url', 'INDEX', 'torch', 'torchvision', 'torchaudio')
    assert commands.index(torch) < next(i for i, c in enumerate(commands) if '-e' in c)


@pytest.mark.parametrize('version', [(2, 7), (3, 9), (3, 15), (4, 0)])
def test_a_python_that_is_too_old_or_new(script, monkeypatch, version):
    monkeypatch.setattr(sys, 'version_info', version)
    with pytest.raises(SystemExit, match='needs Python 3.10 to 3.14'): script('demo')


@pytest.mark.parametrize('arguments', [[], ['dance'], ['demo', 'test']])
def test_what_it_does_not_know(script, arguments):
    with pytest.raises(SystemExit, match='python run.py demo'): script(*arguments)


def test_the_bounds_agree():
    "run.py, Makefile and settings.ini name the same Pythons"
    settings = (ROOT/'settings.ini').read_text()
    assert 'min_python = 3.10\n' in settings and 'max_python = 3.15\n' in settings
    assert '(3, 10) <= sys.version_info[:2] <= (3, 14)' in (ROOT/'Makefile').read_text()
    assert 'range(10, 15)' in (ROOT/'run.py').read_text()
