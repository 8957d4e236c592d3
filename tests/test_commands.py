"The commands as a user meets them: real processes, good input and bad"
import json
import os
import shutil

import numpy as np
import pytest
import soundfile as sf
from PIL import Image
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


@pytest.mark.parametrize('suffix', ['wav', 'flac', 'ogg', 'mp3'])
def test_translate_formats(sh, tiny, tmp_path, suffix):
    sound = tmp_path/f'a sound ü.{suffix}'
    sf.write(sound, tone(1.3, channels=2), RATE)
    rc, out, err = sh('cargan-translate', sound, '--bundle', tiny, '--out', tmp_path/'a.png', '--json', tmp_path/'a.json')
    assert rc == 0, err
    assert Image.open(tmp_path/'a.png').size == (32, 32)
    facts = json.loads((tmp_path/'a.json').read_text())
    assert set(facts) >= {'label', 'confidence', 'silent', 'residue'} and len(facts['residue']) == 13


def test_translate_short_silent_and_given(sh, tiny, tmp_path):
    sf.write(tmp_path/'short.wav', tone(.1), RATE)
    rc, out, _ = sh('cargan-translate', 'short.wav', '--bundle', tiny, cwd=tmp_path)
    assert rc == 0 and 'shorter than half a second' in out and (tmp_path/'short.png').exists()
    sf.write(tmp_path/'silent.wav', 0*tone(), RATE)
    rc, out, _ = sh('cargan-translate', 'silent.wav', '--bundle', tiny, '--label', 'violin', '--json', 's.json', cwd=tmp_path)
    facts = json.loads((tmp_path/'s.json').read_text())
    assert rc == 0 and facts['silent'] and facts['label'] == 'violin' and facts['given']


def bad_sounds(folder):
    (folder/'text.wav').write_text('this is not a sound')
    (folder/'folder.wav').mkdir()
    (folder/'empty.wav').write_bytes(b'')
    sf.write(folder/'zero.wav', tone(0), RATE)
    sf.write(folder/'nan.wav', np.full((RATE, 1), np.nan), RATE, subtype='FLOAT')
    sf.write(folder/'whole.wav', tone(2), RATE)
    data = (folder/'whole.wav').read_bytes()
    (folder/'truncated.wav').write_bytes(data[:len(data)//2])
    return ['missing.wav', 'text.wav', 'folder.wav', 'empty.wav', 'zero.wav', 'nan.wav', 'truncated.wav']


def test_bad_sounds(sh, tiny, tmp_path):
    for name in bad_sounds(tmp_path):
        refused(sh('cargan-translate', tmp_path/name, '--bundle', tiny, '--out', tmp_path/'out.png'), name)
    assert not (tmp_path/'out.png').exists() and not list(tmp_path.glob('.*'))


def test_bad_wishes(sh, tiny, tmp_path):
    sf.write(tmp_path/'a.wav', tone(), RATE)
    refused(sh('cargan-translate', tmp_path/'a.wav', '--bundle', tiny, '--label', 'kazoo'), 'kazoo', 'bassoon', 'violin')
    refused(sh('cargan-translate', tmp_path/'a.wav', '--bundle', tiny, '--at', 5), 'a.wav', '5')
    refused(sh('cargan-translate', tmp_path/'a.wav', '--bundle', tiny, '--at', 'nan'), 'a.wav', 'nan')
    refused(sh('cargan-translate', tmp_path/'a.wav', '--bundle', tiny, '--out', tmp_path), 'is a folder')


def test_bad_bundles(sh, tiny, tmp_path):
    sf.write(tmp_path/'a.wav', tone(), RATE)
    translate = lambda b: sh('cargan-translate', tmp_path/'a.wav', '--bundle', b, '--out', tmp_path/'out.png')
    refused(translate(tmp_path/'none.safetensors'), 'no such bundle')
    (tmp_path/'cut.safetensors').write_bytes(tiny.read_bytes()[:5000])
    refused(translate(tmp_path/'cut.safetensors'), 'cut.safetensors', 'damaged')
    (tmp_path/'pickle.safetensors').write_bytes(b'\x80\x04K\x01.')
    refused(translate(tmp_path/'pickle.safetensors'), 'pickle.safetensors')
    weights = load_file(tiny)
    save_file(weights, tmp_path/'other.safetensors')
    refused(translate(tmp_path/'other.safetensors'), 'not a cargan bundle')
    from safetensors import safe_open
    with safe_open(tiny, 'pt') as f: config = json.loads(f.metadata()['cargan'])
    save_file(weights, tmp_path/'new.safetensors', metadata={'cargan': json.dumps({**config, 'format': 99})})
    refused(translate(tmp_path/'new.safetensors'), 'newer')
    save_file(weights, tmp_path/'odd.safetensors', metadata={'cargan': '{'})
    refused(translate(tmp_path/'odd.safetensors'), 'odd.safetensors', 'metadata')
    weights.pop(next(k for k in weights if k.endswith('.weight')))
    save_file(weights, tmp_path/'part.safetensors', metadata={'cargan': json.dumps(config)})
    refused(translate(tmp_path/'part.safetensors'), 'do not fit')
    assert not (tmp_path/'out.png').exists()


def test_bad_data(sh, synth, tiny, tmp_path):
    lonely = tmp_path/'lonely'
    shutil.copytree(synth, lonely)
    picture = next((lonely/'img'/'train').rglob('*.jpg'))
    picture.unlink()
    refused(sh('cargan-evaluate', tiny, lonely), picture.stem)
    spoilt = tmp_path/'spoilt'
    shutil.copytree(synth, spoilt)
    pictures = sorted((spoilt/'img'/'train').rglob('*.jpg'))
    for p in pictures[:3]: p.write_bytes(p.read_bytes()[:200])
    refused(sh('cargan-train', spoilt, '--preset', 'tiny', '--run', tmp_path/'run'), '.jpg', '2 other')
    assert not (tmp_path/'run').exists()
    refused(sh('cargan-evaluate', tiny, tmp_path/'nowhere'), 'nowhere')
    (tmp_path/'hollow').mkdir()
    refused(sh('cargan-evaluate', tiny, tmp_path/'hollow'), 'hollow')
    refused(sh('cargan-train', synth, '--preset', 'huge', '--run', tmp_path/'run'), 'huge', 'tiny')


def test_synth_refuses(sh, tmp_path):
    (tmp_path/'full').mkdir()
    (tmp_path/'full'/'a.txt').write_text('mine')
    refused(sh('cargan-synth', tmp_path/'full'), 'full')
    (tmp_path/'bank.sf2').write_text('no bank')
    refused(sh('cargan-synth', tmp_path/'out', '--bank', tmp_path/'bank.sf2'), 'bank.sf2')
    refused(sh('cargan-synth', tmp_path/'out', '--bank', tmp_path/'none.sf2'), 'none.sf2')
    assert sorted(os.listdir(tmp_path)) == ['bank.sf2', 'full'] and os.listdir(tmp_path/'full') == ['a.txt']


def test_from_data_to_picture(sh, tmp_path):
    "Make data, train, evaluate, translate: each by its command, in another folder than the project's"
    rc, _, err = sh('cargan-synth', 'data', '--pairs', 260, '--size', 32, '--seed', 5, cwd=tmp_path)
    assert rc == 0, err
    rc, _, err = sh('cargan-train', 'data', '--preset', 'tiny', '--run', 'run', '--json', 'train.json', cwd=tmp_path)
    assert rc == 0, err
    refused(sh('cargan-train', 'data', '--preset', 'tiny', '--run', 'run', cwd=tmp_path), 'run')
    rc, out, err = sh('cargan-evaluate', 'run/bundle.safetensors', 'data', '--json', 'report.json', cwd=tmp_path)
    assert rc == 0, err
    report = json.loads((tmp_path/'report.json').read_text())
    assert report['n'] > 0 and 0 <= report['accuracy_label_predicted'] <= 1 and 'accuracy_label_given' in out
    assert report['listening_performer_real'] > 1/6 and 'pitch_within' in out # the data knows what was played
    sound = next((tmp_path/'data'/'chunk').rglob('*.wav'))
    rc, _, err = sh('cargan-demo', '--audio', sound, '--out', 'page.png', cwd=tmp_path)
    assert rc == 0 and Image.open(tmp_path/'page.png').size[0] > 500, err


def test_help(sh):
    for verb in ('demo', 'translate', 'synth', 'prepare', 'train', 'evaluate'):
        rc, out, _ = sh(f'cargan-{verb}', '--help')
        assert rc == 0 and 'usage' in out and '--json' in out
