"""Sixty seconds of music as a film: seconds for hearing, painting, and all, with PyTorch and ONNX.

    python benchmarks/film.py [--bundle small]

The music is the shipped clips one after the other. The two engines take turns, in one process each,
and a picture alone is timed beside them: there ONNX is ahead, in batches it is not.
"""
import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from cargan.data.audio import load_audio
from cargan.deploy.film import Score, Stream, paint_frames
from cargan.deploy.translate import Translator, shipped_clips

SECONDS = 60


def music(rate):
    "The shipped clips, again and again"
    x = np.concatenate([load_audio(p, rate) for p in shipped_clips().values()])
    return np.resize(x, SECONDS*rate)


def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def measure(translator, folder):
    "Seconds of each part, ms of a picture alone"
    rate = translator.model.spec.sample_rate
    x = music(rate)
    stream = Stream(x, rate, rate)
    hear = seconds(lambda: Score(translator, stream))
    score = Score(translator, stream)
    paint = seconds(lambda: sum(1 for _ in paint_frames(translator, stream, score)))
    whole = seconds(lambda: translator.film(x, Path(folder)/'a.mp4', sample_rate=rate))
    one, label = torch.from_numpy(x[:translator.model.spec.n_samples])[None], torch.zeros(1).long()
    alone = min(seconds(lambda: translator.paint(one, label)) for _ in range(20))
    return dict(hear=hear, paint=paint, film=whole, picture_ms=1e3*alone)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bundle', default='small')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for engine in ('torch', 'onnx'):
            found = measure(Translator.from_pretrained(args.bundle, engine=engine), folder)
            print(f'{engine:6}', '  '.join(f'{k} {v:.1f}' for k, v in found.items()),
                  f"  {SECONDS/found['film']:.1f} times as fast as it sounds, "
                  f'{torch.get_num_threads()} threads')


if __name__ == '__main__': main()
