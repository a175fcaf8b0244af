"""Short melodies as sound, features of sound, and an adapter that turns them into a prompt's word.

The link between a melody and an expression, `EXPRESSIONS`, is a convention of the course's training
data. That major and fast goes with happy is a habit of some music, not a fact about sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.device import make_generator
from course_lib.errors import check_choice, check_number

SAMPLE_RATE = 8000  # Hz
SECONDS = 1.28
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}  # semitones
TEMPI = {"slow": (2.0, 3.0), "fast": (6.0, 8.0)}  # notes a second
TONICS = (52, 64)  # as MIDI numbers: E3 to E4, 165 to 330 Hz
# Mode and tempo -> the expression that the training pairs give them
EXPRESSIONS = {
    ("major", "fast"): "smiling", ("major", "slow"): "neutral",
    ("minor", "fast"): "angry", ("minor", "slow"): "sad",
}  # fmt: skip
WINDOW, HOP = 2048, 256  # samples of a spectrum, 0.26 s: neighbouring semitones lie 10 Hz apart
LOWEST, HIGHEST = 120.0, 1000.0  # Hz, of the notes that count for the chroma


class Melody(NamedTuple):
    """Sound of shape (N,) in [-1, 1], and what it was made from."""

    wave: np.ndarray
    mode: str
    tempo: str
    tonic: int

    @property
    def expression(self) -> str:
        """What the training pairs put beside it."""
        return EXPRESSIONS[self.mode, self.tempo]


def synthesise(
    mode: str = "major", *, notes_per_second: float = 6.0, tonic: int = 57, seed: int = 0
) -> np.ndarray:
    """A melody over a held triad, float32 of shape (10240,) at 8 kHz, in [-1, 1].

    Parameters
    ----------
    mode : {"major", "minor"}
    notes_per_second : float
        From 1 to 10.
    tonic : int
        MIDI number of the key's first note, from 48 to 69; 57 is the A of 220 Hz.
    seed : int
        Of the notes. The first one is the tonic.
    """
    scale = SCALES[check_choice("mode", mode, SCALES)]
    rate = check_number("notes_per_second", notes_per_second, low=1, high=10)
    tonic = int(check_number("tonic", tonic, low=48, high=69))
    rng = np.random.default_rng(seed)
    count = int(SECONDS * SAMPLE_RATE)
    sound = np.zeros(count)
    for degree in (0, 2, 4):  # the tonic the loudest
        sound += (0.8 if degree == 0 else 0.35) * _tone(tonic + scale[degree], count, decay=0.5)
    starts = np.arange(0, SECONDS - 0.5 / rate, 1 / rate)
    degrees = rng.choice(7, size=len(starts), p=[0.25, 0.08, 0.25, 0.08, 0.2, 0.07, 0.07])
    degrees[0] = 0
    for start, degree in zip(starts, degrees, strict=True):
        first = round(start * SAMPLE_RATE)
        sound[first:] += _tone(tonic + scale[degree], count - first, decay=4 + 0.6 * rate)
    return (0.9 * sound / np.abs(sound).max()).astype(np.float32)


def _tone(note: int, count: int, decay: float) -> np.ndarray:
    """A plucked note with three harmonics; `decay` per second."""
    t = np.arange(count) / SAMPLE_RATE
    pitch = 440 * 2 ** ((note - 69) / 12)
    harmonics = sum(0.4**k * np.sin(2 * np.pi * (k + 1) * pitch * t) for k in range(3))
    return harmonics * np.exp(-decay * t) * np.minimum(1, t / 0.005)  # no click at the start


def random_melodies(count: int, *, seed: int = 0) -> list[Melody]:
    """Melodies of all modes and tempi in turn, with keys, speeds and notes at random."""
    rng = np.random.default_rng(seed)
    kinds, found = list(EXPRESSIONS), []
    for k in range(count):
        mode, tempo = kinds[k % len(kinds)]
        rate, tonic = rng.uniform(*TEMPI[tempo]), int(rng.integers(*TONICS))
        notes = int(rng.integers(2**31))
        wave = synthesise(mode, notes_per_second=rate, tonic=tonic, seed=notes)
        found.append(Melody(wave, mode, tempo, tonic))
    return found


# --- features


def melody_features(wave: np.ndarray, *, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Fifteen numbers that are computed from the sound alone, float32 of shape (15,).

    The chroma, beginning with the loudest pitch class, so that the key does not count; note onsets
    a second; the centroid of the spectrum and its loudest frequency, in octaves above 100 Hz.

    Parameters
    ----------
    wave : array, shape (N,)
        Sound of at least a quarter of a second.

    Raises
    ------
    ValueError
        If it is empty, too short, silent, not one channel, or holds NaN.
    """
    wave = _checked(wave, sample_rate)
    power, frequencies = _power(wave, sample_rate)
    classes = chroma(power, frequencies)
    classes = np.roll(classes, -int(classes.argmax()))
    heard = frequencies >= LOWEST
    centroid = (power * frequencies)[heard].sum() / power[heard].sum()
    loudest = frequencies[heard][power[heard].argmax()]
    rest = [onsets_per_second(wave, sample_rate), np.log2(centroid / 100), np.log2(loudest / 100)]
    return torch.tensor([*classes, *rest], dtype=torch.float32)


def _power(wave: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean power spectrum over windows, and the frequencies in Hz, (WINDOW / 2 + 1,) each."""
    wave = np.pad(wave, (0, max(0, WINDOW - len(wave))))
    starts = range(0, len(wave) - WINDOW + 1, HOP)
    frames = np.stack([wave[k : k + WINDOW] for k in starts]) * np.hanning(WINDOW)
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(axis=0)
    return power, np.fft.rfftfreq(WINDOW, 1 / sample_rate)


def chroma(power: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    r"""Share of the power in each of the twelve pitch classes, C first, (12,).

    The pitch class of a frequency f is :math:`\mathrm{round}(69 + 12 \log_2 (f / 440)) \bmod 12`.
    Frequencies from 120 to 1000 Hz count.
    """
    counts = (frequencies >= LOWEST) & (frequencies <= HIGHEST)
    notes = np.round(69 + 12 * np.log2(frequencies[counts] / 440)).astype(int) % 12
    totals = np.bincount(notes, weights=power[counts], minlength=12)
    return totals / totals.sum()


def onsets_per_second(wave: np.ndarray, sample_rate: int = SAMPLE_RATE) -> float:
    """How many notes begin in a second: the peaks of the spectral flux.

    The flux is the sum of what the magnitudes of a spectrum gained since 16 ms before. A peak is
    the largest value within 65 ms to either side, and at least 0.15 of the largest of all.
    """
    step, width = sample_rate // 64, sample_rate // 16
    wave = np.pad(wave, (width, 0))  # a note at the very start rises from silence
    starts = range(0, len(wave) - width + 1, step)
    frames = np.stack([wave[k : k + width] for k in starts]) * np.hanning(width)
    magnitudes = np.abs(np.fft.rfft(frames, axis=1))
    flux = np.maximum(np.diff(magnitudes, axis=0), 0).sum(axis=1)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(flux, 4), 9).max(axis=1)
    peaks = (flux == around) & (flux >= 0.15 * flux.max())
    return float(peaks.sum() / ((len(wave) - width) / sample_rate))


def _checked(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    wave = np.asarray(wave, dtype=np.float64)
    if wave.ndim != 1:
        raise ValueError(
            f"a melody must be one channel of shape (N,), not {wave.shape}; average the channels."
        )
    least = sample_rate // 4
    if len(wave) < least:
        what = "is empty" if len(wave) == 0 else f"lasts {len(wave) / sample_rate:.2f} s"
        raise ValueError(
            f"the melody {what}; give at least {least} samples, a quarter of a second at "
            f"{sample_rate} Hz."
        )
    if not np.isfinite(wave).all() or np.abs(wave).max() == 0:
        raise ValueError("the melody is silent or holds NaN; give sound in [-1, 1].")
    return wave


# --- the adapter


class MelodyAdapter(nn.Module):
    """Two layers from melody features to the embedding of one word of the prompt.

    Parameters
    ----------
    mean, std : Tensor, shape (F,)
        Of the training melodies' features, which are normalised by them.
    scale : float
        Standard deviation of the words' embeddings.
    width : int
        Of the embeddings.
    hidden : int
        0 leaves a single linear layer.
    """

    def __init__(self, mean: Tensor, std: Tensor, scale: float, width: int, hidden: int = 32):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.scale = scale
        inner = [nn.Linear(len(mean), hidden), nn.SiLU()] if hidden else []
        self.layers = nn.Sequential(*inner, nn.Linear(hidden or len(mean), width))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, width)."""
        return self.scale * self.layers((features - self.mean) / self.std)


def word_embeddings(pipe, words: Sequence[str]) -> Tensor:
    """The text encoder's embeddings of words of one token each, (N, width).

    Raises
    ------
    ValueError
        If a word has several tokens.
    """
    table = pipe.text_encoder.get_input_embeddings().weight.detach().float()
    rows = []
    for word in words:
        ids = pipe.tokenizer(word, add_special_tokens=False).input_ids
        if len(ids) != 1:
            raise ValueError(f"{word!r} has {len(ids)} tokens; use a word of one token.")
        rows.append(table[ids[0]])
    return torch.stack(rows)


def train_adapter(
    features: Tensor, targets: Tensor, *, hidden: int = 32, steps: int = 300, seed: int = 0
) -> MelodyAdapter:
    """Fit an adapter to pairs of features (N, F) and embeddings (N, W) by their squared error."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        std = features.std(dim=0).clamp(min=1e-6)
        adapter = MelodyAdapter(
            features.mean(dim=0), std, float(targets.std()), targets.shape[1], hidden
        )
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2, weight_decay=1e-2)
    generator = make_generator(seed)
    for _ in range(steps):
        rows = torch.randint(len(features), (64,), generator=generator)
        error = (adapter(features[rows]) - targets[rows]) / adapter.scale
        optimizer.zero_grad()
        error.square().mean().backward()
        optimizer.step()
    return adapter.eval().requires_grad_(False)
