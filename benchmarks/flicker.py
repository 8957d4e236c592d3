"""How much do a film's pictures tremble, beside the drawn truth?

    python benchmarks/flicker.py

Eight seconds of five instruments, by `tools/performance.py`, of a seed that the bundle's data do
not have. The change from picture to picture is the mean absolute difference of levels in [-1, 1];
its median is that of steady music. Changes of more than .02, where something begins, are counted:
what is new must not be smoothed away.
"""
import sys
from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import resample

sys.path.insert(0, str(Path(__file__).parent.parent/'tools'))
import performance

from cargan.data.instruments import render
from cargan.data.music import truth
from cargan.data.players import draw_player
from cargan.deploy import film
from cargan.deploy.translate import Translator

PLAYED = ('violin', 0), ('trombone', 4), ('cello', 2), ('flute', 1), ('clarinet', 3)
SECONDS = 8


def changes(pictures):
    "From each to the next"
    x = np.stack(pictures).astype(np.float32)
    return np.abs(np.diff(x, axis=0)).mean((1, 2, 3))


def drawn(part, dry, label, performer, size):
    "The truth, 25 pictures a second: what the half second around each of them sounds like"
    out = []
    for i in range(SECONDS*film.FPS):
        of = truth(part, dry, max(0, (i + .5)/film.FPS - .25))
        out.append(render(draw_player(label, performer, of.pose(label)), size)/127.5 - 1)
    return out


def painted(translator, wave, label, steady):
    "The film's pictures, with or without what steadies them"
    share, film.STEADY = film.STEADY, film.STEADY if steady else 1.
    try:
        stream = film.Stream(wave, translator.model.spec.sample_rate,
                             translator.model.spec.sample_rate)
        score = film.Score(translator, stream)
        return [p.permute(1, 2, 0).numpy() for _, _, p in
                film.paint_frames(translator, stream, score, label)]
    finally: film.STEADY = share


def main():
    translator, rows = Translator.from_pretrained('small'), []
    spec = translator.model.spec
    print(f"{'':10} {'truth':>8} {'raw':>8} {'steady':>8}   median change; new: raw, steady")
    for label, performer in PLAYED:
        part, dry, wet = performance.perform(label, performer, SECONDS, 2019)
        heard = torch.tensor(wet[:SECONDS*performance.RATE], dtype=torch.float32)
        wave = resample(heard, performance.RATE, spec.sample_rate).numpy()
        real = changes(drawn(part, dry, label, performer, spec.size))
        raw, calm = (changes(painted(translator, wave, label, s)) for s in (False, True))
        new = [(c > film.QUICK).sum() for c in (raw, calm)]
        rows.append([np.median(c) for c in (real, raw, calm)])
        print(f'{label:10}', *[f'{v:8.5f}' for v in rows[-1]], '  ', *new)
    whole = np.median(rows, 0)
    print(f'raw {whole[1]/whole[0]:.2f} times the truth, steady {whole[2]/whole[0]:.2f} times '
          '(median of the five)')


if __name__ == '__main__': main()
