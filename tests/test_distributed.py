"Several processes, one batch: on CPUs, with gloo"
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import torch

from one_batch import CASES

HERE = Path(__file__).parent
pytest.importorskip('accelerate',
                    reason="several processes need Accelerate: pip install 'cargan-course[scale]'")
pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(),
                                reason="this PyTorch has no gloo")
BIN = Path(sys.executable).parent
TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone',
            '--nproc_per_node', '2', '--']
ACCELERATE = [BIN/'accelerate', 'launch', '--cpu', '--num_processes', '2', '--num_machines', '1',
              '--mixed_precision', 'no', '--dynamo_backend', 'no']


def start(*args, **env):
    "Exit code, output, errors; whatever it started is ended with it"
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'MPLBACKEND': 'Agg',
           **env}
    p = subprocess.Popen([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, env=env, start_new_session=True)
    try: out, err = p.communicate(timeout=400)
    finally:
        try: os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError: pass
    return p.returncode, out, err


def said(err): return [l for l in err.splitlines() if 'cargan: ' in l]


def alive(mark):
    "Processes that have `mark` in their command"
    found = []
    for p in Path('/proc').glob('[0-9]*/cmdline'):
        try: found += [p.parent.name] if mark.encode() in p.read_bytes() else []
        except OSError: pass
    return found


@pytest.fixture(scope='module')
def learned(synth, tmp_path_factory):
    "What one process learns, and what two do with half the batch each"
    folder = tmp_path_factory.mktemp('learned')
    for name, launcher in (('one', [sys.executable]), ('two', TORCHRUN)):
        rc, out, err = start(*launcher, HERE/'one_batch.py', 'steps', synth, folder/name)
        assert rc == 0, err[-3000:]
    return lambda case: [torch.load(folder/f'{n}_{case}.pt') for n in ('one', 'two')]


def apart(a, b): return torch.cat([(a[k] - b[k]).double().flatten() for k in a]).norm().item()


@pytest.mark.parametrize('case', CASES)
def test_same_updates(learned, case):
    one, two = learned(case)
    # Adam makes much of float32's rounding: .006 on one CPU, .026 on another
    eps = 5e-2 if case == 'single' else 1e-10
    assert one['steps'] == two['steps'] > 5 and apart(one['start'], two['start']) == 0
    for player in ('cargan.g1', 'cargan.g2', 'd.'):
        start, alone, shared = [{k: v for k, v in o.items() if k.startswith(player)}
                                for o in (one['start'], one['weights'], two['weights'])]
        assert apart(alone, shared) < eps*apart(start, alone) > 0
    size = sum(v.double().norm() for v in one['moments'].values())
    assert apart(one['moments'], two['moments']) < eps*size
    assert apart(one['average'], two['average']) < eps*apart(one['start'], one['weights'])
    assert one['losses'] == pytest.approx(two['losses'], rel=1e-5 if case != 'single' else 1e-3)


@pytest.mark.parametrize('case', CASES)
def test_figures_of_the_whole_set(learned, case):
    """Losses, what C saw, L1 (validation) and the four parts (training); the set does not divide by
    two batches"""
    one, two = learned(case)
    assert one['figures'] == pytest.approx(two['figures'], rel=1e-6 if case != 'single' else 1e-3)


def test_killed(synth, tmp_path):
    "kill -9 for one of two: the other ends with one line, nothing half-written, nobody left"
    clock = time.time()
    rc, out, err = start(*TORCHRUN, HERE/'one_batch.py', 'killed', synth, tmp_path/'run')
    assert rc != 0 and time.time() - clock < 300
    cause = err.split('Root Cause')[1]
    assert 'rank      : 1' in cause and 'exitcode  : -9' in cause, err
    # none where the launcher was quicker
    assert all('another process' in l for l in said(err)) and len(said(err)) <= 1, err
    assert not (tmp_path/'run'/'bundle.safetensors').exists()
    assert not list((tmp_path/'run').rglob('.*.tmp'))
    assert not alive(str(tmp_path))


def two(what, *args):
    "Both processes of one_batch.py, without a launcher, as on two machines"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    place = dict(WORLD_SIZE='2', LOCAL_WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
                 MASTER_PORT=str(port))
    def one(rank):
        command = sys.executable, HERE/'one_batch.py', what, *args
        return start(*command, RANK=rank, LOCAL_RANK=rank, **place)
    with ThreadPoolExecutor(2) as pool: return list(pool.map(one, '01'))


def test_asked_to_stop(synth, tmp_path):
    """One of two gets a SIGTERM: both stop after the same batch, and go on to the same bundle, byte
    for byte"""
    run, whole = tmp_path/'run', tmp_path/'whole'
    for rc, _, err in two('asked', synth, run):
        assert rc == 130 and len(said(err)) == 1, err
        assert f"stopped and saved; go on with: cargan-train --resume {run}" in err
    kept, = (run/'checkpoints').iterdir()
    assert kept.name[:21] == 'epoch0000-batch000003'
    for folder in (run, whole):
        for rc, _, err in two('go on', synth, folder): assert rc == 0, err
    bundles = [(folder/'bundle.safetensors').read_bytes() for folder in (run, whole)]
    assert bundles[0] == bundles[1]
    assert not alive(str(tmp_path))


def test_clocks_that_differ(synth, tmp_path):
    "It is time for a checkpoint for one of two: both save, since each has its own random state"
    for rc, _, err in two('late', synth, tmp_path/'run'): assert rc == 0, err
    kept = sorted(p.name[:21] for p in (tmp_path/'run'/'checkpoints').iterdir())
    assert kept[-1] == 'epoch0001-batch000000' and not kept[0].endswith('batch000000')


def test_killed_without_launcher(synth, tmp_path):
    """As on another machine, where no launcher ends the survivor: it ends by itself, with one line
    and exit code 2"""
    first, second = two('killed', synth, tmp_path/'run')
    assert second[0] == -signal.SIGKILL
    assert first[0] == 2 and len(said(first[2])) == 1, first
    assert 'another process' in first[2] and 'Traceback' not in first[2], first
    assert not alive(str(tmp_path))


@pytest.mark.parametrize('launcher, cache', [(TORCHRUN, 'disk'), (ACCELERATE, 'memory')])
def test_command(synth, tmp_path, launcher, cache):
    """`cargan-train` as it is, under both launchers; with the disk cache both processes come for
    the same store"""
    from cargan.models.cascade import CARGAN
    run, stores = tmp_path/'run', tmp_path/'cache'
    rc, out, err = start(*launcher, BIN/'cargan-train', synth, '--preset', 'tiny', '--run', run,
                         '--cache', cache, CARGAN_CACHE=str(stores))
    assert rc == 0, err[-3000:]
    assert sorted(p.name for p in run.iterdir() if p.name != '.lock') == [
        'bundle.safetensors', 'checkpoints', 'classifiers', 'config.json', 'environment.json',
        'log.csv', 'samples']
    assert out.count('trained: ') == 1 and len(pd.read_csv(run/'log.csv')) == 1
    kept = [p for p in stores.glob('*') if not p.name.startswith('.')]
    assert len(kept) == (cache == 'disk')
    metrics = CARGAN.from_pretrained(run/'bundle.safetensors').metrics
    assert set(metrics) >= {'image_classifier', 'audio_classifier'}
    assert not alive(str(tmp_path))


def test_user_errors(synth, monkeypatch):
    from cargan.core import CarganError
    from cargan.data.audio import LMSSpec
    from cargan.data.loaders import pairs_dls
    from cargan.models.classifier import ImageClassifier
    from cargan.training.distributed import join_processes, together
    from cargan.training.learner import cargan_learner
    monkeypatch.setenv('WORLD_SIZE', '3')
    dls = pairs_dls(synth, LMSSpec(size=32), bs=16, device='cpu')
    learn = cargan_learner(dls, 'tiny', c=ImageClassifier(13, 'light'), cbs=together())
    with pytest.raises(CarganError, match='16 pairs .* 3 processes'), learn.no_bar(): learn.fit(1)
    monkeypatch.setitem(sys.modules, 'accelerate', None)
    with pytest.raises(CarganError, match=r'3 processes.*cargan-course\[scale\]'):
        join_processes(lambda: None)()


def test_one_process_needs_nothing():
    "In a single process Accelerate is not even imported"
    code = ("import sys; from cargan.training.train import train_cargan; "
            "from cargan.training.distributed import together, join_processes; "
            "assert together() == [] and join_processes(lambda: 1)() == 1; "
            "assert 'accelerate' not in sys.modules")
    rc, out, err = start(sys.executable, '-c', code)
    assert rc == 0, err
