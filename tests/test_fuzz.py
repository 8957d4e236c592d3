"A few mutated files of each kind, always the same; `make fuzz` reads many, and others each time"
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import av
import fuzz
import numpy as np
import pytest
import soundfile as sf
import torch
from fuzz_kinds import KINDS, Kind
from safetensors import safe_open
from safetensors.torch import save_file
from test_sounds import CASES, clips

from cargan.core import CarganError
from cargan.data.audio import LMSSpec, load_audio
from cargan.data.pairs import find_pairs
from cargan.models.cascade import CARGAN
from cargan.models.preset import get_preset
from cargan.training.checkpoints import RunError, read_state, write_state

linux = pytest.mark.skipif(sys.platform != 'linux', reason='the watch reads /proc')
FEW = dict(sound=300, picture=300, film=50, manifest=200, table=50, bundle=40, checkpoint=200,
           preset=200)


@linux
@pytest.mark.parametrize('name', KINDS)
def test_mutated_files(name, tmp_path):
    found = fuzz.fuzz(name, FEW[name], kept=tmp_path)
    assert not found, '\n'.join(found.values())


def crash(path): os.kill(os.getpid(), signal.SIGSEGV)
def wait(path): time.sleep(20)
def leave(path): path.with_name('half').write_text('')
def raise_two_lines(path): raise CarganError(f'{path}: no\nno')
def raise_another(path): raise KeyError(path)
def raise_nameless(path): raise CarganError('no')
def warn_of_numbers(path): np.float32(3e38)*np.float32(3e38)


def eat(path):
    held = []
    for _ in range(100): # 20 MB each
        held.append(np.ones(2_500_000))
        time.sleep(.05)


@linux
@pytest.mark.parametrize('reads, why', [
    (crash, 'ends with -11'), (wait, 'takes longer than 4 s'), (eat, 'takes more than 300 MB'),
    (leave, 'left behind'), (raise_two_lines, 'several lines'), (raise_another, 'KeyError'),
    (raise_nameless, 'does not name'), (warn_of_numbers, 'RuntimeWarning')])
def test_the_fuzzer_finds(monkeypatch, tmp_path, reads, why):
    def make(folder): (folder/'a.x').write_bytes(bytes(99))
    def valid_first(path): return path.read_bytes() == bytes(99) or reads(path)
    monkeypatch.setitem(KINDS, 'own', Kind(make, (valid_first,)))
    (where, said), = fuzz.fuzz('own', 9, kept=tmp_path, seconds=4, megabytes=300).items()
    assert why in said
    kept, = Path(where).glob('*.x')
    assert kept.read_bytes() != bytes(99)


# --- What it has found

def test_wav_that_can_be_read_from_its_beginning_only(tmp_path):
    "GSM 6.10, as telephones record; libsndfile cannot seek in it"
    wave, rate = sf.read(clips['violin'])
    sf.write(tmp_path/'a.wav', wave, rate, subtype='GSM610')
    whole = load_audio(tmp_path/'a.wav')
    assert len(whole) == pytest.approx(2*22050, abs=200)
    part = load_audio(tmp_path/'a.wav', start=1, seconds=.5)
    same = torch.corrcoef(torch.stack([part, whole[22050:][:len(part)]]))[0, 1]
    assert len(part) == 11025 and same > .999


def test_more_than_eight_channels(tmp_path):
    "PyAV's planes of such a frame end beyond its memory"
    wave, rate = sf.read(clips['violin'], dtype='int16')
    with av.open(str(tmp_path/'a.mov'), 'w') as c:
        stream = c.add_stream('pcm_s16le', rate=rate, layout='hexadecagonal')
        samples = np.repeat(wave, 16)[None]
        piece = av.AudioFrame.from_ndarray(samples, 's16', 'hexadecagonal')
        piece.sample_rate = rate
        c.mux(stream.encode(piece))
        c.mux(stream.encode(None))
    assert torch.allclose(load_audio(tmp_path/'a.mov'), load_audio(clips['violin']), atol=1e-4)


def test_a_stream_that_begins_in_the_middle():
    "PyAV knows the streams of the beginning only, and raises an IndexError at another one"
    assert len(load_audio(CASES/'new_stream.ts')) == pytest.approx(.5*22050, rel=.1)


def test_a_header_that_promises_years():
    "libsndfile decodes silence as long as a GSM file's header says"
    with pytest.raises(CarganError, match='endless_gsm.w64: cannot be read as a sound'):
        load_audio(CASES/'endless_gsm.w64')


def test_opposite_infinities(tmp_path, recwarn):
    sf.write(tmp_path/'a.wav', np.array([[np.inf, -np.inf]]*9000), 44100, subtype='FLOAT')
    with pytest.raises(CarganError, match='impossible samples'): load_audio(tmp_path/'a.wav')
    assert not recwarn.list


def test_a_manifest_says_which_line(tmp_path):
    (tmp_path/'m.txt').write_text(f"a||1, 0||{'b'*9000}\n")
    with pytest.raises(CarganError, match=r"m.txt, line 1: 'b{80}' is named") as e:
        find_pairs(tmp_path/'m.txt')
    assert len(str(e.value)) < 300


@pytest.mark.parametrize('text, why', [
    ('lr_g = inf', 'too large'), ('ngf = 0x' + 'f'*9000, 'ngf = a huge number'),
    ('a = ' + '['*9000, 'give a TOML file'), ('"a\\nb" = 1', 'no option a b'),
    ('backbone = [' + '1,'*9000 + ']', r'backbone = \[1, 1'),
    ('lambda_l1 = 1' + '0'*400, 'too large')], ids=range(6))
def test_presets(tmp_path, text, why):
    (tmp_path/'a.toml').write_text(text)
    with pytest.raises(CarganError, match=f'a.toml.*{why}') as e: get_preset(tmp_path/'a.toml')
    assert '\n' not in str(e.value) and len(str(e.value)) < 500


@pytest.mark.parametrize('option, value', [
    ('size', 64.), ('size', 0), ('sample_rate', '22050'), ('seconds', 1e9), ('seconds', .01),
    ('n_fft', 10**9), ('n_fft', True), ('f_max', 20.), ('f_min', float('nan')), ('db_range', 0)])
def test_spectra_that_cannot_be(option, value):
    with pytest.raises(CarganError, match=f'LMS option {option}: '): LMSSpec(**{option: value})


def changed(path, to, **changes):
    "A bundle with another configuration, or other weights"
    with safe_open(path, 'pt') as f:
        config = json.loads(f.metadata()['cargan'])
        tensors = {k: f.get_tensor(k) for k in f.keys()}
    for k, v in changes.items():
        if k in config: config[k] = v(config[k]) if callable(v) else v
        else: tensors[k] = v
    save_file(tensors, to, metadata={'cargan': json.dumps(config)})
    return to


@pytest.mark.parametrize('changes, why', [
    (dict(preset=lambda p: {**p, 'networks': {**p['networks'], 'ngf': 10**6}}), 'do not fit'),
    (dict(preset=lambda p: {**p, 'networks': {**p['networks'], 'size': 48}}), 'power of two'),
    (dict(spec=lambda s: {**s, 'n_fft': 10**9}), 'LMS option n_fft'),
    (dict(labels=13), 'labels'), (dict(labels=['a', 'a']), 'labels'),
    (dict(networks=[]), 'do not fit'),
    (dict(networks=dict(c=dict(network='torchvision', name='vit_h_14'))), 'do not fit'),
    (dict(input='x'), 'input')], ids=range(8))
def test_bundles_that_do_not_fit(tiny, tmp_path, changes, why):
    "They are refused by name, before memory is taken for networks of any size"
    bad = changed(tiny, tmp_path/'a.safetensors', **changes)
    with pytest.raises(CarganError, match=f'a.safetensors: .*{why}'): CARGAN.from_pretrained(bad)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 3e36])
def test_weights_that_are_none(tiny, tmp_path, value):
    with safe_open(tiny, 'pt') as f:
        name = next(k for k in f.keys() if k.endswith('.weight'))
        x = f.get_tensor(name)
    x.view(-1)[-1] = value
    bad = changed(tiny, tmp_path/'a.safetensors', **{name: x})
    with pytest.raises(CarganError, match='a.safetensors: damaged, .*impossible weights'):
        CARGAN.from_pretrained(bad)


def test_states_that_are_none(tmp_path):
    whole = write_state(tmp_path, 'a', dict(w=torch.ones(3))).read_bytes()
    for data in (whole[:-9], whole.replace(b'PK', b'PQ', 1), b'', b'\x80\x02.', b'\x80\x02]q\x00.'):
        path = tmp_path/f'b-{hashlib.sha256(data).hexdigest()[:16]}.pt'
        path.write_bytes(data)
        with pytest.raises(RunError, match=f'{path.name}: damaged') as e: read_state(path)
        assert '\n' not in str(e.value)
