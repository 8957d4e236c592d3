"Pictures and folders that people have: read right, or named in one line; and names in figures"
import io
import shutil
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from PIL import Image

from cargan.core import CarganError
from cargan.data.audio import LMSSpec
from cargan.data.formats import from_manifest, report
from cargan.data.loaders import pairs_dls
from cargan.data.pairs import ReadImage, ReadSound, find_pairs, is_jet, scan_pairs
from cargan.data.pictures import drawable, open_picture

CASES = Path(__file__).parent/'cases'
RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (16, 1)) # [16, 64]
GREY = np.dstack([RAMP]*3)
GREEN = 0, 255, 0


def bytes_of(picture): return np.asarray(open_picture(picture))


def refused(f, *words):
    "`f` raises a `CarganError` of one line that holds `words`"
    with pytest.raises(CarganError) as e: f()
    assert len(str(e.value).splitlines()) == 1
    for w in words: assert w in str(e.value)
    return str(e.value)


@pytest.fixture
def saved(tmp_path):
    "saved('name.png', pixels or a picture, ...) -> its path"
    def save(name, pixels, **how):
        im = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        im.save(tmp_path/name, **how)
        return tmp_path/name
    return save


# One picture, in many forms

def test_the_cases():
    gray16, unit = Image.open(CASES/'gray16.png'), Image.open(CASES/'float.tiff')
    right = np.asarray(gray16).astype(float)/257
    assert np.abs(bytes_of(CASES/'gray16.png') - right[..., None]).max() <= .5
    assert np.abs(bytes_of(CASES/'float.tiff') - 255*np.asarray(unit)[..., None]).max() <= .501
    seen = bytes_of(CASES/'rgba.png').reshape(-1, 3)
    assert not (seen == GREEN).all(1).any() and (seen == 255).all(1).any()
    refused(lambda: open_picture(CASES/'bomb.png'), 'bomb.png: cannot be read as a picture')


@pytest.mark.parametrize('name, pixels, how', [
    ('a.png', RAMP, {}), ('a.png', GREY, {}), ('a.bmp', GREY, {}), ('a.tif', GREY, {}),
    ('a.png', Image.fromarray(RAMP).convert('P'), {}), ('a.gif', RAMP, {}),
    ('a.png', RAMP.astype(np.uint16)*257, {}), ('a.tif', RAMP.astype(np.uint16)*257, {}),
    ('a.pgm', RAMP.astype(np.uint16)*257, {}), ('a.jp2', RAMP.astype(np.uint16)*257, {}),
    ('a.tif', Image.frombytes('I;16B', (64, 16), (RAMP.astype('>u2')*257).tobytes()), {}),
    ('a.tif', 65535 - RAMP.astype(np.uint16)*257, dict(tiffinfo={262: 0})), # 0 is white
    ('a.tif', RAMP.astype(np.float32)/255, {}),
    ('a.tif', Image.fromarray(GREY).convert('CMYK'), {}),
    ('a.png', np.dstack([RAMP, 0*RAMP + 255]), {}), ('a.webp', GREY, dict(lossless=True)),
    ('no suffix at all', GREY, dict(format='png'))])
def test_a_ramp_is_a_ramp(saved, name, pixels, how):
    assert (bytes_of(saved(name, pixels, **how)) == GREY).all()


def test_plain_pictures_keep_their_bytes(saved):
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for name, pixels in (('a.jpg', noise), ('a.png', noise), ('b.jpg', noise[..., 0]),
                         ('b.png', noise[..., 0]), ('c.png', noise[..., 0] > 127)):
        f = saved(name, pixels)
        with Image.open(f) as im: assert (bytes_of(f) == np.asarray(im.convert('RGB'))).all()
    with Image.open(saved('a.jpg', noise)) as im: # what training keeps, resized
        small = np.asarray(im.convert('RGB').resize((32, 32), Image.LANCZOS))
    assert (ReadImage(32).read(saved('a.jpg', noise)).permute(1, 2, 0).numpy() == small).all()


def test_what_is_transparent_is_white(saved):
    rgba = np.dstack([0*GREY + GREEN, np.where(RAMP < 128, 0, 255)]).astype(np.uint8)
    right = np.where(RAMP[..., None] < 128, (255, 255, 255), GREEN)
    palette = Image.fromarray((RAMP >= 128).astype(np.uint8), 'P')
    palette.putpalette([200, 0, 0, *GREEN])
    for f in (saved('a.png', rgba), saved('a.webp', rgba, lossless=True), saved('a.tif', rgba),
              saved('b.png', palette, transparency=0), saved('c.png', palette, transparency=b'\0'),
              saved('b.gif', palette, transparency=0)):
        assert (bytes_of(f) == right).all(), f
    key = Image.fromarray(np.where(RAMP[..., None] < 128, (1, 2, 3), GREEN).astype(np.uint8))
    assert (bytes_of(saved('key.png', key, transparency=(1, 2, 3))) == right).all()
    half = np.dstack([0*RAMP, 0*RAMP + 128])
    assert (bytes_of(saved('la.png', half)) == 127).all()
    deep = Image.fromarray(RAMP.astype(np.uint16)*257)
    assert (bytes_of(saved('deep.png', deep, transparency=0))[:, 0] == 255).all()


def test_the_first_frame(saved):
    frames = [Image.new('RGB', (8, 8), c) for c in ('red', 'blue', 'lime')]
    for name in ('a.gif', 'a.png', 'a.webp', 'a.tif'):
        how = dict(lossless=True) if name == 'a.webp' else {}
        f = saved(name, frames[0], save_all=True, append_images=frames[1:], **how)
        assert Image.open(f).n_frames == 3 and (bytes_of(f) == (255, 0, 0)).all()


@pytest.mark.parametrize('turn', range(1, 9))
def test_photos_stand_upright(saved, turn):
    corner = np.zeros((24, 40, 3), np.uint8)
    corner[:8, :8] = 255 # as it is stored, at the upper left
    exif = Image.Exif()
    exif[274] = turn
    seen = bytes_of(saved('a.jpg', corner, exif=exif, quality=100))
    assert seen.shape[:2] == ((24, 40) if turn < 5 else (40, 24))
    at = [(0, 0), (0, -1), (-1, -1), (-1, 0), (0, 0), (0, -1), (-1, -1), (-1, 0)][turn - 1]
    assert seen[at].min() > 200 and (seen > 127).all(-1).sum() == 64


def test_damaged_exif_turns_nothing(saved):
    f = saved('a.jpg', GREY, exif=b'Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0', quality=100)
    assert bytes_of(f).shape == GREY.shape


def test_given_pictures(saved):
    deep = Image.fromarray(RAMP.astype(np.uint16)*257)
    assert (bytes_of(deep) == GREY).all() and deep.mode == 'I;16'
    refused(lambda: open_picture(Image.fromarray(RAMP.astype(np.int32))), 'picture: cannot be read')


# What cannot be read

def test_one_line_says_why(saved, tmp_path):
    for name, values in (('height.tif', RAMP*3.5), ('negative.tif', RAMP - 9.),
                         ('nan.tif', np.where(RAMP == 0, np.nan, .5))):
        f = saved(name, values.astype(np.float32))
        refused(lambda: open_picture(f), name, 'which is white')
    refused(lambda: open_picture(saved('i.tif', RAMP.astype(np.int32))), 'i.tif', 'is white')
    (tmp_path/'empty.png').touch()
    refused(lambda: open_picture(tmp_path/'empty.png'), 'empty.png', 'format is not known')
    refused(lambda: open_picture(tmp_path), 'there is no such file')
    for name in ('none.png', 'a'*300, 'nul\0'):
        refused(lambda: open_picture(tmp_path/name), 'there is no such file')
    eps = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n'
    (tmp_path/'a.jpg').write_bytes(eps)
    refused(lambda: open_picture(tmp_path/'a.jpg'), 'format is not known') # runs no Ghostscript


def test_large_pictures(saved, monkeypatch):
    "JPEGs can be read at half their size"
    from cargan.data import pictures
    monkeypatch.setattr(pictures, '_MOST', 700) # pixels; 64 x 16 are more
    assert open_picture(saved('a.jpg', GREY)).size == (32, 8)
    refused(lambda: open_picture(saved('a.png', GREY)), 'a.png', '64 x 16 pixels are too many')


def spoilt(raw, rng):
    "Some bytes changed, some cut off"
    raw = bytearray(raw)
    for _ in range(rng.integers(1, 9)): raw[rng.integers(len(raw))] = rng.integers(256)
    return bytes(raw[:rng.integers(1, len(raw))] if rng.random() < .4 else raw)


def test_whatever_is_in_a_file(saved, tmp_path):
    "A picture or one line that names the file, and no warning"
    rng, read = np.random.default_rng(0), 0
    exif = Image.Exif()
    exif[274] = 3
    files = [saved(f'a.{s}', GREY) for s in ('png', 'gif', 'bmp', 'jp2', 'webp', 'tga', 'ico')]
    files += [saved('a.jpg', GREY, exif=exif), saved('b.tif', GREY, compression='tiff_lzw'),
              saved('p.png', Image.fromarray(RAMP).convert('P'), transparency=3),
              saved('d.png', RAMP.astype(np.uint16)*257)]
    for raw in [f.read_bytes() for f in files for _ in range(60)]:
        (tmp_path/'odd').write_bytes(spoilt(raw, rng))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            try:
                im = open_picture(tmp_path/'odd')
                assert im.mode == 'RGB' and min(im.size) > 0
                read += 1
            except CarganError as e:
                assert len(str(e).splitlines()) == 1 and str(tmp_path/'odd') in str(e)
        assert not said
    assert 0 < read < 60*len(files)


# A folder

def tone(path, hz=440.):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, .3*np.sin(2*np.pi*hz*np.arange(22050)/44100), 44100)


def pair(root, name, split='train', label=None, sound='.wav', image='.jpg'):
    label = label or name.rstrip('0123456789_')
    tone(root/'chunk'/split/label/f'{name}{sound}')
    (root/'img'/split/label).mkdir(parents=True, exist_ok=True)
    Image.fromarray(GREY).save(root/'img'/split/label/f'{name}{image}')


@pytest.fixture
def folder(tmp_path):
    "Two training pairs, two test pairs"
    for split, r in (('train', '00'), ('validation', '01')):
        for ms in (0, 500): pair(tmp_path/'data', f'saw{r}_{ms}', split)
    return tmp_path/'data'


LEFT = ['.DS_Store', 'Thumbs.db', 'desktop.ini', '._saw00_0.wav', '._saw00_0.jpg', 'saw00_0.xml',
        'saw00_0.txt', 'saw00_0.wav.part', 'saw00_0', 'notes.csv', '.saw00_7.wav']


def test_what_computers_leave_behind(folder):
    before = find_pairs(folder)
    for kind in ('chunk', 'img'):
        for name in LEFT: (folder/kind/'train'/'saw'/name).write_bytes(b'x')
        (folder/kind/'train'/'saw'/'saw00_9.wav').mkdir() # a folder
        (folder/kind/'train'/'.cache').mkdir()
        shutil.copy(folder/'chunk'/'train'/'saw'/'saw00_0.wav', folder/kind/'train'/'.cache')
        (folder/kind/'train'/'.DS_Store').write_bytes(b'x')
    assert len(before) == 4 and find_pairs(folder) == before
    r = report(folder, workers=1)
    assert (r['pairs'], r['skipped']) == (4, [])


def test_suffixes_in_capitals(folder):
    pair(folder, 'saw00_1000', sound='.WAV', image='.JPEG')
    pair(folder, 'saw00_1500', sound='.Flac', image='.PNG')
    names = [(p.sound.name, p.image.name) for p in find_pairs(folder) if p.start_ms >= 1000]
    assert names == [('saw00_1000.WAV', 'saw00_1000.JPEG'), ('saw00_1500.Flac', 'saw00_1500.PNG')]
    assert report(folder, workers=1)['pairs'] == 6


@pytest.mark.parametrize('kind, other', [('chunk', 'saw00_0.flac'), ('chunk', 'saw00_0.WAV'),
                                         ('chunk', 'saw00_0.png'), ('img', 'saw00_0.png')])
def test_two_of_one_name(folder, kind, other):
    place, there = folder/kind/'train'/'saw', dict(chunk='saw00_0.wav', img='saw00_0.jpg')[kind]
    shutil.copy(place/there, place/other)
    a, b = sorted([place/there, place/other])
    refused(lambda: find_pairs(folder), f'{a}: {b.name} is a', 'same name')
    r = report(folder, workers=1)
    said = [(s['file'], s['why']) for s in r['skipped'] if 'same name' in s['why']]
    assert r['pairs'] == 3 and len(said) == 1 and said[0][0] == str(b) and a.name in said[0][1]


def test_all_see_the_same_files(folder):
    pair(folder, 'saw00_2000', sound='.ogg', image='.webp')
    seen = set(scan_pairs(folder))
    assert seen == {(p.split, p.label, p.sound.stem) for p in find_pairs(folder)}
    assert report(folder, workers=1)['pairs'] == len(seen) == 5


def test_a_bad_picture_is_named_by_all(folder):
    bad = folder/'img'/'train'/'saw'/'saw00_0.jpg'
    bad.write_bytes(bad.read_bytes()[:200])
    pairs = find_pairs(folder)
    one = next(p for p in pairs if p.image == bad)
    why = refused(lambda: ReadImage(32).read(one), f'{bad}: cannot be read as a picture')
    assert refused(lambda: ReadImage(32, pairs).read(one)) == why
    said = dict(file=str(bad), why=why.removeprefix(f'{bad}: '))
    assert report(folder, workers=1)['skipped'] == [said]


# Manifests

@pytest.fixture
def manifest(tmp_path):
    "write(encoding, ...) -> a manifest of four pairs"
    (tmp_path/'data').mkdir()
    lines = []
    for label, hot in (('café', '1, 0'), ('tuba', '0, 1')):
        (tmp_path/label).mkdir()
        for name in (f'{label}00_0', f'{label}01_0'):
            for suffix in ('png', 'jpg'):
                Image.fromarray(GREY).save(tmp_path/label/f'{name}.{suffix}')
            lines.append(f'./{label}/{name}.png||{hot}||./{label}/{name}.jpg')
    def write(encoding, more=(), end='\n'):
        (tmp_path/'list.txt').write_bytes(end.join([*lines, *more]).encode(encoding))
        return tmp_path/'list.txt'
    return write


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_manifests_of_all_editors(manifest, tmp_path, encoding, end):
    f = manifest(encoding, end=end)
    assert [(p.label, p.split) for p in find_pairs(f)] == [
        ('café', 'train'), ('tuba', 'train'), ('café', 'test'), ('tuba', 'test')]
    assert from_manifest(f, tmp_path/'out')['pairs'] == 4
    assert all(is_jet(p.sound) for p in find_pairs(tmp_path/'out'))


def test_manifests_in_other_text(manifest):
    f = manifest('latin-1')
    refused(lambda: find_pairs(f), f'{f}, line 1', 'UTF-8')
    f.write_bytes(manifest('utf-8').read_bytes() + b'\n\n./caf\xe9')
    refused(lambda: find_pairs(f), f'{f}, line 6', 'UTF-8')
    refused(lambda: find_pairs(manifest('utf-16-le')), 'line 1', 'UTF-8') # without its mark
    refused(lambda: find_pairs(manifest('utf-32')), 'line 1', 'UTF-8')
    refused(lambda: find_pairs(manifest('utf-8', ['a'*9999 + '||1,0||b'])), 'but not there')


def test_whatever_is_in_a_manifest(manifest):
    "Pairs, or one line that names the file"
    rng, f = np.random.default_rng(0), manifest('utf-8')
    raw, read = f.read_bytes(), 0
    for _ in range(300):
        f.write_bytes(spoilt(raw, rng))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore') # a class with one recording
            try: read += bool(find_pairs(f))
            except CarganError as e: assert str(f.parent) in str(e)
    assert read < 300


def test_a_manifests_pictures_are_any(manifest, tmp_path):
    "A spectrogram of 16 bits or with alpha is read like any other"
    f = manifest('utf-8')
    sound = find_pairs(f)[0].sound
    before = ReadSound(LMSSpec(size=32)).read(sound)
    Image.fromarray(RAMP.astype(np.uint16)*257).save(sound)
    assert torch.equal(ReadSound(LMSSpec(size=32)).read(sound), before)


def test_odd_digits_in_a_name(folder):
    pair(folder, 'saw00_²', label='saw')
    refused(lambda: find_pairs(folder), 'saw00_²', 'rename it')
    assert report(folder, workers=1)['pairs'] == 4


# One training pair

@pytest.fixture(scope='module')
def lone(tmp_path_factory):
    "Loaders of one training pair and two test pairs, at 32 pixels"
    root = tmp_path_factory.mktemp('lone')
    pair(root, 'saw00_0')
    for i in range(2): pair(root, f'saw01_{500*i}', 'validation')
    return pairs_dls(root, LMSSpec(size=32))


def test_one_pair_trains_whatever_learns(lone):
    from cargan.evaluation.baselines import train_baseline
    from cargan.evaluation.matching import train_matcher
    from cargan.evaluation.metrics import train_judge
    from cargan.models.classifier import AudioClassifier, ImageClassifier
    from cargan.training.train import train_classifiers
    lms, _, image = [t.as_subclass(torch.Tensor) for t in lone.train.one_batch()]
    assert len(lms) == 1
    judge = train_judge(lone, epochs=1)
    assert judge(image).isfinite().all()
    assert train_matcher(lone)(lms, image).isfinite().all()
    c, audio, _ = train_classifiers(lone, 'tiny', 1, 1)
    assert c(image).isfinite().all() and audio(lms).isfinite().all()
    system = train_baseline('s2ic', lone, 'tiny', 1, ImageClassifier(1, 'light').eval(),
                            AudioClassifier(1).eval())
    assert system.paint(lms).isfinite().all()


def test_one_pair_more_than_the_batches(folder):
    "A last batch of one, where a loader keeps it, and a batch norm of one place a channel"
    from cargan.training.pretrain import classifier_learner
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(3),
                              torch.nn.Flatten(), torch.nn.Linear(3, 1))
    pair(folder, 'saw00_1000')
    dls = pairs_dls(folder, LMSSpec(size=32), bs=2)
    dls.loaders[0] = dls.train.new(drop_last=False)
    learn = classifier_learner(dls, net)
    with learn.no_logging(), learn.no_bar(): learn.fit(1)
    assert len(learn.recorder.losses) == 2


def test_one_pair_is_too_few_to_evaluate(lone):
    from cargan.evaluation.metrics import evaluate, new_judge
    from cargan.models.cascade import CARGAN
    model = CARGAN('tiny', ['saw'])
    refused(lambda: evaluate(model, lone, new_judge(1).eval()), 'at least 2', 'there are 1 and 2')


# Names in figures

def drawn(*names):
    "Draw them as a title and as ticks; what matplotlib warns of is an error"
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots()
    ax.set_title(drawable(names[0]))
    ax.set_xticks(range(len(names)), list(map(drawable, names)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fig.savefig(io.BytesIO(), format='png')
    plt.close(fig)


NAMES = ['小提琴', 'ヴァイオリン', '바이올린', 'скрипка', '$x_1$', r'$\nonsense{$', 'two\nlines',
         '\x07bell', 'a'*200, '🎻', 'double bass', '']


@pytest.fixture
def fonts():
    "matplotlib's settings and fonts, as they were afterwards"
    from matplotlib import font_manager, rc_context

    from cargan.data import pictures
    before = list(font_manager.fontManager.ttflist)
    with rc_context(): yield font_manager.fontManager
    font_manager.fontManager.ttflist[:] = before
    pictures._font_with.cache_clear()


def test_names_without_a_font(fonts):
    fonts.ttflist[:] = [f for f in fonts.ttflist if f.name.startswith(('DejaVu', 'Last'))]
    drawn(*NAMES)
    assert drawable('小提琴') == r'\u5c0f\u63d0\u7434' and drawable('скрипка') == 'скрипка'
    assert len(drawable('a'*200)) == 32 and drawable('a'*32) == 'a'*32
    assert len({drawable(f'{"a"*99}{i}') for i in range(9)}) == 9
    assert drawable('$x_1$') == r'\$x_1\$'


def test_names_with_a_font(fonts, tmp_path):
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib import rcParams
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for p in ((0, 900), (900, 900), (900, 0)): pen.lineTo(p)
    pen.closePath()
    made = FontBuilder(1000)
    made.setupGlyphOrder(['.notdef', 'box'])
    made.setupCharacterMap({ord(c): 'box' for c in '小提琴'})
    made.setupGlyf({'.notdef': TTGlyphPen(None).glyph(), 'box': pen.glyph()})
    made.setupHorizontalMetrics({'.notdef': (1000, 0), 'box': (1000, 0)})
    made.setupHorizontalHeader(ascent=900, descent=-100)
    made.setupNameTable(dict(familyName='Three Letters', styleName='Regular'))
    made.setupOS2()
    made.setupPost()
    made.save(tmp_path/'three.ttf')
    fonts.ttflist[:] = [f for f in fonts.ttflist if f.name.startswith(('DejaVu', 'Last'))]
    fonts.addfont(tmp_path/'three.ttf')
    first = list(rcParams['font.family'])
    assert drawable('violin') == 'violin' and rcParams['font.family'] == first
    assert drawable('小提琴') == '小提琴' and rcParams['font.family'] == [*first, 'Three Letters']
    drawn('小提琴', 'violin')


class Tags(HTMLParser):
    "The tags of a page"
    def __init__(self):
        super().__init__()
        self.seen = set()
    def handle_starttag(self, tag, attrs): self.seen.add(tag)


def test_names_of_a_translation(tiny, fonts, tmp_path):
    "In HTML no tags of a file's or a bundle's, in figures no boxes"
    import matplotlib.pyplot as plt

    from cargan.deploy.translate import Translator, show_translations
    from cargan.models.cascade import CARGAN
    evil = '<script>alert(1)</script>'
    torch.manual_seed(0)
    CARGAN('tiny', [evil, '小提琴', '$x$']).save(tmp_path/'b.safetensors')
    tone(tmp_path/'<iframe src=x>.wav')
    t = Translator.from_pretrained(tmp_path/'b.safetensors')
    shown = [t(tmp_path/'<iframe src=x>.wav', label) for label in t.labels]
    tags = Tags()
    for s in shown: tags.feed(s._repr_html_())
    assert tags.seen <= {'p', 'b', 'em', 'audio', 'table', 'tr', 'td', 'img', 'br'}
    fig = show_translations(shown)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fig.savefig(io.BytesIO(), format='png')
    plt.close(fig)


def test_a_translator_opens_pictures_likewise(tmp_path, saved):
    from cargan.deploy.translate import Translator
    from cargan.models.cascade import CARGAN
    torch.manual_seed(0)
    model = CARGAN('tiny', ['a', 'b'])
    model.input = 'jet'
    t = Translator(model)
    deep, grey = saved('deep.png', RAMP.astype(np.uint16)*257), saved('grey.png', RAMP)
    for given in (deep, Image.open(deep)): assert torch.equal(t(given).lms, t(grey).lms)
    refused(lambda: t(CASES/'bomb.png'), 'bomb.png: cannot be read as a picture')
    refused(lambda: t(tmp_path/'none.png'), 'none.png', 'there is no such file')
