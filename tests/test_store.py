"The store where a notebook cannot follow: two processes at once, a kill in the middle, the peak of memory"
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile as sf
from PIL import Image

OPEN = """
import sys
from cargan.data import store as s
from cargan.data.audio import LMSSpec
from cargan.data.pairs import ReadSound, find_pairs
read = ReadSound.read
def slowly(self, pair):
    import time; time.sleep({pause})
    return read(self, pair)
ReadSound.read = slowly
built, build = [], s._build
s._build = lambda *args: built.append(build(*args))
root, pairs = sys.argv[1], find_pairs(sys.argv[1])
store = s.open_store(root, pairs, LMSSpec(size={size}), workers=2, progress=False)
"""


def start(root, cache, code='', pause=0., size=32):
    return subprocess.Popen([sys.executable, '-c', OPEN.format(pause=pause, size=size) + code, root], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, 'CARGAN_CACHE': str(cache), 'OMP_NUM_THREADS': '1'})


def end(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def kept(cache): return sorted(p.name for p in cache.iterdir() if not p.name.endswith('.lock'))


def wait_for(condition, seconds=30):
    until = time.time() + seconds
    while not condition():
        assert time.time() < until
        time.sleep(.02)


def test_two_at_once(synth, tmp_path):
    "Both get a whole store, and only one of them has built it"
    code = "import hashlib; print(len(built), hashlib.md5(store.images[:].tobytes() + store.sounds[:].tobytes()).hexdigest())"
    a, b = [end(p).split() for p in [start(synth, tmp_path, code, pause=.01) for _ in range(2)]]
    assert a[1] == b[1] and int(a[0]) + int(b[0]) == 1
    store, = kept(tmp_path)
    assert json.loads((tmp_path/store/'store.json').read_text())['pairs'] == 156


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='looks at /proc')
def test_killed_in_the_middle(synth, tmp_path):
    "Nothing half made is taken for whole, the helpers go, and the next one builds it without waiting"
    p = start(synth, tmp_path, pause=.5)
    try:
        wait_for(lambda: any(tmp_path.glob('.*.tmp/images.npy')))
        children = lambda: open(f'/proc/{p.pid}/task/{p.pid}/children').read().split()
        wait_for(lambda: len(children()) >= 2)
        helpers = children()
    finally: p.kill()
    p.wait()
    assert p.returncode == -signal.SIGKILL and not list(tmp_path.glob('synth-*'))
    wait_for(lambda: not any(os.path.exists(f'/proc/{h}') for h in helpers))
    out = end(start(synth, tmp_path, "print(len(store), (store.images[:].reshape(len(store), -1).max(1) > 0).all())"))
    assert out.split() == ['156', 'True'] and len(kept(tmp_path)) == 1


def many(root, n):
    "n pairs at 256 px, each a name of the same two files"
    (root/'one').mkdir(parents=True)
    sf.write(root/'one'/'a.wav', np.random.default_rng(0).normal(0, .1, 11025), 22050)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)).save(root/'one'/'a.jpg', quality=50)
    for kind, suffix in (('chunk', 'wav'), ('img', 'jpg')):
        for split, name, count in (('train', 'tuba00', n - 64), ('validation', 'tuba01', 64)):
            (root/kind/split/'tuba').mkdir(parents=True)
            for i in range(count): os.link(root/'one'/f'a.{suffix}', root/kind/split/'tuba'/f'{name}_{i}.{suffix}')
    return root


def test_peak_memory(tmp_path):
    "Building and reading 2,000 pairs at 256 px takes as much memory as 400, though the store is 330 MB larger"
    code = """
import numpy as np, resource
for rows in np.random.default_rng(0).permutation(len(store)).reshape(-1, 20): images = store.gather(rows)[1]
peak = lambda who: resource.getrusage(who).ru_maxrss/(1 if sys.platform == 'darwin' else 1/1024)/2**20
print(peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN), sum(a.nbytes for a in (store.sounds, store.images))/2**20)
"""
    few, lots = [list(map(float, end(start(many(tmp_path/f'{n}', n), tmp_path/'stores', code, size=256)).split())) for n in (400, 2000)]
    print('MB of the process, of its helpers, of the store:', few, lots)
    assert lots[2] - few[2] > 300
    assert lots[0] - few[0] < 60 and lots[1] - few[1] < 60
