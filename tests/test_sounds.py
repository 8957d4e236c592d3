"Sound files as people have them: of any kind, cut off, damaged, mislabelled; and arrays"
import os
import random
import re
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
import torch

from cargan.core import CarganError
from cargan.data.audio import load_audio
from cargan.data.sounds import from_array, open_sound
from cargan.deploy.translate import Translator, shipped_clips

CASES = Path(__file__).parent/'cases'
RATE = 22050
clips = shipped_clips()


@pytest.fixture(scope='module')
def translator(): return Translator.from_pretrained()


@pytest.fixture(scope='module')
def clarinet(): return sf.read(clips['clarinet'], dtype='float32')   # 2 s at 44,100 Hz


def encode(path, codec, wave, rate, container=None, to=None, **options):
    "Write a wave with one of FFmpeg's encoders, at another rate if given"
    with av.open(str(path), 'w', format=container, options=options) as c:
        wma = codec == 'wmav2'
        stream = c.add_stream(codec, rate=to or rate, layout='stereo' if wma else 'mono')
        if wma: stream.bit_rate = 128_000
        piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None]), 'fltp', 'mono')
        piece.sample_rate, piece.time_base, piece.pts = rate, Fraction(1, rate), 0
        make = av.AudioResampler(stream.format or 'fltp', stream.layout, to or rate)
        fifo, n = av.AudioFifo(), stream.codec_context.frame_size
        for f in make.resample(piece) + make.resample(None): fifo.write(f)
        while f := fifo.read(n or 1024): c.mux(stream.encode(f))
        if f := fifo.read(0, partial=True): c.mux(stream.encode(f))
        c.mux(stream.encode(None))


def told(path, **kwargs):
    "(wave, the lines of its warnings)"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        wave = load_audio(path, **kwargs)
    return wave, [str(w.message) for w in said]


# name: (codec, container, rate)
KINDS = {'v.m4a': ('aac', 'ipod', 44100), 'v.mp4': ('aac', 'mp4', 44100),
         'v.aac': ('aac', 'adts', 44100), 'v.mp3': ('libmp3lame', 'mp3', 44100),
         'v.mp2': ('mp2', 'mp2', 44100), 'v.webm': ('libopus', 'webm', 48000),
         'v.opus': ('libopus', 'ogg', 48000), 'v.mka': ('flac', 'matroska', 44100),
         'v.flac': ('flac', 'flac', 44100), 'v.wma': ('wmav2', 'asf', 44100),
         'v.ts': ('aac', 'mpegts', 44100), 'v.avi': ('libmp3lame', 'avi', 44100),
         'v.flv': ('aac', 'flv', 44100), 'v.mov': ('pcm_s16le', 'mov', 44100),
         'v.ac3': ('ac3', 'ac3', 44100), 'v.amr': ('libopencore_amrnb', 'amr', 8000),
         'v.caf': ('pcm_s16le', 'caf', 44100), 'v.w64': ('pcm_s16le', 'w64', 44100),
         'v.aiff': ('pcm_s24be', 'aiff', 44100), 'v.au': ('pcm_s16be', 'au', 44100),
         'v.tta': ('tta', 'tta', 44100), 'v.wv': ('wavpack', 'wv', 44100),
         'u8.wav': ('pcm_u8', 'wav', 44100), 's32.wav': ('pcm_s32le', 'wav', 44100),
         'f64.wav': ('pcm_f64le', 'wav', 44100), 'ulaw.wav': ('pcm_mulaw', 'wav', 44100),
         'adpcm.wav': ('adpcm_ms', 'wav', 44100), 'rf64.wav': ('pcm_s16le', 'wav', 44100)}
OPTIONS = {'rf64.wav': dict(rf64='always')}
INDEX_LAST = 'v.m4a', 'v.mp4', 'v.mov'


@pytest.fixture(scope='module')
def files(tmp_path_factory, clarinet):
    folder = tmp_path_factory.mktemp('kinds')
    for name, (codec, container, rate) in KINDS.items():
        options = OPTIONS.get(name, {})
        encode(folder/name, codec, *clarinet, container, rate, **options)
        longer = np.tile(clarinet[0], 3)
        encode(folder/f'long_{name}', codec, longer, 44100, container, rate, **options)
    return folder


@pytest.mark.parametrize('name', KINDS)
def test_kinds(files, translator, name):
    wave, said = told(files/name)
    assert 1.94*RATE < len(wave) < 2.07*RATE and not said
    # AMR at 8 kHz is made for speech: an ear may say that it is no instrument
    assert translator(files/name).label in (['clarinet', None] if name == 'v.amr' else ['clarinet'])


@pytest.mark.parametrize('name', KINDS)
def test_a_part_is_a_part_of_the_whole(files, name):
    "To the millisecond: Matroska knows time no better; AC-3 has no times, and they are estimated"
    whole, part = load_audio(files/name), load_audio(files/name, start=1.1, seconds=.5)
    assert len(part) == RATE//2
    first, most = round(1.1*RATE), 90 if name == 'v.ac3' else 24
    def near(shift): return torch.corrcoef(torch.stack([part, whole[first + shift:][:len(part)]]))
    assert max(near(shift)[0, 1] for shift in range(-most, most)) > .9


@pytest.mark.parametrize('name', KINDS)
def test_cut_off(files, tmp_path, name):
    "Wherever it is cut: as far as it goes, and a line that says how far"
    data, draw = (files/f'long_{name}').read_bytes(), random.Random(f'{name} cut')
    for _ in range(4):
        n = draw.randrange(len(data)//3, len(data)*9//10)
        # a cut between two packets cannot be seen in a stream that has no length
        n += (name == 'v.ts' and n % 188 == 0) + (name == 'v.amr' and (n - 6) % 13 == 0)
        (cut := tmp_path/name).write_bytes(data[:n])
        if name in INDEX_LAST:
            with pytest.raises(CarganError, match='the index that such a file keeps at its end'):
                load_audio(cut)
            continue
        wave, said = told(cut)
        assert .7*n/len(data) - .16 < len(wave)/RATE/6 < 1.1*n/len(data) + .02
        line, = said
        after = re.match(re.escape(f'{cut}: cut off after ') + r'([\d.]+) s', line)
        assert float(after[1]) == pytest.approx(len(wave)/RATE, abs=.07)
        with pytest.raises(CarganError, match='cut off after'): load_audio(cut, strict=True)
        assert told(cut, seconds=.2)[1] == []        # what is wrong later on is of no interest


def test_mp3_without_a_xing_header(tmp_path, clarinet):
    encode(tmp_path/'a.mp3', 'libmp3lame', *clarinet, 'mp3', write_xing='0', id3v2_version='0')
    wave, said = told(tmp_path/'a.mp3')
    assert 1.99*RATE < len(wave) < 2.06*RATE and not said
    data = (tmp_path/'a.mp3').read_bytes()
    (tmp_path/'b.mp3').write_bytes(data + b'TAG' + bytes(125))   # a tag at its end is no packet
    assert not told(tmp_path/'b.mp3')[1]
    (tmp_path/'c.mp3').write_bytes(data + b'APETAGEX' + bytes(200))
    assert not told(tmp_path/'c.mp3')[1]


@pytest.mark.parametrize('name, seconds, line', [
    ('riffbig.wav', 2, ''), ('chained.ogg', 4, ''), ('killed.wav', 2, 'cut off after 2.00 s'),
    ('datatrunc.wav', 1, 'cut off after 1.00 s of 2.00 s'), ('v_cut.ogg', .84, 'after 0.84 s'),
    ('base_cut.aiff', 1, 'cut off after 1.00 s of 2.00 s')])
def test_cases(name, seconds, line):
    wave, said = told(CASES/name)
    assert len(wave)/RATE == pytest.approx(seconds, abs=.01)
    assert line in ''.join(said) and len(said) == bool(line)


def test_a_stream_that_does_not_know_its_length(tmp_path, clarinet):
    sf.write(tmp_path/'a.wav', *clarinet)
    data = bytearray((tmp_path/'a.wav').read_bytes())
    place = data.index(b'data') + 4
    for size in (0xffffffff, 0x7ffff000, 0x7fffffff):
        data[place:place + 4] = size.to_bytes(4, 'little')
        (tmp_path/'a.wav').write_bytes(data)
        wave, said = told(tmp_path/'a.wav')
        assert len(wave) == 2*RATE and not said


def test_a_hole_is_told(tmp_path, clarinet):
    encode(tmp_path/'a.aac', 'aac', *clarinet, 'adts')
    data = bytearray((tmp_path/'a.aac').read_bytes())
    middle = len(data)//2
    data[middle:middle + 600] = random.Random(1).randbytes(600)
    (tmp_path/'a.aac').write_bytes(data)
    wave, said = told(tmp_path/'a.aac')
    assert 'damaged at' in said[0] and len(wave) > 1.7*RATE


@pytest.mark.parametrize('rate', [44101, 44056, 192001, 8000, 11025, 96000, 47999])
def test_rates(tmp_path, translator, clarinet, rate):
    "The same clarinet, played at any rate"
    encode(tmp_path/'a.wav', 'pcm_s16le', *clarinet, 'wav', rate)
    wave = load_audio(tmp_path/'a.wav')
    assert len(wave) == pytest.approx(2*RATE, abs=20)
    n = 2*RATE - 50
    assert torch.corrcoef(torch.stack([wave[:n], load_audio(clips['clarinet'])[:n]]))[0, 1] > .9
    if rate < RATE: return                           # the upper half of the spectrum is gone
    assert translator(tmp_path/'a.wav').label == 'clarinet'
    half = np.interp(np.arange(0, 1, 1/rate), np.arange(len(clarinet[0]))/44100, clarinet[0])
    assert translator(half, sample_rate=rate).label == 'clarinet'


def test_stereo_that_cancels_is_heard(tmp_path, translator, clarinet):
    wave, rate = clarinet
    mono = load_audio(clips['clarinet'])
    for name, both in dict(cancels=(wave, -wave), left=(wave, 0*wave), twice=(wave, wave),
                           nearly=(wave, -.95*wave)).items():
        sf.write(tmp_path/f'{name}.wav', np.stack(both, 1), rate)
        heard = translator(tmp_path/f'{name}.wav')
        assert heard.label == 'clarinet' and not heard.silent
        for x in (np.stack(both), np.stack(both, 1)):
            assert translator(x, sample_rate=rate).label == 'clarinet'
    assert torch.allclose(load_audio(tmp_path/'cancels.wav'), mono, atol=2e-4)
    assert torch.allclose(load_audio(tmp_path/'left.wav'), mono/2, atol=2e-4)


def test_floats_at_the_scale_of_integers(tmp_path, clarinet):
    wave, rate = clarinet
    mono = load_audio(clips['clarinet'])
    for bits in (16, 24, 32):
        sf.write(tmp_path/'a.wav', wave*2**(bits - 1), rate, subtype='FLOAT')
        found, said = told(tmp_path/'a.wav')
        assert f'integers of {bits} bits' in said[0]
        assert torch.allclose(found, mono, atol=1e-4)
    quiet = np.concatenate([wave*32768, wave[:rate]*2])  # this end alone would seem to be floats
    sf.write(tmp_path/'a.wav', quiet, rate, subtype='FLOAT')
    assert told(tmp_path/'a.wav', start=2.2, seconds=.5)[0].abs().max() < 1e-3
    sf.write(tmp_path/'a.wav', wave*2, rate, subtype='FLOAT')   # a hot mix, no more
    assert not told(tmp_path/'a.wav')[1]


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf, 3e38])
def test_impossible_samples(tmp_path, translator, clarinet, bad):
    wave, rate = clarinet[0].copy(), clarinet[1]
    wave[5] = bad
    sf.write(tmp_path/'a.wav', wave, rate, subtype='FLOAT')
    for sound in (tmp_path/'a.wav', wave, list(wave)):
        with pytest.raises(CarganError, match='impossible samples'):
            translator(sound, sample_rate=rate)
    assert len(load_audio(tmp_path/'a.wav', start=1, seconds=.5))   # this part has none


def test_arrays_as_libraries_hand_them_over(translator, clarinet):
    wave, rate = clarinet
    whole = translator(wave, sample_rate=rate)
    def same(x): return abs(translator(x, sample_rate=rate).lms - whole.lms).mean() < .02
    s16 = (wave*32767).astype(np.int16)
    assert same(s16) and same(s16.astype('>i2')) and same(s16.tolist()) and same(s16.astype(int))
    assert same(s16.astype(np.int32)) and same((wave*2**31*.999).astype(np.int32))
    assert same((wave*2**23).astype(np.int32))                   # 24 bits in 32
    assert same((s16.astype(int) + 32768).astype(np.uint16))
    assert same(wave.astype(np.float64)) and same(wave.astype('>f4')) and same(wave*32768)
    assert same(torch.tensor(wave)) and same(torch.tensor(wave, requires_grad=True)[None])
    assert same(torch.tensor(wave).bfloat16()) and same(np.stack([wave]*2)) and same(wave[:, None])
    assert same(np.ma.array(wave)) and same(wave[::-1].copy()[::-1])
    assert translator((wave*127 + 128).astype(np.uint8), sample_rate=rate).label == 'clarinet'
    assert translator(np.full(rate, 128, np.uint8), sample_rate=rate).silent
    backwards = from_array(wave[::-1])[:, 0]
    assert (backwards == wave[::-1]).all()


@pytest.mark.parametrize('x', [[], 'sound', [1j]*99, np.ones(99, bool), np.zeros((40, 40)), None,
                               np.zeros((2, 3, 400)), [[1], [1, 2]], [None]*3, {'a': 1}, 1.5,
                               np.ma.array([1., 2.], mask=[0, 1])], ids=repr)
def test_arrays_that_are_no_sounds(x):
    with pytest.raises(CarganError, match='an array of samples'): from_array(x)


@pytest.mark.parametrize('rate', [None, 0, -1, np.nan, np.inf, 10, '44100', 1e12])
def test_rates_that_are_none(translator, rate):
    with pytest.raises(CarganError, match='sample_rate'):
        translator(np.ones(9000, np.float32), sample_rate=rate)


def test_half_a_second_reads_half_a_second(tmp_path, clarinet):
    "Decoded are the packets around it, not those before"
    wave, rate = np.tile(clarinet[0], 60), clarinet[1]
    for name in ('a.m4a', 'a.mp3', 'a.webm', 'a.mka'):
        encode(tmp_path/name, KINDS[f'v{name[1:]}'][0], wave, rate, to=48000)
        with open_sound(tmp_path/name) as f:
            got = sum(map(len, f.blocks(100, .5)))
            assert abs(got - .5*f.rate) <= 1 and f.done/f.rate < 101
            assert f.decoded/f.rate < (7 if name in ('a.webm', 'a.mka') else 2)  # 5 s a cluster


def test_near_the_end(translator, clarinet):
    near = translator(clips['clarinet'], at=1.9)
    assert near.padded and near.at == 1.9 and not translator(clips['clarinet'], at=1.2).padded
    for at in (2.1, -1, np.nan, np.inf):
        with pytest.raises(CarganError, match='there is no sound at|cannot be read from'):
            translator(clips['clarinet'], at=at)


def test_no_list_of_other_files_is_opened(tmp_path):
    (tmp_path/'a.wav').write_bytes(clips['clarinet'].read_bytes())
    lists = {'m3u8': '#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.wav\n#EXT-X-ENDLIST\n',
             'txt': "ffconcat version 1.0\nfile a.wav\n"}
    for suffix, text in lists.items():
        (tmp_path/f'list.{suffix}').write_text(text)
        with pytest.raises(CarganError, match='cannot be read as a sound'):
            load_audio(tmp_path/f'list.{suffix}')


@pytest.mark.parametrize('content, line', [(b'', 'is empty'), (b'no sound', 'cannot be read'),
                                           (b'RIFF', 'cannot be read'), (bytes(9999), 'cannot be')])
def test_what_is_no_sound(tmp_path, content, line):
    (tmp_path/'a.wav').write_bytes(content)
    with pytest.raises(CarganError, match=line) as e: load_audio(tmp_path/'a.wav')
    assert '\n' not in str(e.value) and str(tmp_path/'a.wav') in str(e.value)


def test_names(tmp_path):
    "Content counts, not the suffix; a name may hold any bytes"
    for name in (b'caf\xe9.ogg', b'a.txt', 'チェロ'.encode(), b'no suffix', b'a%d\n.png.ogg'):
        path = os.path.join(os.fsencode(tmp_path), name)
        with open(path, 'wb') as f: f.write(clips['clarinet'].read_bytes())
        assert len(load_audio(os.fsdecode(path))) == 2*RATE
    mp4 = os.fsdecode(os.path.join(os.fsencode(tmp_path), b'caf\xe9.mp3'))
    encode(tmp_path/'a.mp3', 'libmp3lame', *sf.read(clips['tuba'], dtype='float32'), 'mp3')
    os.rename(tmp_path/'a.mp3', mp4)
    assert len(load_audio(mp4)) > 1.9*RATE
