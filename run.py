"""make's targets where there is no make: python run.py demo | test | quick | main-line | install.

Makes .venv, installs cargan into it, and runs what is asked for. Needs Python 3.10 to 3.14 and
nothing else. Settings come through the environment, or as NAME=value arguments as with make:
AUDIO, LABEL and AT for the demo; TORCH_INDEX, the address of an index with smaller builds of
PyTorch (pytorch.org names one for machines without a GPU).
"""
import os
import subprocess
import sys
from os.path import exists, expanduser, getmtime, join

VERSIONS = [(3, minor) for minor in range(10, 15)]
ROOT = os.path.dirname(os.path.abspath(__file__))
BIN = join(ROOT, '.venv', 'Scripts' if os.name == 'nt' else 'bin')
PYTHON = join(BIN, 'python.exe' if os.name == 'nt' else 'python')
WHAT = dict(demo='.', dev='.[dev]')
# The pages of the workshop that take seconds; `test` runs them beside the whole main line
FAST = ('core/core data/audio data/formats models/attention models/discriminator models/generator '
        'training/losses').split()


def run(*command):
    "Run a command in the project's folder; leave with its exit status if it fails"
    status = subprocess.call(command, cwd=ROOT)
    if status: sys.exit(status)


def pip(*arguments):
    run(PYTHON, '-m', 'pip', 'install', '--disable-pip-version-check', '-q',
        '-c', 'constraints.txt', *arguments)


def is_fresh(stamp):
    "Is what was installed as the settings want it?"
    inputs = 'settings.ini', 'setup.py', 'pyproject.toml', 'constraints.txt'
    return exists(stamp) and all(getmtime(stamp) >= getmtime(join(ROOT, f)) for f in inputs)


def install(what='demo'):
    "Install the package, and with `dev` what its tests and pages need"
    stamp = join(ROOT, '.venv', what + '.stamp')
    if is_fresh(stamp): return
    if not exists(PYTHON): run(sys.executable, '-m', 'venv', '.venv')
    sys.stdout.write('installing into .venv (PyTorch is large: some minutes the first time)\n')
    sys.stdout.flush()
    index = os.environ.get('TORCH_INDEX')
    if index: pip('--index-url', index, 'torch', 'torchvision', 'torchaudio')
    pip('-e', WHAT[what])
    open(stamp, 'w').close()


def demo():
    "Paint from a sound: one of the package's clips, or AUDIO"
    install()
    command = [join(BIN, 'cargan-demo'), '--out', 'demo.png']
    if os.environ.get('AUDIO'): command += ['--audio', expanduser(os.environ['AUDIO'])]
    for name in ('LABEL', 'AT'):
        if os.environ.get(name): command += ['--' + name.lower(), os.environ[name]]
    run(*command)


def quick():
    "The tests that take seconds"
    install('dev')
    run(PYTHON, '-m', 'pytest', '-q', 'tests', '--ignore', 'tests/browser', '-m', 'not slow')


def main_line():
    "The chapters of the course, and the quick pages of the workshop"
    install('dev')
    run(join(BIN, 'nbdev-test'), '--n-workers', '1', '--timing',
        '--path-re', r'/(\d\d_\w+|{})\.ipynb$'.format('|'.join(FAST)))


def test():
    "About half an hour on two cores: does it work here?"
    quick()
    main_line()


TARGETS = {'demo': demo, 'test': test, 'quick': quick, 'main-line': main_line,
           'install': install, 'install-dev': lambda: install('dev')}


def main():
    if sys.version_info[:2] not in VERSIONS:
        sys.exit('cargan needs Python 3.10 to 3.14, and this is {}.{}: start run.py with one of '
                 'those'.format(*sys.version_info[:2]))
    targets = [a for a in sys.argv[1:] if '=' not in a]
    os.environ.update(a.split('=', 1) for a in sys.argv[1:] if '=' in a)
    if len(targets) != 1 or targets[0] not in TARGETS: sys.exit(__doc__)
    os.environ.setdefault('OMP_NUM_THREADS', str(os.cpu_count() or 2))
    os.environ.setdefault('MPLBACKEND', 'Agg')
    TARGETS[targets[0]]()


if __name__ == '__main__': main()
