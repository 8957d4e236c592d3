"Weights of the published code: the command, old files, and the whole way from sound to picture"
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cargan.core import CarganError
from cargan.models.cascade import CARGAN
from cargan.models.convert import convert_published, read_state, read_unet, unet_names
from cargan.models.generator import UNet, init_weights, planes
from test_commands import refused


def published(unet, path, prefix='', old=False):
    "`unet` in a published file; that the names are right is shown on the page models/convert"
    names, last = unet_names(len(unet.downs)), len(unet.downs) - 1
    state = {}
    for k, v in unet.state_dict().items():
        if k in ('downs.0.0.bias', f'downs.{last}.1.bias'): continue
        if old and k.endswith('num_batches_tracked'): continue
        layer, _, leaf = k.rpartition('.')
        state[f'{prefix}{names[layer]}.{leaf}'] = v
    torch.save(state, path, _use_new_zipfile_serialization=not old)
    return path


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "Both generators at 32 px, as networks and as files, and a ResNet50 as a network and as a file"
    from torchvision.models import resnet50
    torch.manual_seed(0)
    d = tmp_path_factory.mktemp('published')
    options = dict(size=32, ngf=4, attention_kind='published')
    nets = [init_weights(UNet(n, **options), .1) for n in (16, 19)]
    c = resnet50(num_classes=13)
    for m in c.modules():
        if isinstance(m, nn.BatchNorm2d): m.momentum = 1.
    with torch.no_grad():
        c(torch.rand(16, 3, 64, 64)*2 - 1)
        c.fc.weight.mul_(.2) # softmax must not make rounding large
    torch.save({f'model.{k}': v for k, v in c.state_dict().items()}, d/'C2.pth')
    paths = [published(n.eval(), d/f'G{i}.pth') for i, n in enumerate(nets, 1)]
    return [*nets, c.eval()], [*paths, d/'C2.pth']


@pytest.mark.parametrize('old', [False, True])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_every_form_of_file_gives_the_same_weights(files, tmp_path, prefix, old):
    (g1, *_), _ = files
    found = read_unet(published(g1, tmp_path/'G1.pth', prefix, old))
    assert (found.n_in, found.options) == (16, dict(size=32, ngf=4, attention=True))
    for k, v in g1.state_dict().items(): assert torch.equal(found.weights[k], v), k


def test_the_classifier_is_the_published_one(files, tmp_path):
    (*_, c), paths = files
    x = torch.rand(4, 3, 32, 32)*2 - 1
    for prefix in ('', 'module.model.'):
        torch.save({prefix + k: v for k, v in c.state_dict().items()}, tmp_path/'C.pth')
        model = convert_published(*paths[:2], tmp_path/'b.safetensors', tmp_path/'C.pth')
        ours = model.c.model
        with torch.no_grad(): torch.testing.assert_close(ours.head(ours.body(x)), c(x))


def test_both_stages_from_the_sound_on(files, tmp_path):
    (g1, g2, c), paths = files
    convert_published(*paths[:2], tmp_path/'b.safetensors', paths[2])
    model = CARGAN.from_pretrained(tmp_path/'b.safetensors')
    lms, label = torch.rand(4, 1, 32, 32)*2 - 1, F.one_hot(torch.arange(4), 13).float()
    with torch.no_grad():
        sound = model.wide(lms)
        stage1 = g1(torch.cat([sound, planes(label, 32)], 1))
        residue = label - c(stage1).softmax(1)
        stage2 = g2(torch.cat([stage1, sound, planes(residue, 32)], 1))
        ours = model(lms, label)
    assert residue.std() > .1 and stage2.std() > .05
    for a, b in ((ours.stage1, stage1), (ours.residue, residue), (ours.stage2, stage2)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_the_same_files_give_the_same_bundle(files, tmp_path):
    _, (g1, g2, _) = files
    state = torch.get_rng_state()
    for name in 'ab': convert_published(g1, g2, tmp_path/name, without_classifier=True)
    assert (tmp_path/'a').read_bytes() == (tmp_path/'b').read_bytes()
    assert torch.equal(torch.get_rng_state(), state) # and the caller's draws are left alone


def test_whatever_a_file_holds_is_refused_in_one_line(files, tmp_path):
    _, (g1, *_) = files
    whole, old = g1.read_bytes(), published(files[0][0], tmp_path/'old.pth', old=True)
    bad = [b'', b'hello', b'hello'*1000, *[whole[:n] for n in (1, 100, 5000, len(whole) - 10)]]
    bad += [old.read_bytes()[:n] for n in (1, 100, 5000, 50_000)]
    for content in bad:
        (tmp_path/'bad.pth').write_bytes(content)
        with pytest.raises(CarganError, match='bad.pth') as e: read_state(tmp_path/'bad.pth')
        assert '\n' not in str(e.value)
    one = torch.ones(1)
    for thing in ({}, {'a': 1}, {1: one}, {'state_dict': {'a': one}}, one):
        torch.save(thing, tmp_path/'bad.pth')
        with pytest.raises(CarganError, match='not a state dict'): read_state(tmp_path/'bad.pth')
    first = 'model.model.0.weight'
    for k, v in ((first, one), (first, torch.ones(4, 16, 4, 4)), ('model.', one)):
        torch.save({k: v}, tmp_path/'bad.pth')
        with pytest.raises(CarganError, match='not a U-Net'): read_unet(tmp_path/'bad.pth')


def test_files_that_do_not_fit_are_refused(files, tmp_path):
    _, (g1, g2, c) = files
    other = published(UNet(19, size=64, ngf=4, attention_kind='published'), tmp_path/'other.pth')
    for words, paths, more in (('G1.pth.*not both', (g1, g2), {}),
                               ('G1.pth.*not both', (g1, g2), dict(c=c, without_classifier=True)),
                               ('G2.pth.*first', (g2, g1), dict(c=c)),
                               ('other.pth.*size is 32', (g1, other), dict(c=c)),
                               ('G1.pth.*2 labels', (g1, g2), dict(c=c, labels=('a', 'b'))),
                               ('G1.pth.*ResNet50 for 13', (g1, g2), dict(c=g1))):
        with pytest.raises(CarganError, match=words) as e:
            convert_published(*paths, tmp_path/'no', **more)
        assert '\n' not in str(e.value) and not (tmp_path/'no').exists()


def test_command(sh, files, tmp_path):
    _, (g1, g2, c) = files
    args = '--c', c, '--out', 'b', '--json', 'b.json'
    rc, out, err = sh('cargan-convert', g1, g2, *args, cwd=tmp_path)
    assert rc == 0 and '32 pixels, ngf 4, 13 labels, classifier published: b;' in out, err
    facts = json.loads((tmp_path/'b.json').read_text())
    assert facts['converted'] == ['G1.pth', 'G2.pth', 'C2.pth'] and facts['labels'][1] == 'cello'
    assert CARGAN.from_pretrained(tmp_path/'b').metrics['classifier'] == 'published'
    refused(sh('cargan-convert', g1, g2, '--out', tmp_path/'no'), 'G1.pth', 'classifier')
