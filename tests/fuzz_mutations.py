"How the fuzzer changes a file: its bytes, its words, the values of its JSON"
import json
import re
import struct

from hypothesis import strategies as st

# --- Bytes: each takes a generator of random numbers, and a bytearray, which it changes

_FORMS = '<H', '>H', '<I', '>I', '<Q', '>Q'
NUMBERS = [struct.pack(form, v) for form in _FORMS for top in (2**(8*struct.calcsize(form)),)
           for v in (0, 1, top - 1, top//2, top//2 - 1, top//16)]
NUMBERS += [struct.pack(form, v) for form in ('<f', '>f', '<d', '>d')
            for v in (float('nan'), float('inf'), -1., 3e38, 1e-40)]


def place(rng, data):
    "Somewhere in a file, often near its beginning or its end"
    near = rng.randrange(400)
    return rng.choice([min(near, len(data)), max(0, len(data) - near), rng.randint(0, len(data))])


def part(rng, data):
    at = place(rng, data)
    return slice(at, at + rng.choice([1, 2, 4, 8, 16, 100, rng.randrange(4096)]))


def flip(rng, data):
    at = place(rng, data)
    if at < len(data): data[at] ^= 1 << rng.randrange(8)


def overwrite(rng, data):
    at, few = place(rng, data), rng.randbytes(rng.randrange(1, 9))
    new = rng.choice([rng.choice(NUMBERS), few])
    data[at:at + len(new)] = new


def fill(rng, data):
    where = part(rng, data)
    data[where] = rng.choice([b'\0', b'\xff'])*len(data[where])


def insert(rng, data, new=None):
    at = place(rng, data)
    data[at:at] = rng.randbytes(rng.randrange(64)) if new is None else new


def double(rng, data): insert(rng, data, bytes(data[part(rng, data)])*rng.choice([1, 1, 2, 50]))
def cut(rng, data): del data[place(rng, data):]
def delete(rng, data): del data[part(rng, data)]


OF_BYTES = [flip, flip, flip, overwrite, overwrite, overwrite, fill, cut, delete, insert, double]


# --- Texts

JUNK = ['', ' ', '\n', '\r', '\0', '\t', '"', "'", '""', '\\', ',', '||', '|', '=', '[', ']', '{',
        '}', '#', '.', '..', '../..', '/', '/etc/passwd', '-', '-1', '0', '1', '1.5', '1e999',
        '-1e999', 'nan', 'inf', '9'*400, '9'*5000, '1'*30, '0x' + 'f'*9000, '1_000', '1, 0', 'true',
        'None', 'null', '[]', '{}', '['*4000, '{"a":'*2000, '[a]\n', 'a.'*3000, '\u2028', '\x85',
        '\x1b[31m', '\ufeff', '\u202e', 'é', '🎻', 'e\u0301', '٣', '²', 'x'*300, 'x'*70_000, '%s%n',
        '2024-01-01']


def number(rng):
    return rng.choice([rng.randrange(300), rng.randint(-2**70, 2**70), rng.uniform(-9, 9),
                       rng.uniform(-9, 9)*10**rng.randint(-300, 300)])


def letters(rng):
    codes = (rng.choice([128, 0x3000, 0x11_0000]) for _ in range(rng.randrange(12)))
    return ''.join(chr(rng.randrange(c)) for c in codes).encode('utf-8', 'replace').decode()


def words(rng):
    return rng.choice([rng.choice(JUNK), rng.choice(JUNK), letters(rng), str(number(rng))])


def in_text(rng, data):
    "A word becomes another, or something comes in between"
    text = data.decode('utf-8', 'surrogateescape')
    found = list(re.finditer(r'\w+|[^\w\s]', text[:10_000]))
    if found and rng.random() < .7: a, b = rng.choice(found).span()
    else:
        a = place(rng, text)
        b = a + rng.choice([0, 0, 0, 1, 40])
    new = rng.choice([text[a:b]*2, words(rng), words(rng)])
    data[:] = (text[:a] + new + text[b:]).encode('utf-8', 'surrogateescape')


# --- JSON: one of its places gets another value

ODD = [0, -1, 1, 2, 3, 7, 16, 31, 10**6, 10**12, 10**400, 1e999, float('nan'), '', 'lms',
       'resnet50', 'ImageClassifier', 'torchvision', 'vit_h_14', 'x'*5000, '\u2028', [], {}, [[]],
       [None], ['a', 'a'], ['a']*13, {'own': 'a'}]


def value(rng): return rng.choice([None, True, False, number(rng), rng.choice(ODD), letters(rng)])


def places(x, at=()):
    if at: yield at
    for k in x if isinstance(x, dict) else range(len(x)) if isinstance(x, list) else ():
        yield from places(x[k], (*at, k))


def change(rng, x):
    *way, last = rng.choice(list(places(x)) or [('new',)])
    for k in way: x = x[k]
    if last == 'new' or rng.random() < .7: x[last] = value(rng)
    else:
        was = x.pop(last)
        if isinstance(x, dict) and rng.random() < .5: x[letters(rng)] = was


def in_config(rng, data):
    "The configuration in the header of a bundle, or the header itself"
    n = int.from_bytes(data[:8], 'little')
    try:
        header = json.loads(data[8:8 + n])
        config = json.loads(header['__metadata__']['cargan'])
        change(rng, config)
        header['__metadata__']['cargan'] = json.dumps(config)
    except (ValueError, KeyError, TypeError, AttributeError): return overwrite(rng, data)
    if rng.random() < .1: change(rng, header)
    new = json.dumps(header).encode()
    data[:8 + n] = len(new).to_bytes(8, 'little') + new


# --- A file

@st.composite
def mutated(draw, kind, seeds):
    "(name, bytes) of a file that was valid before"
    rng = draw(st.randoms(use_true_random=True))
    name, data = rng.choice(seeds)
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 6])):
        if kind.inside and rng.random() < .85: kind.inside(rng, data)
        elif rng.random() < .05: # a splice
            other = rng.choice(seeds)[1]
            data[part(rng, data)] = other[part(rng, other)]
        else: rng.choice(OF_BYTES)(rng, data)
    if kind.inside is in_text and rng.random() < .05:
        code = rng.choice(['utf-16', 'utf-8-sig', 'latin-1'])
        data = data.decode('utf-8', 'replace').encode(code, 'replace')
    return (kind.name(rng, name, data) if kind.name else name), bytes(data)
