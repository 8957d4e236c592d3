"""How near to the machine's limit is one training step (both players)? Seconds, images a second, GFLOP, and the share of the
machine's matrix product that is reached.

The rate of a 2048 x 2048 matrix product is measured in turn with the steps, on the same threads. Seconds times that rate are the
step's *equivalents*: what the machine could have computed meanwhile, a figure that can be compared across machines. `--like-official`
sets what the published code was measured with: 128 px, three-channel LMS, ngf 64, ndf 2, batch 4, ResNet50. It took 570
GFLOP-equivalents and 3.55 GB. `--without` undoes what makes ours faster, one by one, and `--table` measures the step with all of it,
without each, and without any, each in a process of its own.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from fastai.optimizer import OptimWrapper
from torch.utils.flop_counter import FlopCounterMode

from cargan.data.audio import LMSSpec
from cargan.data.pairs import SUB_URMP_LABELS
from cargan.deploy.cli import write_json
from cargan.models.preset import get_preset
from cargan.models.classifier import ImageClassifier
from cargan.training.learner import cargan_learner, keep_freed_memory

GAINS = dict(fused='Adam in one kernel', folded="C's batch norms folded into its convolutions", channels_last='channels last in memory',
             kept='freed memory kept for the next batch')
DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def seconds(f):
    "How long `f` takes, the GPU's work included"
    if DEVICE.type == 'cuda': torch.cuda.synchronize()
    start = time.perf_counter()
    f()
    if DEVICE.type == 'cuda': torch.cuda.synchronize()
    return time.perf_counter() - start


def training_step(preset, batch, compile=False, without=(), pieces=1):
    "One batch, both steps, as a function, and its learner. C and the batch are random: they take the same time"
    c = ImageClassifier(len(SUB_URMP_LABELS), preset.backbone, size=preset.classifier_size)
    dls = SimpleNamespace(vocab=SUB_URMP_LABELS, spec=LMSSpec(size=preset.size), device=DEVICE)
    learn = cargan_learner(dls, preset, c=c, compile=compile, pieces=pieces)
    learn.model.to(DEVICE).train()
    undo(learn, without)
    learn.create_opt()
    learn.training, size = True, preset.size
    image, lms = (torch.rand(batch, k, size, size, device=DEVICE)*2 - 1 for k in (3, 1))
    label = torch.arange(batch, device=DEVICE) % len(SUB_URMP_LABELS)
    learn.xb, learn.yb = (lms, label), (image,)
    def step():
        if pieces > 1: return learn._do_one_batch()
        with learn.precision: learn.pred = learn.model(lms, label)
        for player in (learn.d_step, learn.g_step) if preset.d_first else (learn.g_step, learn.d_step): player(lms, label, image)
    return step, learn


def undo(learn, without):
    "Take gains away: what one would write first"
    p, cargan = learn.preset, learn.model.cargan
    if 'channels_last' in without: learn.model.to(memory_format=torch.contiguous_format)
    if 'fused' in without: learn.opt_func = lambda groups, lr: OptimWrapper(groups, torch.optim.Adam, lr=p.lr_g, betas=p.betas)
    if 'folded' in without: cargan.c.__dict__['fast'] = cargan.c.model


def matrix_product(n=2048):
    "A function that multiplies two matrices, and its GFLOP"
    a, b = torch.randn(2, n, n, device=DEVICE)
    return lambda: a @ b, 2*n**3/1e9


def measure(preset, batch, compile=False, without=(), rounds=7, pieces=1):
    "The report. Steps and matrix products take turns, so that both see the same machine"
    torch.manual_seed(0)
    if 'kept' not in without: keep_freed_memory()
    step, learn = training_step(preset, batch, compile, without, pieces)
    warm = seconds(step)
    with FlopCounterMode(display=False) as counter: step() if not compile else None
    product, work = matrix_product()
    product(), step()
    steps, products = zip(*[(seconds(step), min(seconds(product) for _ in range(3))) for _ in range(rounds)])
    took, rate = statistics.median(steps), work/statistics.median(products)
    gflop = counter.get_total_flops()/1e9
    peak = torch.cuda.max_memory_allocated()/2**20 if DEVICE.type == 'cuda' else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**10
    return dict(size=preset.size, ngf=preset.ngf, ndf=preset.ndf, backbone=preset.backbone, batch=batch, pieces=pieces, precision=preset.precision,
                compile=compile, without=list(without), threads=torch.get_num_threads(), first_seconds=round(warm, 2), seconds=round(took, 3),
                images_per_second=round(batch/took, 1), gflop=round(gflop, 1), matmul_gflops=round(rate, 1), equivalents=round(took*rate, 1),
                share=round(gflop/took/rate, 3), peak_mb=round(peak),
                device=torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'cpu')


def table(args):
    "The step with everything, without each gain, and without any; rows for JSON"
    own, rows = [a for a in sys.argv[1:] if a != '--table'], []
    own = [a for i, a in enumerate(own) if a != '--json' and own[i - 1] != '--json']
    for without in ([], *([g] for g in GAINS), list(GAINS)):
        with tempfile.NamedTemporaryFile(suffix='.json') as f:
            subprocess.run([sys.executable, __file__, *own, '--json', f.name, *(['--without', *without] if without else [])], check=True, stdout=subprocess.DEVNULL)
            rows.append(json.loads(Path(f.name).read_text()))
        r, name = rows[-1], 'all' if not without else 'none of them' if len(without) > 1 else f'without: {GAINS[without[0]]}'
        print(f"{name:55} {r['seconds']:8} s  {r['equivalents']:8} equivalents  share {r['share']:.1%}  {r['peak_mb']} MB", flush=True)
    return dict(command=f"python benchmarks/train_step.py {' '.join(sys.argv[1:])}", rows=rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', default='small', help='tiny, small, paper or official')
    parser.add_argument('--batch', type=int, help="pairs a batch; the preset's if not given")
    parser.add_argument('--like-official', action='store_true', help='the sizes the published code was measured with')
    parser.add_argument('--precision', default='auto', choices=['auto', 'float32', 'bf16'])
    parser.add_argument('--compile', action='store_true', help='torch.compile; the first step then has its cost')
    parser.add_argument('--pieces', type=int, default=1, help='in how many a batch goes through, to need less memory')
    parser.add_argument('--without', nargs='*', default=[], choices=list(GAINS), help='gains to take away')
    parser.add_argument('--table', action='store_true', help='each gain taken away in turn')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--json', help='write the numbers here')
    args = parser.parse_args()
    if DEVICE.type == 'cuda': torch.set_float32_matmul_precision('high')
    preset = get_preset('official' if args.like_official else args.preset, pretrained=False, precision=args.precision)
    report = table(args) if args.table else measure(preset, args.batch or preset.batch, args.compile, args.without, args.rounds, args.pieces)
    for k, v in () if args.table else report.items(): print(f'{k:20} {v}')
    if args.json: write_json(args.json, report)


if __name__ == '__main__': main()
