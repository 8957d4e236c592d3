"""The live page: `nbs/live` with the network, its runtime and the clips.

    python tools/live.py FOLDER [--bundle BUNDLE]

`make docs` does so into the site's folder `live`. The network is the bundle `small`, or one's own,
as ONNX with weights in 16 bits. The runtime is onnxruntime-web
out of its npm package (MIT licence). The clips are stored at the rate of the network, so that no
browser has to convert them.
"""
import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import soundfile as sf
from npm import npm_package

from cargan.data.audio import SILENCE_DB, load_audio
from cargan.deploy.export import export_onnx
from cargan.deploy.translate import shipped_clips
from cargan.models.cascade import CARGAN

PAGE = Path(__file__).parent.parent/'nbs'/'live'
RUNTIME = 'onnxruntime-web@1.22' # of npm
PARTS = 'ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm'

MIT = """MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def vendor_runtime(folder):
    "WebAssembly, and what loads it"
    folder.mkdir()
    try:
        with npm_package(RUNTIME) as package:
            for name in PARTS: shutil.copy(package/'dist'/name, folder)
            told = json.loads((package/'package.json').read_text(encoding='utf-8'))
    except (OSError, subprocess.CalledProcessError) as e:
        sys.exit(f'the live page needs npm, which cannot fetch {RUNTIME} ({e})')
    (folder/'LICENSE').write_text(f"onnxruntime-web {told['version']}\n\n{MIT}", encoding='utf-8')


def write_clips(folder, rate, labels):
    "FLAC, mono, of the instruments that the bundle knows"
    folder.mkdir()
    for label, path in shipped_clips().items():
        if label not in labels: continue
        sf.write(folder/f'{label}.flac', load_audio(path, rate).numpy(), rate, subtype='PCM_16')


def facts(model, folder):
    "What the page has to know of the network"
    names = 'model.onnx', 'ort/ort-wasm-simd-threaded.wasm'
    limit = round(float(getattr(model.audio.model, 'limit', 1.)), 4)
    return dict(labels=model.labels, rate=model.spec.sample_rate, n=model.spec.n_samples,
                size=model.spec.size, limit=limit, silence_db=SILENCE_DB,
                clips=sorted(p.stem for p in (folder/'clips').iterdir()),
                bytes={n: (folder/n).stat().st_size for n in names})


def version(folder):
    "Changes with any file"
    key = hashlib.sha256()
    for p in sorted(p for p in folder.rglob('*') if p.is_file()): key.update(p.read_bytes())
    return key.hexdigest()[:12]


def build(folder, bundle='small'):
    "The page, whole"
    folder = Path(folder)
    shutil.copytree(PAGE, folder)
    model = CARGAN.from_pretrained(bundle)
    export_onnx(model, folder/'model.onnx', half=True)
    vendor_runtime(folder/'ort')
    write_clips(folder/'clips', model.spec.sample_rate, model.labels)
    (folder/'model.json').write_text(json.dumps(facts(model, folder)), encoding='utf-8')
    worker = folder/'sw.js'
    text = worker.read_text(encoding='utf-8')
    worker.write_text(text.replace('VERSION', version(folder)), encoding='utf-8')


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='is made')
    parser.add_argument('--bundle', default='small', help="a bundle of one's own")
    args = parser.parse_args()
    build(args.folder, args.bundle)


if __name__ == '__main__': main()
