"A table that is killed goes on, and has the figures that it would have had"
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ABLATE = Path(sys.executable).parent/'cargan-ablate'


def start(data, out, *args):
    return subprocess.Popen([ABLATE, data, '--out', out, '--preset', 'tiny', '--epochs', '3', '--seeds', '1', *args],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


def figures(out, name):
    row = json.loads((out/'results'/f'{name}-0.json').read_text())
    return {k: v for k, v in row.items() if k != 'seconds'}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    from cargan.data.synth import synth_urmp
    return synth_urmp(tmp_path_factory.mktemp('ablation')/'data', pairs=312, size=32, seed=16, progress=False)


def test_killed_and_resumed(data, tmp_path):
    rc, out, err = finish(start(data, tmp_path/'whole', '--only', 'D'))
    assert rc == 0 and 'named right' in out, err
    killed = start(data, tmp_path/'killed', '--only', 'D')
    log = tmp_path/'killed'/'runs'/'d-0'/'log.csv'
    while not (log.exists() and len(log.read_text().splitlines()) > 1): # the first epoch is done
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path/'killed'/'results').exists()
    rc, out, err = finish(start(data, tmp_path/'killed', '--only', 'D'))
    assert rc == 0, err
    assert figures(tmp_path/'killed', 'd') == figures(tmp_path/'whole', 'd')
    assert (tmp_path/'killed'/'models.csv').read_text() == (tmp_path/'whole'/'models.csv').read_text()
    assert not (tmp_path/'killed'/'runs'/'d-0').exists()


@pytest.mark.parametrize('args, said', [(('--table', 'figures'), 'no such table'), (('--only', 'F'), 'no system'), (('--seeds', '0'), 'at least one')])
def test_refused(data, tmp_path, args, said):
    rc, _, err = finish(start(data, tmp_path/'out', *args))
    assert rc == 2 and said in err and len(err.strip().splitlines()) == 1
