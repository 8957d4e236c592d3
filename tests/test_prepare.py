"Own recordings: what a notebook cannot test well. Killed, full disks, the command, odd files"
import csv
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile as sf

RATE = 44100


def blocks(i, side=64): # frame number i in 4 x 4 grey blocks
    bits = np.array([(i >> k) & 1 for k in range(16)], np.uint8).reshape(4, 4)
    grey = np.kron(bits*120 + 60, np.ones((side//4, side//4), np.uint8))
    return np.repeat(grey[..., None], 3, 2)


def number(image): # and back
    from PIL import Image
    x = np.asarray(Image.open(image).convert('L'), float)
    q = x.shape[0]//4
    def bit(r, c): return x[r*q + q//4:(r + 1)*q - q//4, c*q + q//4:(c + 1)*q - q//4].mean() > 120
    return sum(bool(bit(k//4, k % 4)) << k for k in range(16))


def lag(x, y): # samples by which x is late
    n = 2*len(x)
    c = np.fft.irfft(np.fft.rfft(x, n)*np.conj(np.fft.rfft(y, n)))
    return (int(np.argmax(c)) + len(x)) % n - len(x)


def digest(root):
    h = hashlib.sha256()
    for p in sorted(p for p in root.rglob('*') if p.is_file()):
        h.update(str(p.relative_to(root)).encode() + p.read_bytes())
    return h.hexdigest()


def rows_of(out): return list(csv.DictReader(open(out/'pairs.csv', encoding='utf-8')))


@pytest.fixture(scope='session')
def noise(): return np.random.default_rng(0).standard_normal((130*RATE, 1))*.1


@pytest.fixture(scope='session')
def films(tmp_path_factory, noise):
    "Two classes, two files each; one is longer than a stretch"
    from cargan.data.videos import write_video
    root = tmp_path_factory.mktemp('films')
    for label in ('drum', 'saw'):
        (root/label).mkdir()
        for name, seconds in (('a.mp4', 130 if label == 'saw' else 5), ('b.mov', 4)):
            sound = noise[:seconds*RATE]
            write_video(root/label/name, map(blocks, range(10*seconds)), sound, fps=10)
    return root


@pytest.fixture(scope='session')
def whole(films, tmp_path_factory):
    "One run, one worker, nothing in its way"
    from cargan.data.prepare import prepare_videos
    out = tmp_path_factory.mktemp('whole')/'out'
    prepare_videos(films, out, stride=250, size=64, workers=1, progress=False)
    return out


@pytest.fixture
def prepare(tmp_path):
    """prepare('videos', ...) -> (exit code, output, errors), as the command would be run;
    prepare.start(...) -> the process"""
    script = tmp_path/'run_prepare.py'
    script.write_text('from cargan.deploy.cli import cargan_prepare\ncargan_prepare()\n')
    def start(*args):
        return subprocess.Popen([sys.executable, script, *map(str, args)], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    def run(*args):
        p = start(*args)
        out, err = p.communicate(timeout=300)
        return p.returncode, out, err
    run.start = start
    return run


def test_truth(whole, noise):
    """The frame that is shown at a window's start, the sound of that half second, every window,
    across stretches"""
    from cargan.data.pairs import find_pairs
    rows, pairs = rows_of(whole), {p.sound.stem: p for p in find_pairs(whole)}
    assert len(rows) == len(pairs) == 519 + 19 + 15 + 15
    for r in rows:
        assert abs(number(pairs[r['stem']].image) - int(r['start_ms'])/100) <= 1, r
    for r in rows[::20]:
        x, at = sf.read(pairs[r['stem']].sound)[0], int(r['start_ms'])*441//10
        assert len(x) == 22050 and abs(lag(x, noise[at:at + 22050, 0])) < 1024, r


def test_three_splits(films, prepare, tmp_path):
    "A class of three films: one each for training, validation and test, which the loaders find"
    from cargan.data.loaders import pairs_dls
    from cargan.data.pairs import find_pairs
    root = tmp_path/'films'
    for label in ('drum', 'flute'):
        (root/label).mkdir(parents=True)
        for name in ('1.mp4', '2.mp4', '3.mp4'): shutil.copy(films/'drum'/'a.mp4', root/label/name)
    rc, said, err = prepare('videos', root, tmp_path/'out', '--size', 32, '--valid')
    assert rc == 0, err
    parts = {}
    for p in find_pairs(tmp_path/'out'): parts.setdefault(p.split, set()).add(p.recording)
    assert {k: len(v) for k, v in parts.items()} == dict(train=2, valid=2, test=2)
    assert not set.intersection(*parts.values())
    report = json.loads((tmp_path/'out'/'report.json').read_text())
    assert report['classes']['drum'] == dict(train=10, valid=10, test=10, recordings=3, silent=0)
    assert len(pairs_dls(tmp_path/'out').loaders) == 3
    rc, said, err = prepare('videos', films, tmp_path/'two', '--size', 32, '--stride', 2000,
                            '--valid')
    assert rc == 0 and 'drum: has too few recordings for a validation split' in said, err
    assert {p.split for p in find_pairs(tmp_path/'two')} == {'train', 'test'}


def test_workers_make_no_difference(films, whole, tmp_path):
    from cargan.data.prepare import prepare_videos
    prepare_videos(films, tmp_path/'two', stride=250, size=64, workers=2, progress=False)
    assert digest(tmp_path/'two') == digest(whole)


@pytest.mark.parametrize('workers', [1, 2])
def test_killed_and_resumed(prepare, films, whole, tmp_path, workers):
    out, hidden = tmp_path/'out', tmp_path/'.out.unfinished'
    p = prepare.start('videos', films, out, '--stride', 250, '--size', 64, '--workers', workers)
    while not list(hidden.glob('done/*.json')):
        assert p.poll() is None, p.communicate()
        time.sleep(.005)
    p.kill()
    p.communicate()
    done = {f.name: f.stat().st_mtime_ns for f in hidden.glob('done/*.json')}
    assert done and not out.exists()
    from cargan.core import CarganError
    from cargan.data.prepare import prepare_videos
    with pytest.raises(CarganError, match=r'other settings \(stride\).*delete'):
        prepare_videos(films, out, stride=500, size=64, progress=False)
    assert all((hidden/'done'/f).stat().st_mtime_ns == t for f, t in done.items())
    prepare_videos(films, out, stride=250, size=64, workers=3 - workers, progress=False)
    assert digest(out) == digest(whole) and not hidden.exists()


def test_goes_on_and_does_not_start_over(films, whole, tmp_path, monkeypatch):
    from cargan.data import prepare
    made, make = [], prepare.make_stretch
    def stop_after_two(job):
        if len(made) == 2: raise KeyboardInterrupt
        made.append(job.n)
        return make(job)
    settings = dict(stride=250, size=64, workers=1, progress=False)
    monkeypatch.setattr(prepare, 'make_stretch', stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare_videos(films, tmp_path/'out', **settings)
    first, made[:] = list(made), []
    monkeypatch.setattr(prepare, 'make_stretch', lambda job: made.append(job.n) or make(job))
    prepare.prepare_videos(films, tmp_path/'out', **settings)
    assert len(first) == 2 and not set(first) & set(made) and len(made) == 4
    assert digest(tmp_path/'out') == digest(whole)


def test_disk_full(films, whole, tmp_path, monkeypatch):
    from cargan.data import stretches
    from cargan.core import CarganError, WriteError
    from cargan.data.prepare import prepare_videos
    put, left = stretches.write_whole, [100]
    def full(path, data):
        left[0] -= 1
        if left[0] < 0:
            half = data[:len(data)//2] # as much as there was room for
            path.with_name(f'.{path.name}.1.tmp').write_bytes(half)
            raise WriteError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        put(path, data)
    monkeypatch.setattr(stretches, 'write_whole', full)
    settings = dict(stride=250, size=64, progress=False)
    for workers in (1, 2):
        with pytest.raises(CarganError, match='No space left.*goes on'):
            prepare_videos(films, tmp_path/'out', workers=workers, **settings)
        assert not (tmp_path/'out').exists()
    monkeypatch.undo()
    prepare_videos(films, tmp_path/'out', workers=2, **settings)
    assert digest(tmp_path/'out') == digest(whole)


def test_corrupt_in_the_middle(noise, tmp_path):
    "Some windows are lost and listed; the others are right"
    from cargan.data.prepare import prepare_videos
    from cargan.data.videos import write_video
    for name in ('a.mkv', 'b.mp4', 'c.ts'):
        (tmp_path/'films'/name[0]).mkdir(parents=True)
        f = tmp_path/'films'/name[0]/name
        write_video(f, map(blocks, range(300)), noise[:20*RATE], fps=15)
        data = bytearray(f.read_bytes())
        junk = np.random.default_rng(1).integers(0, 256, 9000, np.uint8)
        data[len(data)//2:len(data)//2 + 9000] = junk.tobytes()
        f.write_bytes(data)
    r = prepare_videos(tmp_path/'films', tmp_path/'out', size=64, workers=2, progress=False)
    assert any('damaged' in s['why'] for s in r['skipped'])
    for row in rows_of(tmp_path/'out'):
        split = 'train' if row['split'] == 'train' else 'validation'
        shown = number(tmp_path/'out'/'img'/split/row['label']/f"{row['stem']}.jpg")
        # a frame, and the codec's delay with which a .ts begins
        assert abs(shown - int(row['start_ms'])*.015) < 2, row
    good = {c: 25 < v['train'] + v['test'] <= 39 for c, v in r['classes'].items()}
    assert good == dict.fromkeys('abc', True), r


def test_the_command(prepare, films, tmp_path):
    rows = ('file,start,end,label', f'{films}/saw/b.mov,0,3,saw', f'{films}/drum/b.mov,,2.5,../up',
            'none.mp4,,,saw', f'{films}/saw/a.mp4,x,,saw')
    (tmp_path/'t.csv').write_text('\n'.join(rows) + '\n')
    rc, out, err = prepare('videos', tmp_path/'t.csv', tmp_path/'pairs', '--size', 32,
                           '--json', tmp_path/'r.json')
    assert rc == 0, err
    r = json.loads((tmp_path/'r.json').read_text())
    assert r == json.loads((tmp_path/'pairs'/'report.json').read_text()) and len(r['skipped']) == 3
    for line in ('cannot be the name of a folder', 'no such file', 'not numbers', 'split in time',
                 'cargan-train'):
        assert line in out, out
    from cargan.deploy.cli import cargan_prepare
    cargan_prepare('sub-urmp', tmp_path/'pairs', str(tmp_path/'look'))
    look = json.loads((tmp_path/'look'/'report.json').read_text())
    assert look['pairs'] == r['pairs'] and not look['leaks']
    assert not look['test_clips_sharing_sound_with_training']


def test_the_command_refuses(prepare, films, tmp_path, capsys):
    from cargan.deploy.cli import cargan_prepare
    def refused(*args):
        with pytest.raises(SystemExit) as e: cargan_prepare(*map(str, args))
        out, err = capsys.readouterr()
        assert e.value.code == 2 and not out, (out, err)
        assert len(err.strip().splitlines()) == 1 and err.startswith('cargan: '), err
        return err
    (tmp_path/'hollow').mkdir()
    (tmp_path/'t.csv').write_text('film,class\na,b\n')
    hollow, nowhere, x = (tmp_path/name for name in ('hollow', 'nowhere', 'x'))
    for args, words in ((('tapes', films, x), 'choose sub-urmp'), (('videos', films), 'OUT'),
                        (('videos', nowhere, x), 'nowhere'), (('urmp', hollow, x), 'hollow'),
                        (('videos', hollow, x), 'class folders'), (('sub-urmp', hollow), 'hollow'),
                        (('videos', films, films), 'not empty'),
                        (('videos', tmp_path/'t.csv', x), 'columns')):
        assert words in refused(*args)
    assert not (tmp_path/'x').exists() and not list(tmp_path.glob('.x*'))
    rc, out, err = prepare('videos', tmp_path/'nowhere', tmp_path/'x')
    assert rc == 2 and not out and len(err.strip().splitlines()) == 1 and 'nowhere' in err


def test_links_are_one_file(films, tmp_path):
    "A second name for a file makes no second recording, and no leak"
    from cargan.data.prepare import prepare_videos
    (tmp_path/'films'/'saw').mkdir(parents=True)
    for name in ('a.mov', 'b.mov'): (tmp_path/'films'/'saw'/name).symlink_to(films/'saw'/'b.mov')
    (tmp_path/'films'/'saw'/'loop.mp4').symlink_to('loop.mp4')
    r = prepare_videos(tmp_path/'films', tmp_path/'out', size=32, progress=False)
    assert r['pairs'] == 7 and 'broken link' in str(r) and 'split in time' in str(r)


def test_real_pairs_go_there_and_back(tmp_path):
    from pathlib import Path
    beside = Path(__file__).parent.parent.parent/'shared'/'sub_urmp_sample'
    sample = Path(os.environ.get('CARGAN_SAMPLE', beside))/'train_data.txt'
    if not sample.exists(): pytest.skip(f'no real pairs at {sample.parent} (see CARGAN_SAMPLE)')
    from cargan.data.formats import from_manifest, write_manifest
    from cargan.data.pairs import find_pairs
    from_manifest(sample, tmp_path/'folders')
    def contents(manifest):
        with pytest.warns(UserWarning, match='one recording only'): pairs = find_pairs(manifest)
        return {p.image.stem: (p.label, p.sound.read_bytes(), p.image.read_bytes()) for p in pairs}
    with pytest.warns(UserWarning, match='in both splits'):
        write_manifest(tmp_path/'folders', tmp_path/'back')
    a, b = contents(sample), contents(tmp_path/'back'/'train_data.txt')
    assert a == b and len(a) == 26
