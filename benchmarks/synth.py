"""How many pairs of SynthURMP a second, written to disk? And are the bytes the same, whatever the number of workers?

Uses pretty_midi's bank and those of CARGAN_SOUNDFONTS. The ceiling is the drawing alone, the part that cannot be had for less: pairs a
second if everything else cost nothing, measured in the same run on as many cores.
"""
import argparse
import hashlib
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cargan.data.players import Pose, draw_player, render
from cargan.data.synth import find_banks, synth_urmp
from cargan.data.pairs import SUB_URMP_LABELS


def draw(n, size):
    "Draw n pictures"
    for i in range(n): render(draw_player(SUB_URMP_LABELS[i % 13], i % 6, Pose((i % 7)/6, (i % 5)/4)), size)


def ceiling(n, size, workers):
    "Pictures a second in as many processes"
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(draw, [13]*workers, [size]*workers))  # warm
        start = time.perf_counter()
        list(pool.map(draw, [n//workers]*workers, [size]*workers))
        return n/(time.perf_counter() - start)


def digest(root):
    "A hash of all names and bytes"
    h = hashlib.sha256()
    for p in sorted(p for p in root.rglob('*') if p.is_file()): h.update(str(p.relative_to(root)).encode() + p.read_bytes())
    return h.hexdigest()[:16]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', type=int, default=2600)
    parser.add_argument('--size', type=int, default=64)
    parser.add_argument('--workers', type=int, nargs='*', default=sorted({1, os.cpu_count()}))
    parser.add_argument('--json', help='write the numbers here')
    args = parser.parse_args()
    banks, rows = find_banks(), []
    print(f"{args.pairs} pairs at {args.size} px from {len(banks)} banks: {', '.join(b.name for b in banks)}")
    for workers in args.workers:
        with tempfile.TemporaryDirectory() as d:
            start = time.perf_counter()
            root = synth_urmp(Path(d)/'synth', args.pairs, args.size, workers=workers, progress=False)
            rate, top = args.pairs/(time.perf_counter() - start), ceiling(520, args.size, workers)
            rows.append(dict(workers=workers, pairs_per_second=round(rate, 1), drawing_alone=round(top, 1), share=round(rate/top, 2), digest=digest(root)))
            print('  '.join(f'{k} {v}' for k, v in rows[-1].items()), flush=True)
    same = len({r['digest'] for r in rows}) == 1
    print('the same bytes with any number of workers' if same else 'THE BYTES DIFFER')
    report = dict(pairs=args.pairs, size=args.size, banks=[b.name for b in banks], rows=rows, same_bytes=same, pairs_per_second=rows[-1]['pairs_per_second'])
    if args.json: Path(args.json).write_text(json.dumps(report, indent=1))


if __name__ == '__main__': main()
