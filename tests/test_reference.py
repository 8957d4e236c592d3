"""The networks that give FID and LPIPS their names, with weights drawn at random in the files where
PyTorch keeps the real ones: the way in is tested"""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from cargan.core import CarganError
from cargan.data.pairs import ReadImage, find_pairs
from cargan.evaluation.distances import (distribution_distances, features_of, load_inception, lpips,
                                         to_bytes, weights_file)
from cargan.evaluation.metrics import picture_distances

inception_module = pytest.importorskip('torch_fidelity.feature_extractor_inceptionv3')


@torch.no_grad()
def drawn(network):
    "Weights of such a size that signals keep theirs"
    torch.manual_seed(0)
    for m in network.modules():
        if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(m.weight)
    if hasattr(network, 'fc'): network.fc.weight.mul_(50)  # with opinions, or every score is 1
    return network.state_dict()


@pytest.fixture(scope='module')
def at_hand(tmp_path_factory):
    "A `TORCH_HOME` in which weights of Inception and AlexNet lie"
    from torchvision.models import AlexNet_Weights, alexnet
    with pytest.MonkeyPatch.context() as here:
        here.setenv('TORCH_HOME', str(tmp_path_factory.mktemp('torch')))
        with pytest.MonkeyPatch.context() as p: # Inception as it is before its weights come
            p.setattr(inception_module, 'load_state_dict_from_url', lambda *args, **kwargs: {})
            p.setattr(torch.nn.Module, 'load_state_dict', lambda *args, **kwargs: None)
            inception = inception_module.FeatureExtractorInceptionV3('inception-v3-compat',
                                                                     ['2048'])
        networks = {inception_module.URL_INCEPTION_V3: inception,
                    AlexNet_Weights.IMAGENET1K_V1.url: alexnet()}
        for url, network in networks.items():
            weights_file(url).parent.mkdir(parents=True, exist_ok=True)
            torch.save(drawn(network), weights_file(url))
        yield weights_file(inception_module.URL_INCEPTION_V3)


@pytest.fixture(scope='module')
def pictures(synth):
    "Real pictures [24, 3, 32, 32] in [-1, 1], and the same with noise"
    pairs = find_pairs(synth)[:24]
    real = torch.stack([ReadImage(32, pairs).read(p) for p in pairs])/127.5 - 1
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    return real, (real + .3*noise).clamp(-1, 1)


def test_fid_kid_and_is_are_those_of_the_reference_command(at_hand, pictures, tmp_path):
    for name, side in zip(('real', 'painted'), pictures):
        (tmp_path/name).mkdir()
        for i, x in enumerate(to_bytes(side)):
            Image.fromarray(x.permute(1, 2, 0).numpy()).save(tmp_path/name/f'{i:02}.png')
    n = str(len(pictures[0]))
    options = ['--fid', '--kid', '--isc', '--kid-subset-size', n, '--kid-subsets', '1',
               '--isc-splits', '1', '--json', '--cpu', '--silent', '--no-cache',
               '--feature-extractor-weights-path', at_hand]
    inputs = ['--input1', tmp_path/'painted', '--input2', tmp_path/'real']
    p = subprocess.run([Path(sys.executable).parent/'fidelity', *inputs, *options],
                       capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    theirs = json.loads(p.stdout[p.stdout.index('{'):])
    real, painted = pictures
    network = load_inception(fetch=False)
    sides = features_of(network, real), features_of(network, painted)
    ours = distribution_distances(*sides, draws=2)
    for name, k, least in (('fid', 'frechet_inception_distance', 0),
                           ('kid', 'kernel_inception_distance_mean', 0),
                           ('is', 'inception_score_mean', 1)):
        assert ours[name] - least == pytest.approx(theirs[k] - least, rel=1e-3), name
        assert ours[name] - least > 1e-3, name  # or there would be nothing to compare


def test_lpips_with_its_network_at_hand(at_hand, pictures):
    real, painted = [torch.nn.functional.interpolate(x[:8], 64) for x in pictures]
    between = real + .1*(painted - real)
    same, near, far = [lpips(real, x, fetch=False) for x in (real, between, painted)]
    assert same.abs().max() < 1e-5 and same.shape == (8,)
    assert (near > same).all() and (far > near).all()


def test_figures_have_their_names_once_the_weights_are_there(at_hand, pictures):
    real, painted = map(to_bytes, pictures)
    n = len(real)
    rows = dict(image=real, painted=painted, l1=torch.zeros(n), label=torch.arange(n) % 2,
                features=torch.randn(n, 4), features_real=torch.randn(n, 4),
                logits=torch.randn(n, 2), logits_real=torch.randn(n, 2))
    found = picture_distances(rows, draws=2)
    for name in ('fid', 'kid', 'is', 'lpips'):
        assert found[name] is not None and f'{name}_why' not in found
    assert found['fid'] > 0 < found['lpips']


def test_a_damaged_file_of_weights_is_named(at_hand):
    whole = at_hand.read_bytes()
    at_hand.write_bytes(whole[:1000])
    try:
        with pytest.raises(CarganError, match=at_hand.name): load_inception(fetch=False)
    finally: at_hand.write_bytes(whole)
