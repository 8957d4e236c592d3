"""Rebuild the shipped bundle from nothing: data, classifiers, GAN, evaluation, clips, MODEL_CARD.md.

One command (`make release`), one seed. Banks in CARGAN_SOUNDFONTS (`tools/banks.py` fetches them) are used beside the one that
comes with pretty_midi.
"""
import argparse
import csv
import json
import platform
import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from cargan import __version__
from cargan.core import write_whole
from cargan.data.audio import SILENCE_DB, cut_windows, load_audio, loudness
from cargan.data.loaders import pairs_dls
from cargan.data.pairs import find_pairs
from cargan.data.synth import synth_urmp
from cargan.deploy.cli import no_bar_into_files
from cargan.deploy.translate import Translator, show_translations
from cargan.evaluation.listening import knows_truth, listening_report
from cargan.evaluation.metrics import evaluate
from cargan.models.cascade import CARGAN
from cargan.training.train import train

HERE = Path(__file__).parent.parent
PRETRAINED = HERE/'cargan'/'pretrained'


def runs_of_windows(pairs):
    "Pairs of one recording in chains whose windows follow each other without a gap"
    chains, last = [], None
    for p in sorted(pairs, key=lambda p: (p.recording, p.start_ms)):
        if last and p.recording == last.recording and p.start_ms == last.start_ms + 500: chains[-1].append(p)
        else: chains.append([p])
        last = p
    return chains


def write_clips(root, folder, windows=4):
    "One clip an instrument: the loudest stretch of at most `windows` windows of a test recording"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tests = [p for p in find_pairs(root) if p.split == 'test']
    for label in sorted({p.label for p in tests}):
        chains = [c[:windows] for c in runs_of_windows([p for p in tests if p.label == label])]
        longest = max(map(len, chains))
        level = lambda chain: min(loudness(load_audio(p.sound)).item() for p in chain)
        chain = max((c for c in chains if len(c) == longest), key=level)
        sounds = [sf.read(p.sound) for p in chain]
        sf.write(folder/f'{label}.ogg', np.concatenate([x.mean(1) for x, _ in sounds]), sounds[0][1])


def heard_table(found):
    "What a probe reads off the pictures, as a table of MODEL_CARD.md; nothing where the data does not know what was played"
    if not found: return ''
    names = dict(performer='performer, share right', rest_balanced='rest, balanced share right', pitch='pitch, r over all (the label alone gives most of it)',
                 pitch_within='pitch, mean r within an instrument', loudness='loudness, r')
    cell = lambda f, k: f"{f[k]:.3f} ({f[f'{k}_interval'][0]:.3f} to {f[f'{k}_interval'][1]:.3f})"
    rows = '\n'.join(f"| {name} | {' | '.join(cell(found[way], k) for way in ('real', 'label_given', 'label_predicted'))} |" for k, name in names.items())
    return f"""
## Does it listen?

What a small network, trained on the real training pictures only, reads off the pictures of the {found['n']} test pairs ({found['n_sounding']} of them
sound), with 95 % bootstrap intervals; chapter 16. By chance: performer {found['chance']['performer']:.3f}, rest .500, correlations 0.

| | real pictures (its ceiling) | painted, label given | painted, label predicted |
|---|---|---|---|
{rows}

The performers of the test recordings are those of the training recordings.
"""


def model_card(model, report, args, minutes, counts):
    "MODEL_CARD.md: what the bundle is, how it was made, its figures, its limits"
    row = lambda name, k: (f"| {name} | {report[k]:.2%} | {report[k + '_right']} of {report['n']} | "
                           f"{report[k + '_interval'][0]:.2%} to {report[k + '_interval'][1]:.2%} |")
    u = report.get('recordings')
    unheard = (f" Of {u['files']} short recordings of real instruments (`tools/recordings.py`) it names {u['files_right']} right by the vote of "
               f"their half seconds, and {u['right']} of {u['n']} half seconds." if u else '')
    more = 'with `CARGAN_SOUNDFONTS` naming the further banks below: ' if len(counts['banks']) > 1 else ''
    extra = ' --recordings REAL' if args.recordings else ''
    return f"""# Model card: `cargan/pretrained/small.safetensors`

CAR-GAN (Duan et al. 2019) at 64 px, trained on SynthURMP, a *made* data set ([DATASET_CARD.md](DATASET_CARD.md)). It
paints drawn musicians, not real ones; its figures do not compare with the paper's, which are for real video.

| | |
|---|---|
| made by | {more}`make release` (`python tools/release.py --pairs {args.pairs} --epochs {args.epochs} --seed {args.seed}{extra}`), cargan {__version__} |
| data | {counts['train']} training pairs, {counts['test']} test pairs of other recordings of the same performers |
| sound banks | {', '.join(counts['banks'])} |
| preset | `small`: {', '.join(f'{k} {v}' for k, v in vars(model.preset).items() if k in ('size', 'ngf', 'ndf', 'batch', 'lr_g', 'lr_d', 'decay_epochs', 'label_dropout', 'ema', 'code'))} |
| wall time | {minutes:.0f} minutes for the GAN's {args.epochs} epochs, threads: {counts['threads']}, no GPU ({platform.machine()}) |
| contents | G1, G2, C, audio classifier, labels, LMS specification, preset |

## Figures on the test recordings

The judge is a ResNet18 trained on the real training pictures only; it took no part in the training of the GAN.
Command: `cargan-evaluate shipped DATA`, 95 % bootstrap intervals.

| | accuracy | right | 95 % |
|---|---|---|---|
{row('real pictures (the judge itself)', 'accuracy_real')}
{row('painted, label given', 'accuracy_label_given')}
{row('painted, label predicted from the sound', 'accuracy_label_predicted')}
{row('the audio classifier alone', 'accuracy_audio')}

The label is an input of the generator: the first figure of a painted picture is partly given away by it.
{heard_table(report.get('listening'))}
## Limits

- Sounds of other sound banks (chapter 8 leaves each family out in turn) and of real instruments are named right less often (the audio
  classifier has heard only the banks above).{unheard} Give `--label` if you know it.
- The painted musician is one of the made performers. Nothing is known about real ones.
- Half a second at a time; silence is painted as a resting player. The code of the sound at the bottom of both U-Nets is not in the paper.

Licence: Apache-2.0.
"""


def hear_recordings(translator, folder):
    "What the audio classifier makes of real recordings, `<label>*.ogg`: files by vote, and their half seconds"
    out = dict(files=0, files_right=0, n=0, right=0)
    for path in sorted(Path(folder).glob('*.ogg')):
        label = next(l for l in translator.labels if path.stem.startswith(l))
        windows = cut_windows(load_audio(path, translator.model.spec.sample_rate), translator.model.spec)
        one = [translator.hear(w[None]) for w in windows if loudness(w) > SILENCE_DB]
        k = translator.labels.index(label)
        out['files'] += 1; out['files_right'] += int(translator.hear(windows).argmax()) == k
        out['n'] += len(one); out['right'] += sum(int(o.argmax()) == k for o in one)
    return out


def gan_minutes(log):
    "The epochs of the GAN, from the run's log: `mm:ss` or `h:mm:ss` each"
    seconds = lambda t: sum(int(n)*60**i for i, n in enumerate(reversed(t.split(':'))))
    return sum(seconds(r['time']) for r in csv.DictReader(open(log)))/60


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--pairs', type=int, default=15600)
    parser.add_argument('--epochs', type=int, default=6, help='of the GAN')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--recordings', metavar='FOLDER', help='recordings of real instruments, as `tools/recordings.py` fetches them')
    parser.add_argument('--work', help='folder for data and run, and a stopped release goes on with it; a temporary one if not given')
    args = parser.parse_args()
    no_bar_into_files()
    work = Path(args.work or tempfile.mkdtemp(prefix='cargan-release-'))
    data, run = work/'synth', work/'run'
    if not data.exists(): synth_urmp(data, pairs=args.pairs, size=64, seed=args.seed)
    model = train(data, run, 'small', args.epochs, args.seed, resume=True)
    shipped = lambda: model.save(PRETRAINED/'small.safetensors', half=True)
    shipped()
    model.load_state_dict(CARGAN.from_pretrained(PRETRAINED/'small.safetensors').state_dict())  # judge what ships: half precision
    dls = pairs_dls(data, model.spec, jitter=False)
    report = evaluate(model, dls)
    if knows_truth(data): report |= listening_report(model, dls, data)
    if args.recordings: report['recordings'] = hear_recordings(Translator(model), args.recordings)
    model.metrics |= {k: v for k, v in report.items() if isinstance(v, (int, float))}
    shipped()
    write_clips(data, PRETRAINED/'clips')
    pairs = find_pairs(data)
    banks = sorted({r['bank'] for r in csv.DictReader(open(data/'pairs.csv', encoding='utf-8'))})
    threads = json.loads((run/'environment.json').read_text())['threads'] # of the training; this start may have found it done
    counts = dict(banks=banks, threads=threads, **{s: sum(p.split == s for p in pairs) for s in ('train', 'test')})
    card = model_card(model, report, args, gan_minutes(run/'log.csv'), counts)
    write_whole(HERE/'MODEL_CARD.md', lambda tmp: tmp.write_text(card, encoding='utf-8'))
    (work/'report.json').write_text(json.dumps(report, indent=1))
    translator = Translator.from_pretrained()
    fig = show_translations([translator(p) for p in sorted((PRETRAINED/'clips').glob('*.ogg'))])
    (HERE/'nbs'/'images').mkdir(exist_ok=True)
    fig.savefig(HERE/'nbs'/'images'/'demo.png', dpi=100)
    print(json.dumps({k: v for k, v in report.items() if k.startswith(('accuracy', 'listening_'))}, indent=1))
    print(f"bundle {(PRETRAINED/'small.safetensors').stat().st_size/1e6:.1f} MB; work in {work}")


if __name__ == '__main__': main()
