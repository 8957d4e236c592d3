"""Does the README's first command work on every Python? Tries it in a fresh clone with each.

    python tools/pythons.py [PYTHON ...]

PYTHON are interpreters; those of 3.10 to 3.14 on the PATH if none are given. Each needs 6 GB and
some minutes; TORCH_INDEX makes both less, as for the command itself.
"""
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from run import VERSIONS # noqa: E402


def tried(python):
    "(does it work?, its last line)"
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(['git', 'clone', '-q', ROOT, d], check=True)
        out = subprocess.run([python, 'run.py', 'demo'], cwd=d, capture_output=True, text=True)
        works = out.returncode == 0 and (Path(d)/'demo.png').exists()
        last = ((out.stdout if works else out.stderr).strip().splitlines() or [''])[-1]
        return works, last.replace(d, '.')


def main():
    names = sys.argv[1:] or ['python{}.{}'.format(*v) for v in VERSIONS]
    failed = []
    for python in names:
        if not shutil.which(python):
            print(f'{python:12} is not there')
            continue
        start = time.time()
        works, last = tried(python)
        print(f"{python:12} {'works' if works else 'FAILS'} ({time.time() - start:.0f} s): {last}",
              flush=True)
        if not works: failed.append(python)
    sys.exit(bool(failed))


if __name__ == '__main__': main()
