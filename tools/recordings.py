"""Thirteen short clips of real instruments to try the audio classifier on.

    python tools/recordings.py FOLDER

They come out of two Debian packages, GCompris (nine clips, in Qt's resource format) and LMMS
(four). They are fetched, checked against a checksum and named by their instrument; none is part of
this project, and none is ever trained on.
"""
import argparse
import struct
import zlib
from pathlib import Path

from banks import Package, fetch, members

from cargan.core import CarganError, write_whole

GCOMPRIS = Package('apt', 'gcompris-qt-data', '3.1-2',
                   'e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f')
LMMS = Package('apt', 'lmms-common', '1.2.2+dfsg1-6',
               '7d9aa55dd05f11edc57104203ee1c350e3e41f8936ab3741da2bb1158fd46c37')
CLIPS = {'cello': 'cello', 'clarinet': 'clarinet', 'flute_traversiere': 'flute', 'horn': 'horn',
         'saxophone': 'sax', 'trombone': 'trombone', 'trumpet': 'trumpet', 'tuba': 'tuba',
         'violin': 'violin'}
SAMPLES = {'cello01': 'cello', 'flute01': 'flute', 'trumpet01': 'trumpet',
           'violin_fingered01': 'violin'}


def resources(data):
    """Names and bytes in a file of Qt's resource compiler (rcc, version 2 or 3): a tree of nodes,
    a table of names, the bytes"""
    version, tree, blob, names = struct.unpack('>4I', data[4:20])
    def name_at(at):
        n, = struct.unpack('>H', data[names + at:names + at + 2])
        return data[names + at + 6:names + at + 6 + 2*n].decode('utf-16-be')
    def body_at(at):
        size, = struct.unpack('>I', data[blob + at:blob + at + 4])
        return data[blob + at + 4:blob + at + 4 + size]
    def walk(i):
        at = tree + i*(22 if version > 1 else 14)
        name, flags, a, b = struct.unpack('>IHII', data[at:at + 14])
        if flags & 2: # a folder: `a` nodes from the `b`th
            for k in range(b, b + a): yield from walk(k)
        else:
            body = body_at(b)
            yield name_at(name), zlib.decompress(body[4:]) if flags & 1 else body
    return list(walk(0))


def gcompris():
    "Names and bytes of GCompris's clips"
    (_, rcc), = members(fetch(GCOMPRIS), lambda n: n.endswith('/instruments.rcc'))
    return {f'{CLIPS[Path(n).stem]}-gcompris.ogg': body for n, body in resources(rcc)
            if n.endswith('.ogg') and Path(n).stem in CLIPS}


def lmms():
    "Names and bytes of LMMS's clips"
    def wanted(n): return 'samples/instruments/' in n and Path(n).stem in SAMPLES
    return {f'{SAMPLES[Path(n).stem]}-lmms.ogg': body for n, body in members(fetch(LMMS), wanted)}


def fetch_all(folder):
    "Write the clips into a folder"
    clips = gcompris() | lmms()
    for name, body in sorted(clips.items()): write_whole(folder/name, body)
    print(f'{len(clips)} clips in {folder}')


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    fetch_all(parser.parse_args().folder)


if __name__ == '__main__':
    try: main()
    except CarganError as e: raise SystemExit(f'{e}') from None
