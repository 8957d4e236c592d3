"The commands as a user meets them: real processes, good input and bad"
import json
import os
import shutil

import numpy as np
import pytest
import soundfile as sf
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

RATE = 44100


def tone(seconds=1., hz=440., channels=1):
    t = np.arange(int(seconds*RATE))/RATE
    return np.repeat((.3*np.sin(2*np.pi*hz*t))[:, None], channels, 1)


def refused(result, *words):
    "Exit code 2, nothing on standard output, one line that holds `words`, no traceback"
    rc, out, err = result
    assert rc == 2, (out, err)
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('cargan: '), err
    for w in words: assert w in err, err


@pytest.fixture
def translate(sh, tiny):
    "`cargan-translate` with the tiny bundle"
    def run(*args, **kwargs): return sh('cargan-translate', *args, '--bundle', tiny, **kwargs)
    return run


@pytest.mark.parametrize('suffix', ['wav', 'flac', 'ogg', 'mp3'])
def test_translate_formats(translate, tmp_path, suffix):
    sound = tmp_path/f'a sound ü.{suffix}'
    sf.write(sound, tone(1.3, channels=2), RATE)
    rc, out, err = translate(sound, '--out', tmp_path/'a.png', '--json', tmp_path/'a.json')
    assert rc == 0, err
    assert Image.open(tmp_path/'a.png').size == (32, 32)
    facts = json.loads((tmp_path/'a.json').read_text())
    assert set(facts) >= {'label', 'confidence', 'silent', 'residue'}
    assert len(facts['residue']) == 13


def test_translate_short_silent_and_given(translate, tmp_path):
    sf.write(tmp_path/'short.wav', tone(.1), RATE)
    rc, out, _ = translate('short.wav', cwd=tmp_path)
    assert rc == 0 and 'shorter than half a second' in out and (tmp_path/'short.png').exists()
    sf.write(tmp_path/'silent.wav', 0*tone(), RATE)
    rc, out, _ = translate('silent.wav', '--label', 'violin', '--json', 's.json', cwd=tmp_path)
    facts = json.loads((tmp_path/'s.json').read_text())
    assert rc == 0 and facts['silent'] and facts['label'] == 'violin' and facts['given']


def bad_sounds(folder):
    (folder/'text.wav').write_text('this is not a sound')
    (folder/'folder.wav').mkdir()
    (folder/'empty.wav').write_bytes(b'')
    sf.write(folder/'zero.wav', tone(0), RATE)
    sf.write(folder/'nan.wav', np.full((RATE, 1), np.nan), RATE, subtype='FLOAT')
    return [f'{n}.wav' for n in ('missing', 'text', 'folder', 'empty', 'zero', 'nan')]


def test_bad_sounds(translate, tmp_path):
    for name in bad_sounds(tmp_path):
        refused(translate(tmp_path/name, '--out', tmp_path/'out.png'), name)
    assert not (tmp_path/'out.png').exists() and not list(tmp_path.glob('.*'))


def test_a_sound_that_is_cut_off(translate, tmp_path):
    "It is painted from what there is, and one line says so"
    sf.write(tmp_path/'whole.wav', tone(2), RATE)
    data = (tmp_path/'whole.wav').read_bytes()
    (tmp_path/'cut.wav').write_bytes(data[:len(data)//2])
    rc, _, err = translate(tmp_path/'cut.wav', '--out', tmp_path/'out.png')
    assert rc == 0 and (tmp_path/'out.png').exists()
    assert f"cargan: {tmp_path/'cut.wav'}: cut off after 1.00 s of 2.00 s;" in err


def test_invalid_arguments(translate, tmp_path):
    sound = tmp_path/'a.wav'
    sf.write(sound, tone(), RATE)
    refused(translate(sound, '--label', 'kazoo'), 'kazoo', 'bassoon', 'violin')
    refused(translate(sound, '--at', 5), 'a.wav', '5')
    refused(translate(sound, '--at', 'nan'), 'a.wav', 'nan')
    refused(translate(sound, '--out', tmp_path), 'is a folder')


def test_bad_bundles(sh, tiny, tmp_path):
    sound, out = tmp_path/'a.wav', tmp_path/'out.png'
    sf.write(sound, tone(), RATE)
    def translate(bundle): return sh('cargan-translate', sound, '--bundle', bundle, '--out', out)
    refused(translate(tmp_path/'none.safetensors'), 'no such bundle')
    (tmp_path/'cut.safetensors').write_bytes(tiny.read_bytes()[:5000])
    refused(translate(tmp_path/'cut.safetensors'), 'cut.safetensors', 'damaged')
    (tmp_path/'pickle.safetensors').write_bytes(b'\x80\x04K\x01.')
    refused(translate(tmp_path/'pickle.safetensors'), 'pickle.safetensors')
    weights = load_file(tiny)
    save_file(weights, tmp_path/'other.safetensors')
    refused(translate(tmp_path/'other.safetensors'), 'not a cargan bundle')
    with safe_open(tiny, 'pt') as f: config = json.loads(f.metadata()['cargan'])
    newer = json.dumps({**config, 'format': 99})
    save_file(weights, tmp_path/'new.safetensors', metadata={'cargan': newer})
    refused(translate(tmp_path/'new.safetensors'), 'newer')
    save_file(weights, tmp_path/'odd.safetensors', metadata={'cargan': '{'})
    refused(translate(tmp_path/'odd.safetensors'), 'odd.safetensors', 'metadata')
    weights.pop(next(k for k in weights if k.endswith('.weight')))
    save_file(weights, tmp_path/'part.safetensors', metadata={'cargan': json.dumps(config)})
    refused(translate(tmp_path/'part.safetensors'), 'do not fit')
    assert not out.exists()


def test_bad_data(sh, synth, tiny, tmp_path):
    def train(data, preset='tiny'):
        return sh('cargan-train', data, '--preset', preset, '--run', tmp_path/'run')
    lonely = tmp_path/'lonely'
    shutil.copytree(synth, lonely)
    picture = next((lonely/'img'/'train').rglob('*.jpg'))
    picture.unlink()
    refused(sh('cargan-evaluate', tiny, lonely), picture.stem)
    spoilt = tmp_path/'spoilt'
    shutil.copytree(synth, spoilt)
    pictures = sorted((spoilt/'img'/'train').rglob('*.jpg'))
    for p in pictures[:3]: p.write_bytes(p.read_bytes()[:200])
    refused(train(spoilt), '.jpg', 'like 2 more')
    assert not (tmp_path/'run').exists()
    refused(sh('cargan-evaluate', tiny, tmp_path/'nowhere'), 'nowhere')
    (tmp_path/'hollow').mkdir()
    refused(sh('cargan-evaluate', tiny, tmp_path/'hollow'), 'hollow')
    refused(train(synth, 'huge'), 'huge', 'tiny')


def test_synth_refuses(sh, tmp_path):
    (tmp_path/'full').mkdir()
    (tmp_path/'full'/'a.txt').write_text('mine')
    refused(sh('cargan-synth', tmp_path/'full'), 'full')
    (tmp_path/'bank.sf2').write_text('no bank')
    refused(sh('cargan-synth', tmp_path/'out', '--bank', tmp_path/'bank.sf2'), 'bank.sf2')
    refused(sh('cargan-synth', tmp_path/'out', '--bank', tmp_path/'none.sf2'), 'none.sf2')
    assert sorted(os.listdir(tmp_path)) == ['bank.sf2', 'full']
    assert os.listdir(tmp_path/'full') == ['a.txt']


@pytest.mark.slow
def test_from_data_to_picture(sh, tmp_path):
    "Make data, train, evaluate, translate: each by its command, in a folder of its own"
    def do(command, *args): return sh(f'cargan-{command}', *args, cwd=tmp_path)
    rc, _, err = do('synth', 'data', '--pairs', 260, '--size', 32, '--seed', 5)
    assert rc == 0, err
    rc, _, err = do('train', 'data', '--preset', 'tiny', '--run', 'run', '--json', 'train.json')
    assert rc == 0, err
    refused(do('train', 'data', '--preset', 'tiny', '--run', 'run'), 'run')
    rc, out, err = do('evaluate', 'run/bundle.safetensors', 'data', '--json', 'report.json')
    assert rc == 0, err
    report = json.loads((tmp_path/'report.json').read_text())
    for name in ('accuracy_real', 'accuracy_label_given', 'accuracy_label_predicted'):
        share, (low, high) = report[f'{name}_right']/report['n'], report[f'{name}_interval']
        assert report[name] == round(share, 4) and low <= share <= high and name in out
    assert sum(map(sum, report['confusion_label_predicted'])) == report['n'] > 0
    assert report['accuracy_real'] > 2/13    # the judge has learned
    assert report['listening_performer_real'] > 1/6      # the data knows what was played
    assert 'pitch_within' in out
    sound = next((tmp_path/'data'/'chunk').rglob('*.wav'))
    rc, _, err = do('demo', '--audio', sound, '--out', 'page.png')
    assert rc == 0 and Image.open(tmp_path/'page.png').size[0] > 500, err


def test_help(sh):
    for verb in ('demo', 'translate', 'synth', 'prepare', 'train', 'evaluate'):
        rc, out, _ = sh(f'cargan-{verb}', '--help')
        assert rc == 0 and 'usage' in out and '--json' in out
