"""Everything that only a GPU can tell, in one command of less than eight minutes on one H100:

    python benchmarks/gpu.py

It writes benchmarks/gpu.json and prints a table: images a second of the presets in float32, TF32,
bfloat16 and compiled; the memory of a batch whole and in pieces; loading from the GPU's own memory;
the time of an epoch; and whether bfloat16 trains like float32. A part that fails leaves its error
in its place, and the others go on. `--quick` runs the same code with tiny networks, on a CPU too.
"""
import argparse
import contextlib
import gc
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import fastai
import torch
from fastai.callback.core import Callback
from fastai.torch_core import set_seed

import cargan
from cargan.data.audio import LMSSpec
from cargan.data.loaders import pairs_dls
from cargan.data.synth import synth_urmp
from cargan.deploy.cli import write_json
from cargan.models.classifier import ImageClassifier
from cargan.models.preset import Preset, get_preset
from cargan.training.gan import DiscriminatorStep
from cargan.training.learner import cargan_learner, has_bf16, precision_cbs
from train_step import DEVICE, peak_mb, seconds, training_step

SUB_URMP = 71_230 # training pairs of Sub-URMP, as its loaders count them
PRESETS = 'paper', 'official', 'small'
MODES = dict(float32=('float32', False), tf32=('float32', True), bf16=('bf16', True))
COMPILE_SECONDS = 100 # that compiling a preset may take; it is left out where fewer are left
TOLERANCE = .1 # between the losses of bfloat16 and float32, as a share


@dataclass
class Job:
    "What is asked for, and how much time is left"
    quick:bool=False # tiny networks, few steps?
    minutes:float=7.5 # in all
    begun:float=field(default_factory=time.monotonic) # when
    folder:Path|None=None # for what is made here
    data:str|Path|None=None # the folder of pairs

    def left(self)->float: # seconds
        return 60*self.minutes - (time.monotonic() - self.begun)

    def preset(self,
        name:str, # out of `presets`
        precision:str='float32' # as in a preset
    )->Preset:
        "The preset; a tiny one in its place where it has to be quick"
        if DEVICE.type == 'cpu': precision = 'float32'
        if self.quick: return get_preset('tiny', batch=4, precision=precision)
        return get_preset(name, pretrained=False, precision=precision)


def clear():
    "Forget what the last measurement left"
    torch.compiler.reset()
    gc.collect()
    if DEVICE.type == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


@contextlib.contextmanager
def tf32(
    on:bool # may float32 products and convolutions be computed in TF32?
):
    "A context; afterwards as before"
    was = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision('high' if on else 'highest')
    torch.backends.cudnn.allow_tf32 = on
    try: yield
    finally:
        torch.set_float32_matmul_precision(was[0])
        torch.backends.cudnn.allow_tf32 = was[1]


def rate(
    preset:Preset,
    compile:bool=False, # with `torch.compile`?
    wanted:float=4. # seconds of steps to time
)->dict: # images_per_second, first_seconds, peak_mb
    "Steps on a batch that lies on the device, as many as fit into the time"
    clear()
    step, _ = training_step(preset, preset.batch, compile=compile)
    first = seconds(step)
    for _ in range(2): step()
    n = max(2, min(100, round(wanted/max(seconds(step), 1e-3))))
    took = seconds(lambda: [step() for _ in range(n)])/n
    return dict(images_per_second=round(preset.batch/took, 1), seconds=round(took, 5),
                batch=preset.batch, steps=n, first_seconds=round(first, 1),
                peak_mb=round(peak_mb()))


def speed(
    job:Job
)->dict: # preset -> mode -> figures
    "Images a second, without compiling"
    out = {}
    for name in PRESETS:
        for mode, (precision, fast) in MODES.items():
            if precision == 'bf16' and not (has_bf16() or job.quick): continue
            with tf32(fast):
                found = guarded(rate, job.preset(name, precision), wanted=.1 if job.quick else 4.)
            out.setdefault(name, {})[mode] = found
    return out


def compiled(
    job:Job
)->dict: # preset -> figures
    "Images a second in bfloat16, compiled; what there is no time for says so"
    out = {}
    for name in PRESETS:
        if job.quick: out[name] = dict(left_out='--quick')
        elif job.left() < COMPILE_SECONDS: out[name] = dict(left_out='no time left')
        else:
            preset = job.preset(name, 'bf16' if has_bf16() else 'float32')
            with tf32(True): out[name] = guarded(rate, preset, True)
    return out


def memory(
    job:Job
)->dict: # '64 in 4 pieces, bf16' -> peak_mb, fits_11_gb
    "Peak memory of a batch of the preset `paper`, whole and in pieces"
    out = {}
    for precision in ('bf16', 'float32'):
        for pieces in (1, 4, 16):
            p = job.preset('paper', precision)
            pieces = min(pieces, p.batch)
            out[f'{p.batch} in {pieces} pieces, {precision}'] = guarded(peak_of, p, pieces)
    return out


def peak_of(
    preset:Preset,
    pieces:int # in how many a batch goes through
)->dict: # peak_mb: allocated; reserved_mb: taken from the device; fits_11_gb
    "Memory of three steps"
    clear()
    step, _ = training_step(preset, preset.batch, pieces=pieces)
    for _ in range(3): step()
    taken = torch.cuda.max_memory_reserved()/2**20 if DEVICE.type == 'cuda' else peak_mb()
    return dict(peak_mb=round(peak_mb()), reserved_mb=round(taken), fits_11_gb=taken < 11*1024)


def loading(
    job:Job
)->dict: # source -> batches_per_second; where the LMS of a batch is
    "Batches a second from memory, from the store, and from the device's own memory"
    out, size = {}, 32 if job.quick else 64
    for cache in ('memory', 'disk', 'device'):
        dls = pairs_dls(job.data, LMSSpec(size=size), bs=16, cache=cache, device=DEVICE,
                        cache_dir=job.folder/'stores')
        def epoch(): return [b for b in dls.train]
        epoch()
        took = min(seconds(epoch) for _ in range(1 if job.quick else 5))
        out[cache] = dict(batches_per_second=round(len(dls.train)/took, 1),
                          lms_on=str(dls.one_batch()[0].device))
    return out


class Curve(Callback):
    "Keeps the terms of both losses of each training step"
    order = DiscriminatorStep.order + 1
    def __init__(self): self.rows = []

    def after_batch(self):
        "A row"
        if self.training: self.rows.append(self.learn.discriminator_step.parts)


def curve(
    job:Job,
    precision:str, # as in a preset
    steps:int # at least
)->list[dict]: # a row a step
    "The losses of the preset `small`, from the same weights and in the same order"
    size = 32 if job.quick else 64
    dls = pairs_dls(job.data, LMSSpec(size=size), bs=16, jitter=False, device=DEVICE, seed=1)
    set_seed(1, reproducible=True)
    p, c = job.preset('small', precision), ImageClassifier(len(dls.vocab), 'light')
    keep = Curve()
    learn = cargan_learner(dls, p, c=c, cbs=[keep, *precision_cbs(p.precision)])
    with learn.no_bar(), learn.no_logging(): learn.fit(-(-steps//len(dls.train)))
    return [{k: float(v) for k, v in row.items()} for row in keep.rows[:steps]]


def bf16_trains(
    job:Job
)->dict: # term -> means of four quarters in float32 and bf16, largest difference as a share; ok
    "Does bfloat16 learn what float32 learns? L1 and the total of D over 200 steps, by quarters"
    if not (has_bf16() or job.quick): return dict(left_out='this GPU has no bfloat16')
    steps = 8 if job.quick else 200
    both = {k: curve(job, k, steps) for k in ('float32', 'bf16')}
    out, n = dict(steps=steps, tolerance=TOLERANCE), steps//4
    for term in ('l1', 'gan', 'cls', 'd'):
        means = {k: [sum(r[term] for r in rows[i:i + n])/n for i in range(0, 4*n, n)]
                 for k, rows in both.items()}
        apart = max(abs(a - b)/abs(a) for a, b in zip(*means.values()))
        out[term] = dict({k: [round(v, 4) for v in m] for k, m in means.items()},
                         apart=round(apart, 4))
    return out | dict(ok=out['l1']['apart'] < TOLERANCE and out['d']['apart'] < 3*TOLERANCE)


def guarded(
    f:Callable, # what to measure
    *args, **kwargs # of it
)->dict: # what it found, or its error
    "A measurement that fails does not lose the others"
    try: return f(*args, **kwargs)
    except Exception as e:
        traceback.print_exc()
        return dict(error=f'{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ""}')
    finally: clear()


def conclude(
    found:dict # of all parts
)->dict: # ratio of bf16 compiled to float32; hours of an epoch of Sub-URMP
    "What follows from the rates"
    out = {}
    for name in PRESETS:
        modes = {**found['speed'].get(name, {}), 'compiled': found['compiled'].get(name, {})}
        of = {k: v['images_per_second'] for k, v in modes.items() if 'images_per_second' in v}
        out[name] = dict(epoch_minutes={k: round(SUB_URMP/v/60, 2) for k, v in of.items()})
        if 'float32' not in of: continue
        out[name]['times_float32'] = {k: round(v/of['float32'], 2) for k, v in of.items()}
    return out


def about(quick): # what it was measured with
    cuda = DEVICE.type == 'cuda'
    return dict(command=' '.join(['python benchmarks/gpu.py', *sys.argv[1:]]), quick=quick,
                device=torch.cuda.get_device_name() if cuda else 'cpu',
                memory_mb=torch.cuda.get_device_properties(0).total_memory//2**20 if cuda else None,
                versions=dict(cargan=cargan.__version__, torch=torch.__version__,
                              fastai=fastai.__version__, cuda=torch.version.cuda,
                              cudnn=torch.backends.cudnn.version(), python=sys.version.split()[0]))


def show(report):
    "The table"
    print(f"\n{report['device']}, PyTorch {report['versions']['torch']}")
    print(f"{'images a second':20}", *[f'{m:>12}' for m in (*MODES, 'compiled')])
    for name in PRESETS:
        row = {**report['speed'].get(name, {}), 'compiled': report['compiled'].get(name, {})}
        cells = [row.get(m, {}).get('images_per_second', '-') for m in (*MODES, 'compiled')]
        print(f'{name:20}', *[f'{c:>12}' for c in cells])
    for part in ('memory', 'loading', 'bf16_trains', 'conclusions'):
        print(f'\n{part}')
        for k, v in report[part].items(): print(f'  {k:28} {v}')
    print(f"\n{report['seconds']} seconds in all")


def make_data(job): # the folder of pairs
    pairs, size = (156, 32) if job.quick else (390, 64)
    return synth_urmp(job.folder/'synth', pairs=pairs, size=size, progress=False)


def read_args():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='tiny networks; no GPU is needed')
    parser.add_argument('--minutes', type=float, default=7.5, help='compiling stops before')
    parser.add_argument('--data', help='a folder of pairs; made here if not given')
    parser.add_argument('--json', help='where to write; benchmarks/gpu.json if not given, '
                                       'nowhere with --quick')
    return parser.parse_args()


def main():
    args = read_args()
    if DEVICE.type == 'cpu' and not args.quick: sys.exit(refuse())
    job = Job(args.quick, args.minutes)
    report, parts = about(args.quick), (speed, memory, loading, bf16_trains, compiled)
    with tempfile.TemporaryDirectory() as folder:
        job.folder = Path(folder)
        job.data = args.data or guarded(make_data, job)
        for part in parts:
            report[part.__name__] = guarded(part, job)
            print(f'{part.__name__}: done, {job.left():.0f} s left', flush=True)
    report['conclusions'] = guarded(conclude, report)
    report['seconds'] = round(time.monotonic() - job.begun)
    where = args.json or ('' if args.quick else Path(__file__).parent/'gpu.json')
    write_json(where, report)
    show(report)


def refuse(): # the exit code
    print("gpu.py: PyTorch sees no GPU here; run it on a machine with one, or try its code with "
          "--quick", file=sys.stderr)
    return 2


if __name__ == '__main__': main()
