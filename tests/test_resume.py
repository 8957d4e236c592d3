"A run that is killed, stopped, damaged or out of room, and goes on: the same bundle, byte for byte"
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cargan.core import CarganError
from cargan.training.checkpoints import read_state
from cargan.training.train import train_cargan

# The command itself, with a preset that draws at random wherever it can, and a way to die in the
# middle of the n-th file it writes
COMMAND = '''
import os, signal, sys, time
from cargan import core

nth, how, held = int(os.environ.get('DIE_AT', 0)), os.environ.get('DIE_HOW'), os.environ.get('HELD', '')
write, count = core.write_whole, 0

def dying(path, data, **kwargs):
    global count
    count += 1
    if count == nth and how == 'half':
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f'.{path.name}.1.tmp').write_bytes(data[:len(data)//2])
    if count == nth and how == 'full':
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    if count == nth and how in ('half', 'before'): os.kill(os.getpid(), signal.SIGKILL)
    write(path, data, **kwargs)
    if count == nth and how == 'after': os.kill(os.getpid(), signal.SIGKILL)
    while os.path.exists(held) and path.name.startswith(os.environ['HELD_AFTER']):
        time.sleep(.01) # until the signal is sent
    return path
core.write_whole = dying # before the others import it

from cargan.deploy.cli import cargan_train
from cargan.models.preset import get_preset, presets
presets['rich'] = get_preset('tiny', jitter=True, label_dropout=.5, dropout=.1, decay_epochs=2)
cargan_train()
'''


class Runner:
    "Starts `cargan-train`"
    def __init__(self, folder, data):
        self.folder, self.data = folder, data
        (folder/'command.py').write_text(COMMAND)
    def start(self, *args, **env):
        env = {'OMP_NUM_THREADS': '2', **os.environ, **{k: str(v) for k, v in env.items()}}
        return subprocess.Popen([sys.executable, self.folder/'command.py', *map(str, args)], env=env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    def __call__(self, *args, **env):
        p = self.start(*args, **env)
        out, err = p.communicate(timeout=600)
        return p.returncode, out, err
    def begin(self, run): return self.data, '--preset', 'rich', '--epochs', 3, '--seed', 4, '--minutes', 0, '--run', run
    def go_on(self, run): return '--resume', run, '--minutes', 0


@pytest.fixture(scope='module')
def runner(synth, tmp_path_factory): return Runner(tmp_path_factory.mktemp('runs'), synth)

@pytest.fixture(scope='module')
def whole(runner):
    "The run that nothing happens to"
    rc, _, err = runner(*runner.begin(runner.folder/'whole'))
    assert rc == 0, err
    return runner.folder/'whole'


def log(run): return [{k: v for k, v in row.items() if k != 'time'} for row in csv.DictReader((run/'log.csv').open())]

def finished_alike(run, whole):
    assert (run/'bundle.safetensors').read_bytes() == (whole/'bundle.safetensors').read_bytes()
    assert log(run) == log(whole) and len(log(run)) == 3
    for p in (whole/'samples').iterdir(): assert (run/'samples'/p.name).read_bytes() == p.read_bytes()
    for name in ('model', 'opt', 'callbacks'): # D and the moments are in no bundle
        a, b = [read_state(sorted((r/'checkpoints').iterdir())[-1])[name] for r in (run, whole)]
        flat = lambda t: [x for v in t.values() for x in flat(v)] if isinstance(t, dict) else [t]
        a, b = flat({k: v for k, v in a.items() if k != 'run_log'}), flat({k: v for k, v in b.items() if k != 'run_log'})
        assert len(a) == len(b) and all((x == y).all() if hasattr(x, 'all') else x == y for x, y in zip(a, b))
    assert not list(run.rglob('.*.tmp'))

def wait_for(condition, process, seconds=300):
    end = time.time() + seconds
    while not condition() and process.poll() is None and time.time() < end: time.sleep(.01)
    assert condition(), process.communicate()


def test_killed_at_random(runner, whole):
    "Up to five times, each within half of the time that the whole run takes from its configuration to its bundle"
    run, seed = runner.folder/'random', int(os.environ.get('KILL_SEED') or time.time())
    print('KILL_SEED', seed)
    begun, ended = [(whole/name).stat().st_mtime for name in ('config.json', 'bundle.safetensors')]
    chance, args, n = random.Random(seed), runner.begin(run), 0
    while n < 5:
        before = (run/'config.json').stat().st_mtime_ns if run.exists() else 0
        p = runner.start(*args)
        wait_for(lambda: (run/'config.json').exists() and (run/'config.json').stat().st_mtime_ns != before, p)
        try: p.wait(chance.uniform(0, .5)*(ended - begun))
        except subprocess.TimeoutExpired: p.kill()
        p.communicate()
        n, args = n + 1, runner.go_on(run)
        if (run/'bundle.safetensors').exists(): break
    assert n > 1
    rc, _, err = runner(*args)
    assert rc == 0, err
    finished_alike(run, whole)


def test_killed_while_writing(runner, whole):
    "In turn: while C is written, before the audio classifier is, in half a checkpoint, between its renaming and the removal of old ones"
    run = runner.folder/'writing'
    args = runner.begin(run)
    for nth, how in ((3, 'half'), (4, 'before'), (4, 'half'), (9, 'half'), (5, 'after'), (7, 'after')):
        rc, _, err = runner(*args, DIE_AT=nth, DIE_HOW=how)
        assert rc == -signal.SIGKILL, err
        assert not (run/'bundle.safetensors').exists()
        args = runner.go_on(run)
    newest = sorted((run/'checkpoints').glob('epoch*'))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    rc, _, err = runner(*args)
    assert rc == 0 and f'{newest} is damaged' in err, err
    finished_alike(run, whole)


def test_asked_to_stop(runner, whole):
    run = runner.folder/'asked'
    saved = lambda: set(run.glob('checkpoints/epoch*'))
    args, before, held = runner.begin(run), set(), runner.folder/'held'
    for ready, after, sign in ((lambda: (run/'config.json').exists(), 'config', signal.SIGINT), (lambda: saved() - before, 'epoch', signal.SIGINT),
                               (lambda: saved() - before, 'epoch', signal.SIGTERM)):
        before = saved()
        held.touch()
        p = runner.start(*args, HELD=held, HELD_AFTER=after)
        wait_for(ready, p)
        if sign == signal.SIGTERM:
            with pytest.raises(CarganError, match='another process'): train_cargan(None, run, resume=True)
        p.send_signal(sign)
        held.unlink()
        _, err = p.communicate(timeout=300)
        lines = [l for l in err.splitlines() if l.strip()]
        assert p.returncode == 130 and len(lines) == 1 and f'cargan-train --resume {run}' in lines[0], err
        args = runner.go_on(run)
    rc, _, err = runner(*args)
    assert rc == 0, err
    finished_alike(run, whole)


def test_disk_full(runner, whole):
    run = runner.folder/'full'
    rc, _, err = runner(*runner.begin(run), DIE_AT=9, DIE_HOW='full')
    last = sorted((run/'checkpoints').glob('epoch*'))[-1]
    assert rc == 2 and len(err.strip().splitlines()) == 1 and str(last) in err and '--resume' in err, err
    read_state(last)
    rc, _, err = runner(*runner.go_on(run))
    assert rc == 0, err
    finished_alike(run, whole)


def test_refused(runner, whole, synth, tmp_path):
    run = tmp_path/'run'
    assert runner(*runner.begin(run), DIE_AT=6, DIE_HOW='half')[0] == -signal.SIGKILL
    rc, _, err = runner(synth, '--run', run)
    assert rc == 2 and len(err.splitlines()) == 1 and f'cargan-train --resume {run}' in err
    rc, _, err = runner('--resume', run, '--seed', 5)
    assert rc == 2 and len(err.splitlines()) == 1 and 'seed was 4, is 5' in err
    other = tmp_path/'other'
    shutil.copytree(synth, other)
    next((other/'img'/'train').rglob('*.jpg')).write_bytes(next((other/'img'/'validation').rglob('*.jpg')).read_bytes())
    for words, wishes in (('preset.optimisation.label_dropout was 0.5, is 0.0', dict(preset='tiny')), ('epochs was 3, is 4', dict(epochs=4)),
                          ('pairs.fingerprint was', dict(data=other))):
        with pytest.raises(CarganError, match=words): train_cargan(**{'data': None, **wishes}, run=run, resume=True)
    config = json.loads((run/'config.json').read_text())
    for key, value in (('labels', ['tuba', 'violin']), ('spec', {**config['spec'], 'seconds': .7})):
        (tmp_path/key).mkdir()
        (tmp_path/key/'config.json').write_text(json.dumps({**config, key: value}))
        with pytest.raises(CarganError, match=f'{key}.* was '): train_cargan(None, tmp_path/key, resume=True)
    with pytest.raises(CarganError, match='no run to go on with'): train_cargan(None, tmp_path/'none', resume=True)
    assert not (tmp_path/'none').exists()


def test_finished(runner, whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob('*') if p.is_file() and p.name != '.lock'}
    rc, out, _ = runner('--resume', whole)
    assert rc == 0 and 'finished already' in out
    assert before == {p: p.stat().st_mtime_ns for p in before}
