"What the fuzzer reads: small valid files of each kind, and what their readers may give"
import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import soundfile as sf
import torch
from fuzz_mutations import in_config, in_text
from PIL import Image
from test_sounds import CASES, OPTIONS, encode
from test_sounds import KINDS as CODECS

from cargan.data.audio import load_audio
from cargan.data.pairs import Pair, find_pairs
from cargan.data.pictures import open_picture
from cargan.data.prepare import prepare_videos
from cargan.data.videos import pictures_at, probe, sound_at, write_video
from cargan.deploy.translate import Translator, shipped_clips
from cargan.models.cascade import CARGAN
from cargan.models.preset import Preset, get_preset
from cargan.training.checkpoints import read_state, write_state


@dataclass
class Kind:
    make:Callable          # writes valid files into a folder; their paths, if not all that is there
    reads:tuple            # each takes a path and asserts what it gets
    inside:Callable = None # a mutation that knows what is in it
    name:Callable = None   # (random numbers, name, bytes) -> the name that a file gets


def make_seeds(name, folder):
    "[(name, bytes)] of valid files; what they need beside them stays in the folder"
    kind = KINDS[name]
    made = kind.make(folder) or sorted(p for p in folder.iterdir() if p.is_file())
    files = [(p.name, p.read_bytes()) for p in made]
    for p in made: kind.reads[0](p)
    for p in made: p.unlink()
    return files


# --- Sounds

SNDFILE = dict(wav='FLOAT', aiff='PCM_16', caf='ALAC_16', ogg='VORBIS', mp3=None, svx='PCM_16',
               voc='PCM_16', xi='DPCM_16', ircam='FLOAT', nist='PCM_16', paf='PCM_16',
               htk='PCM_16', mat5='FLOAT', pvf='PCM_16', avr='PCM_16', w64='GSM610')


def sounds(folder):
    wave = sf.read(shipped_clips()['violin'], dtype='float32')[0][20_000:42_000]
    for name, (codec, container, rate) in CODECS.items():
        encode(folder/name, codec, wave, 44100, container, rate, **OPTIONS.get(name, {}))
    for suffix, kind in SNDFILE.items():
        with open(folder/f'sf.{suffix}', 'wb') as f: sf.write(f, wave, 44100, kind, format=suffix)
    for n in (2, 6): sf.write(folder/f'{n}.wav', np.stack([wave]*n, 1), 44100)
    shutil.copy(CASES/'chained.ogg', folder)


def read_sound(path, seconds=None, **part):
    wave = load_audio(path, seconds=seconds, **part)
    assert wave.dtype == torch.float32 and wave.dim() == 1 and len(wave), 'no wave'
    assert wave.isfinite().all() and wave.abs().max() < 20, f'samples reach: {wave.abs().max()}'
    assert seconds is None or len(wave) <= round(seconds*22050), 'longer than asked for'


def read_part(path): read_sound(path, .1, start=.2)
def read_beyond(path): read_sound(path, .5, start=5.)


# --- Pictures

PILLOW = 'png jpg gif webp bmp tif ppm tga jp2 avif ico pcx dds sgi'.split()


def pictures(folder):
    x = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    im, deep = Image.fromarray(x), Image.fromarray(x[..., 0].astype(np.uint16)*257)
    for suffix in PILLOW:
        with suppress(OSError, KeyError, ValueError): im.save(folder/f'a.{suffix}') # not built in
    exif = im.getexif()
    exif[274] = 6
    im.save(folder/'turned.jpg', exif=exif)
    im.save(folder/'progressive.jpg', progressive=True)
    im.convert('P').save(folder/'p.png', transparency=3)
    for mode, name in dict(CMYK='cmyk.jpg', RGBA='rgba.png', LA='la.png').items():
        im.convert(mode).save(folder/name)
    im.convert('1').save(folder/'1.tif', compression='group4')
    for way in ('tiff_lzw', 'jpeg', 'tiff_adobe_deflate'):
        im.save(folder/f'{way}.tif', compression=way)
    for name in ('16.png', '16.tif'): deep.save(folder/name)
    Image.fromarray(x[..., 0].astype(np.float32)/255).save(folder/'float.tif')
    for name in ('moves.gif', 'moves.webp', 'moves.png'):
        im.save(folder/name, save_all=True, append_images=[im.rotate(90), im])


def read_picture(path):
    im = open_picture(path)
    assert im.mode == 'RGB' and np.asarray(im).shape == (im.height, im.width, 3) and min(im.size)


# --- Films

FILMS = dict(mp4=None, mov=None, mkv=None, webm=None, avi=None, ts=None, mpg=('mpeg2video', 'mp2'),
             flv=('flv', 'aac'))


def film(path, seconds=.8, **options):
    pictures = np.random.default_rng(0).integers(0, 256, (8, 32, 48, 3), np.uint8)
    frames, rate = (pictures[i % 8] for i in range(round(25*seconds))), 48000
    wave = .3*np.sin(np.arange(round(rate*seconds))/9)
    return write_video(path, frames, wave, fps=25, rate=rate, **options)


def films(folder):
    for suffix, codecs in FILMS.items():
        film(folder/f'a.{suffix}', codecs=codecs)
    film(folder/'turned.mp4', rotation=90)
    film(folder/'long.mp4', 2.5)


def read_film(path):
    span = probe(path)
    assert np.isfinite(span).all(), f'a span of: {span}'
    for start in (0., 1.3):
        sound, there = sound_at(path, start, .3)
        n = round(.3*44100)
        assert sound.dtype == np.int16 and sound.shape in ((n, 1), (n, 2)) and there.shape == (n,)
        found = list(pictures_at(path, [start, start + .1, start + .3]))
        assert len(found) == 3, 'another number of pictures'
        assert all(im is None or (im.mode == 'RGB' and min(im.size)) for im in found), 'no picture'


# --- Manifests and tables

def manifest(folder):
    lines, labels = [], ('cello', 'tuba', 'violin')
    for label, i in ((label, i) for label in labels for i in (1, 2)):
        place, hot = f'{label}/{label}0{i}_500.png', [int(label == other) for other in labels]
        for kind in ('spectram', 'img'):
            (folder/kind/label).mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (8, 8)).save(folder/kind/place)
        lines.append(f'./spectram/{place}||{str(hot)[1:-1]}||./img/{place}\n')
    (folder/'train_data.txt').write_text(''.join(lines))


def read_manifest(path):
    pairs = find_pairs(path)
    assert pairs and all(isinstance(p, Pair) for p in pairs), 'no pairs'
    assert all(p.sound.is_file() and p.image.is_file() and p.start_ms >= 0 for p in pairs), 'odd'
    assert {p.split for p in pairs} <= {'train', 'test'}, 'other splits'


def table(folder):
    film(folder/'a.mp4', 1.2)
    film(folder/'b.webm')
    rows = 'a.mp4,0,.6,violin', 'a.mp4,.7,1.2,tuba', 'b.webm,,,violin'
    (folder/'t.csv').write_text('\n'.join(('file,start,end,label', *rows)))
    (folder/'u.csv').write_text('label,file\n"tuba",b.webm\nviolin,a.mp4\n')
    return [folder/'t.csv', folder/'u.csv']


def read_table(path):
    out = path.with_name('out')
    try: said = prepare_videos(path, out, size=16, workers=1, progress=False)
    finally: whole = (out/'report.json').exists() and (out/'pairs.csv').exists()
    n = len(list(out.glob('chunk/*/*/*.wav')))
    assert whole and said['pairs'] == n == len(list(out.glob('img/*/*/*.jpg'))) > 0, 'not whole'
    shutil.rmtree(out)


# --- Bundles, checkpoints, presets

def bundle(folder):
    torch.manual_seed(0)
    small = dict(ngf=1, ndf=1)
    CARGAN(get_preset('tiny', **small), ('tuba', 'violin')).save(folder/'a.safetensors')
    other = CARGAN(get_preset('tiny', code=2, two_stages=False, **small), ('tuba', 'violin'))
    other.save(folder/'b.safetensors', half=True)


def read_bundle(path):
    translate = Translator.from_pretrained(path)
    if translate.takes == 'jet': return
    wave = .1*np.sin(np.arange(30_000)/9).astype(np.float32)
    found = translate(wave, sample_rate=22050)
    assert found.label in translate.labels and found.lms.isfinite().all(), 'no label, or no LMS'
    assert np.isfinite([*found.heard.values(), *found.residue.values()]).all(), 'not finite'


def state(folder):
    torch.manual_seed(0)
    told = dict(key='a', epoch=1, best=None, model=dict(w=torch.randn(4, 3), n=torch.arange(5)))
    write_state(folder, 'epoch0001-batch000000', dict(told, more=[1., (2, 'x')]))


def read_checkpoint(path):
    told = read_state(path)
    assert isinstance(told, dict), f'another type: {type(told).__name__}'


def by_its_hash(rng, name, data): # its reader looks further only if the name fits
    if rng.random() < .1: return name
    return f"{name.rpartition('-')[0]}-{hashlib.sha256(data).hexdigest()[:16]}.pt"


PRESET = """# mine
base = 'tiny'
[networks]
ngf = 4
d_attention_at = [4]
backbone = 'light'
[losses]
lambda_l1 = 10.5
lambda_g = [1, 0.5]
[optimisation]
lr_g = 1e-3
d_first = true
"""


def preset(folder):
    (folder/'a.toml').write_text(PRESET)
    (folder/'b.toml').write_text("size = 64\n'networks.ngf' = 2\nd_label = false\n")


def read_preset(path):
    p = get_preset(path)
    assert isinstance(p, Preset)
    json.dumps(p.to_dict(), allow_nan=False)


KINDS = dict(
    sound=Kind(sounds, (read_sound, read_part, read_beyond)),
    picture=Kind(pictures, (read_picture,)),
    film=Kind(films, (read_film,)),
    manifest=Kind(manifest, (read_manifest,), in_text),
    table=Kind(table, (read_table,), in_text),
    bundle=Kind(bundle, (read_bundle,), in_config),
    checkpoint=Kind(state, (read_checkpoint,), name=by_its_hash),
    preset=Kind(preset, (read_preset,), in_text))
