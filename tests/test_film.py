"Films: in step, steady, empty where nobody plays, whole or not there"
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from cargan.core import CarganError
from cargan.data.audio import load_audio
from cargan.deploy.film import FPS, Film, Stream, _Part, window_start
from cargan.deploy.translate import Translator, shipped_clips

RATE = 22050


@pytest.fixture(scope='session')
def small(): return Translator.from_pretrained('small')


@pytest.fixture(scope='session')
def untrained(tiny): return Translator.from_pretrained(tiny)


def pictures(path):
    "[N, H, W, 3] bytes"
    with av.open(str(path)) as c: return np.stack([f.to_ndarray(format='rgb24')
                                                   for f in c.decode(video=0)])


def test_plays_everywhere(untrained, tmp_path):
    "H.264 in 4:2:0 and AAC, 25 pictures a second, the index at the beginning"
    film = untrained.film(shipped_clips()['tuba'], tmp_path/'a.mp4', 'tuba')
    assert isinstance(film, Film) and film.path == tmp_path/'a.mp4'
    with av.open(str(film.path)) as c:
        video, sound = c.streams.video[0], c.streams.audio[0]
        assert (video.codec_context.name, video.pix_fmt) == ('h264', 'yuv420p')
        assert (float(video.average_rate), sound.codec_context.name) == (FPS, 'aac')
    head = film.path.read_bytes()[:4096]
    assert b'moov' in head and '<video' in film._repr_html_()


def test_sound_and_pictures_last_as_long(untrained, tmp_path):
    "And the sound begins where it did: within one picture"
    rng, clip = np.random.default_rng(0), tmp_path/'clicks.wav'
    x = np.zeros(3*44100, np.float32)
    for at in (.5, 1.3, 2.2): x[round(at*44100):][:2000] = rng.normal(0, .3, 2000)
    sf.write(clip, x, 44100)
    film = untrained.film(clip, tmp_path/'a.mp4', 'horn')
    assert len(pictures(film.path)) == 75
    again = load_audio(film.path, 44100).numpy()[:len(x)]
    lag = np.argmax(np.correlate(again, x[:len(again)], 'full')) - len(again) + 1
    assert abs(lag) < 44100/FPS


def test_begins_and_ends_with_the_sound(small, tmp_path):
    "The picture changes within one picture of where a passage begins and ends"
    tone, rest = load_audio(shipped_clips()['cello'], RATE)[:RATE*2].numpy(), np.zeros(RATE)
    film = small.film(np.concatenate([rest, tone, rest]), tmp_path/'a.mp4', sample_rate=RATE)
    change = np.abs(np.diff(pictures(film.path)[:, ::4, ::4].astype(float), axis=0)).mean((1, 2, 3))
    (a, b), = film.score.passages
    assert abs(a - 25) <= 1 and abs(np.argmax(change[:50]) + 1 - a) <= 1
    assert abs(np.argmax(change[60:]) + 61 - b) <= 1


def test_windows_stay_in_their_passage():
    "Nobody lifts the bow before the sound"
    n, hop, found = 11025, 882, [(10, 40), (60, 64)]
    for i in range(80):
        start = window_start(i, found, hop, n)
        inside = [(a, b) for a, b in found if a <= i < b]
        assert (start is None) == (not inside)
        if inside and (inside[0][1] - inside[0][0])*hop >= n:
            assert inside[0][0]*hop <= start <= inside[0][1]*hop - n


def test_an_empty_stage(small, tmp_path):
    "Nobody is painted where no known instrument plays, unless a label is given"
    noise = np.random.default_rng(0).normal(0, .1, 2*RATE)
    film = small.film(noise, tmp_path/'a.mp4', sample_rate=RATE)
    assert film.heard.label is None and film.heard.reason == 'no instrument I know'
    assert pictures(film.path).std() < 3
    assert pictures(small.film(noise, tmp_path/'b.mp4', 'oboe', RATE).path).std() > 30


def test_silence_is_a_resting_player(small, tmp_path):
    "Whole files of it, too"
    film = small.film(np.zeros(RATE), tmp_path/'a.mp4', sample_rate=RATE)
    assert film.heard.reason == 'silence' and pictures(film.path).std() > 30


def test_two_instruments(small, tmp_path):
    "One after the other: two players"
    both = np.concatenate([load_audio(shipped_clips()[k], RATE) for k in ('tuba', 'flute')])
    score = small.film(both, tmp_path/'a.mp4', sample_rate=RATE).score
    assert [s.label for s in score.heard.segments] == ['tuba', 'flute']
    assert (score.label(.5), score.label(3.5)) == ('tuba', 'flute')


def test_a_long_rest_costs_nothing(small, monkeypatch):
    "What nobody will ask for is not kept"
    stream = Stream(np.zeros(RATE, np.float32), RATE, RATE)
    piece, longest = np.zeros(10*RATE, np.float32), 0
    monkeypatch.setattr(stream, 'pieces', lambda: (piece for _ in range(360)))
    part = _Part(stream)
    for start in (0, 5000, 3500*RATE, 3500*RATE + 882):
        assert len(part(start, 11025)) == 11025
        longest = max(longest, len(part.held))
    assert longest < 3*len(piece)


def test_pieces_are_the_whole(tmp_path):
    "Stereo that cancels, integers as floats, another rate"
    x = np.random.default_rng(0).normal(0, .1, 50_000).astype(np.float32)
    sf.write(tmp_path/'a.wav', np.stack([x, -x], 1), 44100, subtype='FLOAT')
    sf.write(tmp_path/'b.wav', x*32768, 32000, subtype='FLOAT')
    for name in 'ab':
        path = tmp_path/f'{name}.wav'
        with pytest.warns() if name == 'b' else nullcontext(): whole = load_audio(path, RATE)
        got = np.concatenate(list(Stream(path, RATE).pieces()))
        np.testing.assert_allclose(got, whole.numpy(), atol=1e-6)


def test_memory_does_not_grow(untrained, tmp_path):
    "Ten minutes of silence take as much as one, within 30 MB"
    def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    def film(minutes):
        x = np.zeros(2000*60*minutes, np.int16)
        untrained.film(x, tmp_path/f'{minutes}.mp4', 'flute', 2000, size=64)
        return peak()
    assert film(4) - film(1) < 30


def test_killed(tmp_path):
    "Nothing half-written is left"
    code = ("import sys, numpy as np; from cargan.deploy.translate import Translator\n"
            "from cargan.deploy import film\n"
            "Translator.from_pretrained('small').film(np.zeros(22050*60), sys.argv[1], 'flute', "
            "22050)")
    out = tmp_path/'a.mp4'
    p = subprocess.Popen([sys.executable, '-c', code, str(out)], env={**os.environ,
                                                                      'OMP_NUM_THREADS': '1'})
    for _ in range(600):
        if list(tmp_path.iterdir()): break
        time.sleep(.1)
    assert list(tmp_path.iterdir()), 'it never began'
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert not out.exists()


def test_command(tiny, sh, tmp_path):
    "What it says, what it writes, and what it refuses in one line"
    clip, facts = shipped_clips()['violin'], tmp_path/'a.json'
    code, said, error = sh('cargan-video', clip, tmp_path/'a.mp4', '--label', 'violin', '--size',
                           '128', '--beside', 'stage1 spectrum waveform', '--bundle', tiny,
                           '--json', facts)
    assert code == 0 and 'a.mp4' in said, error
    assert pictures(tmp_path/'a.mp4').shape[1:] == (128, 128 + 42, 3)
    assert json.loads(facts.read_text())['pictures'] == len(pictures(tmp_path/'a.mp4'))
    for change, why in ((['--label', 'kazoo'], 'no label'), (['--beside', 'dog'], 'choose among'),
                        (['--size', '13'], 'multiple of 4'), (['--engine', 'x'], 'neither')):
        code, _, error = sh('cargan-video', clip, tmp_path/'b.mp4', '--bundle', tiny, *change)
        assert code == 2 and why in error and error.count('\n') == 1, error
    for sound, out, why in ((tmp_path/'none.wav', 'b.mp4', 'no such file'),
                            (Path(__file__), 'b.mp4', 'cannot be read'),
                            (clip, 'b.gif', 'written as .mp4')):
        code, _, error = sh('cargan-video', sound, tmp_path/out, '--bundle', tiny)
        assert code == 2 and why in error and error.count('\n') == 1, error
    assert not list(tmp_path.glob('b*'))


def test_the_sound_is_not_overwritten(untrained, tmp_path):
    "Also where the sound is a film"
    film = untrained.film(np.zeros(RATE), tmp_path/'a.mp4', 'flute', RATE).path
    was = film.read_bytes()
    with pytest.raises(CarganError, match='a.mp4'): untrained.film(film, film, 'flute')
    assert film.read_bytes() == was
