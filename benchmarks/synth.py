"""How many pairs of SynthURMP a second, written to disk? And does the number of workers matter?

It may not change a byte. Uses pretty_midi's bank and those of CARGAN_SOUNDFONTS. The ceiling is the
drawing alone, the part that cannot be had for less: pairs a second if everything else cost nothing,
measured in the same run on as many cores. All splits count, validation with them.
"""
import argparse
import hashlib
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cargan.core import write_whole
from cargan.data.banks import find_banks
from cargan.data.instruments import Pose, render
from cargan.data.pairs import SUB_URMP_LABELS
from cargan.data.players import draw_player
from cargan.data.synth import synth_urmp


def draw(n, size):
    "Draw n pictures"
    for i in range(n):
        pose = Pose((i % 7)/6, (i % 5)/4)
        render(draw_player(SUB_URMP_LABELS[i % 13], i % 6, pose), size)


def ceiling(n, size, workers):
    "Pictures a second in as many processes"
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(draw, [13]*workers, [size]*workers)) # warm
        start = time.perf_counter()
        list(pool.map(draw, [n//workers]*workers, [size]*workers))
        return n/(time.perf_counter() - start)


def digest(root):
    "A hash of all names and bytes"
    h = hashlib.sha256()
    for p in sorted(p for p in root.rglob('*') if p.is_file()):
        h.update(str(p.relative_to(root)).encode() + p.read_bytes())
    return h.hexdigest()[:16]


def measure(pairs, size, workers):
    "One row: make a data set in as many processes"
    with tempfile.TemporaryDirectory() as d:
        start = time.perf_counter()
        root = synth_urmp(Path(d)/'synth', pairs, size, workers=workers, progress=False)
        seconds = time.perf_counter() - start
        rate = len(list(root.glob('chunk/*/*/*.wav')))/seconds
        top = ceiling(520, size, workers)
        return dict(workers=workers, pairs_per_second=round(rate, 1), drawing_alone=round(top, 1),
                    share=round(rate/top, 2), digest=digest(root))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', type=int, default=2600, help='training and test together')
    parser.add_argument('--size', type=int, default=64)
    parser.add_argument('--workers', type=int, nargs='*', default=sorted({1, os.cpu_count()}))
    parser.add_argument('--json', help='write the numbers here')
    args = parser.parse_args()
    banks, rows = [b.name for b in find_banks()], []
    print(f"{args.pairs} pairs at {args.size} px from {len(banks)} banks: {', '.join(banks)}")
    for workers in args.workers:
        rows.append(measure(args.pairs, args.size, workers))
        print('  '.join(f'{k} {v}' for k, v in rows[-1].items()), flush=True)
    same = len({r['digest'] for r in rows}) == 1
    print('the same bytes with any number of workers' if same else 'THE BYTES DIFFER')
    report = dict(pairs=args.pairs, size=args.size, banks=banks, rows=rows, same_bytes=same,
                  pairs_per_second=rows[-1]['pairs_per_second'])
    if args.json: write_whole(args.json, json.dumps(report, indent=1).encode())


if __name__ == '__main__': main()
