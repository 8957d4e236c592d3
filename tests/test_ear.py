"An ear that may say no: what is heard, what is painted of it, and an ear for labels of one's own"
import json

import numpy as np
import pytest
import soundfile as sf
import torch

from cargan.core import CarganError
from cargan.data.audio import LMSSpec, load_audio
from cargan.data.loaders import pairs_dls
from cargan.data.synth import synth_urmp
from cargan.deploy.translate import Translator, shipped_clips
from cargan.evaluation.metrics import heard
from cargan.models.cascade import CARGAN
from cargan.models.ear import Ear, EarSpec, log_probabilities
from cargan.training.hearing import shipped_ear, train_ear

RATE = 22050


@pytest.fixture(scope='module')
def translator(): return Translator.from_pretrained()


def noise(seconds=2.): return np.random.default_rng(0).standard_normal(round(seconds*RATE))*.1


def drums(seconds=3.):
    "Bursts of noise that die away"
    t = np.arange(round(seconds*RATE))/RATE
    return noise(seconds)*np.exp(-18*(t % .25))*3


@pytest.mark.parametrize('sound', [noise(), drums()], ids=['noise', 'drums'])
def test_what_is_no_instrument_is_not_painted(translator, sound):
    t = translator(sound, sample_rate=RATE)
    assert (t.label, t.reason, t.stage1, t.stage2) == (None, 'no instrument I know', None, None)
    assert t.other > .5 and 'no instrument I know' in str(t) and '<img' in t._repr_html_()
    assert json.loads(json.dumps(t.to_dict()))['label'] is None
    told = translator(sound, label='tuba', sample_rate=RATE)
    assert (told.label, told.given) == ('tuba', True) and told.stage2 is not None


def test_silence_is_a_resting_player(translator):
    t = translator(np.zeros(RATE), sample_rate=RATE)
    assert t.silent and t.reason == 'silence' and t.stage2 is not None and t.label
    assert translator.listen(np.zeros(RATE), RATE).label is None


def test_commands_paint_nothing_and_say_so(sh, tmp_path):
    sf.write(tmp_path/'noise.wav', noise(), RATE)
    code, out, _ = sh('cargan-translate', 'noise.wav', '--json', 'a.json', cwd=tmp_path)
    assert not code and 'no instrument I know' in out and '--label' in out
    facts = json.loads((tmp_path/'a.json').read_text())
    assert facts['label'] is None and facts['out'] is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.json', 'noise.wav']
    assert not sh('cargan-translate', 'noise.wav', '--label', 'horn', cwd=tmp_path)[0]
    assert (tmp_path/'noise.png').exists()
    code, out, _ = sh('cargan-demo', '--audio', 'noise.wav', cwd=tmp_path)
    assert not code and 'no instrument I know' in out and (tmp_path/'demo.png').exists()


def test_one_instrument_after_the_other(translator):
    clips = shipped_clips()
    a, b = (load_audio(clips[k]).numpy() for k in ('tuba', 'violin'))
    found = translator.listen(np.concatenate([a, b, b]), RATE)
    assert [s.label for s in found.segments] == ['tuba', 'violin'] and found.label == 'violin'
    assert abs(found.segments[0].end - len(a)/RATE) <= .5
    t = translator(np.concatenate([a, b, b]), sample_rate=RATE)
    assert t.label == 'violin' and t.at >= found.segments[0].end
    early = translator(np.concatenate([a, b, b]), at=.5, sample_rate=RATE)
    assert early.label == 'tuba'


def test_shipped_clips_are_heard_right(translator):
    wrong = [k for k, p in shipped_clips().items() if translator(p).label != k]
    assert set(wrong) <= {'trombone'} # which it takes for a horn


def test_bundle_with_an_ear(tmp_path):
    torch.manual_seed(0)
    ear = Ear(2, width=4, rows=3).eval()
    model = CARGAN('tiny', ('a', 'b'), audio=ear).eval()
    model.save(tmp_path/'m.safetensors')
    again = CARGAN.from_pretrained(tmp_path/'m.safetensors')
    x = torch.randn(3, 11025)
    assert torch.equal(log_probabilities(model, x), log_probabilities(again, x))
    assert again.audio.model.recipe == ear.recipe


def test_misfits_are_refused():
    with pytest.raises(CarganError, match='22050'):
        CARGAN('tiny', ('a', 'b'), LMSSpec(size=32, sample_rate=44100), audio=Ear(2, width=4))
    with pytest.raises(CarganError, match='audio'):
        CARGAN('tiny', ('a', 'b', 'c'), audio=Ear(2, width=4))
    model = CARGAN('tiny', ('a', 'b'), audio=Ear(2, width=4))
    with pytest.raises(CarganError, match='samples'):
        log_probabilities(model, lms=torch.zeros(1, 1, 32, 32))


def test_loudness_does_not_matter():
    ear, x = shipped_ear(), torch.randn(2, EarSpec().n_samples)*.1
    assert torch.allclose(ear(x), ear(x*.05), atol=.05)


@pytest.mark.slow
def test_an_ear_for_own_labels_may_say_no(tmp_path):
    synth_urmp(tmp_path/'data', pairs=120, size=32, labels=['flute', 'tuba'], progress=False)
    dls = pairs_dls(tmp_path/'data', LMSSpec(size=32))
    ear, accuracy = train_ear(dls)
    model = CARGAN('tiny', ('flute', 'tuba'), audio=ear).eval()
    assert accuracy > .9
    lms, label, _ = dls.test.one_batch()
    assert (heard(model, lms) == label).float().mean() > .9
    translator = Translator(model)
    for k in ('flute', 'tuba'): assert translator(shipped_clips()[k]).label == k
    for k in ('violin', 'oboe'): assert translator(shipped_clips()[k]).label is None
    assert translator(noise(), sample_rate=RATE).label is None
