"""How near to the machine's limit is a training step (both players)? Is it slower than another
version's?

The step is what fastai's `fit` does with a batch. Between two steps a 2048 x 2048 matrix product is
timed, on the same threads. Seconds times its rate are the step's *equivalents*: what the machine
could have computed meanwhile, comparable across machines. `--like-official` sets what the published
code was measured with: 128 px, three-channel LMS, ngf 64, ndf 2, batch 4, ResNet50. It took 570
GFLOP-equivalents and 3.55 GB.

`--without` undoes what makes ours faster, `--table` undoes each in turn. `--against FOLDER` lets
this version and the one checked out in FOLDER (0.1.0 or later) take turns, step by step, each in a
process of its own, and reports the median of their ratios: the only figure to trust on a machine
that has other users.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from fastai.learner import Learner
from torch.utils.flop_counter import FlopCounterMode

from cargan.data.audio import LMSSpec
from cargan.data.pairs import SUB_URMP_LABELS
from cargan.deploy.cli import write_json
from cargan.models import cascade # 0.1.0 has `get_preset` there, too
from cargan.models.classifier import ImageClassifier
from cargan.training import learner as learners

GAINS = dict(fused='Adam in one kernel', folded="C's batch norms folded into its convolutions",
             channels_last='channels last in memory', kept='freed memory kept for the next batch')
DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
HERE = Path(__file__).resolve()


def seconds(
    f:Callable # without arguments
)->float:
    "How long `f` takes, the GPU's work included"
    if DEVICE.type == 'cuda': torch.cuda.synchronize()
    start = time.perf_counter()
    f()
    if DEVICE.type == 'cuda': torch.cuda.synchronize()
    return time.perf_counter() - start


def training_step(
    preset, # a `Preset`
    batch:int, # pairs in it
    compile:bool=False, # with `torch.compile`?
    without:Sequence[str]=(), # gains to take away, out of `GAINS`
    pieces:int=1 # in how many the batch goes through
)->tuple[Callable, Learner]: # the step of one batch, and its learner
    "One batch, both players. C and the batch are random: they take the same time"
    c = ImageClassifier(len(SUB_URMP_LABELS), preset.backbone, size=preset.classifier_size)
    parts = [one_batch(preset.size, batch//pieces) for _ in range(pieces)]
    dls = SimpleNamespace(vocab=SUB_URMP_LABELS, spec=LMSSpec(size=preset.size), device=DEVICE,
                          train=parts)
    cbs = callbacks(preset, batch, pieces)
    learn = learners.cargan_learner(dls, preset, c=c, cbs=cbs, compile=compile)
    undo(learn, preset, without)
    begin(learn)
    def step():
        for i, b in enumerate(parts): learn.one_batch(i, b)
    return step, learn


def one_batch(size, n): # random: lms, label, image
    image, lms = (torch.rand(n, k, size, size, device=DEVICE)*2 - 1 for k in (3, 1))
    return lms, torch.arange(n, device=DEVICE) % len(SUB_URMP_LABELS), image


def callbacks(preset, batch, pieces): # 0.1.0 has neither: its learner knows both
    out = getattr(learners, 'precision_cbs', lambda precision: [])(preset.precision)
    if pieces == 1: return out
    from cargan.training.gan import Pieces
    return [*out, Pieces(batch)]


def undo(learn, preset, without):
    "Take gains away: what one would write first"
    cargan = learn.model.cargan
    if 'channels_last' in without: learn.model.to(memory_format=torch.contiguous_format)
    if 'folded' in without: cargan.c = type(cargan.c)(cargan.c.model)
    if 'fused' in without:
        from cargan.training.gan import PlayersOptimizer
        learn.opt_func = partial(PlayersOptimizer, lr_d=preset.lr_d, betas=preset.betas)


def begin(learn):
    "As `fit` begins"
    for cb in [cb for cb in learn.cbs if cb.name == 'progress']: learn.remove_cb(cb)
    learn.create_opt()
    learn.dl, learn.n_iter = learn.dls.train, len(learn.dls.train)
    for event in ('fit', 'epoch', 'train'): learn(f'before_{event}')


def matrix_product(
    n:int=2048 # rows and columns
)->tuple[Callable, float]: # the product as a function, its GFLOP
    "Two random matrices"
    a, b = torch.randn(2, n, n, device=DEVICE)
    return lambda: a @ b, 2*n**3/1e9


def peak_mb(): # of this process, or of the GPU
    if DEVICE.type == 'cuda': return torch.cuda.max_memory_allocated()/2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**10


def measure(
    preset, # a `Preset`
    batch:int, # pairs in it
    compile:bool=False, # with `torch.compile`?
    without:Sequence[str]=(), # gains to take away
    rounds:int=7, # steps
    pieces:int=1 # in how many the batch goes through
)->dict: # for JSON
    "The report. Steps and matrix products take turns, so that both see the same machine"
    torch.manual_seed(0)
    if 'kept' not in without: learners.keep_freed_memory()
    step, learn = training_step(preset, batch, compile, without, pieces)
    warm = seconds(step)
    gflop = flops(step) if not compile else 0.
    product, work = matrix_product()
    product()
    step()
    steps, products = [], []
    for _ in range(rounds):
        steps.append(seconds(step))
        products.append(min(seconds(product) for _ in range(3)))
    took, rate = statistics.median(steps), work/statistics.median(products)
    of = {k: getattr(preset, k) for k in ('size', 'ngf', 'ndf', 'backbone', 'precision')}
    device = torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'cpu'
    return dict(**of, batch=batch, pieces=pieces, compile=compile, without=list(without),
                threads=torch.get_num_threads(), first_seconds=round(warm, 2),
                seconds=round(took, 4), images_per_second=round(batch/took, 1),
                gflop=round(gflop, 1), matmul_gflops=round(rate, 1),
                equivalents=round(took*rate, 1), share=round(gflop/took/rate, 3),
                peak_mb=round(peak_mb()), device=device)


def flops(step): # 10^9 multiplications and additions
    with FlopCounterMode(display=False) as counter: step()
    return counter.get_total_flops()/1e9


def serve(preset, batch, rest):
    "Be one of two that take turns: a line in, a step, its seconds out"
    torch.manual_seed(0)
    learners.keep_freed_memory()
    step, _ = training_step(preset, batch, **rest)
    for _ in range(2): step()
    print(json.dumps(dict(gflop=flops(step))), flush=True)
    for _ in sys.stdin: print(seconds(step), flush=True)


def opponent(folder, own): # a process with that checkout's package, that waits for its turn
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get('PYTHONPATH')])])
    return subprocess.Popen([sys.executable, HERE, *own, '--serve'],
                            env={**os.environ, 'PYTHONPATH': path},
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def turn(process): # the seconds of its step
    process.stdin.write('\n')
    process.stdin.flush()
    time.sleep(.01)
    return float(process.stdout.readline())


def in_turn(both, first, product): # seconds of ours, of theirs, of a matrix product
    took = [0., 0.]
    for i in (first, 1 - first): took[i] = turn(both[i])
    return [*took, min(seconds(product) for _ in range(2))]


def compare(
    folder:str|Path, # of another checkout
    own:Sequence[str], # options for both
    rounds:int # turns of each
)->dict: # for JSON
    "Both versions in turn, each step beside a matrix product"
    both = [opponent(f, own) for f in (HERE.parent.parent, Path(folder).resolve())]
    try:
        gflop = [json.loads(p.stdout.readline())['gflop'] for p in both]
        product, work = matrix_product()
        product()
        rows = [in_turn(both, i % 2, product) for i in range(rounds)]
    finally:
        for p in both: p.stdin.close()
        for p in both: p.wait()
    ratios = sorted(a/b for a, b, _ in rows)
    rate = work/statistics.median(r[2] for r in rows)
    took = [statistics.median(r[i] for r in rows) for i in (0, 1)]
    shares = [[g*r[2]/(r[i]*work) for r in rows] for i, g in enumerate(gflop)]
    return dict(ratio=round(statistics.median(ratios), 4), rounds=rounds,
                ratio_middle_half=[round(ratios[rounds//4], 4), round(ratios[-1 - rounds//4], 4)],
                ratio_of_quickest=round(min(r[0] for r in rows)/min(r[1] for r in rows), 4),
                seconds=round(took[0], 4), seconds_other=round(took[1], 4),
                gflop=round(gflop[0], 1), gflop_other=round(gflop[1], 1),
                matmul_gflops=round(rate, 1), share=round(statistics.median(shares[0]), 3),
                share_other=round(statistics.median(shares[1]), 3),
                threads=torch.get_num_threads())


def table(
    own:Sequence[str] # options for all rows
)->dict: # for JSON
    "The step with everything, without each gain, and without any; each in a process of its own"
    rows = []
    for without in ([], *([g] for g in GAINS), list(GAINS)):
        with tempfile.NamedTemporaryFile(suffix='.json') as f:
            extra = ['--without', *without] if without else []
            subprocess.run([sys.executable, HERE, *own, '--json', f.name, *extra], check=True,
                           stdout=subprocess.DEVNULL)
            rows.append(r := json.loads(Path(f.name).read_text()))
        name = ('all' if not without else 'none of them' if len(without) > 1 else
                f'without: {GAINS[without[0]]}')
        print(f"{name:55} {r['seconds']:8} s  {r['equivalents']:8} equivalents  "
              f"share {r['share']:.1%}  {r['peak_mb']} MB", flush=True)
    return dict(command=f"python benchmarks/train_step.py {' '.join(sys.argv[1:])}", rows=rows)


def common(args): # the options that other processes of this command get, too
    out = ['--preset', args.preset, '--precision', args.precision, '--pieces', str(args.pieces),
           '--rounds', str(args.rounds)]
    if args.batch: out += ['--batch', str(args.batch)]
    return [*out, *['--like-official']*args.like_official, *['--compile']*args.compile]


def read_args():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--preset', default='small', help='tiny, small, paper or official')
    add('--batch', type=int, help="pairs a batch; the preset's if not given")
    add('--like-official', action='store_true', help='as the published code was measured')
    add('--precision', default='auto', choices=['auto', 'float32', 'bf16'])
    add('--compile', action='store_true', help='torch.compile; the first step has its cost')
    add('--pieces', type=int, default=1, help='in how many a batch goes through')
    add('--without', nargs='*', default=[], choices=list(GAINS), help='gains to take away')
    add('--table', action='store_true', help='each gain taken away in turn')
    add('--against', metavar='FOLDER', help='another checkout; both take turns')
    add('--serve', action='store_true', help=argparse.SUPPRESS)
    add('--rounds', type=int, default=7, help='steps to time')
    add('--json', help='write the numbers here')
    return parser.parse_args()


def main():
    args = read_args()
    if DEVICE.type == 'cuda': torch.set_float32_matmul_precision('high')
    preset = cascade.get_preset('official' if args.like_official else args.preset,
                                pretrained=False, precision=args.precision)
    batch, rest = args.batch or preset.batch, dict(compile=args.compile, pieces=args.pieces)
    if args.serve: return serve(preset, batch, rest)
    if args.table: report = table(common(args))
    elif args.against: report = compare(args.against, common(args), args.rounds)
    else: report = measure(preset, batch, without=args.without, rounds=args.rounds, **rest)
    for k, v in () if args.table else report.items(): print(f'{k:20} {v}')
    if args.json: write_json(args.json, report)


if __name__ == '__main__': main()
