"""The sounds that the shipped ear learns from: clips of three seconds, one file of arrays a source.

    python tools/banks.py BANKS                      # fetches them, checked
    python tools/ear_sounds.py BANKS OUT [--clips 96]

Sound banks are played; notes and phrases of real players are cut and put together; speech, drums,
noises and other instruments are what is *another*. The training part of the phrases of
Medley-solos-DB is learned from, the rest is kept aside. What is there already is not made again.

Each OUT/<source>.npz has `x` int16 [N, 66150] (three seconds at 22,050 Hz), `label` [N] (one of the
13 instruments, or `other`), `kind` [N] (of another: piano, drums, speech, ...) and `piece` [N], a
number for what was cut from one recording.
"""
import argparse
import base64
import io
import json
import re
import shutil
import subprocess
import tempfile
import warnings
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from banks import BANKS

from cargan.core import in_parallel, write_whole
from cargan.data.audio import load_audio
from cargan.data.banks import find_banks, recorded
from cargan.data.instruments import INSTRUMENTS
from cargan.data.pairs import SUB_URMP_LABELS

RATE, SECONDS = 22050, 3.
N = round(RATE*SECONDS)

# Programs of General MIDI, counted from 0, that are none of the 13 instruments. What a listener
# could take for one of them (recorders, string ensembles, brass sections) is in neither.
OTHER = dict(piano=(0, 1, 2, 4, 5, 6, 7), mallets=(8, 9, 11, 12, 13, 14, 108),
             organ=(16, 17, 18, 19, 20, 21, 22, 23), guitar=(24, 25, 26, 27, 28, 29, 30, 31),
             bass=(32, 33, 34, 36, 38), plucked=(15, 46, 104, 105, 106, 107),
             choir=(52, 53, 54), synth=(80, 81, 84, 87, 88, 89, 90, 91, 92, 95),
             struck=(47, 112, 113, 114, 115, 116, 117, 118))
TALK = ('The quick brown fox jumps over the lazy dog and runs away into the wood',
        'Please remember to bring the tickets for the concert on Saturday evening',
        'One two three four five six seven eight nine ten eleven twelve',
        'Guten Morgen, wie geht es Ihnen heute, es ist ein schöner Tag',
        'Il fait beau temps ce matin à Paris et les oiseaux chantent',
        'Mi casa es tu casa, buenas noches, hasta mañana amigos')
VOICES = 'en-gb en-us+f2 en+m3 de+f4 fr es+m7 it+f1 nl+m5 sv+f3 en+m1 de+m2 fr+f5'.split()


# ------------------------------------------------------------------------------ what is played

def notes_of(rng, low, high):
    "(start, end, pitch, velocity) of one clip: a long note, a line of notes, or single notes"
    start, pitch = rng.uniform(0, .15), int(rng.integers(low, high + 1))
    if rng.random() < .25: return [(start, start + rng.uniform(1.2, 2.9), pitch, _velocity(rng))]
    touch, level = rng.choice([.98, .9, .7, .45]), rng.integers(40, 122)
    beat = rng.choice([.15, .2, .28, .4, .55, .8])
    steps = rng.choice([-7, -5, -4, -3, -2, -2, -1, -1, 1, 1, 2, 2, 3, 4, 5, 7, 12], 30)
    notes = []
    for step in steps:
        if start > SECONDS - .15: break
        lasts = max(.1, beat*rng.choice([1, 1, 1, 2, .5]))
        velocity = int(np.clip(level + rng.integers(-16, 17), 25, 127))
        notes.append((start, min(start + touch*lasts, SECONDS), pitch, velocity))
        pitch = int(np.clip(pitch + step, low, high))
        start += lasts + (rng.uniform(.1, .4) if rng.random() < .08 else 0)
    return notes


def _velocity(rng): return int(rng.integers(30, 128))


def midi_of(jobs, rng):
    "A MIDI file of clips, one after the other: jobs are (program or 'drums', lowest, highest)"
    import pretty_midi
    midi, at = pretty_midi.PrettyMIDI(resolution=500), .5
    for program, low, high in jobs:
        drums = program == 'drums'
        inst = pretty_midi.Instrument(0 if drums else program, is_drum=drums)
        for start, end, pitch, velocity in notes_of(rng, low, high):
            if drums: pitch = int(rng.integers(35, 82))
            inst.notes.append(pretty_midi.Note(velocity, pitch, at + start, at + end))
        if not drums: _express(inst, at, rng)
        midi.instruments.append(inst)
        at += SECONDS + .5
    return midi


def _express(inst, at, rng): # tuning, vibrato, swells
    import pretty_midi
    cents, rate = rng.uniform(-45, 45), rng.uniform(4.2, 7)
    depth, swell = rng.choice([0, 0, 0, 10, 20, 35]), rng.choice([0, 0, 0, 40, -40])
    for t in np.arange(0, SECONDS, .025 if depth else SECONDS):
        bend = (cents + depth*np.sin(2*np.pi*rate*t))/200*8192
        inst.pitch_bends.append(pretty_midi.PitchBend(int(bend), at + t))
    for t in np.arange(0, SECONDS, .05 if swell else SECONDS):
        level = int(np.clip(100 + swell*np.sin(np.pi*t/SECONDS), 30, 127))
        inst.control_changes.append(pretty_midi.ControlChange(11, level, at + t))
    if rng.random() < .3:
        inst.control_changes.append(pretty_midi.ControlChange(1, int(rng.integers(30, 100)), at))


# ------------------------------------------------------------------------------- from a bank

def rendered(bank, jobs, rng):
    "[len(jobs), n] clips played from an .sf2 file"
    from midirenderer import render_wave_from
    midi = io.BytesIO()
    midi_of(jobs, rng).write(midi)
    wav = render_wave_from(bank_bytes(str(bank)), midi.getvalue())
    wave, rate = sf.read(io.BytesIO(bytes(wav)), always_2d=True, dtype='float32')
    return cut(soxr.resample(wave.mean(1), rate, RATE), len(jobs))


@lru_cache(maxsize=1)
def bank_bytes(path): return Path(path).read_bytes()


def cut(wave, n): # clips of `midi_of`
    starts = [round((.5 + i*(SECONDS + .5))*RATE) for i in range(n)]
    wave = np.pad(wave, (0, max(0, starts[-1] + N - len(wave))))
    return np.stack([wave[s:s + N] for s in starts])


def sampled(folder, jobs, rng):
    "[len(jobs), n] clips from recorded notes: jobs are (folder of notes, lowest, highest)"
    out = np.zeros((len(jobs), N), np.float32)
    for clip, (name, low, high) in zip(out, jobs):
        notes = notes_in(str(folder/name))
        keys = sorted(notes)
        low, high = max(low, keys[0] - 6), min(high, keys[-1] + 6) # as far as samples reach
        for start, end, pitch, velocity in notes_of(rng, low, max(low, high)):
            root = min(keys, key=lambda k: abs(k - pitch))
            tone = shifted(notes[root], pitch - root, end - start + .08)
            first = round(start*RATE)
            tone = (tone*(velocity/127)**1.5)[:N - first]
            clip[first:first + len(tone)] += tone
    return out


@lru_cache(maxsize=4)
def notes_in(folder):
    "MIDI number -> samples at RATE, of the notes <name>.* in a folder"
    from cargan.data.banks import _recorded_notes
    return {k: soxr.resample(w, r, RATE) for k, (w, r) in _recorded_notes(folder).items()}


def shifted(tone, semitones, seconds):
    "A note at another pitch, so long, with a soft end"
    at = np.arange(round(seconds*RATE))*2**(semitones/12)
    out = np.interp(at, np.arange(len(tone)), tone, right=0)
    return out*np.minimum(1, np.arange(len(out))[::-1]/(.06*RATE))


def from_bank(bank, clips, seed):
    "Rows of one bank: (clip, label, kind, piece)"
    rng = np.random.default_rng([seed, *bank.name.encode()])
    folder = bank.is_dir()
    labels = recorded(bank) if folder else list(SUB_URMP_LABELS)
    jobs = [(label, '', *job) for label in labels for job in jobs_of(label, clips, folder)]
    if not folder:
        jobs += [('other', kind, p, 36, 84) for kind, ps in OTHER.items()
                 for i in range(clips//4) for p in [ps[i % len(ps)]]]
        jobs += [('other', 'drums', 'drums', 36, 84)]*(clips//2)
    elif (bank/'other').is_dir():
        names = sorted(p.name for p in (bank/'other').iterdir())
        jobs += [('other', n, f'other/{n}', 36, 84) for n in names for _ in range(clips//4)]
    rows, play = [], sampled if folder else rendered
    for i in range(0, len(jobs), 15):
        part = jobs[i:i + 15]
        waves = play(bank, [j[2:] for j in part], rng)
        rows += [(w, j[0], j[1], i + k) for k, (w, j) in enumerate(zip(waves, part))]
    return rows


# Lowest and highest notes that are played on them, as MIDI numbers: more than the made players do
RANGES = dict(bassoon=(34, 74), cello=(36, 79), clarinet=(50, 91), double_bass=(28, 62),
              flute=(59, 96), horn=(35, 77), oboe=(58, 91), sax=(44, 82), trombone=(34, 72),
              trumpet=(52, 86), tuba=(26, 62), viola=(48, 86), violin=(55, 98))
SAXES = {64: (56, 87), 65: (49, 80), 66: (44, 75), 67: (36, 68)} # soprano to baritone

def jobs_of(label, clips, folder):
    low, high = RANGES[label]
    if folder: return [(label, low, high)]*clips
    programs = (65, 66, 64, 67) if label == 'sax' else INSTRUMENTS[label].programs
    picked = [programs[i % len(programs)] for i in range(clips)]
    return [(p, *(SAXES[p] if p in SAXES else (low, high))) for p in picked]


# ------------------------------------------------------------- notes of real players, as they are

PLAYERS = {'bassoon': 'bassoon', 'cello': 'cello', 'clarinet': 'clarinet',
           'double bass': 'double_bass', 'flute': 'flute', 'french horn': 'horn', 'oboe': 'oboe',
           'saxophone': 'sax', 'trombone': 'trombone', 'guitar': 'guitar', 'mandolin': 'plucked',
           'banjo': 'plucked', 'percussion': 'drums'}
# How a note is played is in its name; these are noises, or sound like another instrument
ODD = re.compile('harmonic|snap|col-legno|glissando|effect|key-noise|tongue|slap|multiphonic')
SEMITONES = {n: i for i, n in enumerate('C Cs D Ds E F Fs G Gs A As B'.split())}


def philharmonia(folder, clips, seed):
    "Rows of clips put together from single notes of one player; as they are, only cut"
    rng, rows = np.random.default_rng([seed, 1]), []
    for name, label in PLAYERS.items():
        paths = [p for p in sorted((folder/'audio'/name).rglob('*.mp3')) if not ODD.search(p.name)]
        notes = {p: w for p in paths if len(w := note(p)) > .08*RATE}
        if not notes: continue
        kind = '' if label in SUB_URMP_LABELS else label
        many = clips*3 if not kind else max(8, len(notes)//2)
        for i in range(many):
            rows.append((line_of(notes, rng), label if not kind else 'other', kind, i))
    return rows


def note(path):
    "A recorded note without the silence around it; nothing where it cannot be read"
    try: wave, rate = sf.read(path, always_2d=True, dtype='float32')
    except sf.SoundFileError: return np.zeros(0, np.float32)
    wave = soxr.resample(wave.mean(1), rate, RATE)
    loud = np.flatnonzero(np.abs(wave) > .02*np.abs(wave).max(initial=1e-9))
    return wave[loud[0]:loud[-1]] if len(loud) else wave[:0]


def pitch_of(path):
    found = re.search(r'_([A-G]s?)(\d)_', path.name)
    return 12*(int(found[2]) + 1) + SEMITONES[found[1]] if found else 0


def line_of(notes, rng):
    "Three seconds of notes near each other, of one strength if there are"
    paths = list(notes)
    first = paths[rng.integers(len(paths))]
    strength = first.stem.split('_')[3] if first.stem.count('_') > 3 else ''
    near = [p for p in paths if abs(pitch_of(p) - pitch_of(first)) < 10 and strength in p.stem]
    out, at, path = np.zeros(N, np.float32), int(rng.uniform(0, .1)*RATE), first
    longest = rng.choice([.25, .5, 1., 3.])
    while at < N - RATE//10:
        tone = notes[path][:int(longest*RATE)].copy()
        tone[-400:] *= np.linspace(1, 0, len(tone[-400:]))
        out[at:at + len(tone)] += tone[:N - at]
        at += len(tone) + int(rng.choice([0, 0, .05, .2])*RATE)
        path = near[rng.integers(len(near))]
    return out


SOLO = dict(enumerate('clarinet guitar singing flute piano sax trumpet violin'.split()))

def phrases(folder, clips, seed, parts=('training',)):
    "Rows of solo phrases of Medley-solos-DB (Lostanlen and Cella)"
    paths, rows = [p for part in parts for p in folder.rglob(f'*_{part}-*.flac')], []
    for i, p in enumerate(sorted(paths)):
        name = SOLO[int(p.stem.split('-')[3].split('_')[0])]
        wave = load_audio(p, RATE).numpy()
        wave = np.pad(wave, (0, max(0, N - len(wave))))[:N]
        known = name in SUB_URMP_LABELS
        rows.append((wave, name if known else 'other', '' if known else name, i))
    return rows


# ----------------------------------------------------------- five banks as samples in JavaScript

WEB = 'JCLive Chaos Aspirin SBLive SoundBlasterOld'.split()
WEB_PROGRAMS = {label: INSTRUMENTS[label].programs[0] for label in SUB_URMP_LABELS}
WEB_OTHER = dict(piano=0, guitar=24, bass=32, organ=19, plucked=46, choir=52, synth=81, mallets=11)


def web_bank(repo, name, out):
    "A folder of recorded notes, <label>/<note>.wav, from one bank of webaudiofontdata"
    if out.exists(): return
    with tempfile.TemporaryDirectory(dir=out.parent) as tmp:
        made = {**WEB_PROGRAMS, **{f'other/{k}': p for k, p in WEB_OTHER.items()}}
        for label, program in made.items():
            for file in sorted((repo/'sound').glob(f'{program:03}0_{name}_sf2*.js')):
                zones = list(zones_of(file.read_text()))
                if zones: (Path(tmp)/label).mkdir(parents=True)
                for pitch, wave in zones:
                    octave, step = divmod(pitch, 12)
                    key = next(k for k, v in SEMITONES.items() if v == step)
                    if octave: sf.write(Path(tmp)/label/f'{key}{octave - 1}.wav', wave, RATE)
        shutil.copytree(tmp, out)


def zones_of(text):
    "(MIDI number, samples) of each zone of a preset, its loop played for four seconds"
    for zone in re.findall(r"\{([^{}]*?(?:file|sample):'[^']*'[^{}]*)\}", text):
        told = {k: float(v) for k, v in re.findall(r"(\w+):(-?[\d.]+)", zone)}
        form, packed = re.search(r"(file|sample):'([^']*)'", zone).groups()
        packed, rate = base64.b64decode(packed), told['sampleRate']
        if form == 'sample': wave = np.frombuffer(packed, '<i2')[:, None]/32768
        else:
            try: wave, rate = sf.read(io.BytesIO(packed), always_2d=True, dtype='float32')
            except sf.SoundFileError: continue
        root = (told['originalPitch'] - 100*told['coarseTune'] - told['fineTune'])/100
        wave = soxr.resample(wave.mean(1), rate, RATE)
        a, b = (round(told[k]*RATE/told['sampleRate']) for k in ('loopStart', 'loopEnd'))
        if 50 < b - a and 0 < a < b <= len(wave):
            times = -(-max(0, 4*RATE - b)//(b - a))
            wave = np.concatenate([wave[:b], *[wave[a:b]]*times])
        pitch = round(root)
        if 12 <= pitch <= 119: yield pitch, shifted(wave, pitch - root, min(4., len(wave)/RATE))


# --------------------------------------------------------------------- nobody's instrument

def pieces(wave):
    "Three seconds each, the last one padded"
    n = max(1, round(len(wave)/N))
    return [np.pad(w := wave[i*N:(i + 1)*N], (0, N - len(w))) for i in range(n)]


def spoken(clips, seed):
    "Speech, from espeak-ng (a Debian package), where it is"
    rng, rows = np.random.default_rng([seed, 2]), []
    for i, voice in enumerate(VOICES if shutil.which('espeak-ng') else ()):
        for k, text in enumerate(TALK):
            with tempfile.NamedTemporaryFile(suffix='.wav') as f:
                subprocess.run(['espeak-ng', '-v', voice, '-s', str(rng.integers(120, 190)), '-p',
                                str(rng.integers(20, 80)), '-w', f.name, text], check=True)
                wave, rate = sf.read(f.name, dtype='float32')
            rows += [(w, 'other', 'speech', i) for w in pieces(soxr.resample(wave, rate, RATE))]
    return rows


def folder_of_sounds(folder, kind, most, seed):
    "Rows from the sound files of a folder; short ones are put together"
    paths = [p for p in sorted(folder.rglob('*')) if p.suffix in ('.wav', '.flac', '.ogg')]
    np.random.default_rng([seed, 3, *kind.encode()]).shuffle(paths)
    rows, pool, size = [], [], 0
    for p in paths:
        if len(rows) >= most: break
        try: wave = load_audio(p, RATE).numpy()
        except Exception: continue # a damaged or empty file among hundreds is no matter here
        wave = wave[:4*N]/max(np.abs(wave).max(initial=0), 1e-3)*.5
        pool, size = [*pool, wave], size + len(wave)
        if size >= N:
            rows += [(w, 'other', kind, len(rows)) for w in pieces(np.concatenate(pool))]
            pool, size = [], 0
    return rows


def noises(clips, seed):
    "Noises and plain tones"
    from scipy.signal import lfilter
    rng, t = np.random.default_rng([seed, 4]), np.arange(N)/RATE
    rows = []
    for i in range(clips*3):
        z, f = rng.standard_normal(N), rng.uniform(60, 1800)
        kind = 'noise' if i % 6 < 3 else 'tone'
        if i % 6 == 0: x = z
        elif i % 6 == 1: x = lfilter([1], [1, -rng.uniform(.8, .99)], z)
        elif i % 6 == 2: x = z*np.abs(lfilter([1], [1, -.9995], rng.standard_normal(N)))
        elif i % 6 == 3: x = np.sin(2*np.pi*f*t) + 10**rng.uniform(-4, -1)*z
        elif i % 6 == 4: x = sum(np.sin(2*np.pi*rng.choice([50, 60])*h*t)/h for h in range(1, 9))
        else: x = (2*((f*t) % 1) - 1 if rng.random() < .5 else np.sign(np.sin(2*np.pi*f*t)))
        rows.append((x, 'other', kind, i))
    return rows


# ------------------------------------------------------------------------------ all of it

def write(out, rows):
    "Clips to int16, each at the same peak; those of nothing are left out"
    rows = [r for r in rows if np.abs(r[0]).max(initial=0) > 1e-4]
    x = np.stack([(r[0]/np.abs(r[0]).max()*.7*32767).astype(np.int16) for r in rows])
    tmp = out.with_suffix('.tmp.npz')
    np.savez(tmp, x=x, label=np.array([r[1] for r in rows]), kind=np.array([r[2] for r in rows]),
             piece=np.array([r[3] for r in rows]))
    tmp.rename(out)


def make(job, clips, seed):
    "One source: (name, family, function of clips and seed, file)"
    warnings.simplefilter('ignore')
    name, family, rows, out = job
    if not out.exists(): write(out, rows(clips=clips, seed=seed))
    return dict(source=name, family=family, clips=len(np.load(out)['label']))


FAMILIES = {'TimGM6mb.sf2': 'TimGM6mb', **{b.file: b.family for b in BANKS}}
KEPT = 'kept aside' # a family that nothing learns from
SHARED = {'TimGM6mb', 'csound', 'Merlin'} # they share samples: one family


def sources(banks, out):
    "(name, family, what makes its rows, file) of each"
    jobs, public, other = [], banks/'public', banks/'other'
    def add(name, family, rows): jobs.append((name, family, rows, out/f'{name}.npz'))
    for bank in [*find_banks(None), *find_banks([*banks.glob('*.sf2'), banks/'recorded'])]:
        family = FAMILIES.get(bank.name, bank.name)
        add(bank.stem, 'TimGM6mb' if family in SHARED else family, partial(from_bank, bank))
    if public.is_dir():
        for name in WEB:
            web_bank(public/'webaudiofontdata', name, out/f'web_{name}')
            add(name, name, partial(from_bank, out/f'web_{name}'))
        add('philharmonia', 'philharmonia', partial(philharmonia, public/'philharmonia-samples'))
        add('phrases', 'phrases', partial(phrases, public/'neuroment2'))
        add('phrases_kept', KEPT, partial(phrases, public/'neuroment2',
                                          parts=('validation', 'test')))
    if other.is_dir():
        for name, folder, kind in (('drumkits', 'hydrogen-drumkits', 'drums'),
                                   ('talk', 'asterisk-core-sounds-en-wav', 'speech'),
                                   ('effects', 'lmms-common', 'effects')):
            add(name, name, partial(sounds_in, other/folder, kind))
    add('spoken', 'spoken', spoken)
    add('noises', 'noises', noises)
    return jobs


def sounds_in(folder, kind, clips, seed): return folder_of_sounds(folder, kind, 4*clips, seed)


def make_all(banks, out, clips=96, seed=0, workers=None):
    "All sources, and OUT/sources.json, which lists them"
    out.mkdir(parents=True, exist_ok=True)
    jobs, run = sources(banks, out), partial(make, clips=clips, seed=seed)
    listed = [told for _, told in sorted(in_parallel(run, jobs, workers, True), key=lambda r: r[0])]
    write_whole(out/'sources.json', json.dumps(listed, indent=1).encode())
    for told in listed: print(told)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('banks', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--clips', type=int, default=96, help='of each instrument in each bank')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int)
    args = parser.parse_args()
    make_all(args.banks, args.out, args.clips, args.seed, args.workers)


if __name__ == '__main__': main()
