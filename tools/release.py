"""Rebuild the shipped bundle from nothing: data, classifiers, GAN, evaluation, clips, model card.

One command (`make release`), one seed. Banks in CARGAN_SOUNDFONTS (`tools/banks.py` fetches them)
are used beside the one that comes with pretty_midi.
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
from cargan.training.train import train_cargan

HERE = Path(__file__).parent.parent
PRETRAINED = HERE/'cargan'/'pretrained'


def runs_of_windows(pairs):
    "Pairs of one recording in chains whose windows follow each other without a gap"
    chains, last = [], None
    for p in sorted(pairs, key=lambda p: (p.recording, p.start_ms)):
        follows = last and (p.recording, p.start_ms) == (last.recording, last.start_ms + 500)
        if follows: chains[-1].append(p)
        else: chains.append([p])
        last = p
    return chains


def quietest(chain): return min(loudness(load_audio(p.sound)).item() for p in chain)


def write_clips(root, folder, windows=4):
    "One clip an instrument: the loudest stretch of at most `windows` windows of a test recording"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tests = [p for p in find_pairs(root) if p.split == 'test']
    for label in sorted({p.label for p in tests}):
        chains = [c[:windows] for c in runs_of_windows([p for p in tests if p.label == label])]
        longest = max(map(len, chains))
        chain = max((c for c in chains if len(c) == longest), key=quietest)
        sounds = [sf.read(p.sound) for p in chain]
        mono = np.concatenate([x.mean(1) for x, _ in sounds])
        sf.write(folder/f'{label}.ogg', mono, sounds[0][1])


HEARD = dict(performer='performer, share right', rest_balanced='rest, balanced share right',
             pitch='pitch, r over all (the label alone gives most of it)',
             pitch_within='pitch, mean r within an instrument', loudness='loudness, r')


def heard_cell(found, k):
    low, high = found[f'{k}_interval']
    return f'{found[k]:.3f} ({low:.3f} to {high:.3f})'


def heard_table(found):
    "What a probe reads off the pictures; nothing where the data does not know what was played"
    if not found: return ''
    ways = [found[way] for way in ('real', 'label_given', 'label_predicted')]
    rows = '\n'.join(' | '.join(['', name, *(heard_cell(f, k) for f in ways), '']).strip()
                     for k, name in HEARD.items())
    return f"""
## Does it listen?

What a small network, trained on the real training pictures only, reads off the pictures of the
{found['n']} test pairs ({found['n_sounding']} of them sound), with 95 % bootstrap intervals; page
`evaluation/listening`. By chance: performer {found['chance']['performer']:.3f}, rest .500,
correlations 0.

| | real pictures (its ceiling) | painted, label given | painted, label predicted |
|---|---|---|---|
{rows}

The performers of the test recordings are those of the training recordings.
"""


def card_row(report, name, k):
    low, high = report[f'{k}_interval']
    right = f"{report[f'{k}_right']} of {report['n']}"
    return f'| {name} | {report[k]:.2%} | {right} | {low:.2%} to {high:.2%} |'


def card_unheard(found):
    "A sentence about real recordings, if there were any"
    if not found: return ''
    return (f" Of {found['files']} recordings of real instruments\n  (`tools/recordings.py`) it "
            f"names {found['files_right']} right by the vote of their half seconds, and\n  "
            f"{found['right']} of {found['n']} half seconds.")


FIGURES = dict(accuracy_real='real pictures (the judge itself)',
               accuracy_label_given='painted, label given',
               accuracy_label_predicted='painted, label predicted from the sound',
               accuracy_audio='the audio classifier alone')
SHOWN = 'size ngf ndf batch lr_g lr_d decay_epochs label_dropout ema code'.split()   # of the preset


def model_card(model, report, args, minutes, counts):
    "MODEL_CARD.md: what the bundle is, how it was made, its figures, its limits"
    options = ', '.join(f'{k} {v}' for k, v in vars(model.preset).items() if k in SHOWN)
    options_given = f'--pairs {args.pairs} --epochs {args.epochs} --seed {args.seed}'
    if args.recordings: options_given += ' --recordings REAL'
    made = f'`make release` (`python tools/release.py {options_given}`), cargan {__version__}'
    if len(counts['banks']) > 1:
        made = f'with `CARGAN_SOUNDFONTS` naming the further banks below: {made}'
    data = f"{counts['train']} training pairs, {counts['test']} test pairs of other recordings"
    time = f"{minutes:.0f} minutes for the GAN's {args.epochs} epochs, threads: {counts['threads']}"
    figures = '\n'.join(card_row(report, name, k) for k, name in FIGURES.items())
    return f"""# Model card: `cargan/pretrained/small.safetensors`

CAR-GAN (Duan et al. 2019) at 64 px, trained on SynthURMP, a *made* data set
([DATASET_CARD.md](DATASET_CARD.md)). It paints drawn musicians, not real ones; its figures do not
compare with the paper's, which are for real video.

| | |
|---|---|
| made by | {made} |
| data | {data} of the same performers |
| sound banks | {', '.join(counts['banks'])} |
| preset | `small`: {options} |
| wall time | {time}, no GPU ({platform.machine()}) |
| contents | G1, G2, C, audio classifier, labels, LMS specification, preset |

## Figures on the test recordings

The judge is a ResNet18 trained on the real training pictures only; it took no part in the training
of the GAN.
Command: `cargan-evaluate shipped DATA`, 95 % bootstrap intervals.

| | accuracy | right | 95 % |
|---|---|---|---|
{figures}

The label is an input of the generator: the first figure of a painted picture is partly given away
by it.
{heard_table(report.get('listening'))}
## Limits

- Sounds of other sound banks (page `models/classifier` leaves each family out in turn) and of real
  instruments are named right less often (the audio classifier has heard only the banks
  above).{card_unheard(report.get('recordings'))} Give `--label` if you know it.
- The painted musician is one of the made performers. Nothing is known about real ones.
- Half a second at a time; silence is painted as a resting player. The code of the sound at the
  bottom of both U-Nets is not in the paper.

Licence: Apache-2.0.
"""


def hear_recordings(translator, folder):
    "What is heard in real recordings, `<label>*.ogg`: files by vote, and their half seconds"
    out, spec = dict(files=0, files_right=0, n=0, right=0), translator.model.spec
    for path in sorted(Path(folder).glob('*.ogg')):
        label = next(l for l in translator.labels if path.stem.startswith(l))
        windows = cut_windows(load_audio(path, spec.sample_rate), spec)
        one = [translator.hear(w[None]) for w in windows if loudness(w) > SILENCE_DB]
        k = translator.labels.index(label)
        out['files'] += 1
        out['files_right'] += int(translator.hear(windows).argmax()) == k
        out['n'] += len(one)
        out['right'] += sum(int(o.argmax()) == k for o in one)
    return out


def seconds(time):
    "`mm:ss` or `h:mm:ss` as a number"
    return sum(int(n)*60**i for i, n in enumerate(reversed(time.split(':'))))


def gan_minutes(log):
    "The epochs of the GAN, from the run's log"
    with open(log, encoding='utf-8') as f: times = [r['time'] for r in csv.DictReader(f)]
    return sum(map(seconds, times))/60


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--pairs', type=int, default=15600)
    parser.add_argument('--epochs', type=int, default=6, help='of the GAN')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--recordings', metavar='FOLDER',
                        help='of real instruments, as `tools/recordings.py` fetches them')
    parser.add_argument('--work', help='folder of data and run; a stopped release goes on with it; '
                                       'a temporary one if not given')
    return parser.parse_args()


def judge(model, data, recordings):
    "The report on the test recordings, and on real ones"
    dls = pairs_dls(data, model.spec, jitter=False)
    report = evaluate(model, dls)
    if knows_truth(data): report |= listening_report(model, dls, data)
    if recordings: report['recordings'] = hear_recordings(Translator(model), recordings)
    return report


def counted(data, run):
    "What the card says of the data, and the threads of the training, which may be of another start"
    pairs = find_pairs(data)
    with open(data/'pairs.csv', encoding='utf-8') as f:
        banks = {r['bank'] for r in csv.DictReader(f)}
    threads = json.loads((run/'environment.json').read_text())['threads']
    splits = {s: sum(p.split == s for p in pairs) for s in ('train', 'test')}
    return dict(banks=sorted(banks), threads=threads, **splits)


def draw_demo():
    "`nbs/images/demo.png`: the shipped clips, translated by the shipped bundle"
    translator, out = Translator.from_pretrained(), HERE/'nbs'/'images'/'demo.png'
    fig = show_translations([translator(p) for p in sorted((PRETRAINED/'clips').glob('*.ogg'))])
    out.parent.mkdir(exist_ok=True)
    fig.savefig(out, dpi=100)


def main():
    args = arguments()
    no_bar_into_files()
    work = Path(args.work or tempfile.mkdtemp(prefix='cargan-release-'))
    data, run, bundle = work/'synth', work/'run', PRETRAINED/'small.safetensors'
    if not data.exists(): synth_urmp(data, pairs=args.pairs, size=64, seed=args.seed)
    model = train_cargan(data, run, 'small', args.epochs, args.seed, resume=True)
    model.save(bundle, half=True)
    model.load_state_dict(CARGAN.from_pretrained(bundle).state_dict())   # judged as it ships
    report = judge(model, data, args.recordings)
    model.metrics |= {k: v for k, v in report.items() if isinstance(v, (int, float))}
    model.save(bundle, half=True)
    write_clips(data, PRETRAINED/'clips')
    card = model_card(model, report, args, gan_minutes(run/'log.csv'), counted(data, run))
    write_whole(HERE/'MODEL_CARD.md', lambda tmp: tmp.write_text(card, encoding='utf-8'))
    (work/'report.json').write_text(json.dumps(report, indent=1))
    draw_demo()
    said = {k: v for k, v in report.items() if k.startswith(('accuracy', 'listening_'))}
    print(json.dumps(said, indent=1))
    print(f'bundle {bundle.stat().st_size/1e6:.1f} MB; work in {work}')


if __name__ == '__main__': main()
