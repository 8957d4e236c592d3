"""How well does the ear name instruments from a family of sound banks that it never heard? Leave each family out in turn.

    python tools/banks.py BANKS; python tools/recordings.py REAL; CARGAN_SOUNDFONTS=BANKS python tools/families.py --real REAL

Classifier, augmentation, average and the shape of the schedule are those of `cargan-train`, with fewer epochs. Judged are half seconds (silence left out), and whole
recordings, whose half seconds vote. The last row: an ear that heard all families, on the files in --real (`<label>*.ogg`).
"""
import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import torch
from banks import BANKS
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.torch_core import set_seed
from torch.utils.data import TensorDataset

from cargan.data.audio import LMS, LMSSpec, cut_windows, load_audio, loudness
from cargan.data.loaders import RoomAndLevel
from cargan.data.pairs import Waveform, find_pairs
from cargan.data.synth import synth_urmp
from cargan.deploy.cli import no_bar_into_files, write_json
from cargan.models.classifier import AudioClassifier, classifier_learner
from cargan.training.callbacks import EMA

SPEC = LMSSpec()
FAMILIES = {'TimGM6mb.sf2': 'TimGM6mb', **{k: v[0] for k, v in BANKS.items()}}


class Hear(Callback):
    "Samples to LMS on the batch, in training with the augmentation of `pairs_dls`"
    order = -5
    def __init__(self): self.room, self.lms = RoomAndLevel(0), LMS(SPEC)
    def before_batch(self):
        wave = Waveform(self.xb[0].float()/32767)
        if self.training: wave = self.room.encodes(wave)
        self.learn.xb = (self.lms(wave.as_subclass(torch.Tensor)), self.yb[0])
        self.learn.yb = (self.yb[0],)


def load(data):
    "Samples [N, n] int16, labels, families, recordings and the training flag of all windows that sound"
    rows = {r['stem']: r for r in csv.DictReader(open(data/'pairs.csv', encoding='utf-8'))}
    pairs = [p for p in find_pairs(data) if rows[p.sound.stem]['silent'] == '0']
    labels = sorted({p.label for p in pairs})
    waves = torch.stack([cut_windows(load_audio(p.sound, SPEC.sample_rate), SPEC)[0] for p in pairs])
    family = [FAMILIES.get(rows[p.sound.stem]['bank'], rows[p.sound.stem]['bank']) for p in pairs]
    return (waves.clamp(-1, 1)*32767).short(), torch.tensor([labels.index(p.label) for p in pairs]), family, [p.recording for p in pairs], \
        torch.tensor([p.split == 'train' for p in pairs]), labels


def train_ear(waves, y, epochs, seed, n_labels):
    "An audio classifier in `eval` mode, trained as `cargan-train` trains it"
    set_seed(seed)
    ds = TensorDataset(waves, y)
    dl = DataLoader(ds, bs=64, shuffle=True, drop_last=True)
    learn = classifier_learner(DataLoaders(dl, DataLoader(torch.utils.data.Subset(ds, range(64)), bs=64)), AudioClassifier(n_labels), cbs=[Hear(), EMA(.99)])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 3e-3)
    return learn.model.eval()


@torch.no_grad()
def logs(ear, waves): return torch.cat([ear(LMS(SPEC)(w.float()/32767)).log_softmax(1) for w in waves.split(256)])


def votes(said, y, recordings):
    "Recordings whose windows, by the sum of their logarithms, name the right label: (right, n)"
    of = {}
    for r, l, t in zip(recordings, said, y.tolist()): of.setdefault((r, t), []).append(l)
    return sum(int(torch.stack(ls).sum(0).argmax()) == t for (_, t), ls in of.items()), len(of)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', type=int, default=9360)
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--data', type=Path, help='SynthURMP made from all banks; made here if not given')
    parser.add_argument('--only', nargs='*', help='families to leave out; all in turn if not given')
    parser.add_argument('--real', type=Path, help='a folder of recordings, <label>*.ogg')
    parser.add_argument('--json', default='', help='write the numbers here')
    args = parser.parse_args()
    no_bar_into_files()
    data = args.data or Path(tempfile.mkdtemp())/'synth'
    if not data.exists(): synth_urmp(data, pairs=args.pairs, size=8, seed=args.seed)
    waves, y, family, recordings, train, labels = load(data)
    rows, start = [], time.time()
    def row(name, said, y, recordings):
        right, (whole, n) = int((said.argmax(1) == y).sum()), votes(said, y, recordings)
        rows.append(dict(family=name, windows=len(y), right=right, accuracy=round(right/len(y), 4), recordings=n, recordings_right=whole))
        print(f'| {name} | {right} of {len(y)} | {right/len(y):.1%} | {whole} of {n} | {whole/n:.0%} |', flush=True)
    print('| left out | half seconds | | recordings, by vote | |\n|---|---|---|---|---|')
    for f in args.only if args.only is not None else sorted(set(family)):
        out = torch.tensor([g == f for g in family])
        ear = train_ear(waves[train & ~out], y[train & ~out], args.epochs, args.seed, len(labels))
        row(f, logs(ear, waves[out]), y[out], [r for r, o in zip(recordings, out) if o])
    if args.real:
        ear = train_ear(waves[train], y[train], args.epochs, args.seed, len(labels))
        files = [(p, next(k for k, l in enumerate(labels) if p.stem.startswith(l))) for p in sorted(args.real.glob('*.ogg'))]
        cut = [(w[loudness(w) > -45], p.name, k) for p, k in files for w in [cut_windows(load_audio(p), SPEC)]]
        real = torch.cat([(w*32767).short() for w, _, _ in cut])
        row('none: on real recordings', logs(ear, real), torch.tensor([k for w, _, k in cut for _ in w]), [n for w, n, _ in cut for _ in w])
    write_json(args.json, dict(command=f'python tools/families.py --pairs {args.pairs} --epochs {args.epochs} --seed {args.seed} --real REAL',
                               seconds=round(time.time() - start), train_windows=int(train.sum()), rows=rows))


if __name__ == '__main__': main()
