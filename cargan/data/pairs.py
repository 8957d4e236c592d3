"""Pairs on disk to fastai DataLoaders"""
__all__ = ['SUB_URMP_LABELS', 'Pair', 'find_pairs', 'TensorLMS', 'Waveform', 'pairs_dls']
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
import numpy as np, torch
from PIL import Image
from fastai.vision.all import *
from cargan.data.audio import *
SUB_URMP_LABELS = tuple('bassoon cello clarinet double_bass flute horn oboe sax trombone trumpet tuba viola violin'.split())
@dataclass(frozen=True)
class Pair:
    sound:Path; image:Path; label:str; recording:str; start_ms:int; split:str
def find_pairs(root):
    out=[]
    for split in ('train','validation'):
        for wav in sorted((Path(root)/'chunk'/split).glob('*/*.wav')):
            rec, ms = wav.stem.rsplit('_',1)
            out.append(Pair(wav, Path(root)/'img'/split/wav.parent.name/f'{wav.stem}.jpg', wav.parent.name, rec, int(ms), 'train' if split=='train' else 'test'))
    if not out: raise CarganError(f"{root}: no pairs")
    return out
class TensorLMS(TensorImageBase): pass
class Waveform(TensorBase): pass
class ReadSound(Transform):
    def __init__(self, spec): self.spec, self.cache = spec, {}
    def encodes(self, p:Pair):
        if p not in self.cache:
            w = cut_windows(load_audio(p.sound, self.spec.sample_rate, seconds=self.spec.seconds), self.spec)[0]
            self.cache[p] = (w*32767).short()
        return Waveform(self.cache[p].float()/32767)
class ReadImage(Transform):
    def __init__(self, size): self.size, self.cache = size, {}
    def encodes(self, p:Pair):
        if p not in self.cache: self.cache[p] = torch.from_numpy(np.array(Image.open(p.image).convert('RGB').resize((self.size,self.size), Image.LANCZOS))).permute(2,0,1)
        return TensorImage(self.cache[p])
class ToLMS(Transform):
    order=10
    def __init__(self, spec): self.lms = LMS(spec)
    def encodes(self, x:Waveform): return TensorLMS(self.lms.to(x.device)(x.as_subclass(torch.Tensor)))
class Augment(Transform):
    order=5; split_idx=0
    def encodes(self, x:Waveform):
        x = x.as_subclass(torch.Tensor)
        g = 10**((torch.rand(len(x),1)*12-8)/20)
        n = 10**((torch.rand(len(x),1)*40-90)/20)
        return Waveform(x*g + torch.randn_like(x)*n)
class ToUnit(Transform):
    order=10
    def encodes(self, x:TensorImage): return TensorImage(x.float()/127.5-1)
def pairs_dls(root, spec=LMSSpec(), bs=32, seed=0, augment=True, jitter=True):
    pairs = find_pairs(root)
    vocab = sorted({p.label for p in pairs})
    idx = {l:i for i,l in enumerate(vocab)}
    splits = [[i for i,p in enumerate(pairs) if p.split==s] for s in ('train','test')]
    dsets = Datasets(pairs, [[ReadSound(spec)], [lambda p: p.label, Categorize(vocab=vocab, sort=False)], [ReadImage(spec.size)]], splits=splits, n_inp=2)
    dls = dsets.dataloaders(bs=bs, after_batch=[*([Augment()] if augment else []), ToLMS(spec), ToUnit()], num_workers=0, drop_last=True, device=default_device())
    dls.spec = spec
    return dls
