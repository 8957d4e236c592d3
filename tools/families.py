"""Does the audio classifier name instruments from a family of sound banks that it never heard?

    python tools/banks.py BANKS
    python tools/recordings.py REAL
    CARGAN_SOUNDFONTS=BANKS python tools/families.py --real REAL

Each family is left out in turn. Classifier, augmentation, average and the shape of the schedule are
those of `cargan-train`, with fewer epochs. Judged are half seconds (silence left out), and whole
recordings, whose half seconds vote. The last row: a classifier that heard all families, on the
files in --real (`<label>*.ogg`).
"""
import argparse
import csv
import tempfile
import time
from pathlib import Path

import torch
from banks import BANKS
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.torch_core import set_seed
from torch.utils.data import Subset, TensorDataset

from cargan.data.audio import LMS, LMSSpec, cut_windows, load_audio, loudness
from cargan.data.loaders import RoomAndLevel
from cargan.data.pairs import Waveform, find_pairs
from cargan.data.synth import synth_urmp
from cargan.deploy.cli import no_bar_into_files, write_json
from cargan.models.classifier import AudioClassifier, classifier_learner
from cargan.training.callbacks import EMA

SPEC = LMSSpec()
FAMILIES = {'TimGM6mb.sf2': 'TimGM6mb', **{bank.file: bank.family for bank in BANKS}}


class Hear(Callback):
    "Samples to LMS on the batch, in training with the augmentation of `pairs_dls`"
    order = -5
    def __init__(self): self.room, self.lms = RoomAndLevel(0), LMS(SPEC)
    def before_batch(self):
        wave = Waveform(self.xb[0].float()/32767)
        if self.training: wave = self.room.encodes(wave)
        self.learn.xb = (self.lms(wave.as_subclass(torch.Tensor)), self.yb[0])
        self.learn.yb = (self.yb[0],)


class Windows:
    "All training and test windows of a data set that sound"
    def __init__(self, data):
        with open(data/'pairs.csv', encoding='utf-8') as f:
            rows = {r['stem']: r for r in csv.DictReader(f)}
        pairs = [p for p in find_pairs(data)
                 if p.split != 'valid' and rows[p.sound.stem]['silent'] == '0']
        banks = [rows[p.sound.stem]['bank'] for p in pairs]
        waves = [cut_windows(load_audio(p.sound, SPEC.sample_rate), SPEC)[0] for p in pairs]
        self.labels = sorted({p.label for p in pairs})
        self.waves = (torch.stack(waves).clamp(-1, 1)*32767).short() # [N, n]
        self.y = torch.tensor([self.labels.index(p.label) for p in pairs])
        self.family = [FAMILIES.get(bank, bank) for bank in banks]
        self.recording = [p.recording for p in pairs]
        self.train = torch.tensor([p.split == 'train' for p in pairs])


def train_classifier(windows, chosen, epochs, seed):
    "An audio classifier in `eval` mode, trained on the chosen windows as `cargan-train` trains it"
    set_seed(seed)
    ds = TensorDataset(windows.waves[chosen], windows.y[chosen])
    dls = DataLoaders(DataLoader(ds, bs=64, shuffle=True, drop_last=True),
                      DataLoader(Subset(ds, range(64)), bs=64))
    model = AudioClassifier(len(windows.labels))
    learn = classifier_learner(dls, model, cbs=[Hear(), EMA(.99)])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 3e-3)
    return learn.model.eval()


@torch.no_grad()
def logs(classifier, waves):
    "Logarithms of the probabilities, [N, labels]"
    return torch.cat([classifier(LMS(SPEC)(w.float()/32767)).log_softmax(1)
                      for w in waves.split(256)])


def votes(said, y, recordings):
    "Recordings whose windows, by the sum of their logarithms, name the right label: (right, n)"
    of = {}
    for r, l, t in zip(recordings, said, y.tolist()): of.setdefault((r, t), []).append(l)
    return sum(int(torch.stack(ls).sum(0).argmax()) == t for (_, t), ls in of.items()), len(of)


def judged(name, said, y, recordings):
    "A row of the table, which is printed, too"
    right, (whole, n) = int((said.argmax(1) == y).sum()), votes(said, y, recordings)
    print(f'| {name} | {right} of {len(y)} | {right/len(y):.1%} | {whole} of {n} | {whole/n:.0%} |',
          flush=True)
    return dict(family=name, windows=len(y), right=right, accuracy=round(right/len(y), 4),
                recordings=n, recordings_right=whole)


def without_family(windows, family, epochs, seed):
    "A row: a classifier that never heard the family, on the family"
    out = torch.tensor([f == family for f in windows.family])
    classifier = train_classifier(windows, windows.train & ~out, epochs, seed)
    recordings = [r for r, o in zip(windows.recording, out) if o]
    return judged(family, logs(classifier, windows.waves[out]), windows.y[out], recordings)


def on_recordings(windows, folder, epochs, seed):
    "A row: a classifier that heard all families, on files named by their label"
    classifier = train_classifier(windows, windows.train, epochs, seed)
    waves, y, names = [], [], []
    for p in sorted(folder.glob('*.ogg')):
        cut = cut_windows(load_audio(p), SPEC)
        cut = cut[loudness(cut) > -45]
        waves.append((cut*32767).short())
        y += [next(k for k, l in enumerate(windows.labels) if p.stem.startswith(l))]*len(cut)
        names += [p.name]*len(cut)
    said = logs(classifier, torch.cat(waves))
    return judged('none: on real recordings', said, torch.tensor(y), names)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', type=int, default=9360)
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--data', type=Path,
                        help='SynthURMP made from all banks; made here if not given')
    parser.add_argument('--only', nargs='*', help='families to leave out; all in turn if not given')
    parser.add_argument('--real', type=Path, help='a folder of recordings, <label>*.ogg')
    parser.add_argument('--json', default='', help='write the numbers here')
    args = parser.parse_args()
    no_bar_into_files()
    data = args.data or Path(tempfile.mkdtemp())/'synth'
    if not data.exists(): synth_urmp(data, pairs=args.pairs, size=8, seed=args.seed)
    windows, start = Windows(data), time.time()
    print('| left out | half seconds | | recordings, by vote | |\n|---|---|---|---|---|')
    families = sorted(set(windows.family)) if args.only is None else args.only
    rows = [without_family(windows, f, args.epochs, args.seed) for f in families]
    if args.real: rows.append(on_recordings(windows, args.real, args.epochs, args.seed))
    options = f'--pairs {args.pairs} --epochs {args.epochs} --seed {args.seed}'
    write_json(args.json, dict(command=f'python tools/families.py {options} --real REAL',
                               seconds=round(time.time() - start),
                               train_windows=int(windows.train.sum()), rows=rows))


if __name__ == '__main__': main()
