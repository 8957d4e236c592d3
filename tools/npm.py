"A package of npm as a folder, for what the site carries beside its pages."
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def npm_package(name):
    "Its folder, while inside. Raises `OSError` or `CalledProcessError` where it cannot be had"
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(['npm', 'pack', '--silent', name], cwd=tmp, check=True,
                       stdout=subprocess.DEVNULL)
        with tarfile.open(next(Path(tmp).glob('*.tgz'))) as tar: tar.extractall(tmp, filter='data')
        yield Path(tmp)/'package'
