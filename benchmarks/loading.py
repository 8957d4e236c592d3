"""Is the loading of pairs fast enough? Batches a second beside the steps a second of training.

Batches come from the files, from memory, from the store on the disk and from the GPU's memory; the
steps are those of the preset `small` in the same process. The ratio says how many times faster than
training a source is. The target is 5 for the store, at 64 pixels on two cores.
"""
import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch
from fastai.torch_core import default_device

from cargan.data.audio import LMSSpec
from cargan.data.loaders import ToLMS, pairs_dls
from cargan.data.pairs import Waveform
from cargan.data.synth import synth_urmp
from cargan.deploy.cli import no_bar_into_files
from cargan.models.preset import get_preset
from train_step import seconds, training_step


def rate(times): return 1/statistics.median(times)


def first_batches(dl, n):
    "Read the first `n` batches of an epoch"
    for _ in zip(range(n), dl): pass


def spectra(spec, bs, device):
    "A function that makes the LMS of a batch"
    waves, to_lms = Waveform(torch.randn(bs, spec.n_samples, device=device)*.1), ToLMS(spec)
    return lambda: to_lms(waves)


def take_turns(rounds, batches, step, lms, sources):
    "Seconds of steps, of spectra and of batches; all see the same machine"
    steps, spectra, loads = [], [], {k: [] for k in sources}
    for _ in range(rounds):
        steps.append(seconds(step))
        spectra += [seconds(lms) for _ in range(5)]
        for k, dls in sources.items():
            loads[k].append(seconds(lambda: first_batches(dls.train, batches))/batches)
        steps.append(seconds(step))
    return steps, spectra, loads


def measure(data, size, bs, stores, rounds=3, batches=10):
    "The report"
    spec, kinds = LMSSpec(size=size), ['files', 'memory', 'disk']
    if torch.cuda.is_available(): kinds.append('device')
    build = seconds(lambda: pairs_dls(data, spec, cache='disk', cache_dir=stores))
    caches = {k: None if k == 'files' else k for k in kinds}
    sources = {k: pairs_dls(data, spec, bs, cache=c, cache_dir=stores) for k, c in caches.items()}
    dl = sources['memory'].train
    for _ in dl: pass                                    # fill it
    step, _ = training_step(get_preset('small', size=size), dl.bs)
    lms = spectra(spec, bs, sources['memory'].device)
    for f in (step, step, lms): f()                      # warm
    for dls in sources.values(): first_batches(dls.train, batches)
    n = min(batches, len(dl))
    steps, lmses, loads = take_turns(rounds, n, step, lms, sources)
    return dict(size=size, bs=dl.bs, pairs=dl.n, threads=torch.get_num_threads(),
                device=str(default_device()), build_seconds=round(build, 1),
                steps_per_second=round(rate(steps), 2), lms_share=round(rate(steps)/rate(lmses), 3),
                batches_per_second={k: round(rate(v), 1) for k, v in loads.items()},
                ratio={k: round(rate(v)/rate(steps), 1) for k, v in loads.items()})


NAMES = dict(files='files, read every time', memory='memory', disk='store on the disk',
             device="store in the GPU's memory")


def show(r):
    print(f"{r['pairs']} training pairs, {r['size']} px, batches of {r['bs']}, {r['threads']} "
          f"threads, {r['device']}; the store took {r['build_seconds']} s to build")
    print(f"{'':28} {'batches/s':>10} {'times training':>19}")
    print(f"{'training, preset small':28} {r['steps_per_second']:10} {1.0:19}")
    for k, name in NAMES.items():
        if k in r['ratio']: print(f"{name:28} {r['batches_per_second'][k]:10} {r['ratio'][k]:19}")
        else: print(f"{name:28} {'no GPU':>10}")
    print(f"the LMS of a batch takes {r['lms_share']:.1%} of a training step")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', help='a folder of pairs, or a manifest; made here if not given')
    parser.add_argument('--size', type=int, default=64, help='side of LMS and pictures')
    parser.add_argument('--bs', type=int, default=16, help='pairs a batch')
    parser.add_argument('--json', help='write the numbers here')
    args = parser.parse_args()
    no_bar_into_files()
    with tempfile.TemporaryDirectory() as tmp:
        data = args.data or synth_urmp(Path(tmp)/'synth', pairs=390, size=args.size, progress=False)
        r = measure(data, args.size, args.bs, Path(tmp)/'stores')
    show(r)
    if args.json: Path(args.json).write_text(json.dumps(r, indent=1))


if __name__ == '__main__': main()
