"Shared by the tests: a small made data set, a tiny bundle, and commands as a user runs them"
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
# files of tests that start processes, wait and kill; `make test` leaves them out
SLOW = 'ablation distributed prepare real_pairs reference resume store trackers'.split()


def pytest_collection_modifyitems(items):
    "Mark whole files as slow; skip what is marked `cuda` where there is no GPU"
    gpu = torch.cuda.is_available()
    for item in items:
        if item.path.stem.removeprefix('test_') in SLOW: item.add_marker('slow')
        if item.get_closest_marker('cuda') and not gpu:
            item.add_marker(pytest.mark.skip(reason='needs a GPU'))


@pytest.fixture(scope='session')
def synth(tmp_path_factory):
    "156 pairs of SynthURMP at 32 px"
    from cargan.data.synth import synth_urmp
    folder = tmp_path_factory.mktemp('data')/'synth'
    return synth_urmp(folder, pairs=156, size=32, seed=3, progress=False)


@pytest.fixture(scope='session')
def tiny(tmp_path_factory):
    "An untrained bundle of the preset `tiny`"
    from cargan.data.pairs import SUB_URMP_LABELS
    from cargan.models.cascade import CARGAN
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('bundle')/'tiny.safetensors'
    return CARGAN('tiny', SUB_URMP_LABELS).save(path)


@pytest.fixture(scope='session')
def sh():
    "sh('cargan-translate', ..., NAME='value') -> exit code, output, errors; NAME is a variable"
    def run(command, *args, cwd=None, timeout=600, **env):
        env = {**os.environ, 'OMP_NUM_THREADS': '2', **env}
        words = [Path(sys.executable).parent/command, *map(str, args)]
        p = subprocess.run(words, cwd=cwd, env=env, timeout=timeout, stdin=subprocess.DEVNULL,
                           capture_output=True, text=True)
        return p.returncode, p.stdout, p.stderr
    return run
