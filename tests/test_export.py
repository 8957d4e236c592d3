"A model as one ONNX file: the command, the file, and the file in PyTorch's place"
import json

import numpy as np
import pytest
import torch

from cargan.core import CarganError
from cargan.data.audio import load_audio
from cargan.data.pairs import SUB_URMP_LABELS
from cargan.deploy.translate import Translator, shipped_clips
from cargan.models.cascade import CARGAN

pytest.importorskip('onnxscript')
ort = pytest.importorskip('onnxruntime')


@pytest.fixture(scope='session')
def exported(tiny, sh, tmp_path_factory):
    "The untrained bundle `tiny`, by the command"
    out = tmp_path_factory.mktemp('onnx')/'tiny.onnx'
    code, said, _ = sh('cargan-export', tiny, out, '--json', out.with_suffix('.json'))
    assert code == 0 and 'MB' in said
    return out


def test_what_the_file_tells(exported):
    "Any runtime can use it without our code: names, shapes, labels, spectrum, licence"
    session = ort.InferenceSession(str(exported))
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told['labels']) == list(SUB_URMP_LABELS)
    assert json.loads(told['spec'])['sample_rate'] == 22050 and told['licence'] == 'Apache-2.0'
    assert [i.name for i in session.get_inputs()] == ['wave', 'label']
    assert all(v < 1e-4 for v in json.loads(exported.with_suffix('.json').read_text()).values())


@pytest.mark.parametrize('n', [1, 5])
def test_rows_do_not_meet(exported, n):
    "A window in a batch of any size gives what it gives alone"
    session, rng = ort.InferenceSession(str(exported)), np.random.default_rng(0)
    wave = rng.normal(0, .1, (n, 11025)).astype(np.float32)
    label = np.eye(13, dtype=np.float32)[np.arange(n) % 13]
    whole = session.run(None, dict(wave=wave, label=label))
    alone = session.run(None, dict(wave=wave[-1:], label=label[-1:]))
    for a, b in zip(whole, alone): np.testing.assert_allclose(a[-1:], b, atol=1e-4)


def test_in_the_place_of_pytorch(exported, tiny):
    "The same answer within 1e-5, of a clip and of a label"
    fast, slow = Translator.from_pretrained(exported), Translator.from_pretrained(tiny)
    clip = shipped_clips()['tuba']
    a, b = fast(clip, 'tuba'), slow(clip, 'tuba')
    assert (a.label, a.reason, a.at) == (b.label, b.reason, b.at)
    x = load_audio(clip, 22050)[:11025][None]
    one, two = (t.paint(x, torch.tensor([10]))[1] for t in (fast, slow))
    torch.testing.assert_close(one.final, two.final, atol=1e-5, rtol=0)
    torch.testing.assert_close(one.residue, two.residue, atol=1e-5, rtol=0)


def test_engine_exports_once(tiny, tmp_path, monkeypatch):
    "The file lies in the cache folder from then on"
    monkeypatch.setenv('CARGAN_CACHE', str(tmp_path))
    Translator.from_pretrained(tiny, engine='onnx')
    kept, = tmp_path.glob('*.onnx')
    was = kept.stat().st_mtime_ns
    Translator.from_pretrained(tiny, engine='onnx')
    assert kept.stat().st_mtime_ns == was
    with pytest.raises(CarganError, match='neither torch nor onnx'):
        Translator.from_pretrained(tiny, engine='tensorflow')


def test_what_cannot_be_exported(tiny, sh, tmp_path):
    "One line, exit code 2, nothing written"
    model = CARGAN.from_pretrained(tiny)
    model.input = 'jet'
    jet = model.save(tmp_path/'jet.safetensors')
    for bundle, out, why in ((tiny, 'x.txt', 'ends in .onnx'), (jet, 'x.onnx', 'takes pictures'),
                             (tmp_path/'none.safetensors', 'x.onnx', 'no such bundle'),
                             (shipped_clips()['tuba'], 'x.onnx', 'not a bundle')):
        code, _, error = sh('cargan-export', bundle, tmp_path/out)
        assert code == 2 and why in error and error.count('\n') == 1, (error, why)
    assert not list(tmp_path.glob('x*'))


def test_the_bundle_is_not_overwritten(tiny, sh, tmp_path):
    "Also by the facts about its export"
    bundle = tmp_path/'own.safetensors'
    bundle.write_bytes(tiny.read_bytes())
    code, _, error = sh('cargan-export', bundle, tmp_path/'x.onnx', '--json', bundle)
    assert code == 2 and 'would replace what is read' in error
    assert bundle.read_bytes() == tiny.read_bytes() and not (tmp_path/'x.onnx').exists()


def test_a_file_of_others(tmp_path):
    "Not every ONNX file is a model of ours, nor every file one of ONNX"
    from onnx import TensorProto, helper
    graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'g', *(
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1])] for n in 'xy'))
    other = tmp_path/'other.onnx'
    opset = [helper.make_opsetid('', 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    other.write_bytes(model.SerializeToString())
    with pytest.raises(CarganError, match='not of cargan-export'):
        Translator.from_pretrained(other)
    with pytest.raises(CarganError, match='other2.onnx'):
        Translator.from_pretrained(tmp_path/'other2.onnx')
