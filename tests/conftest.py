"Shared by the tests: a small made data set, a tiny bundle, and a way to run the commands as a user would"
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope='session')
def synth(tmp_path_factory):
    "156 pairs of SynthURMP at 32 px"
    from cargan.data.synth import synth_urmp
    return synth_urmp(tmp_path_factory.mktemp('data')/'synth', pairs=156, size=32, seed=3, progress=False)


@pytest.fixture(scope='session')
def tiny(tmp_path_factory):
    "An untrained bundle of the preset `tiny`"
    from cargan.data.pairs import SUB_URMP_LABELS
    from cargan.models.cascade import CARGAN
    torch.manual_seed(0)
    return CARGAN('tiny', SUB_URMP_LABELS).save(tmp_path_factory.mktemp('bundle')/'tiny.safetensors')


@pytest.fixture(scope='session')
def sh():
    "sh('cargan-translate', ..., NAME='value') -> (exit code, output, errors); from any folder, with further environment variables"
    def run(command, *args, cwd=None, timeout=600, **env):
        path = Path(sys.executable).parent/command
        p = subprocess.run([path, *map(str, args)], capture_output=True, text=True, cwd=cwd, timeout=timeout,
                           stdin=subprocess.DEVNULL, env={**os.environ, 'OMP_NUM_THREADS': '2', **env})
        return p.returncode, p.stdout, p.stderr
    return run
