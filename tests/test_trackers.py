"""A run seen from elsewhere: TensorBoard's and W&B's records on the disk, and a run that is not
changed by being watched"""
import pytest
from safetensors.torch import load_file


@pytest.fixture(scope='module')
def watched(sh, synth, tmp_path_factory):
    """watched(folder, *arguments, **environment) -> (exit code, output, errors, run folder) of
    `cargan-train`, by somebody who has no account"""
    here = tmp_path_factory.mktemp('tracked')
    nobody = dict(HOME=str(here), NETRC=str(here/'none'), WANDB_API_KEY='', WANDB_MODE='online')
    def run(folder, *args, **env):
        settings = '--preset', 'tiny', '--epochs', 2, '--run', here/folder
        return *sh('cargan-train', synth, *settings, *args, **{**nobody, **env}), here/folder
    return run


@pytest.fixture(scope='module')
def alone(watched):
    rc, _, err, run = watched('alone')
    assert rc == 0, err
    return run


def same_bundle(a, b):
    a, b = [load_file(run/'bundle.safetensors') for run in (a, b)]
    return a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)


def test_wandb_keeps_the_run_offline(watched, alone):
    rc, _, err, run = watched('wandb', '--track', 'wandb', WANDB_MODE='offline')
    assert rc == 0, err
    record, = run.glob('wandb/offline-run-*/*.wandb')
    for name in (b'seen_by_c', b'final_l1', b'cgan', b'lambda_cls'):
        assert name in record.read_bytes(), name
    assert same_bundle(run, alone)


def test_tensorboard_keeps_the_run(watched, alone):
    rc, _, err, run = watched('board', '--track', 'tensorboard')
    assert rc == 0, err
    assert any(b'epoch/final_l1' in f.read_bytes() for f in run.glob('events/*'))
    assert same_bundle(run, alone)


def test_wandb_without_a_login_is_said_at_once(watched):
    rc, _, err, run = watched('nobody', '--track', 'wandb')
    assert rc == 2 and len(err.strip().splitlines()) == 1
    assert 'wandb login' in err and 'WANDB_MODE=offline' in err
    assert not (run/'classifiers').exists()


def test_wandb_in_a_mode_that_is_none(watched):
    rc, _, err, run = watched('sideways', '--track', 'wandb', WANDB_MODE='sideways')
    assert rc == 2 and len(err.strip().splitlines()) == 1
    assert 'sideways' in err and 'WANDB_MODE=offline' in err
    assert not (run/'classifiers').exists()
