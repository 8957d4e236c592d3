"""Can a small network tell painted pictures from real ones? Half right is chance.

    python benchmarks/real_or_painted.py BUNDLE DATA [--strangers FOLDER] [--json FILE]

The test recordings of DATA are dealt into four: real and painted pictures to learn from, real and
painted ones to be asked about, so no sound and no recording is in two of them. All go through the
same JPEG. The network, its budget and its seed are fixed: three convolutions, twelve times through
what it learns from. Controls: real pictures shifted or blurred by one pixel must be told from real
ones at .95. With --strangers, sounds of nobody in DATA, named <label>*, are painted as well (label
given), and the share of them that the network takes for real stands beside that of DATA's own.
"""
import argparse
import io
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from cargan.data.audio import SILENCE_DB, cut_windows, load_audio, loudness
from cargan.data.loaders import pairs_dls
from cargan.deploy.cli import write_json
from cargan.deploy.translate import Translator, to_image
from cargan.evaluation.distances import bootstrap_interval
from cargan.training.gan import plain

SHARES = .4, .4, .1, .1 # real and painted to learn from, real and painted to be asked about


def through_jpeg(pictures, quality=95):
    "[N, 3, S, S] in [-1, 1] as they come back from a JPEG"
    def once(p):
        to_image(p).save(f := io.BytesIO(), 'JPEG', quality=quality)
        return torch.from_numpy(np.array(Image.open(f))).permute(2, 0, 1)
    return torch.stack([once(p) for p in pictures]).float()/127.5 - 1


@torch.inference_mode()
def both(model, data):
    "Real and painted pictures [N, 3, S, S] of the test pairs, label given; their recordings"
    dls = pairs_dls(data, model.spec, bs=64, augment=False, jitter=False, cache=None)
    real, painted = [], []
    for lms, label, image in dls.test:
        painted.append(model(plain(lms), plain(label)).final)
        real.append(plain(image))
    names = np.array([p.recording for p in dls.test.dataset.items])
    return through_jpeg(torch.cat(real)), through_jpeg(torch.cat(painted)), names


def dealt(names, seed=0):
    "Rows in four groups, whole recordings each"
    of = np.random.default_rng(seed).permutation(np.unique(names))
    ends = (np.cumsum(SHARES)*len(of)).round().astype(int)
    return [np.flatnonzero(np.isin(names, part)) for part in np.split(of, ends[:-1])]


def network():
    "Three convolutions that halve, and a mean"
    torch.manual_seed(0)
    layers, width = [], 3
    for n in (32, 64, 128):
        layers += [nn.Conv2d(width, n, 3, 2, 1, bias=False), nn.BatchNorm2d(n), nn.ReLU()]
        width = n
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1))


def learned(real, painted, epochs=12, batch=64):
    "A network that was shown both"
    net, x = network().train(), torch.cat([real, painted])
    y = torch.cat([torch.ones(len(real)), torch.zeros(len(painted))])
    steps = epochs*(len(x)//batch)
    opt = torch.optim.Adam(net.parameters(), 2e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, 2e-3, total_steps=steps)
    rng = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=rng).split(batch)[:len(x)//batch]:
            loss = F.binary_cross_entropy_with_logits(net(x[rows])[:, 0], y[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
            plan.step()
    return net.eval()


@torch.inference_mode()
def real_to(net, pictures): # which of them it takes for real
    return torch.cat([net(p)[:, 0] > 0 for p in pictures.split(256)]).numpy()


def told(real, other, groups, names):
    "A network that learned from two groups, and how often it is right about two others"
    net = learned(real[groups[0]], other[groups[1]])
    right = np.concatenate([real_to(net, real[groups[2]]), ~real_to(net, other[groups[3]])])
    of = np.concatenate([names[groups[2]], names[groups[3]]])
    low, high = bootstrap_interval(right.astype(float), groups=of)
    return net, dict(n=len(right), right=round(float(right.mean()), 4),
                     interval=[round(float(low), 4), round(float(high), 4)])


def shifted(x): return F.pad(x, (1, 0, 0, 0), mode='replicate')[..., :-1]


def blurred(x):
    k = torch.tensor([1., 2, 1])/4
    kernel = (k[:, None]*k)[None, None].expand(3, 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode='replicate'), kernel, groups=3)


@torch.inference_mode()
def of_strangers(translator, folder):
    "Pictures [N, 3, S, S] of the half seconds that sound in files named <label>*"
    out = []
    for path in sorted(p for p in Path(folder).iterdir() if p.is_file()):
        label = next((l for l in translator.labels if path.stem.startswith(l)), None)
        if not label: continue
        windows = cut_windows(load_audio(path, translator.model.spec.sample_rate),
                              translator.model.spec)
        windows = windows[loudness(windows) > SILENCE_DB][:40]
        if not len(windows): continue
        index = torch.full((len(windows),), translator.labels.index(label))
        out.append(translator.paint(windows, index)[1].final)
    return through_jpeg(torch.cat(out))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('bundle', help="a bundle; 'shipped' for the one that comes with it")
    parser.add_argument('data', help='made data of the same labels')
    parser.add_argument('--strangers', help='a folder of sounds, <label>*')
    parser.add_argument('--json', default='')
    args = parser.parse_args()
    start = time.time()
    bundle = None if args.bundle == 'shipped' else args.bundle
    translator = Translator.from_pretrained(bundle)
    real, painted, names = both(translator.model, args.data)
    groups = dealt(names)
    net, found = told(real, painted, groups, names)
    report = dict(size=translator.model.spec.size, painted=found)
    for name, change in (('shifted', shifted), ('blurred', blurred)):
        report[name] = told(real, through_jpeg(change(real)), groups, names)[1]
    report['taken_for_real'] = {
        'real': round(float(real_to(net, real[groups[2]]).mean()), 4),
        'painted': round(float(real_to(net, painted[groups[3]]).mean()), 4)}
    if args.strangers:
        pictures = of_strangers(translator, args.strangers)
        report['taken_for_real']['strangers'] = round(float(real_to(net, pictures).mean()), 4)
        report['strangers'] = len(pictures)
    report['seconds'] = round(time.time() - start)
    write_json(args.json, report)
    for k, v in report.items(): print(k, v)


if __name__ == '__main__': main()
