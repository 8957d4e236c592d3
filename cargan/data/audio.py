"""Sound to LMS: the log-amplitude mel spectrum"""
__all__ = ['CarganError', 'LMSSpec', 'LMS', 'SILENCE_DB', 'load_audio', 'cut_windows', 'loudness']
from dataclasses import dataclass
from pathlib import Path

import soundfile as sf
import torch
from torch import nn
from torchaudio import functional as AF
from torchaudio import transforms as AT

class CarganError(Exception):
    "An error the user can act on: one line that names the file, what is wrong and what to do"

@dataclass(frozen=True)
class LMSSpec:
    size:int=64
    sample_rate:int=22050
    seconds:float=.5
    n_fft:int=2048
    f_min:float=30.
    f_max:float=10000.
    db_range:float=80.
    @property
    def n_samples(self): return round(self.sample_rate*self.seconds)
    @property
    def hop(self): return self.n_samples//self.size
    @property
    def n_mels(self): return self.size

class LMS(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.spec = s = spec
        self.power = AT.Spectrogram(s.n_fft, hop_length=s.hop, power=2)
        self.register_buffer('filters', AF.melscale_fbanks(s.n_fft//2 + 1, s.f_min, s.f_max, s.n_mels, s.sample_rate, mel_scale='slaney'), persistent=False)
    def forward(self, wave):
        s = self.spec
        p = self.power(wave)[..., :s.size]/(s.n_fft/4)**2
        mel = p.transpose(-1, -2) @ self.filters
        db = 10*mel.transpose(-1, -2).clamp(min=1e-10).log10()
        return ((db.clamp(-s.db_range, 0) + s.db_range)*2/s.db_range - 1)[:, None]

SILENCE_DB = -60.
def loudness(wave): return 20*wave.pow(2).mean(-1).sqrt().clamp(min=1e-6).log10()

def load_audio(path, sample_rate=22050, start=0., seconds=None):
    p = Path(path)
    if not p.exists(): raise CarganError(f"{p}: there is no such file")
    if p.is_dir(): raise CarganError(f"{p}: is a folder; give a sound file")
    try:
        with sf.SoundFile(str(p)) as f:
            f.seek(round(start*f.samplerate))
            x = f.read(-1 if seconds is None else round(seconds*f.samplerate), dtype='float32', always_2d=True)
            rate = f.samplerate
    except (sf.LibsndfileError, RuntimeError) as e: raise CarganError(f"{p}: not a sound that can be read ({e})") from e
    if not len(x): raise CarganError(f"{p}: holds no samples")
    wave = torch.from_numpy(x.mean(1))
    if not wave.isfinite().all(): raise CarganError(f"{p}: holds NaN or infinite samples")
    return AF.resample(wave, rate, sample_rate)

def cut_windows(wave, spec, hop_seconds=.5):
    n, hop = spec.n_samples, round(hop_seconds*spec.sample_rate)
    k = max(1, -(-(len(wave) - n)//hop) + 1)
    wave = nn.functional.pad(wave, (0, max(0, (k - 1)*hop + n - len(wave))))
    return wave.unfold(0, n, hop)
