"""A moving example: eight seconds of music, the truth beside what the shipped bundle paints, as `nbs/images/performance.gif`.

Ten pictures a second; each is painted from the half second of sound that begins there. Nothing ties one picture to the next.
The piece is of a seed that the bundle's data do not have. `--wav FILE` writes the sound.
"""
import argparse
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from PIL import Image, ImageDraw
from torchaudio.functional import resample

from cargan.data.players import draw_player, render
from cargan.data.pairs import RATE, SECONDS
from cargan.data.synth import LEVEL, VOICES, Part, colour, compose, find_banks, play, truth
from cargan.core import write_whole
from cargan.deploy.translate import Translator, to_image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--label', default='trombone')
    parser.add_argument('--performer', type=int, default=4)
    parser.add_argument('--seconds', type=float, default=8)
    parser.add_argument('--seed', type=int, default=2019)
    parser.add_argument('--out', type=Path, default=Path(__file__).parent.parent/'nbs'/'images'/'performance.gif')
    parser.add_argument('--wav', type=Path)
    args = parser.parse_args()
    voice, rng = VOICES[args.performer], np.random.default_rng(args.seed)
    length = args.seconds + SECONDS
    part = Part(args.label, compose(args.label, length, rng, voice.dynamics), length, voice.vibrato, voice.cents)
    dry, = play([part], find_banks()[0])
    dry = dry*10**((LEVEL + 4*voice.dynamics)/20)/np.sqrt((dry**2).mean())
    wet = colour(dry, voice, rng)
    if args.wav: sf.write(args.wav, wet, RATE)
    translator = Translator.from_pretrained()
    wave, spec = resample(torch.tensor(wet, dtype=torch.float32), RATE, translator.model.spec.sample_rate), translator.model.spec
    starts = np.arange(0, args.seconds, .1)
    windows = torch.stack([wave[round(t*spec.sample_rate):][:spec.n_samples] for t in starts])
    _, stages = translator.paint(windows, torch.full((len(starts),), translator.labels.index(args.label)))
    frames = []
    for t, painted in zip(starts, stages.final):
        page = Image.new('RGB', (404, 222), 'white')
        page.paste(Image.fromarray(render(draw_player(args.label, args.performer, truth(part, dry, t).pose(args.label)), 200)), (0, 22))
        page.paste(to_image(painted).resize((200, 200), Image.BICUBIC), (204, 22))
        for x, text in ((4, 'truth, drawn from the notes'), (208, 'painted from the sound')): ImageDraw.Draw(page).text((x, 5), text, 'black')
        frames.append(page.quantize(96, dither=Image.Dither.NONE))
    write_whole(args.out, lambda tmp: frames[0].save(tmp, 'gif', save_all=True, append_images=frames[1:], duration=100, loop=0, optimize=True))
    print(f'{args.out.name}: {len(frames)} pictures, {args.out.stat().st_size/1e6:.1f} MB')


if __name__ == '__main__': main()
