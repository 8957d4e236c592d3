"""The contact sheets: 13 instruments in rows, six performers each, at 64 and 256 pixels.

They go into `nbs/images`. Pitch and loudness rise from left to right; the last column rests.
"""
from pathlib import Path

import numpy as np
from PIL import Image

from cargan.data.instruments import Pose, render
from cargan.data.pairs import SUB_URMP_LABELS
from cargan.data.players import draw_player

OUT = Path(__file__).parent.parent/'nbs'/'images'
POSES = *[Pose(i/4, i/4) for i in range(5)], Pose(rest=True)


def row(label, size):
    "The pictures of one instrument, side by side"
    return np.concatenate([render(draw_player(label, i, p), size) for i, p in enumerate(POSES)], 1)


def sheet(size, colours):
    "A PNG of `size` pixels a picture, with a palette of `colours`"
    whole = np.concatenate([row(label, size) for label in SUB_URMP_LABELS])
    pixels = whole.reshape(-1, 3)
    # the curtain is most of the picture: each colour counts once for the players,
    # and some pixels for the curtain
    swatch = np.concatenate([np.unique(pixels//4*4 + 2, axis=0), pixels[::300]])[None]
    palette = Image.fromarray(swatch).quantize(colours, kmeans=3)
    OUT.mkdir(exist_ok=True)
    small = Image.fromarray(whole).quantize(palette=palette, dither=Image.Dither.NONE)
    small.save(OUT/f'players{size}.png', optimize=True)


if __name__ == '__main__':
    sheet(64, 256)
    sheet(256, 160)
    for f in sorted(OUT.glob('players*.png')): print(f'{f.name} {f.stat().st_size//1000} kB')
