"""Mutated files for every reader of the library: python tests/fuzz.py [N] [SEED] [KIND ...]

Whatever a file holds, its reader gives a value of the right type, or raises one line that names
the file. There is no other exception and no crash, nothing takes longer than 10 s or more than
1 GB, and nothing is left beside the file. Each kind is read in a process of its own, which is
watched. A file that fails is kept, and can be read again:
python tests/fuzz.py KEPT/sound-1a2b3c4d/v.wav
"""
import gc
import hashlib
import multiprocessing as mp
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import torch
from fuzz_kinds import KINDS, make_seeds
from fuzz_mutations import mutated
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from cargan.core import CarganError

SECONDS, MEGABYTES = 10, 1000   # that one file may take


# --- What a reader may do

def one_line(text, path):
    assert len(text.splitlines()) == 1, f"an error of several lines: {text[:300]!r}"
    assert str(path) in text, f"an error that does not name the file: {text[:300]!r}"
    assert len(text) - len(str(path)) < 800, f"an error that goes on and on: {text[:300]!r}"


def check_warning(w):
    one = w.category is UserWarning and len(str(w.message).splitlines()) == 1
    where = f'{Path(w.filename).name}, line {w.lineno}'
    assert one, f"a warning of {w.category.__name__} in {where}: {w.message}"


def read(kind, path):
    "Read a file; AssertionError where what comes is neither a value nor one line"
    before = set(path.parent.iterdir())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        for reads in kind.reads:
            try: reads(path)
            except CarganError as e: one_line(str(e), path)
    for w in said: check_warning(w)
    left = set(path.parent.iterdir()) - before
    for p in left: remove(p)
    assert not left, f"left behind: {', '.join(p.name for p in left)}"


def remove(path): shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


# --- What fails is kept

def reason(e):
    "What is wrong and where it was raised, then the traceback"
    ours = [f for f in traceback.extract_tb(e.__traceback__) if 'fuzz' not in Path(f.filename).name]
    at = f'{Path(ours[-1].filename).name}:{ours[-1].lineno}' if ours else ''
    said = str(e).partition(':')[0] if isinstance(e, AssertionError) else ''
    return f'{type(e).__name__} {said or at}\n{"".join(traceback.format_exception(e))}'


def keep(kept, name, path, why):
    "Keep a file, one for each reason"
    number = hashlib.sha256(why.partition('\n')[0].encode()).hexdigest()[:8]
    at = kept/f'{name}-{number}'
    if at.exists(): return
    at.mkdir(parents=True)
    shutil.copyfile(path, at/path.name)
    (at/'why.txt').write_text(why, encoding='utf-8', errors='backslashreplace')


# --- A process that reads, and one that watches it

def reading(name, seeds, n, seed, work, kept, count, began):
    "Read `n` mutated files, in a process of its own"
    torch.set_num_threads(1)
    printed = os.open(kept/f'{name}.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2): os.dup2(printed, stream)  # some decoders print

    @settings(max_examples=n, deadline=None, database=None, derandomize=seed is None,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(mutated(KINDS[name], seeds))
    def one(file):
        path = work/file[0]
        path.write_bytes(file[1])
        count.value, began.value = count.value + 1, time.monotonic()
        try: read(KINDS[name], path)
        except Exception as e: keep(kept, name, path, reason(e))
        path.unlink(missing_ok=True)

    try: (one if seed is None else seeded(seed)(one))()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)                                     # what the parent imported ends with it


def memory(pid):
    "MB that a process has for itself"
    try: lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    except OSError: return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith('RssAnon'))/1000


def watch(process, began, seconds, megabytes):
    "What is wrong with a process, which is then ended; None if it comes to its end"
    base, why = memory(process.pid), None
    while process.is_alive() and not why:
        process.join(.03)
        if time.monotonic() - began.value > seconds: why = f'takes longer than {seconds} s'
        if memory(process.pid) - base > megabytes: why = f'takes more than {megabytes} MB'
    if why: process.kill()
    process.join()
    return why or (f'ends with {process.exitcode}' if process.exitcode else None)


def fuzz(name, n, seed=None, kept=None, seconds=SECONDS, megabytes=MEGABYTES):
    "Read `n` mutated files of a kind, without a seed always the same: {where one is kept: why}"
    context, kept = mp.get_context('fork'), Path(kept or tempfile.mkdtemp(prefix='fuzz_'))
    count, began = context.Value('q', 0), context.Value('d', 0)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        seeds, there = make_seeds(name, work), set(work.iterdir())
        while count.value < n:
            gc.collect()                            # a decoder's threads do not survive a fork
            began.value = time.monotonic() + 5      # a start takes time
            left, more = n - count.value, None if seed is None else seed + count.value
            args = name, seeds, left, more, work, kept, count, began
            p = context.Process(target=reading, args=args)
            p.start()
            why = watch(p, began, seconds, megabytes)
            if why and count.value == n - left: raise RuntimeError(f'{name}: {why} before a file')
            for path in set(work.iterdir()) - there:
                if why and path.is_file(): keep(kept, name, path, why)
                remove(path)
            if seed is None or not why: break       # it would read the same files again
    found = sorted(kept.glob(f'{name}-*/why.txt'))
    return {str(p.parent): p.read_text(encoding='utf-8') for p in found}


# --- The command

def again(path):
    "Read a file that was kept"
    name = path.parent.name.rpartition('-')[0]
    with tempfile.TemporaryDirectory() as work:
        make_seeds(name, Path(work))
        read(KINDS[name], Path(shutil.copy(path, work)))


def main(args):
    if args and Path(args[0]).is_file(): return again(Path(args[0]))
    numbers, names = [int(a) for a in args if a.isdigit()], [a for a in args if a in KINDS]
    n, seed, *_ = [*numbers, *[10_000, random.randrange(10**6)][len(numbers):]]
    names, kept, bad = names or list(KINDS), Path(tempfile.mkdtemp(prefix='fuzz_')), 0
    print(f'{n} files, seed {seed}; what fails is kept in {kept}', flush=True)
    for name in names:
        began, each = time.monotonic(), -(-n//len(names))
        found = fuzz(name, each, seed, kept)
        bad += len(found)
        took = time.monotonic() - began
        print(f'{name}: {each} files, {took:.0f} s, {len(found)} fail', flush=True)
        for where, why in found.items(): print(f'  {where}: {why.splitlines()[0]}', flush=True)
    return bool(bad)


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
