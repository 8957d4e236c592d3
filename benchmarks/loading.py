"""Is the loading of pairs fast enough? Batches a second from the files, from memory, from the store on the disk and from the
GPU's memory, beside the appetite of training: steps a second of the preset `small` in the same process.

The ratio says how many times faster than training a source is. The target is 5 for the store, at 64 pixels on two cores.
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


def measure(data, size, bs, stores, rounds=3, batches=10):
    "The report. Sources and training take turns, so that all see the same machine"
    spec, sources = LMSSpec(size=size), {}
    kinds = ['files', 'memory', 'disk', *(['device'] if torch.cuda.is_available() else [])]
    build = seconds(lambda: pairs_dls(data, spec, cache='disk', cache_dir=stores))
    for k in kinds: sources[k] = pairs_dls(data, spec, bs=bs, cache=None if k == 'files' else k, cache_dir=stores)
    def some(dl): # the first batches of an epoch
        for _, _ in zip(range(batches), dl): pass
    for _ in sources['memory'].train: pass # fill it
    step, _ = training_step(get_preset('small', size=size), sources['memory'].train.bs)
    for f in (step, step, *[lambda d=d: some(d.train) for d in sources.values()]): f() # warm
    waves, to_lms = Waveform(torch.randn(bs, spec.n_samples, device=sources['memory'].device)*.1), ToLMS(spec)
    lms = lambda: to_lms(waves)
    steps, loads, spectra = [], {k: [] for k in kinds}, []
    lms()
    n = min(batches, len(sources['memory'].train))
    for _ in range(rounds):
        steps.append(seconds(step))
        spectra += [seconds(lms) for _ in range(5)]
        for k, d in sources.items(): loads[k].append(seconds(lambda: some(d.train))/n)
        steps.append(seconds(step))
    rate = lambda ts: 1/statistics.median(ts)
    dl = sources['memory'].train
    return dict(size=size, bs=dl.bs, pairs=dl.n, threads=torch.get_num_threads(), device=str(default_device()),
                build_seconds=round(build, 1), steps_per_second=round(rate(steps), 2),
                lms_share=round(rate(steps)/rate(spectra), 3),
                batches_per_second={k: round(rate(v), 1) for k, v in loads.items()},
                ratio={k: round(rate(v)/rate(steps), 1) for k, v in loads.items()})


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
    names = dict(files='files, read every time', memory='memory', disk='store on the disk', device="store in the GPU's memory")
    print(f"{r['pairs']} training pairs, {r['size']} px, batches of {r['bs']}, {r['threads']} threads, {r['device']}; "
          f"the store took {r['build_seconds']} s to build")
    print(f"{'':28} {'batches/s':>10} {'times the appetite':>19}")
    print(f"{'training, preset small':28} {r['steps_per_second']:10} {1.0:19}")
    for k, name in names.items():
        if k in r['ratio']: print(f"{name:28} {r['batches_per_second'][k]:10} {r['ratio'][k]:19}")
        else: print(f"{name:28} {'no GPU':>10}")
    print(f"the LMS of a batch takes {r['lms_share']:.1%} of a training step")
    if args.json: Path(args.json).write_text(json.dumps(r, indent=1))


if __name__ == '__main__': main()
