"""Rebuild the shipped bundles from nothing: sounds, ear, made data, classifiers, GAN, figures,
clips, model card.

    python tools/release.py --work WORK [--only small medium] [--plan]

One command (`make release`), one seed. Each step is kept in WORK, and a release that was stopped
goes on with it. The steps, what is done of them, and their times on two cores are printed first;
--plan prints them and stops. Banks and recordings are fetched and checked by `tools/banks.py`.
"""
import argparse
import csv
import json
import os
import platform
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import banks
import ear
import ear_sounds
import numpy as np
import recordings
import soundfile as sf

from cargan import __version__
from cargan.core import write_whole
from cargan.data.audio import load_audio, loudness
from cargan.data.loaders import pairs_dls
from cargan.data.pairs import find_pairs
from cargan.data.synth import synth_urmp
from cargan.deploy.cli import no_bar_into_files
from cargan.deploy.translate import Translator, show_translations
from cargan.evaluation.listening import knows_truth, listening_report
from cargan.evaluation.metrics import evaluate, train_judge
from cargan.models.bundle import BUNDLE_NAME
from cargan.models.cascade import CARGAN
from cargan.models.preset import get_preset
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
### Does it listen?

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


FIGURES = dict(accuracy_real='real pictures (the judge itself)',
               accuracy_label_given='painted, label given',
               accuracy_label_predicted='painted, label predicted from the sound',
               accuracy_audio='the audio classifier alone')
SHOWN = 'size ngf ndf batch lr_g lr_d decay_epochs label_dropout ema code'.split()   # of the preset


def made_by(name, args, minutes, counts):
    "Rows of the card's table: how, from what, how long"
    model = get_preset(name)
    options = ', '.join(f'{k} {v}' for k, v in model.flat().items() if k in SHOWN)
    epochs = args.epochs or EPOCHS[name]
    facts = dict(
        made_by=f'`make release` (`python tools/release.py --only {name}`), cargan {__version__}',
        data=f"{counts['train']} training pairs, {counts['test']} test pairs of other recordings "
             'of the same performers',
        sound_banks=', '.join(counts['banks']), preset=f'`{name}`: {options}',
        wall_time=f"{minutes:.0f} minutes for the GAN's {epochs} epochs, threads: "
                  f"{counts['threads']}, no GPU ({platform.machine()})",
        contents='G1, G2, C, encoder, ear, labels, LMS specification, preset')
    return '\n'.join(f"| {k.replace('_', ' ')} | {v} |" for k, v in facts.items())


def section(name, report, args, minutes, counts):
    "What a bundle is, how it was made, its figures"
    figures = '\n'.join(card_row(report, title, k) for k, title in FIGURES.items())
    return f"""## `{name}.safetensors`, {get_preset(name).size} px

| | |
|---|---|
{made_by(name, args, minutes, counts)}

The judge is a ResNet18, trained on the real training pictures only (epochs: {JUDGED[name]}); it
took no part in the training of the GAN. 95 % bootstrap intervals (recordings drawn again).

| | accuracy | right | 95 % |
|---|---|---|---|
{figures}

The label is an input of the generator: the first figure of a painted picture is partly given away
by it.
{heard_table(report.get('listening'))}"""


def model_card(sections, heard):
    "MODEL_CARD.md: what ships, how it was made, its figures, its limits"
    whole = '\n'.join(sections)
    return f"""# Model card: what ships in `cargan/pretrained`

CAR-GAN (Duan et al. 2019), trained on SynthURMP, a *made* data set
([DATASET_CARD.md](DATASET_CARD.md)). It paints drawn musicians, not real ones; its figures do not
compare with the paper's, which are for real video. `Translator.from_pretrained()` takes the larger
bundle, `Translator.from_pretrained("small")` the other; both have the same ear.

{whole}
{heard}
## Limits

- The painted musician is one of the made performers. Nothing is known about real ones.
- Half a second at a time; silence is painted as a resting player. The code of the sound at the
  bottom of both U-Nets is not in the paper, nor is the ear.

Licence: Apache-2.0.
"""


def seconds(time):
    "`mm:ss` or `h:mm:ss` as a number"
    return sum(int(n)*60**i for i, n in enumerate(reversed(time.split(':'))))


def gan_minutes(log):
    "The epochs of the GAN, from the run's log"
    with open(log, encoding='utf-8') as f: times = [r['time'] for r in csv.DictReader(f)]
    return sum(map(seconds, times))/60


def judge(model, data, epochs):
    "The report on the test recordings, by a judge trained for `epochs`"
    dls = pairs_dls(data, model.spec, jitter=False)
    report = evaluate(model, dls, train_judge(dls, epochs))
    return report | (listening_report(model, dls, data) if knows_truth(data) else {})


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


EPOCHS = dict(small=6, medium=6) # of the GAN
JUDGED = dict(small=4, medium=1) # of the judge, which needs no more
MINUTES = dict(banks=5, recordings=1, sounds=10, families=630, ear=90, asked=2, data=5, small=45,
               medium=200, judged=40, published=1) # a GPU trains an ear in three


class Step(NamedTuple):
    "A piece of the release"
    name:str # with its time in MINUTES
    made:Path # there when it is done
    do:object # makes it


def with_ear(model, path):
    "The same model, with the ear that ships"
    new = CARGAN(model.preset, model.labels, model.spec, c=model.c.model, audio=ear.kept(path),
                 encoder=model.encoder).eval()
    mine = {k: v for k, v in model.state_dict().items() if not k.startswith('audio.')}
    new.load_state_dict({**new.state_dict(), **mine})
    new.metrics = model.metrics
    return new


def train_one(name, args):
    "The GAN of a preset; the run folder ends with its bundle"
    w, epochs = args.work, args.epochs or EPOCHS[name]
    train_cargan(w/f'{name}-data', w/f'{name}-run', name, epochs, args.seed, resume=True,
                 classifiers=(None, ear.kept(w/'ears'/'ear.pt')))


def judge_one(name, args):
    "Its bundle as it ships, and a report on that"
    w, bundle = args.work, PRETRAINED/f'{name}.safetensors'
    model = with_ear(CARGAN.from_pretrained(w/f'{name}-run'/BUNDLE_NAME), w/'ears'/'ear.pt')
    model.save(bundle, half=True)
    model = CARGAN.from_pretrained(bundle)
    report = judge(model, w/f'{name}-data', JUDGED[name])
    model.metrics |= {k: v for k, v in report.items() if isinstance(v, (int, float))}
    model.save(bundle, half=True)
    write_whole(w/f'{name}.json', json.dumps(report, indent=1).encode())


def asked(work):
    "What the ear says of recordings kept aside"
    found = ear.ask(work/'sounds', work/'ears'/'ear.pt', work/'real')
    write_whole(work/'asked.json', json.dumps(found, indent=1).encode())


def heard_section(work):
    "What the card says of the ear"
    table, found = (json.loads((work/p).read_text()) for p in ('families.json', 'asked.json'))
    rows = '\n'.join(f"| {r['family']} | {r['right_near']/r['windows']:.3f} | "
                     f"{r['clips_right']/r['clips']:.3f} | {r['kind']} | {r['auroc_clip']:.3f} |"
                     for r in table['rows'])
    files, solo = found['files'], found['solo phrases']
    names = ('family never heard', 'half seconds right, with their neighbours',
             'clips of three seconds right', 'kind of other sound never heard',
             'AUROC of *other*, a clip')
    head = '\n'.join([f"| {' | '.join(names)} |", '|---'*len(names) + '|'])
    return f"""## The ear

It names 13 instruments or says *no instrument I know*. Left out in turn (`tools/ear.py table`):

{head}
{rows}

As it ships, on solo phrases of players kept aside: {solo['right_near']} of {solo['windows']} half
seconds, {solo['clips_right']} of {solo['clips']} clips. On {files['clips']} recordings of real
instruments (`tools/recordings.py`): {files['right_near']} of {files['windows']} half seconds,
{files['clips_right']} files.
"""


def publish(args):
    "Clips, card, and the picture of the README"
    w, sections = args.work, []
    for name in args.only:
        run = w/f'{name}-run'
        report = json.loads((w/f'{name}.json').read_text())
        counts = counted(w/f'{name}-data', run)
        sections.append(section(name, report, args, gan_minutes(run/'log.csv'), counts))
    write_clips(w/f'{args.only[-1]}-data', PRETRAINED/'clips')
    card = model_card(sections, heard_section(w))
    write_whole(HERE/'MODEL_CARD.md', card.encode())
    draw_demo()
    write_whole(w/'published', b'')


def steps_of(args):
    "What a release consists of, in order"
    w = args.work
    sounds, ears, last = w/'sounds', w/'ears', banks.PUBLIC[-1].name
    def made_data(name):
        return Step('data', w/f'{name}-data', partial(synth_urmp, w/f'{name}-data', args.pairs,
                                                      get_preset(name).size, args.seed))
    return [
        Step('banks', w/'banks'/'public'/last, partial(banks.fetch_all, w/'banks')),
        Step('recordings', w/'real'/'violin-lmms.ogg', partial(recordings.fetch_all, w/'real')),
        Step('sounds', sounds/'sources.json', partial(ear_sounds.make_all, w/'banks', sounds)),
        *[made_data(name) for name in args.only],
        Step('families', w/'families.json', partial(ear.table, sounds, ears,
                                                    json_file=w/'families.json')),
        Step('ear', ears/'ear.pt', partial(ear.release, sounds, ears, ears/'ear.pt',
                                           w/f'{args.only[-1]}-data', seed=args.seed)),
        Step('asked', w/'asked.json', partial(asked, w)),
        *[step for name in args.only for step in (
            Step(name, w/f'{name}-run'/BUNDLE_NAME, partial(train_one, name, args)),
            Step('judged', w/f'{name}.json', partial(judge_one, name, args)))],
        Step('published', w/'published', partial(publish, args))]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, default=Path('release'), help='folder of what is made')
    parser.add_argument('--only', nargs='*', default=['small', 'medium'], choices=list(EPOCHS))
    parser.add_argument('--pairs', type=int, default=15600)
    parser.add_argument('--epochs', type=int, help="of the GAN; the release's own if not given")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--plan', action='store_true', help='print the steps and stop')
    return parser.parse_args()


def main():
    args = arguments()
    no_bar_into_files()
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ['CARGAN_SOUNDFONTS'] = str(args.work/'banks')
    steps = steps_of(args)
    for s in steps:
        state = 'done' if s.made.exists() else f'about {MINUTES[s.name]} minutes'
        print(f'{s.name:11} {s.made.relative_to(args.work)}: {state}')
    left = sum(MINUTES[s.name] for s in steps if not s.made.exists())
    print(f'{left/60:.1f} hours in all on two cores', flush=True)
    if args.plan: return
    for s in steps:
        if s.made.exists(): continue
        print(f'{s.name} ...', flush=True)
        s.do()


if __name__ == '__main__': main()
