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

import pytest
import torch
from fastai.callback.core import Callback
from safetensors.torch import save_file
from torch import nn

from cargan.core import CarganError
from cargan.models.bundle import read_bundle
from cargan.models.cascade import CARGAN
from cargan.models.classifier import AudioClassifier, ImageClassifier
from cargan.training.checkpoints import Checkpoint, read_state
from cargan.training.train import train_cargan

# The command itself, with a preset that draws at random wherever it can, and a way to die in the
# middle of the n-th file it writes
COMMAND = '''
import os, signal, sys, time
from cargan import core

nth, how = int(os.environ.get('DIE_AT', 0)), os.environ.get('DIE_HOW')
held, write, count = os.environ.get('HELD', ''), core.write_whole, 0

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
        command = [sys.executable, self.folder/'command.py', *map(str, args)]
        return subprocess.Popen(command, env=env, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    def __call__(self, *args, **env):
        p = self.start(*args, **env)
        out, err = p.communicate(timeout=600)
        return p.returncode, out, err
    def begin(self, run):
        return (self.data, '--preset', 'rich', '--epochs', 3, '--seed', 4, '--minutes', 0,
                '--run', run)
    def go_on(self, run): return '--resume', run, '--minutes', 0


@pytest.fixture(scope='module')
def runner(synth, tmp_path_factory): return Runner(tmp_path_factory.mktemp('runs'), synth)

@pytest.fixture(scope='module')
def whole(runner):
    "The run that nothing happens to"
    rc, _, err = runner(*runner.begin(runner.folder/'whole'))
    assert rc == 0, err
    return runner.folder/'whole'


def log(run):
    with (run/'log.csv').open() as rows:
        return [{k: v for k, v in row.items() if k != 'time'} for row in csv.DictReader(rows)]


def leaves(nest):
    "What stands at the ends of a nest of dicts, but for the log, which has times in it"
    if not isinstance(nest, dict): return [nest]
    return [x for k, v in nest.items() if k != 'run_log' for x in leaves(v)]


def same(a, b): return (a == b).all() if hasattr(a, 'all') else a == b


def finished_alike(run, whole):
    assert bundle_of(run) == bundle_of(whole)
    assert log(run) == log(whole) and len(log(run)) == 3
    for p in (whole/'samples').iterdir():
        assert (run/'samples'/p.name).read_bytes() == p.read_bytes()
    ends = [read_state(sorted((r/'checkpoints').iterdir())[-1]) for r in (run, whole)]
    for name in ('model', 'opt', 'callbacks'): # D and the moments are in no bundle
        a, b = [leaves(state[name]) for state in ends]
        assert len(a) == len(b) > 0 and all(map(same, a, b))
    assert not list(run.rglob('.*.tmp'))


def bundle_of(run): return (run/'bundle.safetensors').read_bytes()


def wait_for(condition, process, seconds=300):
    end = time.time() + seconds
    while not condition() and process.poll() is None and time.time() < end: time.sleep(.01)
    assert condition(), process.communicate()


def test_killed_at_random(runner, whole):
    """Up to five times, each within half of the time that the whole run takes from its
    configuration to its bundle"""
    run, seed = runner.folder/'random', int(os.environ.get('KILL_SEED') or time.time())
    print('KILL_SEED', seed)
    begun, ended = [(whole/name).stat().st_mtime for name in ('config.json', 'bundle.safetensors')]
    chance, args, n = random.Random(seed), runner.begin(run), 0
    config = run/'config.json'
    def written(): return config.stat().st_mtime_ns if config.exists() else 0
    while n < 5:
        before = written()
        p = runner.start(*args)
        wait_for(lambda: written() != before, p)
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
    """In turn: while C is written, before the audio classifier is, in half a checkpoint, between
    its renaming and the removal of old ones"""
    run = runner.folder/'writing'
    args = runner.begin(run)
    for nth, how in ((3, 'half'), (4, 'before'), (4, 'half'), (9, 'half'), (5, 'after'),
                     (7, 'after')):
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
    args, before, held = runner.begin(run), set(), runner.folder/'held'
    def saved(): return set(run.glob('checkpoints/epoch*'))
    def begun(): return (run/'config.json').exists()
    def one_more(): return saved() - before
    for ready, after, sign in ((begun, 'config', signal.SIGINT), (one_more, 'epoch', signal.SIGINT),
                               (one_more, 'epoch', signal.SIGTERM)):
        before = saved()
        held.touch()
        p = runner.start(*args, HELD=held, HELD_AFTER=after)
        wait_for(ready, p)
        if sign == signal.SIGTERM:
            with pytest.raises(CarganError, match='another process'):
                train_cargan(None, run, resume=True)
        p.send_signal(sign)
        held.unlink()
        _, err = p.communicate(timeout=300)
        lines = [l for l in err.splitlines() if l.strip()]
        assert p.returncode == 130 and len(lines) == 1, err
        assert f'cargan-train --resume {run}' in lines[0]
        args = runner.go_on(run)
    rc, _, err = runner(*args)
    assert rc == 0, err
    finished_alike(run, whole)


def test_disk_full(runner, whole):
    run = runner.folder/'full'
    rc, _, err = runner(*runner.begin(run), DIE_AT=9, DIE_HOW='full')
    last = sorted((run/'checkpoints').glob('epoch*'))[-1]
    assert rc == 2 and len(err.strip().splitlines()) == 1, err
    assert str(last) in err and '--resume' in err, err
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
    strange = next((other/'img'/'validation').rglob('*.jpg')).read_bytes()
    next((other/'img'/'train').rglob('*.jpg')).write_bytes(strange)
    for words, settings in (('optimisation.label_dropout was 0.5, is 0.0', dict(preset='tiny')),
                            ('epochs was 3, is 4', dict(epochs=4)),
                            ('pairs.fingerprint was', dict(data=other))):
        with pytest.raises(CarganError, match=words):
            train_cargan(**{'data': None, **settings}, run=run, resume=True)
    config = json.loads((run/'config.json').read_text())
    for key, value in (('labels', ['tuba', 'violin']), ('spec', {**config['spec'], 'seconds': .7})):
        (tmp_path/key).mkdir()
        (tmp_path/key/'config.json').write_text(json.dumps({**config, key: value}))
        with pytest.raises(CarganError, match=f'{key}.* was '):
            train_cargan(None, tmp_path/key, resume=True)
    with pytest.raises(CarganError, match='no run to go on with'):
        train_cargan(None, tmp_path/'none', resume=True)
    assert not (tmp_path/'none').exists()


def test_finished(runner, whole):
    files = [p for p in whole.rglob('*') if p.is_file() and p.name != '.lock']
    before = {p: p.stat().st_mtime_ns for p in files}
    rc, out, _ = runner('--resume', whole)
    assert rc == 0 and 'finished already' in out
    assert before == {p: p.stat().st_mtime_ns for p in before}


class Stopped(Exception): pass


class Stop(Callback):
    "Breaks off after a batch (or a piece of one)"
    order = Checkpoint.order + 1
    def __init__(self, at): self.at = at
    def after_batch(self):
        if self.training and self.train_iter == self.at: raise Stopped('here')


class OwnC(nn.Module):
    "A classifier that no recipe builds"
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Flatten(),
                                    nn.Linear(8*8*8, 13))
    def forward(self, image): return self.layers(image)


def trained(data, run, **settings): # in this process
    return train_cargan(data, run, 'tiny', 2, seed=4, minutes=0, **settings)


def stopped(data, run, at, **settings):
    with pytest.raises(Stopped): trained(data, run, cbs=[Stop(at)], **settings)
    assert list((run/'checkpoints').iterdir()) and not (run/'bundle.safetensors').exists()


def test_own_classifier(synth, tmp_path):
    "Of a kind that only its owner can make: handed in again, with any weights, the run goes on"
    run, whole = tmp_path/'run', tmp_path/'whole'
    def own(seed):
        torch.manual_seed(seed)
        return OwnC(), AudioClassifier(13)
    trained(synth, whole, classifiers=own(0))
    stopped(synth, run, 6, classifiers=own(0)) # in the second epoch
    with pytest.raises(CarganError, match=r'image is its owner.s \(OwnC\); hand it in') as e:
        train_cargan(None, run, resume=True)
    assert '\n' not in str(e.value)
    train_cargan(None, run, classifiers=own(1), minutes=0, resume=True)
    assert bundle_of(run) == bundle_of(whole)
    with pytest.raises(CarganError, match='c=OwnC'): CARGAN.from_pretrained(run)
    c, audio = own(0)
    model = CARGAN.from_pretrained(run/'bundle.safetensors', c=OwnC())
    for given, kept in ((c, model.c.model), (audio, model.audio.model)):
        for k, v in given.state_dict().items(): assert torch.equal(v, kept.state_dict()[k]), k


def test_pieces(synth, tmp_path):
    "Stopped between the two pieces of a batch: the first one's gradients are made again"
    run, whole = tmp_path/'run', tmp_path/'whole'
    settings = dict(pieces=2, classifiers=(ImageClassifier(13, 'light'), AudioClassifier(13)))
    trained(synth, whole, **settings)
    stopped(synth, run, 12, **settings) # the third of the second epoch's nine
    newest = sorted((run/'checkpoints').iterdir())[-1]
    assert newest.name[:21] == 'epoch0001-batch000002'
    train_cargan(None, run, minutes=0, pieces=2, resume=True)
    assert bundle_of(run) == bundle_of(whole)


def test_run_of_version_010(synth, tiny, tmp_path):
    "Its preset had no groups. Unfinished, one line says what to do; finished, its bundle loads"
    config, tensors = read_bundle(tiny)
    flat = {k: v for group in config['preset'].values() for k, v in group.items()}
    run, parts = tmp_path/'run', {k: config[k] for k in ('labels', 'spec')}
    run.mkdir()
    told = dict(id='0', preset=flat, epochs=1, seed=0, data=str(synth), **parts)
    (run/'config.json').write_text(json.dumps(told))
    for settings in (dict(resume=True), {}):
        with pytest.raises(CarganError, match='unfinished run of cargan 0.1.0.*begin another') as e:
            train_cargan(synth, run, **settings)
        assert '\n' not in str(e.value)
    facts = dict(format=1, preset=flat, metrics={}, **parts)
    save_file(tensors, run/'bundle.safetensors', metadata={'cargan': json.dumps(facts)})
    model = train_cargan(None, run, resume=True)
    assert all(torch.equal(v, tensors[k]) for k, v in model.state_dict().items())
    assert model.preset == CARGAN.from_pretrained(tiny).preset
