"""The store where a notebook cannot follow: two processes at once, a kill in the middle, the peak
of memory"""
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
    env = {**os.environ, 'CARGAN_CACHE': str(cache), 'OMP_NUM_THREADS': '1'}
    program = OPEN.format(pause=pause, size=size) + code
    return subprocess.Popen([sys.executable, '-c', program, root], text=True, env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def kept(cache): return sorted(p.name for p in cache.iterdir() if not p.name.endswith('.lock'))


def pictures(root): return len(list((root/'img').rglob('*.jpg')))


def wait_for(condition, seconds=30):
    until = time.time() + seconds
    while not condition():
        assert time.time() < until
        time.sleep(.02)


def test_two_at_once(synth, tmp_path):
    "Both get a whole store, and only one of them has built it"
    code = """
import hashlib
contents = store.images[:].tobytes() + store.sounds[:].tobytes()
print(len(built), hashlib.md5(contents).hexdigest())
"""
    a, b = [end(p).split() for p in [start(synth, tmp_path, code, pause=.01) for _ in range(2)]]
    assert a[1] == b[1] and int(a[0]) + int(b[0]) == 1
    store, = kept(tmp_path)
    assert json.loads((tmp_path/store/'store.json').read_text())['pairs'] == pictures(synth)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='looks at /proc')
def test_killed_in_the_middle(synth, tmp_path):
    "Nothing half made is taken for whole, the helpers go, and the next one builds it at once"
    p = start(synth, tmp_path, pause=.5)
    def children(): return open(f'/proc/{p.pid}/task/{p.pid}/children').read().split()
    try:
        wait_for(lambda: any(tmp_path.glob('.*.tmp/images.npy')))
        wait_for(lambda: len(children()) >= 2)
        helpers = children()
    finally: p.kill()
    p.wait()
    assert p.returncode == -signal.SIGKILL and not list(tmp_path.glob('synth-*'))
    wait_for(lambda: not any(os.path.exists(f'/proc/{h}') for h in helpers))
    code = "print(len(store), (store.images[:].reshape(len(store), -1).max(1) > 0).all())"
    out = end(start(synth, tmp_path, code))
    assert out.split() == [str(pictures(synth)), 'True'] and len(kept(tmp_path)) == 1


def many(root, n):
    "n pairs at 256 px, each a name of the same two files"
    (root/'one').mkdir(parents=True)
    sf.write(root/'one'/'a.wav', np.random.default_rng(0).normal(0, .1, 11025), 22050)
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(root/'one'/'a.jpg', quality=50)
    for kind, suffix in (('chunk', 'wav'), ('img', 'jpg')):
        for split, name, count in (('train', 'tuba00', n - 64), ('validation', 'tuba01', 64)):
            folder = root/kind/split/'tuba'
            folder.mkdir(parents=True)
            for i in range(count): os.link(root/'one'/f'a.{suffix}', folder/f'{name}_{i}.{suffix}')
    return root


PEAK = """
import numpy as np, resource
for rows in np.random.default_rng(0).permutation(len(store)).reshape(-1, 20):
    images = store.gather(rows)[1]
def peak(who):
    return resource.getrusage(who).ru_maxrss/(1 if sys.platform == 'darwin' else 1/1024)/2**20
size = sum(a.nbytes for a in (store.sounds, store.images))/2**20
print(peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN), size)
"""


def test_peak_memory(tmp_path):
    "2,000 pairs at 256 px take as much memory as 400, though their store is 330 MB larger"
    def peaks(n): # MB of the process, of its helpers, of the store
        out = end(start(many(tmp_path/f'{n}', n), tmp_path/'stores', PEAK, size=256))
        return list(map(float, out.split()))
    few, lots = peaks(400), peaks(2000)
    print(few, lots)
    assert lots[2] - few[2] > 300
    assert lots[0] - few[0] < 60 and lots[1] - few[1] < 60
