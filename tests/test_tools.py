"What makes the release: its plan, and the sounds that the ear learns from"
import base64
import subprocess
import sys
from pathlib import Path

import kept
import nbformat
import numpy as np
import pytest
import torch
from ear import auroc, crops, smoothed
from ear_sounds import N, RATE, notes_of, shifted, zones_of

ROOT = Path(__file__).parent.parent


def test_release_prints_its_plan_and_makes_nothing(tmp_path):
    done = subprocess.run([sys.executable, ROOT/'tools'/'release.py', '--work', tmp_path/'w',
                           '--plan'], capture_output=True, text=True, check=True)
    assert 'ears/ear.pt: about' in done.stdout and 'hours in all' in done.stdout
    assert list((tmp_path/'w').iterdir()) == []
    (tmp_path/'w'/'sounds').mkdir()
    (tmp_path/'w'/'sounds'/'sources.json').write_text('[]')
    again = subprocess.run([*done.args], capture_output=True, text=True, check=True)
    assert 'sounds/sources.json: done' in again.stdout


def test_notes_stay_in_range():
    rng = np.random.default_rng(0)
    for _ in range(200):
        notes = notes_of(rng, 40, 52)
        assert notes and all(0 <= a < b <= 3.1 and 40 <= p <= 52 and 1 <= v <= 127
                             for a, b, p, v in notes)


def test_a_zone_of_a_web_bank():
    tone = (8000*np.sin(2*np.pi*440*np.arange(4410)/44100)).astype('<i2')
    packed = base64.b64encode(tone.tobytes()).decode()
    text = ("var x={zones:[{midi:40,originalPitch:6900,keyRangeLow:0,keyRangeHigh:60,"
            "loopStart:2000,loopEnd:4000,coarseTune:0,fineTune:0,sampleRate:44100,ahdsr:true"
            f",sample:'{packed}'}}]}}")
    (pitch, wave), = zones_of(text)
    assert pitch == 69 and len(wave) == 4*RATE
    spectrum = np.abs(np.fft.rfft(wave[RATE:2*RATE]))
    assert abs(spectrum.argmax() - 440) <= 4 # the loop goes on at the same pitch


def test_a_note_is_shifted():
    tone = np.sin(2*np.pi*300*np.arange(2*RATE)/RATE)
    up = shifted(tone, 12, .5)
    assert abs(np.abs(np.fft.rfft(up)).argmax()*2 - 600) <= 4 and len(up) == RATE//2


def test_crops_are_the_louder_of_two_places():
    x = torch.zeros(1, N, dtype=torch.int16)
    x[:, :N//2] = 20000
    rng, rows = torch.Generator().manual_seed(0), torch.zeros(64, dtype=torch.long)
    out = crops(x, rows, RATE//2, rng)
    assert out.shape == (64, RATE//2) and (out.abs().mean(1) > .1).float().mean() > .6


def test_smoothing_leaves_silence_out():
    logs = torch.tensor([[[0., -1], [-5, -9], [0, -1]]])
    loud = torch.tensor([[True, False, True]])
    assert torch.allclose(smoothed(logs, loud)[0, 0], logs[0, 0])
    assert torch.allclose(smoothed(logs, loud)[0, 1], logs[0, 0])


@pytest.mark.parametrize('yes, no, expected', [([2., 3], [0., 1], 1.), ([0.], [1.], 0.)])
def test_auroc(yes, no, expected): assert auroc(torch.tensor(yes), torch.tensor(no)) == expected


def test_the_table_of_chapter_11_is_that_of_the_runs():
    import pandas as pd
    from cargan.deploy.course import course_table
    from course_table import table
    pd.testing.assert_frame_equal(course_table(), table())


def test_a_page_is_kept_while_nothing_changes(tmp_path, monkeypatch):
    """Its code, what it imports however deep and however late, the data and the versions; comments
    do not count"""
    monkeypatch.setattr(kept, 'ROOT', tmp_path)
    files = {'cargan/__init__.py': '', 'cargan/a.py': 'def f():\n    from .b import x',
             'cargan/e.py': '', 'cargan/deploy/cli.py': 'def f():\n    from ..e import z',
             'cargan/b/__init__.py': 'from ..d import y\nfrom ..deploy import cli',
             'cargan/c.py': '', 'cargan/d.py': '', 'cargan/pretrained/t.csv': '1',
             'cargan/pretrained/w': '', 'cargan/pretrained/strip/s.png': '', 'constraints.txt': ''}
    for name, text in files.items():
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_text(text)
    v4 = nbformat.v4
    nb = v4.new_notebook(cells=[v4.new_markdown_cell('# A'),
                                v4.new_code_cell('%matplotlib inline\nfrom cargan.a import f')])
    assert not kept.is_kept(nb)
    kept.stamp(nb)
    others = ('cargan/c.py', 'cargan/e.py', 'cargan/pretrained/strip/s.png',
              'cargan/pretrained/t.csv')
    for name, text in files.items():
        (tmp_path/name).write_text(f'{text}\nmore = 1')
        assert kept.is_kept(nb) == (name in others), name
        (tmp_path/name).write_text(text)
    (tmp_path/'cargan/d.py').write_text('"It does the same"\n# as ever')
    nb.cells[0].source = '# B'
    assert kept.is_kept(nb)
    nb.cells[1].source = '#| label: a\n' + nb.cells[1].source
    assert kept.is_kept(nb)
    nb.cells[1].source += ', course_table'
    assert not kept.is_kept(nb)
    kept.stamp(nb)
    (tmp_path/'cargan/pretrained/t.csv').write_text('2')
    assert not kept.is_kept(nb)
