"""A moving example: eight seconds of music, the truth beside what the shipped bundle paints.

Ten pictures a second, as `nbs/images/performance.gif`; each is painted from the half second of
sound that begins there. Nothing ties one picture to the next. The piece is of a seed that the
bundle's data do not have. The sound stands beside the film, as MP3.
"""
import argparse
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from PIL import Image, ImageDraw
from torchaudio.functional import resample

from cargan.core import write_whole
from cargan.data.banks import colour, find_banks, play
from cargan.data.instruments import render
from cargan.data.music import VOICES, Part, compose, truth
from cargan.data.pairs import RATE, SECONDS
from cargan.data.players import draw_player
from cargan.data.synth import LEVEL
from cargan.deploy.translate import Translator, to_image

GIF = Path(__file__).parent.parent/'nbs'/'images'/'performance.gif'


def perform(label, performer, seconds, seed):
    "What is played, as it is played, and as it sounds in the performer's studio"
    voice, rng = VOICES[performer], np.random.default_rng(seed)
    length = seconds + SECONDS
    notes = compose(label, length, rng, voice.dynamics)
    part = Part(label, notes, length, voice.vibrato, voice.cents)
    dry, = play([part], find_banks()[0])
    dry = dry*10**((LEVEL + 4*voice.dynamics)/20)/np.sqrt((dry**2).mean())
    return part, dry, colour(dry, voice, rng)


def paint(wet, label, starts):
    "The shipped bundle's picture of the half second at each of `starts`"
    translator = Translator.from_pretrained()
    spec = translator.model.spec
    wave = resample(torch.tensor(wet, dtype=torch.float32), RATE, spec.sample_rate)
    windows = torch.stack([wave[round(t*spec.sample_rate):][:spec.n_samples] for t in starts])
    labels = torch.full((len(starts),), translator.labels.index(label))
    _, stages = translator.paint(windows, labels)
    return [to_image(painted) for painted in stages.final]


def frame(svg, painted):
    "The drawing and the painted picture, side by side"
    page = Image.new('RGB', (404, 222), 'white')
    page.paste(Image.fromarray(render(svg, 200)), (0, 22))
    page.paste(painted.resize((200, 200), Image.BICUBIC), (204, 22))
    for x, text in ((4, 'truth, drawn from the notes'), (208, 'painted from the sound')):
        ImageDraw.Draw(page).text((x, 5), text, 'black')
    return page.quantize(96, dither=Image.Dither.NONE)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--label', default='trombone')
    parser.add_argument('--performer', type=int, default=4)
    parser.add_argument('--seconds', type=float, default=8)
    parser.add_argument('--seed', type=int, default=2019)
    parser.add_argument('--out', type=Path, default=GIF)
    args = parser.parse_args()
    part, dry, wet = perform(args.label, args.performer, args.seconds, args.seed)
    heard = wet[:round(args.seconds*RATE)]
    write_whole(args.out.with_suffix('.mp3'), lambda tmp: sf.write(tmp, heard, RATE, format='MP3'))
    starts = np.arange(0, args.seconds, .1)
    svgs = [draw_player(args.label, args.performer, truth(part, dry, t).pose(args.label))
            for t in starts]
    frames = [frame(*both) for both in zip(svgs, paint(wet, args.label, starts))]
    first, *others = frames
    write_whole(args.out, lambda tmp: first.save(tmp, 'gif', save_all=True, append_images=others,
                                                 duration=100, loop=0, optimize=True))
    print(f'{args.out.name}: {len(frames)} pictures, {args.out.stat().st_size/1e6:.1f} MB')


if __name__ == '__main__': main()
