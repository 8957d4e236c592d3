"""Train the ear that ships, and ask it about sounds that it never heard.

    python tools/ear_sounds.py BANKS SOUNDS                     # once
    python tools/ear.py table SOUNDS WORK --json benchmarks/ear.json
    python tools/ear.py train SOUNDS WORK [--data DATA]         # WORK/ear.pt
    python tools/ear.py ask SOUNDS WORK [--real REAL]

`table` leaves each family of sources out in turn, and one kind of other sound with it, and asks the
ear that is trained without them. `train` makes the ear that ships, with its memory, and sets how
sure it is by what the ears of `table` say of their strangers. `ask` is about recordings kept aside.
Ears are kept in WORK: what is there is not trained again.
"""
import argparse
import json
import math
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from ear_sounds import KEPT

from cargan.core import write_whole
from cargan.data.audio import SILENCE_DB, cut_windows, load_audio, loudness
from cargan.data.pairs import SUB_URMP_LABELS, find_pairs
from cargan.models.ear import Ear
from cargan.training.hearing import Recording, hide_some, remember

LABELS = [*SUB_URMP_LABELS, 'other']
RATE = 22050
WINDOW = RATE//2
STEPS = 12000 # of 64 windows; three minutes on a large GPU, three hours on two cores
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu' # where ears are trained
RESTS = -42. # dB: quieter places in clips, which all have one peak, are rests


class Sounds:
    "All clips of a folder that `ear_sounds.py` made, less what is left out"
    def __init__(self, folder, without=(), without_kinds=()):
        told = json.loads((folder/'sources.json').read_text())
        x, y, family, kind = [], [], [], []
        for s in told:
            z = np.load(folder/f"{s['source']}.npz")
            keep = np.array([s['family'] not in (*without, KEPT) and k not in without_kinds
                             for k in z['kind']])
            if not keep.any(): continue
            x.append(z['x'][keep])
            y += [LABELS.index(l) for l in z['label'][keep]]
            kind += z['kind'][keep].tolist()
            family += [s['family']]*int(keep.sum())
        self.x, self.y = torch.from_numpy(np.concatenate(x)), torch.tensor(y)
        self.family, self.kind = np.array(family), np.array(kind)
        self.weight = self._weights()

    def to(self, device):
        "The same clips there"
        self.x, self.y = self.x.to(device), self.y.to(device)
        self.weight = self.weight.to(device)
        return self

    def _weights(self):
        """Labels weigh alike, another twice as much. Within a label families weigh as the root of
        their clips' number; kinds of another weigh alike"""
        groups = np.where(self.kind == '', self.family, self.kind).tolist()
        of = list(zip(self.y.tolist(), groups))
        size, total = Counter(of), defaultdict(float)
        def weight(label, n): return 1 if label == 13 else math.sqrt(n)
        for (label, _), n in size.items(): total[label] += weight(label, n)
        share = [(1 + (y == 13))*weight(y, size[y, g])/total[y]/size[y, g] for y, g in of]
        return torch.tensor(share, dtype=torch.double)


def crops(x, rows, length, rng):
    "[len(rows), length] samples of clips, the louder one of two places, a little higher or lower"
    n, total = len(rows), x.shape[1]
    ratio = 2**((torch.rand(n, 1, generator=rng, device=x.device) - .5)/12)
    room = total - length*ratio - 2
    i, best = torch.arange(length, device=x.device)[None], None
    at = torch.rand(n, 2, generator=rng, device=x.device)*room
    clips = x[rows].float()/32767
    for k in (0, 1):
        pos = at[:, k:k + 1] + i*ratio
        first = pos.long()
        a, b = clips.gather(1, first), clips.gather(1, first + 1)
        wave = a + (b - a)*(pos - first)
        if best is None: best = wave
        else: best = torch.where(loudness(wave)[:, None] > loudness(best)[:, None], wave, best)
    return best


class Release:
    "The half seconds of the bundle's own training recordings, silence with them"
    def __init__(self, data):
        pairs = [p for p in find_pairs(data) if p.split == 'train']
        waves = [cut_windows(load_audio(p.sound, RATE))[0] for p in pairs]
        self.x = (torch.stack(waves).clamp(-1, 1)*32767).short()
        self.x = self.x.to(DEVICE)
        self.y = torch.tensor([LABELS.index(p.label) for p in pairs], device=DEVICE)

    def batch(self, n, rng): # as they are: they have rooms and equalisers of their own
        rows = torch.randint(0, len(self.y), (n,), generator=rng, device=DEVICE)
        return self.x[rows].float()/32767, self.y[rows]


def train(sounds, steps, seed, release=None, batch=64, lr=3e-3):
    "An ear; the moving average of its weights is what comes back"
    torch.manual_seed(seed)
    rng = torch.Generator(DEVICE).manual_seed(seed)
    record, sounds = Recording(seed=seed, device=DEVICE), sounds.to(DEVICE)
    ear = Ear(len(LABELS) - 1).to(DEVICE, memory_format=torch.channels_last).train()
    opt = torch.optim.AdamW(ear.parameters(), lr=lr, weight_decay=.02, betas=(.9, .99))
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=steps, pct_start=.2,
                                               cycle_momentum=False)
    average, losses, start = None, [], time.time()
    of_release = batch//5 if release else 0
    for step in range(steps):
        if step % 2 == 0: # each batch is seen twice, with other bands hidden
            with torch.no_grad():
                rows = torch.multinomial(sounds.weight, batch - of_release, True, generator=rng)
                wave, y = crops(sounds.x, rows, record.lead + WINDOW, rng), sounds.y[rows]
                sounding = loudness(wave[:, record.lead:]) > RESTS # a rest is no instrument
                wave, y = record(wave[sounding]), y[sounding]
                if release:
                    more, label = release.batch(of_release, rng)
                    wave, y = torch.cat([wave, more]), torch.cat([y, label])
                whole = ear.spectrum(wave)
        seen = hide_some(whole, rng).contiguous(memory_format=torch.channels_last)
        logits = ear.decide(ear.read(seen), seen[:, 2, 0, 0] > .5)
        loss = F.cross_entropy(logits, y, label_smoothing=.1)
        opt.zero_grad()
        loss.backward()
        opt.step()
        plan.step()
        losses.append(loss.detach())
        if step > steps*.3: average = averaged(average, ear)
        if step % 100 == 99:
            print(f'{step + 1} of {steps}: loss {sum(losses[-100:])/100:.3f}, '
                  f'{time.time() - start:.0f} s', flush=True)
    ear.load_state_dict(average)
    return ear.cpu().eval()


def averaged(average, ear, share=.01):
    state = ear.state_dict()
    if average is None: return {k: v.clone() for k, v in state.items()}
    for k, v in state.items():
        if v.is_floating_point(): average[k].lerp_(v, share)
        else: average[k].copy_(v)
    return average


@torch.inference_mode()
def said(ear, clips, n=WINDOW):
    "Log-probabilities [N, windows, K + 1] of clips, and which windows sound"
    windows = clips.unfold(1, n, n)
    flat = windows.reshape(-1, n)
    out = torch.cat([ear(w).log_softmax(1) for w in flat.split(128)])
    return out.unflatten(0, windows.shape[:2]), loudness(windows) > SILENCE_DB


def smoothed(logs, loud):
    "The mean over each window and its neighbours that sound"
    w = loud[..., None].float()
    total = F.avg_pool1d(F.pad((logs*w).transpose(1, 2), (1, 1)), 3, 1)
    n = F.avg_pool1d(F.pad(w.transpose(1, 2), (1, 1)), 3, 1)
    return (total/n.clamp(min=1e-6)).transpose(1, 2)


def auroc(yes, no):
    "How often a `yes` is above a `no`"
    return float(roc_auc_score([1]*len(yes) + [0]*len(no), torch.cat([yes, no])))


def mean_of(logs, loud):
    "The mean over the windows of each clip that sound, [N, K + 1]"
    return (logs*loud[..., None]).sum(1)/loud.sum(1, keepdim=True).clamp(min=1)


def asked(ear, x, y, other=None):
    "What an ear says of clips [N, n] of known instruments, and of others"
    logs, loud = said(ear, x)
    one, three = logs[..., :13].log_softmax(2), smoothed(logs, loud)[..., :13]
    whole = mean_of(logs, loud)
    hit = (one.argmax(2) == y[:, None])[loud]
    near = (three.argmax(2) == y[:, None])[loud]
    clips = whole[:, :13].argmax(1) == y
    found = dict(windows=int(loud.sum()), right=int(hit.sum()), right_near=int(near.sum()),
                 clips=len(y), clips_right=int(clips.sum()))
    if other is not None and len(other):
        logs2, loud2 = said(ear, other)
        whole2 = mean_of(logs2, loud2)
        found |= dict(other_clips=len(other), auroc_clip=auroc(whole2[:, 13], whole[:, 13]),
                      auroc_window=auroc(logs2[loud2][:, 13], logs[loud][:, 13]))
    return found, whole


def clips_of(folder, family=None, kind=''):
    "x float, y of the clips of a family of sources, of a kind of other sound, or both"
    told, xs, ys = json.loads((folder/'sources.json').read_text()), [], []
    for s in told:
        if (family or s['family']) != s['family'] or (not family and s['family'] == KEPT): continue
        z = np.load(folder/f"{s['source']}.npz")
        keep = z['kind'] == kind
        xs.append(z['x'][keep])
        ys += [LABELS.index(l) for l in z['label'][keep]]
    return torch.from_numpy(np.concatenate(xs)).float()/32767, torch.tensor(ys)


def real_files(folder):
    "Recordings named <label>*.ogg: (label, wave) each"
    for path in sorted(folder.glob('*.ogg')):
        yield next(l for l in SUB_URMP_LABELS if path.stem.startswith(l)), load_audio(path, RATE)


def on_files(ear, folder):
    "Half seconds and files right, of real recordings"
    out = Counter()
    for label, wave in real_files(folder):
        windows = cut_windows(wave)
        found, _ = asked(ear, windows.reshape(1, -1), torch.tensor([LABELS.index(label)]))
        out.update(found)
    return dict(out)


# ------------------------------------------------------------------------- what goes with it

@torch.inference_mode()
def with_memory(ear, sounds, each=40, others=360, seed=0):
    "Features of clips that it was trained on, as they are: `each` of a label, more of another"
    rng, rows = np.random.default_rng(seed), []
    for k in range(len(LABELS)):
        of = np.flatnonzero(sounds.y.cpu().numpy() == k)
        share = sounds.weight.cpu()[of].numpy()
        n = min(others if k == 13 else each, len(of))
        rows.append(rng.choice(of, n, False, share/share.sum()))
    rows, sounds = torch.from_numpy(np.concatenate(rows)), sounds.to('cpu')
    wave = crops(sounds.x, rows, WINDOW, torch.Generator().manual_seed(seed))
    rows, wave = (t[loudness(wave) > RESTS] for t in (rows, wave))
    remember(ear, torch.cat([ear.features(w) for w in wave.split(128)]), sounds.y[rows])


def calibration(work):
    """The temperature at which what is said of strangers' clips is as sure as it is right, and the
    limit that refuses one known instrument in twenty: both from the ears that `table` keeps, each
    asked about the family that it never heard"""
    told = [torch.load(p, weights_only=True) for p in sorted(work.glob('*.said.pt'))]
    whole, y = (torch.cat([t[k] for t in told]) for k in ('whole', 'y'))
    def loss(t): return F.cross_entropy(whole[:, :13]/t, y).item()
    best = min(torch.linspace(.3, 4, 75).tolist(), key=loss)
    limit = float((whole/best).softmax(1)[:, 13].quantile(.95).clamp(.15, .95))
    return dict(temperature=round(best, 3), limit=round(limit, 3), clips=len(y),
                before=reliability(whole[:, :13], y), after=reliability(whole[:, :13]/best, y))


def reliability(logits, y):
    "For ten ranges of confidence: how many clips, how sure, how many right"
    sure, said = logits.softmax(1).max(1)
    bins = (sure*10).long().clamp(max=9)
    return [dict(n=int(m.sum()), sure=round(float(sure[m].mean()), 4),
                 right=round(float((said[m] == y[m]).float().mean()), 4))
            for k in range(10) if (m := bins == k).any()]


# ---------------------------------------------------------------------------------- commands

# Each family that is left out takes a kind of other sound with it
HELD = dict(GeneralUser='guitar', philharmonia='drums', Fluid='piano', recorded='choir',
            TimGM6mb='speech', A320U='plucked', Sonivox='organ')


def without(sounds, work, family, steps, seed):
    "A row: an ear that heard neither the family nor the kind, asked about both"
    kind, path = HELD[family], work/f'without_{family}.pt'
    if not path.exists(): keep(train(Sounds(sounds, [family], [kind]), steps, seed), path)
    x, y = clips_of(sounds, family)
    found, whole = asked(kept(path), x, y, clips_of(sounds, kind=kind)[0])
    torch.save(dict(whole=whole, y=y), path.with_suffix('.said.pt'))
    row = dict(family=family, kind=kind, **found)
    print(row, flush=True)
    return row


def table(sounds, work, steps=STEPS, seed=0, only=None, json_file=None):
    "A row a family"
    work.mkdir(parents=True, exist_ok=True)
    start = time.time()
    rows = [without(sounds, work, family, steps, seed) for family in only or HELD]
    told = dict(command=f'python tools/ear.py table SOUNDS WORK --steps {steps} --seed {seed}',
                seconds=round(time.time() - start), rows=rows, calibration=calibration(work))
    write_whole(json_file or work/'ear.json', json.dumps(told, indent=1).encode())


def release(sounds, work, out, data=None, steps=STEPS, seed=0):
    "The ear that ships: all sounds, the bundle's own recordings with them; memory and limits"
    heard, bare = Sounds(sounds), out.with_suffix('.bare.pt')
    if not bare.exists():
        keep(train(heard, steps, seed, Release(data) if data else None), bare)
    ear = kept(bare)
    with_memory(ear, heard, seed=seed)
    found = calibration(work)
    ear.temperature.fill_(found['temperature'])
    ear.limit.fill_(found['limit'])
    keep(ear, out)


def keep(ear, path):
    tmp = path.with_suffix('.tmp')
    torch.save(dict(state=ear.state_dict(), recipe=ear.recipe), tmp)
    tmp.rename(path)


def kept(path):
    told = torch.load(path, weights_only=True)
    ear = Ear(**told['recipe'])
    ear.load_state_dict(told['state'])
    return ear.eval()


def ask(sounds, path, real):
    "What an ear says of recordings that nothing was learned from"
    ear, rows = kept(path), {}
    x, y = clips_of(sounds, KEPT)
    other = torch.cat([clips_of(sounds, KEPT, kind=k)[0] for k in ('guitar', 'singing', 'piano')])
    rows['solo phrases'] = asked(ear, x, y, other)[0]
    if real: rows['files'] = on_files(ear, real)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('table', 'train', 'ask'))
    parser.add_argument('sounds', type=Path)
    parser.add_argument('work', type=Path, help='folder of the ears')
    parser.add_argument('--steps', type=int, default=STEPS, help='of an ear')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--data', type=Path, help="train: the bundle's made data")
    parser.add_argument('--real', type=Path, help='ask: recordings, <label>*.ogg')
    parser.add_argument('--only', nargs='*', help='table: families; all in turn if not given')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    ear = args.work/'ear.pt'
    if args.what == 'table':
        table(args.sounds, args.work, args.steps, args.seed, args.only, args.json)
    elif args.what == 'train':
        release(args.sounds, args.work, ear, args.data, args.steps, args.seed)
    else:
        found = ask(args.sounds, ear, args.real)
        if args.json: write_whole(args.json, json.dumps(found, indent=1).encode())
        for row in found.items(): print(*row)


if __name__ == '__main__': main()
