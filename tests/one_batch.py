"""Run by the processes of test_distributed.py: some steps on a data set, then process 0 writes all
that was learned"""
import os
import signal
import sys

import torch
from fastai.callback.core import Callback
from fastai.torch_core import set_seed


class Wide(Callback):
    "Batches in float64, so that rounding does not hide what is wrong"
    def before_batch(self):
        self.learn.xb = (self.xb[0].double(), *self.xb[1:])
        self.learn.yb = (self.yb[0].double(),)
    def after_loss(self): self.learn.loss = self.learn.loss.float() # the recorder adds to a float32


def rank(): return int(os.environ.get('RANK', 0))


def new_learner(data, attention, wide, **changes):
    "A learner of the preset `tiny` with batches of 8; others than process 0 start elsewhere"
    from cargan.data.audio import LMSSpec
    from cargan.data.loaders import pairs_dls
    from cargan.models.attention import SelfAttention
    from cargan.models.classifier import ImageClassifier
    from cargan.models.preset import get_preset
    from cargan.training.callbacks import EMA, LossParts
    from cargan.training.distributed import together
    from cargan.training.learner import cargan_learner
    dls = pairs_dls(data, LMSSpec(size=32), bs=8, augment=False, jitter=False, device='cpu')
    c = ImageClassifier(len(dls.vocab), 'light')
    p = get_preset('tiny', attention=attention, label_dropout=.5, batch=8, **changes)
    cbs = [LossParts(), EMA(.9), *([Wide()] if wide else []), *together()]
    learn = cargan_learner(dls, p, c=c, cbs=cbs)
    for m in learn.model.modules():  # at 0, where gamma starts, it would be no test
        if isinstance(m, SelfAttention): torch.nn.init.constant_(m.gamma, .5)
    if rank(): # the start must be process 0's
        for q in learn.model.parameters(): q.data.mul_(1.5)
    if wide: learn.model.double()
    return learn


def few_steps(data, out, attention=True, wide=True, epochs=1, **changes):
    "Train; write weights, moments, averages, and the epoch's figures"
    from cargan.training.distributed import join_processes

    def run():
        set_seed(0)
        learn = new_learner(data, attention, wide, **changes)
        start = {k: v.clone() for k, v in learn.model.state_dict().items()}
        with learn.no_logging(): learn.fit_preset(epochs)
        moments = {f'{who}.{i}.{k}': v
                   for who, opt in (('g', learn.opt.opt), ('d', learn.opt.d.opt))
                   for i, s in enumerate(opt.state.values()) for k, v in s.items()}
        assert not any(type(m).__name__ == 'SyncNorm' for m in learn.model.modules())
        return dict(start=start, weights=learn.model.state_dict(), moments=moments,
                    average=learn.ema.average.module.state_dict(),
                    steps=len(learn.recorder.losses),
                    losses=[float(v) for v in learn.recorder.losses],
                    figures=[float(v) for v in learn.recorder.values[-1]])

    result = join_processes(run)()
    if not rank(): torch.save(result, out)
    return result


class Killed(Callback):
    "kill -9 for process 1 in its third batch"
    def before_batch(self):
        if self.training and self.iter == 2 and rank() == 1: os.kill(os.getpid(), signal.SIGKILL)


class Asked(Callback):
    "SIGTERM for process 1 alone, in its third batch"
    def before_batch(self):
        if self.training and self.train_iter == 2 and rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def train_command(data, run, cbs=(), epochs=3, **settings):
    "`train_cargan` as a command, with untrained classifiers"
    from cargan.deploy.cli import command
    from cargan.models.classifier import AudioClassifier, ImageClassifier
    from cargan.training.train import train_cargan
    set_seed(0)
    networks = ImageClassifier(13, 'light'), AudioClassifier(13)
    def cargan_train():
        train_cargan(data, run, 'tiny', epochs, classifiers=networks, cbs=cbs, **settings)
    sys.argv = sys.argv[:1]
    command(cargan_train)()


CASES = dict(attention=dict(), plain=dict(attention=False), single=dict(wide=False),
             d_first=dict(d_first=True))

if __name__ == '__main__':
    torch.set_num_threads(1)
    what, data, out = sys.argv[1:]
    if what == 'killed': train_command(data, out, [Killed()])
    elif what == 'asked': train_command(data, out, [Asked()], epochs=1)
    elif what == 'late': train_command(data, out, epochs=1, minutes=0 if rank() else 60)
    elif what == 'go on': train_command(data, out, epochs=1, resume=True)
    else:
        for name, options in CASES.items(): few_steps(data, f'{out}_{name}.pt', **options)
