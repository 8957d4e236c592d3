"""How long does one translation take, and what does the import cost? One clip, warm, with a bundle.

Prints milliseconds for the whole call (file to picture), for the ear (a second of sound) and for
the generators alone, and the seconds of the import beside those of fastai's own in the same run.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


def import_seconds(*modules, times=7):
    "Median seconds that a fresh interpreter needs to import each module; they take turns"
    code = 'import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)'
    def once(module):
        return float(subprocess.check_output([sys.executable, '-c', code.format(module)]))
    for m in modules: once(m)   # from a cold disk
    return map(statistics.median, zip(*[[once(m) for m in modules] for _ in range(times)]))


def milliseconds(f, times=50):
    "Median milliseconds of a warm call"
    for _ in range(5): f()
    def once():
        start = time.perf_counter()
        f()
        return 1000*(time.perf_counter() - start)
    return statistics.median(once() for _ in range(times))


def measure(bundle):
    "The report"
    fastai, basics, ours = import_seconds('fastai.vision.all', 'fastai.basics',
                                          'cargan.deploy.translate')
    import torch
    from cargan.deploy.translate import Translator, shipped_clips
    from cargan.models.ear import log_probabilities
    translator = Translator.from_pretrained(bundle)
    clip = next(iter(shipped_clips().values()))
    t = translator(clip)
    wave, label = t.wave[None], torch.tensor([translator.labels.index(t.label)])
    whole = milliseconds(lambda: translator(clip))
    ten = torch.randn(20, wave.shape[1])*.1 # seconds of sound
    ear = milliseconds(lambda: log_probabilities(translator.model, ten))/10
    model = milliseconds(lambda: translator.paint(wave, label))
    return dict(size=translator.model.spec.size, threads=torch.get_num_threads(),
                milliseconds=round(whole, 1), milliseconds_ear=round(ear, 1),
                milliseconds_model=round(model, 1),
                import_seconds=round(ours, 2), import_seconds_fastai=round(fastai, 2),
                import_ratio=round(ours/fastai, 2), import_seconds_fastai_basics=round(basics, 2),
                import_ratio_basics=round(ours/basics, 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--bundle', help='a bundle; the shipped one if not given')
    parser.add_argument('--json', help='write the numbers here')
    args = parser.parse_args()
    report = measure(args.bundle)
    for k, v in report.items(): print(f'{k:28} {v}')
    if args.json: Path(args.json).write_text(json.dumps(report, indent=1))


if __name__ == '__main__': main()
