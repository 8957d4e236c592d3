"What CONTRIBUTING.md shows, run"
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parent.parent/'CONTRIBUTING.md').read_text(encoding='utf-8')


def blocks(language): return re.findall(rf'```{language}\n(.*?)```', TEXT, re.S)


@pytest.fixture
def folder(tmp_path):
    (tmp_path/'mine.toml').write_text(blocks('toml')[0])
    return tmp_path


def test_each_change_is_one_place(folder):
    from cargan.data.instruments import INSTRUMENTS
    here = dict(folder=folder)
    try:
        for code in blocks('python'): exec(code, here)
    finally: INSTRUMENTS.pop('recorder', None)
    learn = here['learn']
    assert list(here['dls'].vocab) == ['recorder', 'tuba']
    assert learn.model.cargan.preset.ngf == 4
    assert 'edges' in learn.recorder.metric_names
    assert learn.loss_func.parts['edges'] > 0 and len(learn.recorder.values) == 1
