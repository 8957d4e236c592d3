"""The diagram of CAR-GAN as vector graphics: nbs/images/model.svg, and here_NN.svg for each chapter
with the parts that it is about in colour.

    python tools/diagram.py
"""
from pathlib import Path
from typing import NamedTuple

IMAGES = Path(__file__).parent.parent/'nbs'/'images'
WIDTH, HEIGHT = 900, 312
PLAIN, HERE, GREY, INK = '#ffffff', '#ffd27f', '#8a8f98', '#22262b'


class Box(NamedTuple):
    "A part of the model: data have round corners, networks straight ones"
    x:float
    y:float
    width:float
    lines:tuple[str, ...]
    network:bool = False


BOXES = dict(
    sound=Box(14, 92, 92, ('sound A', 'half a second')),
    label=Box(14, 212, 92, ('label Lₐ', '“cello”')),
    lms=Box(136, 92, 84, ('LMS', 'a spectrum')),
    g1=Box(256, 92, 100, ('G₁', 'attention U-Net'), True),
    stage1=Box(392, 92, 84, ('I′', 'stage 1')),
    c=Box(392, 212, 84, ('C', 'classifier'), True),
    residue=Box(512, 212, 92, ('Lᵣ = Lₐ − L′ᵢ', 'residue label')),
    g2=Box(630, 92, 100, ('G₂', 'attention U-Net'), True),
    stage2=Box(766, 92, 84, ('I″', 'stage 2')),
    real=Box(766, 212, 84, ('I', 'real picture')),
    d=Box(512, 10, 92, ('D', 'PatchGAN'), True))
ENCODER = Box(136, 158, 84, ('encoder', 'of the sound'), True) # not in the paper
LOSSES = dict(l1=(832, 184, 'L₁'), cls=(434, 286, 'L_C'), gan=(657, 62, 'L_GAN'))

# Ways through points; what only training needs is dashed
WAYS = [
    ((106, 119), (136, 119)), ((220, 119), (256, 119)), ((356, 119), (392, 119)),
    ((106, 239), (306, 239), (306, 146)), ((434, 146), (434, 212)), ((476, 239), (512, 239)),
    ((60, 266), (60, 300), (558, 300), (558, 266)), ((476, 119), (630, 119)),
    ((604, 239), (680, 239), (680, 146)), ((730, 119), (766, 119))]
TRAINING = [
    ((178, 92), (178, 37), (512, 37)), ((434, 92), (434, 48), (512, 48)),
    ((808, 92), (808, 37), (604, 37)), ((850, 239), (876, 239), (876, 25), (604, 25)),
    ((808, 212), (808, 146)), ((766, 228), (748, 228), (748, 170), (456, 170), (456, 146))]

OURS = [((178, 146), (178, 158)), ((220, 180), (274, 180), (274, 146)),
        ((220, 194), (660, 194), (660, 146))]

CHAPTERS = {
    1: ('encoder', 'sound', 'lms', 'label', 'g1', 'stage1', 'c', 'residue', 'g2',
        'stage2'),
    2: ('sound', 'lms'), 3: ('sound', 'label', 'real'), 4: ('lms', 'g1', 'stage1', 'l1'),
    5: ('d', 'gan'), 6: ('label', 'c', 'cls'), 7: ('g1', 'g2', 'd'),
    8: ('c', 'residue', 'g2', 'stage2'), 9: ('g1', 'g2', 'd', 'gan', 'cls', 'l1'),
    10: ('g1', 'stage1', 'c', 'residue', 'g2', 'stage2', 'd', 'real'),
    11: ('label', 'c', 'residue', 'g2', 'd', 'cls'),
    12: ('sound', 'lms', 'encoder', 'stage1', 'stage2'),
    13: ('sound', 'label', 'stage2', 'real')}


def text(x, y, words, size, weight='normal', fill=INK):
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
            f'text-anchor="middle">{words}</text>')


def drawn(box, here):
    "A box with its lines, the first of them large"
    fill, middle = HERE if here else PLAIN, box.x + box.width/2
    shape = (f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="54" '
             f'rx="{3 if box.network else 16}" fill="{fill}" stroke="{INK if here else GREY}" '
             f'stroke-width="{2 if box.network else 1.2}"/>')
    return (shape + text(middle, box.y + 23, box.lines[0], 15, 'bold')
            + text(middle, box.y + 42, box.lines[1], 11.5))


def loss(x, y, words, here):
    "A loss, where it is measured"
    box = f'<rect x="{x - 24}" y="{y - 16}" width="48" height="22" rx="4" fill="{HERE}"/>'
    return (box if here else '') + text(x, y, words, 13, fill=INK if here else GREY)


def way(points, dash=''):
    "An arrow through points"
    path = 'M' + ' L'.join(f'{x} {y}' for x, y in points)
    dash = f' stroke-dasharray="{dash}"' if dash else ''
    return (f'<path d="{path}" fill="none" stroke="{GREY}" stroke-width="1.4"{dash} '
            f'marker-end="url(#tip)"/>')


def diagram(here=()):
    "The whole, with some parts in colour"
    said = 'CAR-GAN: from a sound and a label over two stages to a picture'
    if here: said += '; here: ' + ', '.join(BOXES[k].lines[0] for k in here if k in BOXES)
    tip = ('<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
           'markerHeight="7" orient="auto">'
           f'<path d="M0 0L8 4L0 8z" fill="{GREY}"/></marker></defs>')
    dashed = text(250, 28, 'dashed: in training only', 11.5, fill=GREY)
    parts = [tip, f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff"/>',
             *map(way, WAYS), *(way(p, '5 4') for p in TRAINING),
             *(drawn(b, k in here) for k, b in BOXES.items()),
             *(loss(*at, k in here) for k, at in LOSSES.items()), dashed]
    if 'encoder' in here:
        parts += [*(way(p, '1.5 3') for p in OURS), drawn(ENCODER, True),
                  text(250, 58, 'dotted: not in the paper', 11.5, fill=GREY)]
    if here: parts.append(text(70, 28, 'you are here', 12) +
                          f'<rect x="14" y="17" width="16" height="16" rx="3" fill="{HERE}" '
                          f'stroke="{INK}"/>')
    body = '\n'.join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" role="img" font-family="Helvetica, Arial, sans-serif">'
            f'<title>{said}</title>\n{body}\n</svg>\n')


def main():
    (IMAGES/'model.svg').write_text(diagram(), encoding='utf-8')
    for n, here in CHAPTERS.items():
        (IMAGES/f'here_{n:02}.svg').write_text(diagram(here), encoding='utf-8')


if __name__ == '__main__': main()
