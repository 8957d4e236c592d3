"The 26 real pairs that the authors of CAR-GAN publish, read and learnt by heart; skipped if absent"
import os
import warnings
from pathlib import Path

import pytest
from fastai.torch_core import set_seed

from cargan.data.pairs import SUB_URMP_LABELS, find_pairs

NEXT_TO_US = Path(__file__).parent.parent.parent/'shared'/'sub_urmp_sample'
SAMPLE = Path(os.environ.get('CARGAN_SAMPLE', NEXT_TO_US))
pytestmark = pytest.mark.skipif(
    not (SAMPLE/'train_data.txt').exists(),
    reason=f'the 26 real pairs are not at {SAMPLE} (CARGAN_SAMPLE names another folder)')


@pytest.fixture(scope='module')
def dls():
    from cargan.data.audio import LMSSpec
    from cargan.data.loaders import pairs_dls
    with pytest.warns(UserWarning, match='13 classes have one recording only'):
        return pairs_dls(SAMPLE/'train_data.txt', LMSSpec(size=32), bs=26, jitter=False)


def test_read(dls):
    assert tuple(dls.vocab) == SUB_URMP_LABELS and len(dls.train_ds) == 26
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        pairs = find_pairs(SAMPLE/'train_data.txt')
    one_hot = {}
    for line in (SAMPLE/'train_data.txt').read_text().splitlines():
        _, hot, image = line.split('||')
        one_hot[Path(image).stem] = [float(v) for v in hot.split(',')].index(1)
    assert all(SUB_URMP_LABELS[one_hot[p.image.stem]] == p.label for p in pairs)
    lms, _, image = dls.train.one_batch()
    assert lms.shape == (26, 1, 32, 32) and image.shape == (26, 3, 32, 32)
    assert lms.min() < -.9 and lms.max() > .9
    below, above = lms[:, 0, :16], lms[:, 0, 16:]
    assert below.mean() > above.mean()   # upright


def test_overfit(dls):
    "At 32 px, eighty steps bring stage 2's L1 under a third of where it began"
    from cargan.models.classifier import ImageClassifier
    from cargan.models.preset import get_preset
    from cargan.training.learner import cargan_learner
    from cargan.training.pretrain import classifier_learner
    set_seed(26, reproducible=True)
    eye = classifier_learner(dls, ImageClassifier(13, 'light'))
    with eye.no_bar(), eye.no_logging(): eye.fit(15, 2e-3)
    learn = cargan_learner(dls, get_preset('tiny', ngf=16, ema=0.), c=eye.model)
    with learn.no_bar(), learn.no_logging():
        first = learn.validate()[-1]
        learn.fit(80)
    assert learn.recorder.values[-1][-1] < first/3
