"""How near to the machine's limit is one training step (both players)? Seconds, images a second, GFLOP, and the share of the
machine's matrix product that is reached.

The rate of a 2048 x 2048 matrix product is measured in turn with the steps, on the same threads. Seconds times that rate are the
step's *equivalents*: what the machine could have computed meanwhile, a figure that can be compared across machines. `--like-official`
sets what the published code was measured with: 128 px, three-channel LMS, ngf 64, ndf 2, batch 4, ResNet50. It took 570
GFLOP-equivalents and 3.55 GB. `--plain` undoes what makes ours faster, for comparison.
"""
import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from fastai.optimizer import OptimWrapper
from torch.utils.flop_counter import FlopCounterMode

from cargan.data.audio import LMSSpec
from cargan.data.pairs import SUB_URMP_LABELS
from cargan.deploy.cli import write_json
from cargan.models.cascade import get_preset
from cargan.models.classifier import ImageClassifier
from cargan.training.learner import cargan_learner, keep_freed_memory

DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def seconds(f):
    "How long `f` takes, the GPU's work included"
    if DEVICE.type == 'cuda': torch.cuda.synchronize()
    start = time.perf_counter()
    f()
    if DEVICE.type == 'cuda': torch.cuda.synchronize()
    return time.perf_counter() - start


def training_step(preset, batch, compile=False, plain=False):
    "One batch, both steps, as a function, and its learner. C and the batch are random: they take the same time"
    c = ImageClassifier(len(SUB_URMP_LABELS), preset.backbone, size=preset.classifier_size)
    dls = SimpleNamespace(vocab=SUB_URMP_LABELS, spec=LMSSpec(size=preset.size), device=DEVICE)
    learn = cargan_learner(dls, preset, c=c, compile=compile)
    learn.model.to(DEVICE).train()
    if plain: undo(learn, preset)
    learn.create_opt()
    learn.training, size = True, preset.size
    image, lms = (torch.rand(batch, k, size, size, device=DEVICE)*2 - 1 for k in (3, 1))
    label = torch.arange(batch, device=DEVICE) % len(SUB_URMP_LABELS)
    def step():
        with learn.precision: learn.pred = learn.model(lms, label)
        for player in (learn.d_step, learn.g_step) if preset.d_first else (learn.g_step, learn.d_step): player(lms, label, image)
    return step, learn


def undo(learn, preset):
    "Without fused Adam, channels last and the folded batch norms of C: what one would write first"
    learn.model.to(memory_format=torch.contiguous_format)
    learn.opt_func = lambda groups, lr: OptimWrapper(groups, torch.optim.Adam, lr=preset.lr_g, betas=preset.betas)
    for frozen in (learn.model.cargan.c, learn.model.cargan.audio): frozen.__dict__['fast'] = frozen.model


def matrix_product(n=2048):
    "A function that multiplies two matrices, and its GFLOP"
    a, b = torch.randn(2, n, n, device=DEVICE)
    return lambda: a @ b, 2*n**3/1e9


def measure(preset, batch, compile=False, plain=False, rounds=7):
    "The report. Steps and matrix products take turns, so that both see the same machine"
    torch.manual_seed(0)
    if not plain: keep_freed_memory()
    step, learn = training_step(preset, batch, compile, plain)
    warm = seconds(step)
    with FlopCounterMode(display=False) as counter: step() if not compile else None
    product, work = matrix_product()
    product(), step()
    steps, products = zip(*[(seconds(step), min(seconds(product) for _ in range(3))) for _ in range(rounds)])
    took, rate = statistics.median(steps), work/statistics.median(products)
    gflop = counter.get_total_flops()/1e9
    peak = torch.cuda.max_memory_allocated()/2**20 if DEVICE.type == 'cuda' else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**10
    return dict(size=preset.size, ngf=preset.ngf, ndf=preset.ndf, backbone=preset.backbone, batch=batch, precision=preset.precision,
                compile=compile, plain=plain, threads=torch.get_num_threads(), first_seconds=round(warm, 2), seconds=round(took, 3),
                images_per_second=round(batch/took, 1), gflop=round(gflop, 1), matmul_gflops=round(rate, 1), equivalents=round(took*rate, 1),
                share=round(gflop/took/rate, 3), peak_mb=round(peak),
                device=torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'cpu')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', default='small', help='tiny, small, paper or official')
    parser.add_argument('--batch', type=int, help="pairs a batch; the preset's if not given")
    parser.add_argument('--like-official', action='store_true', help='the sizes the published code was measured with')
    parser.add_argument('--precision', default='auto', choices=['auto', 'float32', 'bf16'])
    parser.add_argument('--compile', action='store_true', help='torch.compile; the first step then has its cost')
    parser.add_argument('--plain', action='store_true', help='without what makes the step faster')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--json', help='write the numbers here')
    args = parser.parse_args()
    if DEVICE.type == 'cuda' and not args.plain: torch.set_float32_matmul_precision('high')
    preset = get_preset('official' if args.like_official else args.preset, pretrained=False, precision=args.precision)
    report = measure(preset, args.batch or preset.batch, args.compile, args.plain, args.rounds)
    for k, v in report.items(): print(f'{k:20} {v}')
    if args.json: write_json(args.json, report)


if __name__ == '__main__': main()
