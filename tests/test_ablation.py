"A table that is killed goes on, and has the figures that it would have had"
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ABLATE = Path(sys.executable).parent/'cargan-ablate'
COMMITTED = Path(__file__).parents[1]/'benchmarks'


def start(data, out, *args):
    budget = '--preset', 'tiny', '--epochs', '3', '--seeds', '1'
    return subprocess.Popen([ABLATE, data, '--out', out, *budget, *args],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


def figures(out, name):
    row = json.loads((out/'results'/f'{name}-0.json').read_text())
    return {k: v for k, v in row.items() if k != 'seconds'}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return made(tmp_path_factory.mktemp('ablation')/'data', seed=16)


def made(out, seed):
    from cargan.data.synth import synth_urmp
    return synth_urmp(out, pairs=156, size=32, seed=seed, progress=False)


def test_killed_and_resumed(data, tmp_path):
    rc, out, err = finish(start(data, tmp_path/'whole', '--only', 'D'))
    assert rc == 0 and 'named right' in out, err
    shutil.copytree(tmp_path/'whole'/'judges', tmp_path/'killed'/'judges') # they are not the matter
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
    killed, whole = [(tmp_path/k/'models.csv').read_text() for k in ('killed', 'whole')]
    assert killed == whole
    assert not (tmp_path/'killed'/'runs'/'d-0').exists()


@pytest.mark.parametrize('args, said', [(('--table', 'figures'), 'no such table'),
                                        (('--only', 'F'), 'no system'),
                                        (('--seeds', '0'), 'at least one'),
                                        (('--judge-data', 'DATA'), 'another seed')])
def test_refused(data, tmp_path, args, said):
    args = [data if a == 'DATA' else a for a in args]
    rc, _, err = finish(start(data, tmp_path/'out', *args))
    assert rc == 2 and said in err and len(err.strip().splitlines()) == 1


def test_judges_of_other_data(data, tmp_path):
    other, out = made(tmp_path/'other', seed=17), tmp_path/'out'
    rc, said, err = finish(start(data, out, '--only', 'PIX2PIX', '--judge-data', other))
    assert rc == 0 and 'pix2pix, seed 0' in said and 'GFLOP' in said, err
    row = json.loads((out/'results'/'pix2pix-0.json').read_text())
    assert row['judge_data'] == 'disjoint' and row['seconds'] > 0 and row['parameters'] > 0
    rc, _, err = finish(start(data, out, '--only', 'pix2pix'))
    assert rc == 2 and 'judge_data was' in err
    args = '--table', 'longer', '--only', 'pix2pix-long', '--judge-data', other
    rc, _, err = finish(start(data, out, *args, '--seeds', '1'))
    assert rc == 0, err
    curves = (out/'curves'/'pix2pix-long-0.csv').read_text().splitlines()
    row = json.loads((out/'results'/'pix2pix-long-0.json').read_text())
    assert row['epochs'] == len(curves) - 1 == 3*len((out/'curves'/'pix2pix-0.csv').read_text()
                                                     .splitlines()[1:])


@pytest.mark.parametrize('folder', ['search', 'tables/one', 'tables/two', 'tables/gpu'])
def test_committed_results(folder):
    "Each committed run has the changes that its system has today; a bool of D's label is its name"
    from cargan.evaluation.systems import TABLES
    from cargan.models.preset import get_preset, preset_from
    settings = json.loads((COMMITTED/folder/'settings.json').read_text())
    base = preset_from(settings['preset'])
    systems = {s.name: s for table in TABLES.values() for s in table(base)}
    files = list((COMMITTED/folder/'results').glob('*.json'))
    assert files
    for file in files:
        row = json.loads(file.read_text())
        now = systems[row['system']]
        was = get_preset(base, **row['changes'])
        assert file.stem == f"{now.slug}-{row['seed']}" and row['baseline'] == now.baseline
        assert set(row['changes']) == set(now.changes(base)), file
        for k in row['changes']: assert getattr(was, k) == getattr(now.preset, k), (file, k)


@pytest.mark.parametrize('folder', ['search', 'tables/one', 'tables/two', 'tables/gpu'])
def test_committed_trials(folder):
    "Judges of other data, choices on validation pairs, the budget of each system, its answers"
    settings = json.loads((COMMITTED/folder/'settings.json').read_text())
    assert settings['on'] == ('valid' if folder == 'search' else 'test')
    for file in (COMMITTED/folder/'results').glob('*.json'):
        row = json.loads(file.read_text())
        assert row['judge_data'] == 'disjoint'
        assert row['epochs'] == settings['epochs']*(3 if row['system'].endswith(', long') else 1)
        for kind, end in (('answers', 'npz'), ('curves', 'csv')):
            assert (COMMITTED/folder/kind/f'{file.stem}.{end}').exists()


@pytest.mark.parametrize('folder', ['search', 'tables/one', 'tables/two', 'tables/gpu'])
def test_committed_answers(folder):
    "The figures that claims compute from answers are those that the results have"
    from cargan.evaluation.claims import FIGURES, load_runs
    named = dict(given='accuracy_label_given', predicted='accuracy_label_predicted')
    same = {'named right, by resnet18': named['given'], 'L1': 'l1',
            'label predicted, by resnet18': named['predicted']}
    heard = {'performer': 'performer', 'pitch': 'pitch_within', 'loudness': 'loudness',
             'rest': 'rest_balanced'}
    runs = load_runs(COMMITTED/folder)
    for file in (COMMITTED/folder/'results').glob('*.json'):
        row = json.loads(file.read_text())
        answers = runs.cells[0][row['system']][row['seed']]
        def figure(name):
            return FIGURES[name].value(FIGURES[name].moments(runs.asked[0], answers).sum(0))
        for name, key in same.items(): assert abs(figure(name) - row[key]) < 1e-4, (file, name)
        for name, key in heard.items():
            for way, end in (('given', ''), ('predicted', ', label predicted')):
                if name == 'loudness' and end: continue
                there = row['listening'][f'label_{way}'][key]
                assert abs(figure(name + end) - there) < 1e-4, (file, name + end)
