"What only a GPU runs; most tests run on the CPU where there is none, so that their code is tried"
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.training import GradientAccumulation
from fastai.torch_core import set_seed

from cargan.data.audio import LMSSpec
from cargan.data.loaders import pairs_dls
from cargan.data.pairs import SUB_URMP_LABELS
from cargan.deploy.translate import Translator, shipped_clips
from cargan.evaluation.distances import features_of, frechet_distance, ssim
from cargan.evaluation.inside import code_swap, looks, nearest, sound_map
from cargan.evaluation.listening import PictureProbe, listening_report, read_truth
from cargan.evaluation.matching import Matcher
from cargan.evaluation.metrics import evaluate, show_report
from cargan.models.cascade import CARGAN
from cargan.models.classifier import AudioClassifier, ImageClassifier
from cargan.models.frozen import Frozen
from cargan.models.preset import get_preset
from cargan.training.callbacks import EMA, LossParts
from cargan.training.checkpoints import latest_state, reseed
from cargan.training.gan import Pieces
from cargan.training.learner import cargan_learner, has_bf16
from cargan.training.train import train_cargan

GPU = torch.cuda.is_available()
ROOT = Path(__file__).parent.parent
on_gpu = [pytest.mark.cuda, pytest.mark.skipif(not GPU, reason='PyTorch sees no GPU')]


here = pytest.mark.skipif(GPU, reason='the GPU runs it')


@pytest.fixture(params=[pytest.param('cuda', marks=on_gpu), pytest.param('cpu', marks=here)])
def device(request, monkeypatch):
    "Where to compute, in whole float32: TF32 has ten bits"
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    torch.set_float32_matmul_precision('highest')
    return request.param


@pytest.fixture
def dls(synth, device):
    return pairs_dls(synth, LMSSpec(size=32), bs=16, jitter=False, device=device)


@pytest.fixture
def coded(device):
    "An untrained model with a code, on the device"
    set_seed(0)
    return CARGAN(get_preset('tiny', code=16), SUB_URMP_LABELS).to(device).eval()


def learner(dls, cbs=(), **changes):
    "The preset `tiny`, always from the same weights and the same order of pairs"
    reseed(dls, 0)
    set_seed(0, reproducible=True)
    c = ImageClassifier(len(dls.vocab), 'light')
    p = get_preset('tiny', batch=16, **changes)
    return cargan_learner(dls, p, c=c, cbs=[LossParts(), *cbs])


def fit(learn, epochs=1):
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    figures = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1]))
    assert all(torch.isfinite(torch.tensor(float(v))) for v in figures.values()), figures
    return figures


def state(net): return {k: v.detach().cpu().clone() for k, v in net.state_dict().items()}


def moved(a, b): return {k for k in a if not torch.equal(a[k], b[k])}


def close(a, b, share):
    assert abs(a - b) <= share*max(abs(a), abs(b)), (a, b)


# Training

@pytest.mark.parametrize('d_first', [False, True])
@pytest.mark.parametrize('half', ['bf16', 'fp16'])
def test_half_precision(dls, device, half, d_first):
    "Weights stay float32; both players learn; the losses are those of float32, nearly"
    if device == 'cuda' and half == 'bf16' and not has_bf16(): pytest.skip('no bfloat16 here')
    whole = fit(learner(dls, d_first=d_first), 2)
    learn = learner(dls, d_first=d_first)
    before = state(learn.model)
    if half == 'fp16': learn.to_fp16(init_scale=256.) # else it skips the first steps
    else: learn.to_bf16()
    figures = fit(learn, 2)
    learnt = moved(before, state(learn.model))
    assert any(k.startswith('cargan.g1') for k in learnt)
    assert any(k.startswith('d.') for k in learnt)
    assert not any(k.startswith('cargan.c.') for k in learnt)
    assert {p.dtype for p in learn.model.parameters()} == {torch.float32}
    close(figures['l1'], whole['l1'], .05)
    close(figures['d'], whole['d'], .2)
    if device == 'cpu': assert figures == pytest.approx(whole, rel=1e-5) # autocast is off there


class Types(Callback):
    "The types of what the generators' first convolution and D's give while training"
    def before_fit(self):
        self.seen = {}
        nets = dict(g=self.learn.model.cargan.g1.downs[0][0], d=self.learn.model.d.layers[0])
        self.hooks = [net.register_forward_hook(partial(self.note, k)) for k, net in nets.items()]
    def note(self, name, net, args, out):
        if self.training: self.seen.setdefault(name, set()).add(out.dtype)
    def after_fit(self):
        for h in self.hooks: h.remove()


@pytest.mark.parametrize('d_first', [False, True])
def test_half_precision_is_used(dls, device, d_first):
    "In the generators' step and in D's; on a CPU `MixedPrecision` leaves float32"
    types = Types()
    learn = learner(dls, [types], d_first=d_first).to_fp16()
    fit(learn)
    wanted = torch.float16 if device == 'cuda' else torch.float32
    assert types.seen == dict(g={wanted}, d={wanted})


@pytest.mark.parametrize('d_first', [False, True])
@pytest.mark.parametrize('gather', [GradientAccumulation, Pieces])
def test_fp16_with_gathered_gradients(synth, device, gather, d_first):
    "Both players step once for four small batches, in both orders"
    dls = pairs_dls(synth, LMSSpec(size=32), bs=4, jitter=False, device=device)
    learn = learner(dls, [gather(16)], d_first=d_first).to_fp16(init_scale=256.)
    steps = dict(g=0, d=0)
    learn.create_opt()
    def count(name, *_): steps[name] += 1
    learn.opt.opt.register_step_post_hook(partial(count, 'g'))
    learn.opt.d.opt.register_step_post_hook(partial(count, 'd'))
    fit(learn)
    due = len(dls.train)*4//16
    assert steps['d'] == due # what overflows is skipped within Adam's kernel
    assert steps['g'] == due or device == 'cuda' and due - 2 <= steps['g'] < due


def test_an_overflow_is_skipped(dls, device):
    "A step of fp16 whose gradients are infinite moves nobody, and the next one goes on"
    if device == 'cpu': pytest.skip('there is no scaler without a GPU')
    class TooLarge(Callback):
        order = MixedPrecision.order + 1
        def before_backward(self):
            if self.iter == 0: self.learn.loss_grad = self.loss_grad*float('inf')
        def after_batch(self):
            if self.training and self.iter == 0: self.first = state(self.model.cargan.generators)
    large = TooLarge()
    learn = learner(dls, [large]).to_fp16(init_scale=256.)
    before = state(learn.model.cargan.generators)
    fit(learn)
    weights = {k for k, _ in learn.model.cargan.generators.named_parameters()}
    assert not moved(before, large.first) & weights
    assert moved(before, state(learn.model.cargan.generators)) & weights


@pytest.mark.cuda
@pytest.mark.skipif(not GPU, reason='PyTorch sees no GPU')
@pytest.mark.parametrize('half', ['', 'bf16'])
def test_compiled(synth, half):
    "The same losses as without; a copy of the compiled generators can be averaged and saved"
    dls = pairs_dls(synth, LMSSpec(size=32), bs=16, jitter=False, augment=False, device='cuda')
    def run(compile):
        reseed(dls, 0)
        set_seed(0, reproducible=True)
        c = ImageClassifier(len(dls.vocab), 'light')
        learn = cargan_learner(dls, 'tiny', c=c, cbs=[LossParts(), EMA(.9)], compile=compile)
        if half: learn.to_bf16()
        return fit(learn)
    plain, compiled = run(False), run(True)
    close(plain['l1'], compiled['l1'], .05)
    close(plain['d'], compiled['d'], .2)


def test_data_on_the_device(synth, device, tmp_path):
    "`cache='device'`: the batches of the other caches, made where they are needed"
    def loaders(cache):
        return pairs_dls(synth, LMSSpec(size=32), bs=16, augment=False, jitter=False, cache=cache,
                         device=device, cache_dir=tmp_path)
    here, there = loaders('memory'), loaders('device')
    assert there.train.store.images.device.type == device
    for a, b in zip(here.test, there.test):
        assert all(t.device.type == device for t in b)
        for x, y in zip(a, b): assert torch.allclose(x.float(), y.float(), atol=1e-4)
    fit(learner(there))


class Dies(Callback):
    "As if the process were killed in the second epoch"
    def before_batch(self):
        if self.training and self.epoch == 1 and self.iter == 2: raise SystemError('killed')


class Looks(Callback):
    "The state with which the first batch begins"
    order = 200
    def before_batch(self):
        if hasattr(self, 'model_state') or not self.training: return
        self.model_state, self.random = state(self.learn.model), torch.get_rng_state()
        self.moments = [s['exp_avg'].cpu().clone() for o in (self.opt.opt, self.opt.d.opt)
                        for s in o.state.values()]
        self.where = {s['exp_avg'].device.type for s in self.opt.opt.state.values()}
        self.cuda = torch.cuda.get_rng_state() if GPU else None


def test_resume(synth, device, tmp_path):
    "A run that dies goes on from the state of its checkpoint: weights, moments, random numbers"
    networks = ImageClassifier(13, 'light'), AudioClassifier(13)
    preset = get_preset('tiny', epochs=3)
    with pytest.raises(SystemError, match='killed'):
        train_cargan(synth, tmp_path/'run', preset, classifiers=networks, cbs=[Dies()])
    kept = latest_state(tmp_path/'run'/'checkpoints', 'epoch')
    assert kept['epoch'] == 1 and all(v.device.type == 'cpu' for v in kept['model'].values())
    seen = Looks()
    model = train_cargan(None, tmp_path/'run', resume=True, classifiers=networks, cbs=[seen])
    assert seen.where == {device}
    for k, v in kept['model'].items(): assert torch.equal(seen.model_state[k], v), k
    moments = [s['exp_avg'] for o in (kept['opt'], kept['opt']['d']) for s in o['state'].values()]
    assert len(moments) == len(seen.moments)
    assert all(torch.equal(a, b) for a, b in zip(moments, seen.moments))
    start = kept['start'][0]
    if GPU: assert 'cuda' in start and torch.equal(start['cuda'], seen.cuda)
    assert (tmp_path/'run'/'bundle.safetensors').exists() and not model.training
    assert len((tmp_path/'run'/'log.csv').read_text().splitlines()) == 4


# The models

def test_bundle_travels(coded, device, tmp_path):
    "Saved from the device it loads on the CPU, and back, with the same pictures"
    coded.save(tmp_path/'model.safetensors')
    lms, label = torch.rand(4, 1, 32, 32)*2 - 1, torch.arange(4)
    with torch.no_grad():
        wanted = coded(lms.to(device), label.to(device)).final.cpu()
        for where in ('cpu', device):
            model = CARGAN.from_pretrained(tmp_path/'model.safetensors', where)
            assert {p.device.type for p in model.parameters()} == {where}
            got = model(lms.to(where), label.to(where)).final.cpu()
            assert torch.allclose(got, wanted, atol=1e-3)


def test_frozen_folds(device):
    "Folded there, and folded before it moves there: the same answers as unfolded"
    set_seed(0)
    net = ImageClassifier(13, 'light')
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, .1)
            m.running_var.uniform_(.5, 2)
    image = (torch.rand(4, 3, 32, 32)*2 - 1).to(device)
    plain = Frozen(net).to(device)
    wanted = plain(image)
    for folded in (Frozen(net).to(device).fold(), Frozen(net).fold().to(device)):
        assert folded.folded and folded(image).device.type == device
        assert torch.allclose(folded(image), wanted, atol=1e-3)
        image.requires_grad_()
        assert torch.autograd.grad(folded(image).sum(), image)[0].abs().sum() > 0
        image = image.detach()


def test_translator(device):
    "The shipped model on the device: the CPU's pictures, labels and residues"
    clip, one = shipped_clips()['cello'], Translator.from_pretrained()
    other = Translator.from_pretrained(device=device)
    here, there = one(clip), other(clip)
    assert here.label == there.label and here.at == there.at
    for k, v in here.heard.items(): assert abs(v - there.heard[k]) < 1e-3
    for k, v in here.residue.items(): assert abs(v - there.residue[k]) < 1e-3
    waves = torch.randn(3, one.model.spec.n_samples)*.1
    (lms, a), (lms2, b) = (t.paint(waves, torch.tensor([0, 5, 9])) for t in (one, other))
    assert lms2.device.type == device
    for x, y in ((lms, lms2), (a.stage1, b.stage1), (a.final, b.final)):
        assert torch.allclose(x, y.cpu(), atol=1e-3)


# Judging

def test_evaluate(dls, coded, device):
    "Model on the device or not: `evaluate` judges where the batches are; the report is whole"
    judge = ImageClassifier(13, 'light')
    judge.about = 'untrained'
    for begin in (device, 'cpu'):
        report = evaluate(coded.to(begin), dls, judge=judge, matcher=False, inception=False,
                          draws=20, train_pairs=26)
        json.dumps(report)
        assert report['n'] == len(dls.test.dataset) and 0 <= report['l1'] <= 2
        assert f"{report['n']} test pairs" in show_report(report)
        assert next(coded.parameters()).device.type == device


def test_listening(dls, coded, synth, device):
    "The probe learns on the device and reads there"
    report = listening_report(coded, dls, synth, looks=200)
    json.dumps(report)
    assert report['listening_n'] == len(dls.test.dataset)


def test_inside(dls, coded, synth, device):
    truth = read_truth(synth)
    probe = PictureProbe(int(max(v[0] for v in truth.values())) + 1, 32).to(device)
    found = code_swap(coded, dls, probe, truth)
    assert set(found) == {'own', 'another', 'average', 'empty_lms'}
    assert all(0 <= f['performer_lms'] <= 1 for f in found.values())
    lms, label = torch.rand(1, 1, 32, 32, device=device)*2 - 1, torch.tensor([3], device=device)
    panels = looks(coded, lms, label)
    assert all(p.shape == (32, 32, 3) for p in panels.values())
    assert sound_map(coded, lms, label).sum() > 0
    off, at = nearest(torch.rand(5, 3, 32, 32), torch.rand(9, 3, 32, 32), judge_of(device))
    assert off.shape == at.shape == (5,)


def judge_of(device): return ImageClassifier(13, 'light').eval().to(device)


def test_distances(device):
    "Features found on the device are the CPU's; so is what follows from them"
    set_seed(0)
    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = ImageClassifier(13, 'light')
        def forward(self, image):
            x = self.net.body(image.float()/127.5 - 1).mean((2, 3))
            return x, self.net.head[-1](x)
    net, a, b = Both(), torch.rand(20, 3, 32, 32)*2 - 1, torch.rand(20, 3, 32, 32)*2 - 1
    here = [features_of(net, x)[0] for x in (a, b)]
    there = [features_of(net.to(device), x)[0] for x in (a, b)]
    assert all(t.device.type == 'cpu' for t in there)
    for x, y in zip(here, there): assert torch.allclose(x, y, atol=1e-3)
    assert abs(frechet_distance(*here) - frechet_distance(*there)) < 1e-3
    same = ssim(a.to(device), a.to(device))
    assert torch.allclose(same, torch.ones(20), atol=1e-4)


def test_matcher(device):
    "Sounds and pictures in one space, there as here"
    set_seed(0)
    m, lms, image = Matcher(32).eval(), torch.rand(4, 1, 32, 32), torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        here = m(lms, image)
        there = m.to(device)(lms.to(device), image.to(device)).cpu()
    assert torch.allclose(here, there, atol=1e-3)


# The benchmark

@pytest.fixture
def gpu_py():
    def run(*args, **env):
        command = [sys.executable, ROOT/'benchmarks'/'gpu.py', *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600,
                              env={**os.environ, 'OMP_NUM_THREADS': '1', **env})
    return run


def test_gpu_benchmark(gpu_py, synth, tmp_path):
    "Its code, with tiny networks: all parts are there, and none has failed"
    p = gpu_py('--quick', '--data', synth, '--json', tmp_path/'gpu.json')
    assert p.returncode == 0, p.stderr[-2000:]
    report = json.loads((tmp_path/'gpu.json').read_text())
    assert set(report) >= {'device', 'versions', 'command', 'speed', 'memory', 'loading',
                           'bf16_trains', 'compiled', 'conclusions'}
    assert 'error' not in p.stdout and '"error"' not in json.dumps(report)
    assert report['speed']['paper']['float32']['images_per_second'] > 0
    assert len(report['memory']) > 1 and report['bf16_trains']['ok'] in (True, False)
    assert GPU or report['bf16_trains']['l1']['apart'] < 1e-4 # there is one precision on a CPU


def test_a_part_that_fails_loses_no_other(gpu_py, tmp_path):
    p = gpu_py('--quick', '--data', tmp_path/'none', '--json', tmp_path/'gpu.json')
    assert p.returncode == 0, p.stderr[-2000:]
    report = json.loads((tmp_path/'gpu.json').read_text())
    assert 'error' in report['loading'] and 'error' in report['bf16_trains']
    assert report['speed']['small']['float32']['images_per_second'] > 0


def test_without_a_gpu(gpu_py):
    p = gpu_py(CUDA_VISIBLE_DEVICES='')
    assert p.returncode == 2 and p.stdout == ''
    assert len(p.stderr.strip().splitlines()) == 1 and '--quick' in p.stderr
