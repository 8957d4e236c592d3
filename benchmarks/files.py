"""Half a second out of an hour of sound, by kind of file, and the cost of each sample rate.

    python benchmarks/files.py [--minutes 60]

Writes files of that length into a temporary folder (some 2 GB for an hour), reads half a second
out of their middle in a fresh process each: milliseconds (median of nine reads after a first one),
and the memory that the reads added, in MB. A kind that cannot seek would show here.
The second table has milliseconds a second of sound for resampling to 22,050 Hz, as a ratio to the
cost from 44,100 Hz.
"""
import argparse
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
import numpy as np
import soundfile as sf

from cargan.data.audio import load_audio, to_mono

KINDS = {'wav': 'pcm_s16le', 'flac': 'flac', 'ogg': '', 'mp3': 'libmp3lame', 'm4a': 'aac',
         'webm': 'libopus'}


def write(path, codec, wave, minutes):
    "The wave again and again"
    if not codec:
        with sf.SoundFile(path, 'w', 48000, 1) as f:
            for part in np.split(wave, 60)*minutes: f.write(part)
        return
    with av.open(str(path), 'w') as c:
        stream, place, layout = c.add_stream(codec, rate=48000, layout='mono'), 0, 'mono'
        for _ in range(minutes):
            for part in np.split(wave, 60):
                piece = av.AudioFrame.from_ndarray(part[None], 'flt', layout)
                piece.sample_rate, piece.pts, piece.time_base = 48000, place, Fraction(1, 48000)
                place += len(part)
                c.mux(stream.encode(piece))
        c.mux(stream.encode(None))


def read_half_a_second(path, at):
    "Milliseconds of each of nine reads, and MB that they added; printed by a process of its own"
    def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    import torch   # noqa: F401
    before = peak()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        wave = load_audio(path, start=at, seconds=.5)
        times.append(1000*(time.perf_counter() - start))
        assert len(wave) == 11025
    print(median(times[1:]), peak() - before)


def resampling(rate, seconds=10):
    "Milliseconds a second of sound"
    x = np.random.default_rng(0).normal(size=(rate*seconds, 1)).astype(np.float32)*.1
    times = []
    for _ in range(9):
        start = time.perf_counter()
        to_mono(lambda: [x], rate, 22050, 'noise')
        times.append(1000*(time.perf_counter() - start)/seconds)
    return median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=int, default=60)
    parser.add_argument('--read', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read: return read_half_a_second(args.read, 30*args.minutes)
    rng = np.random.default_rng(0)
    tone = np.sin(2*np.pi*440*np.arange(48000*60)/48000)
    wave = ((tone + .1*rng.normal(size=len(tone)))*.3).astype(np.float32)
    print(f'half a second out of {args.minutes} minutes\nkind    ms     MB   file, MB')
    with tempfile.TemporaryDirectory() as d:
        for kind, codec in KINDS.items():
            path = Path(d, f'a.{kind}')
            write(path, codec, wave, args.minutes)
            out = subprocess.run([sys.executable, __file__, '--minutes', str(args.minutes),
                                  '--read', path], check=True, capture_output=True, text=True)
            ms, mb = map(float, out.stdout.split())
            print(f'{kind:5} {ms:5.1f} {mb:6.1f} {path.stat().st_size/1e6:10.0f}', flush=True)
            path.unlink()
    base = resampling(44100)
    print(f'\nresampling to 22,050 Hz: {base:.2f} ms a second of sound from 44,100 Hz; from')
    for rate in (8000, 11025, 22051, 44056, 44101, 48000, 96000, 192000, 192001):
        print(f'{rate:7} Hz: {resampling(rate)/base:.2f} of that')


if __name__ == '__main__': main()
