"Films that people have: browsers', phones', televisions' and screens'"
import csv
import os
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from PIL import Image

from cargan.core import CarganError
from cargan.data.prepare import prepare_urmp, prepare_videos
from cargan.data.sources import from_table
from cargan.data.videos import pictures_at, probe, sound_at, survey, write_video

CASES = Path(__file__).parent/'cases'/'vid'
RATE = 44100


def blocks(i, h=64, w=96): # frame number i in 4 x 4 blocks blocks
    bits = np.array([(i >> k) & 1 for k in range(16)], np.uint8).reshape(4, 4)
    return np.repeat(np.kron(bits*120 + 60, np.ones((h//4, w//4), np.uint8))[..., None], 3, 2)


def number(im): # and back
    x = np.asarray(im.convert('L').resize((96, 64)), float)
    bits = x.reshape(4, 16, 4, 24)[:, 4:-4, :, 4:-4].mean((1, 3)) > 120
    return sum(bool(b) << k for k, b in enumerate(bits.flat))


def numbers(path, times): return [im and number(im) for im in pictures_at(path, times)]
def noise(seconds, rate=RATE): return np.random.default_rng(0).standard_normal((seconds*rate, 2))*.1
def rows_of(out): return list(csv.DictReader(open(out/'pairs.csv', encoding='utf-8')))


def film(path, seconds=3, fps=10, **kw):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = noise(seconds, 48000)
    return write_video(path, map(blocks, range(seconds*fps)), wave, fps=fps, rate=48000, **kw)


def cut(root, out, **kw): return prepare_videos(root, out, size=32, workers=1, progress=False, **kw)


def case(tmp_path, *names): # a folder of classes, one case each
    for name in names: shutil.copytree(CASES/name, tmp_path/'films'/name)
    return tmp_path/'films'


def remuxed(path, source, change=lambda stream, packet: packet, tracks=None, **options):
    "The packets of a film in another file; `change` may alter or drop one, `tracks` repeat streams"
    with av.open(str(source)) as a, av.open(str(path), 'w', **options) as b:
        twins = [(s, b.add_stream_from_template(s)) for s in tracks(a) if s] if tracks else [
            (s, b.add_stream_from_template(s)) for s in a.streams]
        for p in a.demux():
            for n, (s, twin) in enumerate(twins):
                if s.index != p.stream_index or p.dts is None: continue
                q = av.Packet(bytes(p))
                q.pts, q.dts, q.duration, q.time_base = p.pts, p.dts, p.duration, p.time_base
                q.is_keyframe = p.is_keyframe
                if (q := change(n, q)) is None: continue
                q.stream = twin
                b.mux(q)
    return path


# How long

@pytest.mark.parametrize('name, end', [('webmlive', 8), ('mkvheader', 7.98), ('screenrecw', 8)])
def test_no_duration_in_the_header(tmp_path, name, end):
    f, = (CASES/name).iterdir()
    assert abs(probe(f).end - end) < .05
    r = cut(case(tmp_path, name), tmp_path/'out')
    assert not r['skipped'], r
    n = 14 if name == 'mkvheader' or end < 8 else 15 # one window crosses the border of the split
    assert r['pairs'] >= n, r


@pytest.mark.parametrize('says', [1, 100])
def test_a_header_that_lies(tmp_path, says):
    "The length in an MP4's three headers is ten times too long, or a third"
    f = film(tmp_path/'a.mp4', 3)
    data = f.read_bytes()
    for box, at in ((b'mvhd', 20), (b'tkhd', 24), (b'mdhd', 20)):
        i = data.find(box)
        while i >= 0:
            old = int.from_bytes(data[i + at:i + at + 4], 'big')
            new = (old*says//3).to_bytes(4, 'big')
            data, i = data[:i + at] + new + data[i + at + 4:], data.find(box, i + 4)
    f.write_bytes(data)
    assert abs(probe(f).end - 3) < .05
    assert numbers(f, [.05, 1.55, 2.85]) == [0, 15, 28]


def test_a_cut_file(tmp_path):
    "An MP4 with its index in front promises all of it, wherever it was cut"
    whole = film(tmp_path/'whole.mp4', 6)
    f = remuxed(tmp_path/'a.mp4', whole, options=dict(movflags='faststart'))
    data = f.read_bytes()
    f.write_bytes(data[:len(data)*6//10])
    span = probe(f)
    assert 1.5 < span.end < 5
    r = cut(case_of(tmp_path, f), tmp_path/'out', stride=250)
    assert r['pairs'] > 4 and r['pairs'] >= (span.end - 1)*4 - 3, r


def case_of(tmp_path, *files): # a class folder with these files
    (tmp_path/'films'/'saw').mkdir(parents=True, exist_ok=True)
    for f in files: shutil.copy(f, tmp_path/'films'/'saw')
    return tmp_path/'films'


@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv', 'a.mov', 'a.ts', 'a.flv', 'a.webm', 'a.avi'])
def test_one_stream_is_shorter(tmp_path, name):
    sound, codecs = noise(5, 48000), None
    if name.endswith('flv'): codecs = 'flv', 'aac'
    for frames, wave, end in ((30, sound, 3), (50, sound[:2*48000], 2)):
        write_video(tmp_path/name, map(blocks, range(frames)), wave, fps=10, rate=48000,
                    codecs=codecs)
        assert abs(probe(tmp_path/name).end - end) < .15


def test_streams_that_begin_late(tmp_path):
    late = film(tmp_path/'late.mp4', 3, sound_start=1.2)
    assert abs(probe(late).begin - 1.2) < .05
    times = 1 + np.arange(20)/10
    video = write_video(tmp_path/'v.mkv', map(blocks, range(20)), noise(3), fps=10, times=times)
    span = probe(video)
    assert abs(span.begin - 1) < .05 and abs(span.end - 3) < .15
    assert numbers(video, [1.05, 2.05]) == [0, 10]


def test_negative_times(tmp_path):
    "A phone's cut: the first two seconds are in the file, before zero, and not in the film"
    plain = film(tmp_path/'plain.mkv', 4)
    def earlier(n, p):
        p.pts, p.dts = p.pts - round(2/p.time_base), p.dts - round(2/p.time_base)
        return p
    f = remuxed(tmp_path/'a.mp4', plain, earlier, options=dict(avoid_negative_ts='disabled'))
    assert abs(np.subtract(probe(f), (0, 2))).max() < .05
    assert numbers(f, [.05, 1.05]) == [20, 30]
    x, y = (sound_at(p, t, .5)[0][:, 0]/1e4 for p, t in ((f, 1), (plain, 3)))
    def like(shift): return np.corrcoef(x[999:-999], np.roll(y, shift)[999:-999])[0, 1]
    assert max(map(like, range(-99, 99))) > .9


def test_a_broken_clock(tmp_path):
    "One packet with an absurd time neither makes a film of years nor hides the rest"
    plain = film(tmp_path/'plain.mkv', 3)
    def jump(n, p):
        if p.pts*p.time_base > 2.9: p.pts = p.dts = p.pts + round(10**7/p.time_base)
        return p
    f = remuxed(tmp_path/'a.mkv', plain, jump)
    assert 2.7 < probe(f).end < 3.1


# A picture that stands still, and one that is lost

def test_screen_recordings(tmp_path):
    "Every window has the picture that is shown"
    for name in ('screenrec', 'screenrecw'):
        f, = (CASES/name).iterdir()
        times = np.arange(0, 7.5, .25)
        shown = list(pictures_at(f, times))
        assert all(shown), [t for t, im in zip(times, shown) if not im]
        still = [np.asarray(im, float) for t, im in zip(times, shown) if 2.1 < t < 5.9]
        assert max(abs(x - still[0]).max() for x in still) == 0
        assert abs(np.asarray(shown[0], float) - still[0]).mean() > 1
    r = cut(case(tmp_path, 'screenrec', 'screenrecw'), tmp_path/'out')
    assert r['pairs'] >= 29 and not r['skipped'], r


@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv', 'a.webm'])
def test_stands_still_at_the_end(tmp_path, name):
    moments = [0, .1, .2, 2.2, 2.3]
    f = write_video(tmp_path/name, map(blocks, range(5)), noise(4, 48000), rate=48000,
                    times=moments)
    assert abs(probe(f).end - 4) < .1
    assert numbers(f, [.15, 1, 2, 2.25, 3, 3.5]) == [1, 2, 2, 3, 4, 4]


@pytest.mark.parametrize('name', ['a.mkv', 'a.webm'])
def test_lost_packets_are_no_still_picture(tmp_path, name):
    "Two seconds of both streams are missing: nothing is made up until the next key frame"
    plain = film(tmp_path/f'plain{name[1:]}', 8)
    def lose(n, p): return None if 2.35 < p.pts*p.time_base < 4.35 else p
    f = remuxed(tmp_path/name, plain, lose)
    times = 1.05, 2.15, 3, 4, 4.6, 5.05, 6.05
    got = dict(zip(times, numbers(f, times)))
    assert [got[t] for t in (1.05, 2.15, 5.05, 6.05)] == [10, 21, 50, 60], got
    assert got[3] is None and got[4] is None and got[4.6] is None, got


def test_undecodable_packets_are_no_still_picture(tmp_path):
    plain = film(tmp_path/'plain.mp4', 6)
    def spoil(n, p):
        if n or not 2 < p.pts*p.time_base < 4: return p
        q = av.Packet(os.urandom(p.size))
        q.pts, q.dts, q.duration, q.time_base = p.pts, p.dts, p.duration, p.time_base
        return q
    f = remuxed(tmp_path/'a.mp4', plain, spoil)
    got = numbers(f, (1.05, 2.55, 3.05, 3.55, 5.05))
    assert (got[0], got[-1]) == (10, 50) and got[1:4] == [None]*3, got
    (tmp_path/'films'/'saw').mkdir(parents=True)
    shutil.move(f, tmp_path/'films'/'saw')
    r = cut(tmp_path/'films', tmp_path/'out')
    assert any('damaged' in s['why'] for s in r['skipped']), r


# Colours

def rgb(path, t=.5): return np.asarray(next(pictures_at(path, [t])), float)


@pytest.mark.parametrize('name', ['hlgreal', 'pqreal'])
def test_hdr(name):
    "The colours of the ordinary film, within 4 of 255 on the average; unmapped it is 48 and 72"
    true, mine = rgb(CASES/'sdr'/'a.mp4'), rgb(CASES/name/'a.mp4')
    assert abs(mine - true).mean() < 4, abs(mine - true).mean()
    assert survey(CASES/name/'a.mp4')[1] == []


BARS = np.uint8([[235, 235, 235], [200, 40, 40], [40, 180, 60], [40, 60, 200], [128, 128, 128]])


@pytest.mark.parametrize('matrix', [5, 1]) # BT.601, BT.709
@pytest.mark.parametrize('full', [False, True])
@pytest.mark.parametrize('form', ['yuv420p', 'yuv420p10le'])
def test_matrix_range_and_depth(tmp_path, matrix, full, form):
    bars = BARS[:, None].repeat(64, 1).repeat(32, 0)
    with av.open(str(tmp_path/'a.mkv'), 'w') as c:
        v = c.add_stream('libx264', rate=10, options=dict(qp='4'))
        v.height, v.width, v.pix_fmt = *bars.shape[:2], form
        v.codec_context.colorspace, v.codec_context.color_range = matrix, 2 if full else 1
        f = av.VideoFrame.from_ndarray(bars)
        f = f.reformat(format=form, dst_colorspace=matrix, dst_color_range=2 if full else 1)
        for i in range(10):
            f.pts, f.time_base = i, Fraction(1, 10)
            c.mux(v.encode(f))
        c.mux(v.encode(None))
    middles = np.arange(160) % 32 // 8 % 3 > 0 # without the seams, where colours run
    error = abs(rgb(tmp_path/'a.mkv') - bars)[middles].mean()
    assert error < 2, error


def test_what_cannot_be_mapped_is_said(tmp_path):
    f = tmp_path/'films'/'saw'/'a.mkv'
    film(f, 3)
    with av.open(str(f)) as c: assert c.streams.video[0].codec_context.color_trc == 2
    with av.open(str(tmp_path/'log.mkv'), 'w') as c:
        v, a = c.add_stream('libx264', rate=10), c.add_stream('aac', rate=RATE, layout='mono')
        v.height, v.width, v.pix_fmt = 64, 96, 'yuv420p'
        v.codec_context.color_trc = 9
        for i in range(30):
            x = av.VideoFrame.from_ndarray(blocks(i))
            x.pts, x.time_base = i, Fraction(1, 10)
            c.mux(v.encode(x))
            s = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), 'fltp', 'mono')
            s.sample_rate, s.pts, s.time_base = RATE, 4410*i, Fraction(1, RATE)
            c.mux(a.encode(s))
        c.mux(v.encode(None))
        c.mux(a.encode(None))
    shutil.copy(tmp_path/'log.mkv', f.parent)
    r = cut(tmp_path/'films', tmp_path/'out')
    assert any('saw/log.mkv' in w and 'logarithmic' in w for w in r['warnings']), r['warnings']
    assert not any('a.mkv' in w for w in r['warnings']), r['warnings']


# Tracks and shapes

def test_several_tracks(tmp_path):
    "The default sound, not the commentary; said in the report's warnings"
    low = write_video(tmp_path/'low.mkv', map(blocks, range(30)), np.zeros((3*RATE, 2)), fps=10)
    two = film(tmp_path/'two.mkv', 3)
    for name, dispositions, heard in (('default', ('comment', 'default'), True),
                                      ('first', ('default', 'default'), False),
                                      ('aside', ('comment', 0), True)):
        f = tmp_path/name/'saw'/'a.mkv'
        f.parent.mkdir(parents=True)
        with av.open(str(low)) as a, av.open(str(two)) as b, av.open(str(f), 'w') as c:
            streams = [a.streams.video[0], a.streams.audio[0], b.streams.audio[0]]
            twins = [c.add_stream_from_template(s) for s in streams]
            for t, d in zip(twins[1:], dispositions):
                t.disposition = av.stream.Disposition[d] if d else av.stream.Disposition(0)
            for source, pairs in ((a, ((0, 0), (1, 1))), (b, ((1, 2),))):
                for p in source.demux():
                    twin = dict(pairs).get(p.stream_index)
                    if twin is None or p.dts is None: continue
                    p.stream = twins[twin]
                    c.mux(p)
        assert (abs(sound_at(f, 1, .5)[0]).max() > 1000) == heard, name
        r = cut(f.parent.parent, tmp_path/f'{name}.out')
        assert any('saw/a.mkv has 2 sound tracks' in w for w in r['warnings']), r


def test_cover_art(tmp_path):
    "A song with a cover is no film; a film with a cover first is one, and not a still"
    cover = tmp_path/'cover.jpg'
    Image.fromarray(blocks(90)).save(cover)
    plain = film(tmp_path/'plain.mp4', 3)
    for name, kinds in (('song', ('audio',)), ('film', ('audio', 'video'))):
        f = str(tmp_path/f'{name}.mp4')
        with av.open(str(plain)) as a, av.open(str(cover)) as j, av.open(f, 'w') as c:
            art = c.add_stream_from_template(j.streams.video[0])
            art.disposition = av.stream.Disposition.attached_pic
            twins = {s.index: c.add_stream_from_template(s) for s in a.streams if s.type in kinds}
            p = next(j.demux())
            p.stream = art
            c.mux(p)
            for p in a.demux():
                if p.dts is None or p.stream_index not in twins: continue
                p.stream = twins[p.stream_index]
                c.mux(p)
    with pytest.raises(CarganError, match='has no picture, only a cover'):
        probe(tmp_path/'song.mp4')
    assert numbers(tmp_path/'film.mp4', [.55, 2.05]) == [5, 20]


@pytest.mark.parametrize('matrix, turn', [
    ((1, 0, 0, 1), lambda x: x), ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
    ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)), ((0, -1, 1, 0), lambda x: np.rot90(x)),
    ((-1, 0, 0, 1), lambda x: x[:, ::-1]), ((0, 1, 1, 0), lambda x: x.transpose(1, 0, 2))])
def test_turned_and_mirrored(tmp_path, matrix, turn):
    "A phone held in any way, and its front camera"
    x = np.zeros((64, 96, 3), np.uint8)
    x[:32, :48], x[:32, 48:], x[32:, :48] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    f = write_video(tmp_path/'a.mp4', [x]*10, noise(1), fps=10)
    data, at = f.read_bytes(), 0
    at = data.find(b'tkhd')
    a, b, c, d = (v*65536 for v in matrix)
    words = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    new = b''.join(v.to_bytes(4, 'big', signed=True) for v in words)
    f.write_bytes(data[:at + 44] + new + data[at + 80:])
    got, true = rgb(f), turn(x).astype(float)
    assert got.shape == true.shape and abs(got - true).mean() < 8


def test_pixels_that_are_not_square(tmp_path):
    with av.open(str(tmp_path/'a.mkv'), 'w') as c:
        v = c.add_stream('libx264', rate=10)
        v.height, v.width, v.pix_fmt = 64, 96, 'yuv420p'
        v.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for i in range(10): c.mux(v.encode(av.VideoFrame.from_ndarray(blocks(i))))
        c.mux(v.encode(None))
    assert next(pictures_at(tmp_path/'a.mkv', [.5])).size == (128, 64)


def test_interlaced(tmp_path):
    "One moment of the two that are woven into a frame"
    x = np.zeros((64, 96, 3), np.uint8)
    x[::2, :48], x[1::2, 48:] = 220, 220 # a bar left in the even lines, right in the odd ones
    with av.open(str(tmp_path/'a.mkv'), 'w') as c:
        v = c.add_stream('libx264', rate=10, options={'x264-params': 'tff=1', 'qp': '4'})
        v.height, v.width, v.pix_fmt = 64, 96, 'yuv420p'
        for i in range(10): c.mux(v.encode(av.VideoFrame.from_ndarray(x)))
        c.mux(v.encode(None))
    got = rgb(tmp_path/'a.mkv')
    assert got[8:-8, 4:44].min() > 180 and got[8:-8, 52:92].max() < 40


# Sound

@pytest.mark.parametrize('rate', [44101, 44056, 192001, 8000])
@pytest.mark.parametrize('channels', [1, 2, 3, 8])
def test_odd_rates_and_channels(tmp_path, rate, channels):
    tone = .3*np.sin(2*np.pi*440*np.arange(3*rate)/rate)
    sf.write(tmp_path/'a.wav', np.repeat(tone[:, None], channels, 1), rate)
    t = time.perf_counter()
    x, there = sound_at(tmp_path/'a.wav', 1, .5)
    assert time.perf_counter() - t < 2 and there.all() and x.shape == (22050, min(channels, 2))
    spectrum = abs(np.fft.rfft(x[:, 0]/32768))/11025
    assert spectrum.argmax() == 220 and abs(spectrum.max() - .3) < .02


def test_pairs_keep_both_channels(tmp_path):
    "What cancels is in the file, and no silence: loudness is that of what load_audio hears"
    from cargan.data.audio import load_audio, loudness
    tone = .3*np.sin(2*np.pi*440*np.arange(3*RATE)/RATE)
    f = tmp_path/'films'/'saw'/'a.mkv'
    f.parent.mkdir(parents=True)
    write_video(f, map(blocks, range(30)), np.stack([tone, -tone], 1), fps=10,
                codecs=('libx264', 'pcm_s16le'))
    cut(tmp_path/'films', tmp_path/'out')
    assert len(rows_of(tmp_path/'out')) == 5
    for row in rows_of(tmp_path/'out'):
        assert row['silent'] == '0' and abs(float(row['loudness']) + 13.47) < .5
        wav, = (tmp_path/'out').rglob(f"{row['stem']}.wav")
        x, _ = sf.read(wav)
        assert x.shape[1] == 2 and abs(x[:, 0] + x[:, 1]).max() < .01 < .2 < abs(x).max()
        assert abs(loudness(load_audio(wav, RATE)).item() - float(row['loudness'])) < .01


# Folders, names, tables

def test_hidden_and_odd_names(tmp_path):
    root = tmp_path/'films'/'saw'
    film(root/'a.MP4')
    film(tmp_path/'b.mp4')
    odd = os.path.join(os.fsencode(root), b'caf\xe9.mp4')
    try: shutil.move(os.fsencode(tmp_path/'b.mp4'), odd)
    except OSError: pytest.skip('this system has no such names')
    for name in ('._a.MP4', '.DS_Store', 'Thumbs.db', 'desktop.ini'): (root/name).write_text('x')
    (tmp_path/'films'/'__MACOSX').mkdir()
    r = cut(tmp_path/'films', tmp_path/'out')
    assert r['pairs'] == 12 and not r['skipped'], r # of three seconds, 6 windows each
    assert {x['source'] for x in rows_of(tmp_path/'out')} == {'saw/a.MP4', 'saw/caf\\udce9.mp4'}


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'latin-1'])
@pytest.mark.parametrize('mark', [',', ';', '\t'])
def test_tables(tmp_path, encoding, mark):
    for name in ('café.mp4', 'b.mp4'): (tmp_path/name).touch()
    lines = (('file', 'start', 'end', 'label'), ('café.mp4', '0.5', '2', 'Geige ü'),
             ('b.mp4', '', '', 'saw'), ('none.mp4', '', '', 'saw'))
    text = '\r\n'.join(map(mark.join, lines))
    (tmp_path/'t.csv').write_bytes(text.encode(encoding))
    parts, skipped = from_table(tmp_path/'t.csv')
    assert [(label, f.name, *at) for label, f, *at in parts] == [
        ('Geige ü', 'café.mp4', .5, 2.), ('saw', 'b.mp4', None, None)]
    assert [s['file'] for s in skipped] == ['none.mp4 (line 4)']


@pytest.mark.parametrize('data', [
    b'PK\x03\x04\0\0\0', b'\xff\xfea', b'file\0,label\n', b'\x81\x8d,\n1', b'file,start\na,1\n',
    b'"' + b'x'*200_000, b'file,label\n"a\n'])
def test_bad_tables_are_one_line(tmp_path, data):
    (tmp_path/'t.csv').write_bytes(data)
    with pytest.raises(CarganError) as e: cut(tmp_path/'t.csv', tmp_path/'out')
    assert len(str(e.value).splitlines()) == 1 and 't.csv' in str(e.value)
    assert not list(tmp_path.glob('.out*')) and not (tmp_path/'out').exists()


@pytest.mark.parametrize('number', ['inf', '-inf', 'nan', '1e999', 'x'])
def test_odd_numbers_in_tables(tmp_path, number):
    film(tmp_path/'a.mp4')
    (tmp_path/'t.csv').write_text(f'file,start,end,label\na.mp4,{number},,saw\na.mp4,,,saw\n')
    r = cut(tmp_path/'t.csv', tmp_path/'out')
    assert r['pairs'] and 'not numbers' in r['skipped'][0]['why']


# One at a time, and where it goes

HOLD = '''import sys, time
from pathlib import Path
from cargan.data import prepare
make = prepare.make_stretch
def slow(job):
    print('working', flush=True)
    while not Path(sys.argv[3]).exists(): time.sleep(.02)
    return make(job)
prepare.make_stretch = slow
prepare.prepare_videos(*sys.argv[1:3], size=32, workers=int(sys.argv[4]), progress=False)
'''


@pytest.mark.slow
@pytest.mark.parametrize('killed, workers', [(False, 1), (True, 2)])
def test_two_at_once(tmp_path, killed, workers):
    film(tmp_path/'films'/'saw'/'a.mp4')
    out, go = tmp_path/'out', tmp_path/'go'
    p = subprocess.Popen([sys.executable, '-c', HOLD, tmp_path/'films', out, go, str(workers)],
                         stdout=subprocess.PIPE, text=True)
    try:
        assert p.stdout.readline() == 'working\n'
        with pytest.raises(CarganError, match=f'{out}: another cargan-prepare is at work on it'):
            cut(tmp_path/'films', out)
        if killed: p.kill()
        else: go.touch()
        p.wait(60)
    finally: p.kill()
    if killed: assert cut(tmp_path/'films', out)['pairs'] == 5
    else:
        assert p.returncode == 0
        with pytest.raises(CarganError, match='not empty'): cut(tmp_path/'films', out)
    assert len(rows_of(out)) == 5 and not list(tmp_path.glob('.*'))


def test_out_is_a_link(tmp_path):
    film(tmp_path/'films'/'saw'/'a.mp4')
    (tmp_path/'disk'/'pairs').mkdir(parents=True)
    (tmp_path/'out').symlink_to(tmp_path/'disk'/'pairs')
    assert cut(tmp_path/'films', tmp_path/'out')['pairs'] == 5
    assert (tmp_path/'out').is_symlink() and len(rows_of(tmp_path/'disk'/'pairs')) == 5
    assert not list(tmp_path.rglob('.*'))


def test_urmp_with_capital_suffixes(tmp_path):
    folder = tmp_path/'urmp'/'01_Jupiter_vn'
    film(folder/'Vid_01_Jupiter_vn.MP4')
    (folder/'Vid_01.txt').write_text('no film')
    sf.write(folder/'AuSep_1_vn_01_Jupiter.WAV', noise(3), RATE, format='WAV')
    r = prepare_urmp(tmp_path/'urmp', tmp_path/'out', size=32, workers=1, progress=False)
    assert r['pairs'] == 6 and not r['skipped'], r
