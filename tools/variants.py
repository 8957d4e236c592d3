"""What is each choice of the preset `small` worth? One option changed at a time, three seeds each, `benchmarks/variants.json`.

Every run sees the same data and, for one seed, the same classifiers and encoder of the sound, which are trained once. The figures are of the
test recordings: L1 of the final picture, C's accuracy with the label given, and what a probe that never saw a painted picture reads off
it (chapter 17): performer, pitch, loudness, rest. Each run is kept as soon as it is done; started again, the rest is made.
"""
import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import torch

from cargan.data.audio import LMSSpec
from cargan.data.pairs import pairs_dls
from cargan.data.synth import synth_urmp
from cargan.deploy.cli import no_bar_into_files, write_json
from cargan.evaluation.listening import listening, read_truth, train_probe
from cargan.models.cascade import get_preset
from cargan.training.train import train

VARIANTS = {'small': {}, 'no code of the sound': dict(code=0), 'no label dropout': dict(label_dropout=0.), 'no moving average': dict(ema=0.),
            "the paper's Adam": dict(lr_g=8e-4, lr_d=8e-4, betas=(.9, .999), decay_epochs=0), "pix2pix's Adam": dict(lr_g=2e-4, lr_d=2e-4, decay_epochs=0)}
FIGURES = 'performer', 'pitch', 'pitch_within', 'loudness', 'rest_balanced'


@torch.no_grad()
def figures(model, dls, probe, truth):
    "Of one trained model"
    l1, right, n = 0., 0, 0
    for batch in dls.valid:
        lms, label, image = (t.as_subclass(torch.Tensor) for t in batch)
        final = model(lms, label).final
        l1 += (final - image).abs().mean((1, 2, 3)).sum().item()
        right += (model.c(final).argmax(1) == label).sum().item()
        n += len(label)
    heard = listening(model, dls, probe, truth)['label_given']
    return dict(n=n, l1=round(l1/n, 4), seen_by_c=round(right/n, 4), **{k: heard[k] for k in FIGURES})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', type=int, default=2600)
    parser.add_argument('--epochs', type=int, default=3, help='of the GAN')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--only', nargs='*', choices=list(VARIANTS), help='these variants; all if not given')
    parser.add_argument('--work', help='folder for data and runs; a temporary one if not given')
    parser.add_argument('--out', type=Path, default=Path(__file__).parent.parent/'benchmarks'/'variants.json')
    args = parser.parse_args()
    no_bar_into_files()
    work = Path(args.work or tempfile.mkdtemp(prefix='cargan-variants-'))
    data = work/'synth'
    if not data.exists(): synth_urmp(data, pairs=args.pairs, size=64, seed=1)
    dls, truth = pairs_dls(data, LMSSpec(size=64), jitter=False), read_truth(data)
    probe = train_probe(dls, truth)
    settings = dict(pairs=args.pairs, epochs=args.epochs)
    table = json.loads(args.out.read_text()) if args.out.exists() else {}
    if table.get('settings') != settings: table = dict(settings=settings, rows=[])
    for seed in range(args.seeds):
        for name, change in VARIANTS.items():
            if args.only and name not in args.only or any((r['variant'], r['seed']) == (name, seed) for r in table['rows']): continue
            run, first = work/f'{name} {seed}', work/f'small {seed}'
            if run != first and (first/'classifiers').exists(): shutil.copytree(first/'classifiers', run/'classifiers', dirs_exist_ok=True)
            start = time.time()
            model = train(data, run, get_preset('small', **change), args.epochs, seed, resume=True)
            row = dict(variant=name, change=change, seed=seed, seconds=round(time.time() - start), **figures(model, dls, probe, truth))
            table['rows'].append(row)
            write_json(args.out, dict(command=f'python tools/variants.py --pairs {args.pairs} --epochs {args.epochs} --seeds {args.seeds}', **table))
            print(row, flush=True)


if __name__ == '__main__': main()
